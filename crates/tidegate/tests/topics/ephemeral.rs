//! Ephemeral state over HTTP: on behalf of clients that are connected, and of nobody else.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tidegate_testkit::clients::{EventSocket, within};

use crate::fixture::{Who, accepted, ask, gateway, get, post, refusal, talker, user};

const TOPIC: &str = "/v1/topics/room:a/ephemeral";

/// A connection, with its public name.
async fn connected(at: SocketAddr, who: &Who) -> (EventSocket, String) {
    let Who::User(token) = who else { panic!("only users have tokens") };
    let mut socket = EventSocket::connect(at).await.unwrap();
    let reply = socket.call("auth", json!({ "token": token }), "auth").await;
    let name = reply.data["client_id"].as_str().unwrap_or_else(|| panic!("{reply:?}")).to_owned();
    (socket, name)
}

fn entry(client: &str, key: &str, payload: &str) -> Value {
    json!({"client_id": client, "key": key, "payload": payload})
}

/// Key, owner and payload of each entry.
async fn listed(at: SocketAddr, who: &Who, path: &str) -> Vec<(String, String, String)> {
    let answer = get(at, who, path).await.ok();
    let text = |entry: &Value, name: &str| entry[name].as_str().unwrap().to_owned();
    let of = |entry: &Value| (text(entry, "key"), text(entry, "client_id"), text(entry, "payload"));
    answer["entries"].as_array().unwrap().iter().map(of).collect()
}

#[tokio::test]
async fn what_is_set_for_a_client_is_its_own_and_ends_with_it() {
    let gateway = gateway();
    let at = gateway.address();
    let ann = talker("ann", "acme");
    let (socket, name) = connected(at, &ann).await;
    accepted(&post(at, &ann, TOPIC, &entry(&name, "b", "eyJ4IjoxfQ==")).await);
    let mut with_time = entry(&name, "a", "");
    with_time["ttl_ms"] = 5_000.into();
    with_time["tenant"] = "acme".into();
    accepted(&post(at, &Who::Server, TOPIC, &with_time).await);

    let listed_now = get(at, &ann, TOPIC).await.ok();
    let left = |at: usize| listed_now["entries"][at]["expires_in_ms"].as_u64().unwrap();
    assert!((1..=5_000).contains(&left(0)) && (5_001..=60_000).contains(&left(1)), "{listed_now}");
    let own = |key: &str, payload: &str| (key.to_owned(), name.clone(), payload.to_owned());
    assert_eq!(listed(at, &ann, TOPIC).await, [own("a", ""), own("b", "eyJ4IjoxfQ==")]);

    let clear = |key: &str| format!("{TOPIC}/{key}?client_id={name}");
    accepted(&ask(at, &ann, "DELETE", &clear("a"), b"").await);
    accepted(&ask(at, &ann, "DELETE", &clear("never-there"), b"").await);
    assert_eq!(listed(at, &ann, TOPIC).await, [own("b", "eyJ4IjoxfQ==")]);

    drop(socket);
    let gone = async { while !listed(at, &ann, TOPIC).await.is_empty() {} };
    within("the end of what the client owned", gone).await;
    let refused = post(at, &ann, TOPIC, &entry(&name, "b", "")).await;
    assert_eq!(refusal(&refused), (404, "unknown_client".into()));
}

#[tokio::test]
async fn nobody_acts_for_a_client_that_is_not_theirs() {
    let gateway = gateway();
    let at = gateway.address();
    let (ann, bob) = (talker("ann", "acme"), talker("bob", "acme"));
    let (_socket, name) = connected(at, &ann).await;
    accepted(&post(at, &ann, TOPIC, &entry(&name, "k", "QQ==")).await);
    let clear = format!("{TOPIC}/k?client_id={name}");
    for method in ["POST", "DELETE"] {
        let attempt = |who: Who, query: &'static str| {
            let body = entry(&name, "k", "Qg==").to_string();
            let path = if method == "POST" { format!("{TOPIC}?{query}") } else { format!("{clear}&{query}") };
            async move { refusal(&ask(at, &who, method, &path, body.as_bytes()).await) }
        };
        assert_eq!(attempt(bob.clone(), "").await, (403, "forbidden".into()), "{method} of another user");
        assert_eq!(
            attempt(talker("ann", "bolt"), "").await,
            (404, "unknown_client".into()),
            "{method} of another tenant"
        );
        assert_eq!(attempt(Who::Server, "").await, (404, "unknown_client".into()), "{method} of no tenant");
        assert_eq!(attempt(Who::Server, "tenant=bolt").await, (404, "unknown_client".into()), "{method} there");
        assert_eq!(attempt(ann.clone(), "tenant=acme").await, (403, "forbidden".into()), "{method} naming a tenant");
        assert_eq!(attempt(user("ann", Some("acme"), "reader"), "").await, (403, "forbidden".into()), "{method}");
        assert_eq!(attempt(Who::Stranger, "").await, (403, "forbidden".into()), "{method} of a stranger");
    }
    assert_eq!(listed(at, &bob, TOPIC).await, [("k".to_owned(), name.clone(), "QQ==".to_owned())]);
    assert_eq!(listed(at, &talker("cat", "bolt"), TOPIC).await, []);
    assert_eq!(listed(at, &Who::Server, TOPIC).await, []);
    assert_eq!(listed(at, &Who::Server, &format!("{TOPIC}?tenant=acme")).await.len(), 1);
    let reader = get(at, &user("rea", Some("acme"), "reader"), TOPIC).await;
    assert_eq!(refusal(&reader), (403, "forbidden".into()), "listing is subscribing");
}

