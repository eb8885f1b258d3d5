//! Where a credential may stand, on every transport and on the API; and that a bad one is refused wherever it stands.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use tidegate_testkit::clients::{
    API_KEY, Certificate, Endpoint, LiveClient, ModelList, Transport, raw, request, urlencoded, within,
};
use tidegate_testkit::gateway::Gateway;

use crate::fixture::{authenticated, gateway, refusal, token};
use crate::transports::{NOTES, event_socket, every_note, farewell, metric, read, refused, shows, status, with_a_note};

const PAGE: &str = "https://app.example";
/// Everything that may be switched on is.
const EVERYWHERE: &str = "cookie = \"gate\"\nquery_token = true\n[edge]\nallowed_origins = [\"https://app.example\"]\n";

/// Where a token may stand in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Header,
    Subprotocol,
    Cookie,
    Address,
}

impl Place {
    pub(crate) const ALL: [Self; 4] = [Self::Header, Self::Subprotocol, Self::Cookie, Self::Address];

    pub(crate) fn showing(self, to: impl Into<Endpoint>, token: &str) -> Endpoint {
        let to = to.into();
        match self {
            Self::Header => to.header("authorization", &format!("Bearer {token}")),
            Self::Subprotocol => to.header("sec-websocket-protocol", &format!("tidegate, bearer.{token}")),
            Self::Cookie => to.header("cookie", &format!("theme=dark; gate={token}; x=y")).header("origin", PAGE),
            Self::Address => to.query(&format!("access_token={}", urlencoded(token))),
        }
    }

    pub(crate) fn fits(self, transport: Transport) -> bool {
        self != Self::Subprotocol || transport.is_websocket()
    }
}

#[tokio::test]
async fn a_token_opens_every_transport_and_the_api_from_every_place() {
    let gateway = with_a_note(EVERYWHERE).await;
    let (mara, ole) = (token("mara", json!({})), token("ole", json!({ "tenant": "umbrella" })));
    for place in Place::ALL {
        let of_acme = place.showing(gateway.address(), &mara);
        let of_umbrella = place.showing(gateway.address(), &ole);
        for transport in Transport::ALL.into_iter().filter(|transport| place.fits(*transport)) {
            shows(of_acme.clone(), transport, 1).await;
            // It is the token that says who is there, and not that there is one.
            shows(of_umbrella.clone(), transport, 0).await;
        }
        for over_h2 in [false, true] {
            let mut socket = event_socket(of_acme.clone(), over_h2).await.unwrap();
            socket.subscribe("notes", &every_note(), ModelList::new()).await;
            socket.until("the note", |lists| lists["notes"].entries().len() == 1).await;
        }
        for (endpoint, notes) in [(of_acme, 1), (of_umbrella, 0)] {
            for (status, page) in read(&endpoint).await {
                assert_eq!((status, page["rows"].as_array().map(Vec::len)), (200, Some(notes)), "{place:?}: {page}");
            }
        }
    }
}

#[tokio::test]
async fn an_api_key_opens_every_transport() {
    let gateway = with_a_note("").await;
    let showing = |key| Endpoint::from(gateway.address()).header("x-api-key", key);
    let of_acme = json!({ "entity": "note", "where": [{ "column": "org", "op": "eq", "value": "acme" }], "limit": 10 });
    for transport in Transport::ALL {
        let subscribed = LiveClient::subscribe(showing(API_KEY), transport, &of_acme, ModelList::new());
        let mut client = within("a handshake", subscribed).await.unwrap();
        client.until("the note", |list| list.entries().len() == 1).await;
        assert_eq!(refused(showing("wrong"), transport).await, 401);
    }
}

#[tokio::test]
async fn the_first_message_may_bring_the_token() {
    let gateway = with_a_note("").await;
    for over_h2 in [false, true] {
        let mut socket = event_socket(gateway.address().into(), over_h2).await.unwrap();
        let reply = authenticated(&mut socket, &token("mara", json!({}))).await;
        assert!(reply.data["client_id"].is_string() && reply.data["expires_at"].is_string(), "{reply:?}");
        socket.subscribe("notes", &every_note(), ModelList::new()).await;
        socket.until("the note", |lists| lists["notes"].entries().len() == 1).await;

        for wrong in bad_tokens() {
            let mut socket = event_socket(gateway.address().into(), over_h2).await.unwrap();
            let reply = authenticated(&mut socket, &wrong).await;
            assert_eq!(reply.error["code"], "unauthenticated", "{reply:?}");
            assert_eq!(farewell(&mut socket).await, Some((1008, "unauthenticated".into())));
        }
    }
}

#[tokio::test]
async fn who_says_nothing_in_time_is_closed() {
    let gateway = with_a_note("[edge]\nauth_timeout_ms = 200\n").await;
    for over_h2 in [false, true] {
        let mut socket = event_socket(gateway.address().into(), over_h2).await.unwrap();
        assert_eq!(farewell(&mut socket).await, Some((1008, "unauthenticated".into())));
    }
}

#[tokio::test]
async fn over_tls_it_is_the_same() {
    let certificate = Certificate::generate();
    let gateway = gateway(&format!("{EVERYWHERE}{}", certificate.section()));
    let at = Endpoint::tls(gateway.address(), &certificate);
    let mara = token("mara", json!({}));
    for transport in Transport::ALL {
        for place in Place::ALL.into_iter().filter(|place| place.fits(transport)) {
            shows(place.showing(at.clone(), &mara), transport, 0).await;
            assert_eq!(refused(place.showing(at.clone(), &format!("{mara}x")), transport).await, 401);
        }
    }
}

/// Tokens that nobody may be let in with.
pub(crate) fn bad_tokens() -> Vec<String> {
    let good = token("mara", json!({}));
    let (head, rest) = good.split_once('.').unwrap();
    let (claims, signature) = rest.split_once('.').unwrap();
    let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
    let public = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","typ":"JWT"}"#);
    let other = token("eve", json!({}));
    let other_claims = other.split('.').nth(1).unwrap();
    // Good in all but its length, to the byte.
    let fill = |bytes: usize| token("mara", json!({ "fill": "a".repeat(bytes) }));
    let huge = (5_900..6_100).map(fill).find(|token| token.len() > 8_192).unwrap();
    vec![
        format!("{head}.{claims}."),
        format!("{head}.{claims}"),
        format!("{head}.{other_claims}.{signature}"),
        format!("{none}.{claims}."),
        format!("{none}.{claims}.{signature}"),
        format!("{public}.{claims}.{signature}"),
        token("mara", json!({ "exp": 1 })),
        token("mara", json!({ "nbf": 99_999_999_999_u64 })),
        token("mara", json!({ "iss": "https://evil.example" })),
        token("mara", json!({ "aud": "another" })),
        token("", json!({})),
        huge,
        "a".repeat(8_193),
        "null".into(),
        "..".into(),
    ]
}

async fn bad_tokens_are_refused(gateway: &Gateway) {
    for wrong in bad_tokens() {
        for place in Place::ALL {
            let endpoint = place.showing(gateway.address(), &wrong);
            for transport in Transport::ALL.into_iter().filter(|transport| place.fits(*transport)) {
                assert_eq!(refused(endpoint.clone(), transport).await, 401, "{transport:?} {place:?} {wrong}");
            }
            for over_h2 in [false, true] {
                let error = event_socket(endpoint.clone(), over_h2).await.err().unwrap();
                assert_eq!(status(&error), 401, "/ws {place:?} {wrong}");
            }
            for (status, body) in read(&endpoint).await {
                assert_eq!((status, &body["error"]["code"]), (401, &json!("unauthenticated")), "{place:?} {wrong}");
                assert!(!body.to_string().contains(&wrong), "{body}");
            }
        }
    }
}

#[tokio::test]
async fn a_bad_token_is_refused_before_the_upgrade() {
    bad_tokens_are_refused(&gateway(EVERYWHERE)).await;
}

#[tokio::test]
async fn a_bad_token_does_not_make_a_stranger() {
    let gateway = gateway(&format!("anonymous = true\n{EVERYWHERE}"));
    bad_tokens_are_refused(&gateway).await;
    for transport in Transport::ALL {
        shows(gateway.address().into(), transport, 0).await;
    }
    for over_h2 in [false, true] {
        let mut socket = event_socket(gateway.address().into(), over_h2).await.unwrap();
        socket.subscribe("notes", &every_note(), ModelList::new()).await;
        let reply = authenticated(&mut socket, "x").await;
        assert_eq!(reply.error["code"], "unauthenticated", "{reply:?}");
    }
    assert_eq!(read(&gateway.address().into()).await.map(|(status, _)| status), [200, 200]);
}