#[tokio::test]
async fn a_key_goes_over_to_whoever_sets_it_last() {
    let gateway = gateway();
    let at = gateway.address();
    let (ann, bob) = (talker("ann", "acme"), talker("bob", "acme"));
    let (_anns, first) = connected(at, &ann).await;
    let (_bobs, second) = connected(at, &bob).await;
    accepted(&post(at, &ann, TOPIC, &entry(&first, "k", "QQ==")).await);
    accepted(&post(at, &bob, TOPIC, &entry(&second, "k", "Qg==")).await);
    accepted(&ask(at, &ann, "DELETE", &format!("{TOPIC}/k?client_id={first}"), b"").await);
    assert_eq!(listed(at, &ann, TOPIC).await, [("k".to_owned(), second.clone(), "Qg==".to_owned())]);
    accepted(&ask(at, &Who::Server, "DELETE", &format!("{TOPIC}/k?client_id={second}&tenant=acme"), b"").await);
    assert_eq!(listed(at, &ann, TOPIC).await, []);
}

#[tokio::test]
async fn entries_that_are_wrong_are_refused() {
    let gateway = gateway();
    let at = gateway.address();
    let ann = talker("ann", "acme");
    let (_socket, name) = connected(at, &ann).await;
    let long = "x".repeat(256);
    // 16 KiB and a byte.
    let large = format!("{}QUE=", "QUFB".repeat(5_461));
    assert_eq!((large.len() / 4 * 3) - 1, 16_385);
    for (body, status, code) in [
        (json!({"key": "k", "payload": ""}), 400, "invalid_body"),
        (json!({"client_id": name, "key": 1, "payload": ""}), 400, "invalid_body"),
        (json!({"client_id": name, "key": "k", "payload": "", "no": 1}), 400, "invalid_body"),
        (entry(&name, "k", "?"), 400, "invalid_body"),
        (entry(&name, "", ""), 400, "invalid_key"),
        (entry(&name, &long, ""), 400, "invalid_key"),
        (entry(&name, "k", &large), 413, "too_large"),
        (entry("", "k", ""), 404, "unknown_client"),
        (entry("c_+0000000000000000000000000000001", "k", ""), 404, "unknown_client"),
        (entry(&format!("c_{}", "f".repeat(32)), "k", ""), 404, "unknown_client"),
        (entry(&name.replace("c_", "d_"), "k", ""), 404, "unknown_client"),
    ] {
        assert_eq!(refusal(&post(at, &ann, TOPIC, &body).await), (status, code.into()), "{body}");
    }
    let elsewhere = post(at, &ann, "/v1/topics/plain:a/ephemeral", &entry(&name, "k", "")).await;
    assert_eq!(refusal(&elsewhere), (409, "not_available".into()));
    let reserved = post(at, &ann, "/v1/topics/$a/ephemeral", &entry(&name, "k", "")).await;
    assert_eq!(refusal(&reserved), (400, "invalid_topic".into()));
    let nobody = ask(at, &ann, "DELETE", &format!("{TOPIC}/k"), b"").await;
    assert_eq!(refusal(&nobody), (400, "malformed".into()));
    assert_eq!(listed(at, &ann, TOPIC).await, []);
    // As much as may be, is.
    accepted(&post(at, &ann, TOPIC, &entry(&name, &long[1..], &"QUFB".repeat(5_461))).await);
}