#[tokio::test]
async fn who_shows_nothing_is_refused_where_strangers_are() {
    let gateway = gateway(EVERYWHERE);
    for transport in Transport::ALL {
        assert_eq!(refused(gateway.address().into(), transport).await, 401, "{transport:?}");
    }
    assert_eq!(read(&gateway.address().into()).await.map(|(status, _)| status), [401, 401]);
}

/// Each with the request that carries it, as text, so that headers can come twice.
async fn answered(at: SocketAddr, path: &str, headers: &str) -> (u16, String) {
    let lines: Vec<(&str, &str)> = headers.lines().filter_map(|line| line.split_once(": ")).collect();
    // With a head that asks for an upgrade, and is refused before.
    let upgrade = raw::upgrade(path, "");
    let upgrade: Vec<(&str, &str)> = upgrade.lines().skip(2).filter_map(|line| line.split_once(": ")).collect();
    let answer = within(path, request(at, "GET", path, &[lines, upgrade].concat(), b"")).await.unwrap();
    refusal(&answer)
}

#[tokio::test]
async fn empty_and_doubled_credentials_are_bad_ones() {
    let gateway = gateway(&format!("anonymous = true\n{EVERYWHERE}"));
    let at = gateway.address();
    let mara = token("mara", json!({}));
    let cases = [
        ("", "authorization: \r\n".to_owned()),
        ("", "authorization: Bearer\r\n".to_owned()),
        ("", "authorization: Bearer \r\n".to_owned()),
        ("", "authorization: Basic bWFyYTpwdw==\r\n".to_owned()),
        ("", "x-api-key: \r\n".to_owned()),
        ("", "sec-websocket-protocol: bearer.\r\n".to_owned()),
        ("?access_token=", String::new()),
        ("?access_token", String::new()),
        ("", format!("authorization: Bearer {mara}\r\nauthorization: Bearer {mara}x\r\n")),
        ("", format!("authorization: Bearer {mara}x\r\nauthorization: Bearer {mara}\r\n")),
        ("", format!("authorization: Bearer {mara}, Bearer {mara}\r\n")),
        ("", format!("x-api-key: {API_KEY}\r\nx-api-key: wrong\r\n")),
        ("", format!("sec-websocket-protocol: bearer.{mara}, bearer.{mara}x\r\n")),
        ("", format!("sec-websocket-protocol: bearer.{mara}\r\nsec-websocket-protocol: bearer.x\r\n")),
        (&format!("?access_token={mara}&access_token={mara}"), String::new()),
        ("?access_token=x&access_token=y", String::new()),
    ];
    for (query, headers) in &cases {
        for path in ["/ws", "/v1/live/ws", NOTES] {
            let (status, code) = answered(at, &format!("{path}{query}"), headers).await;
            assert_eq!((status, &*code), (401, "unauthenticated"), "{path}{query} {headers}");
        }
    }
}

#[tokio::test]
async fn a_cookie_is_believed_from_listed_pages_alone() {
    let gateway = gateway(&format!("anonymous = true\n{EVERYWHERE}"));
    let cookie = Endpoint::from(gateway.address()).header("cookie", &format!("gate={}", token("mara", json!({}))));
    let from = |origin: &str| cookie.clone().header("origin", origin);
    for endpoint in [cookie.clone(), from("https://evil.example"), from("null"), from("http://app.example")] {
        for transport in Transport::ALL {
            assert_eq!(refused(endpoint.clone(), transport).await, 403, "{transport:?}");
        }
        for over_h2 in [false, true] {
            let error = event_socket(endpoint.clone(), over_h2).await.err().unwrap();
            assert_eq!(status(&error), 403);
        }
        for (status, body) in read(&endpoint).await {
            assert_eq!((status, &body["error"]["code"]), (403, &json!("foreign_origin")), "{body}");
        }
    }
    let endpoint = cookie.header("sec-fetch-site", "same-origin");
    assert_eq!(read(&endpoint).await.map(|(status, _)| status), [200, 200]);
}

#[tokio::test]
async fn places_that_are_off_are_not_looked_at() {
    let gateway = gateway("[edge]\nallowed_origins = [\"https://app.example\"]\n");
    for place in [Place::Cookie, Place::Address] {
        let endpoint = place.showing(gateway.address(), &token("mara", json!({})));
        for transport in Transport::ALL {
            assert_eq!(refused(endpoint.clone(), transport).await, 401, "{transport:?}");
        }
        assert_eq!(read(&endpoint).await.map(|(status, _)| status), [401, 401]);
    }
    assert_eq!(metric(&gateway, "tidegate_identity_tokens_accepted_total").await, 0);
}
