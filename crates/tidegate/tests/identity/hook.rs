//! The connect hook, end to end: an application that says who its cookies are.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::hmac;
use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post as posted;
use serde_json::{Value, json};
use tidegate_testkit::clients::{API_KEY, Endpoint, Transport, write};
use tidegate_testkit::gateway::Gateway;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::fixture::{order, token};
use crate::transports::{event_socket, farewell, metric, read, refused, shows, status};

pub(crate) const HOOK_SECRET: &str = "what-the-application-shares-with-the-gateway";

/// An application. Cookies say what it is to answer.
pub(crate) struct Application {
    pub(crate) url: String,
    asked: Arc<Mutex<HashMap<String, usize>>>,
    // Aborted on drop.
    _task: JoinSet<()>,
}

impl Application {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/who", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(HashMap::new()));
        let answer = {
            let asked = asked.clone();
            move |headers: HeaderMap, body: String| answer(asked.clone(), headers, body)
        };
        let router = Router::new().route("/who", posted(answer));
        let mut task = JoinSet::new();
        task.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, asked, _task: task }
    }

    pub(crate) fn section(&self) -> String {
        format!("[identity.hook]\nurl = {:?}\nsecret = {HOOK_SECRET:?}\ntimeout_ms = 500\n", self.url)
    }

    /// How often it was asked about a cookie.
    fn asked(&self, cookie: &str) -> usize {
        self.asked.lock().unwrap().get(cookie).copied().unwrap_or_default()
    }
}

async fn answer(
    asked: Arc<Mutex<HashMap<String, usize>>>,
    headers: HeaderMap,
    body: String,
) -> Result<String, StatusCode> {
    let signature = headers.get("tidegate-signature").and_then(|value| value.to_str().ok()).unwrap_or_default();
    if signature.split_once(",v1=").is_none_or(|(time, mac)| !is_signed(&time[2..], &body, mac)) {
        return Err(StatusCode::BAD_REQUEST);
    }
    let body: Value = serde_json::from_str(&body).map_err(|_| StatusCode::BAD_REQUEST)?;
    let cookie = body["headers"]["cookie"].as_str().unwrap_or_default().to_owned();
    *asked.lock().unwrap().entry(cookie.clone()).or_default() += 1;
    let reader =
        |user, plan| json!({ "user": user, "tenant": "acme", "roles": ["reader"], "claims": { "plan": plan } });
    let mut somebody = match cookie.split("who=").nth(1).unwrap_or_default() {
        "mara" => reader("mara", "gold"),
        "ole" => reader("ole", "silver"),
        "kept" => reader("kept", "gold"),
        "elsewhere" => {
            json!({ "user": "mara", "tenant": "umbrella", "roles": ["reader"], "claims": { "plan": "gold" } })
        }
        "nobody" => return Err(StatusCode::UNAUTHORIZED),
        "banned" => return Err(StatusCode::FORBIDDEN),
        "broken" => return Err(StatusCode::INTERNAL_SERVER_ERROR),
        "nonsense" => return Ok("{}".into()),
        _ => std::future::pending().await,
    };
    if cookie == "who=kept" {
        somebody["cache_ms"] = json!(600_000);
    }
    Ok(somebody.to_string())
}

fn is_signed(time: &str, body: &str, mac: &str) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, HOOK_SECRET.as_bytes());
    let expected = hmac::sign(&key, format!("{time}.{body}").as_bytes());
    expected.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>() == mac
}

/// Readers see the notes of their plan.
fn gateway(application: &Application, identity: &str) -> Gateway {
    let config = format!(
        "[log]\nlevel = \"warn\"\n[identity]\n{identity}\napi_keys = [\"{API_KEY}\"]\n{}\
         [[permission]]\nroles = [\"reader\"]\nentities = [\"note\"]\nmay = [\"read\"]\n\
         where = [{{ column = \"text\", op = \"eq\", value = \"$claims.plan\" }}]\n\
         [[entity]]\nname = \"note\"\nkey = [\"id\"]\ntenant = \"org\"\n\
         columns = {{ id = \"int\", org = \"text\", text = \"text\" }}\n",
        application.section()
    );
    Gateway::start(env!("CARGO_BIN_EXE_tidegate"), &config)
}

fn showing(gateway: &Gateway, cookie: &str) -> Endpoint {
    Endpoint::from(gateway.address()).header("cookie", &format!("who={cookie}"))
}

#[tokio::test]
async fn the_application_says_who_is_there() {
    let application = Application::start().await;
    let gateway = gateway(&application, "");
    let row = |id, text| json!({ "upsert": { "id": id, "org": "acme", "text": text } });
    write(gateway.address(), "note", json!([row(1, "gold"), row(2, "silver"), row(3, "gold")])).await;
    for (cookie, notes) in [("mara", 2), ("ole", 1), ("elsewhere", 0)] {
        for transport in Transport::ALL {
            shows(showing(&gateway, cookie), transport, notes).await;
        }
        for (status, page) in read(&showing(&gateway, cookie)).await {
            assert_eq!((status, page["rows"].as_array().map(Vec::len)), (200, Some(notes)), "{page}");
        }
        for over_h2 in [false, true] {
            assert!(event_socket(showing(&gateway, cookie), over_h2).await.is_ok());
        }
    }
    assert_eq!(application.asked("who=mara"), 10, "nothing is kept that it did not ask for");
}

#[tokio::test]
async fn whom_it_does_not_let_in_is_refused() {
    let application = Application::start().await;
    let gateway = gateway(&application, "anonymous = true");
    let cases = [
        ("nobody", 401, "unauthenticated"),
        ("banned", 403, "forbidden"),
        ("broken", 503, "identity_unavailable"),
        ("nonsense", 503, "identity_unavailable"),
        ("slow", 503, "identity_unavailable"),
    ];
    for (cookie, status, code) in cases {
        for transport in Transport::ALL {
            assert_eq!(refused(showing(&gateway, cookie), transport).await, status, "{cookie} {transport:?}");
        }
        for (given, body) in read(&showing(&gateway, cookie)).await {
            assert_eq!((given, &body["error"]["code"]), (status, &json!(code)), "{cookie} {body}");
            assert_eq!(body["error"]["retryable"], status == 503, "{cookie} {body}");
        }
    }
    // Strangers are those who show nothing that it could be asked about.
    assert_eq!(application.asked(""), 0);
    let reasons =
        ["refused", "failed"].map(|reason| format!("tidegate_identity_hook_refused_total{{reason=\"{reason}\"}}"));
    for reason in &reasons {
        assert!(metric(&gateway, reason).await >= 8, "{reason}");
    }
}

#[tokio::test]
async fn on_ws_only_who_is_not_known_may_still_say_who_it_is() {
    let application = Application::start().await;
    let config = "[[identity.issuer]]\nissuer = \"https://id.example\"\naudience = \"tidegate\"\nalgorithm = \"HS256\"\n\
                  secret = \"a-secret-of-more-than-thirty-two-bytes\"\n";
    let gateway = Gateway::start(env!("CARGO_BIN_EXE_tidegate"), &format!("{}{config}", application.section()));
    for over_h2 in [false, true] {
        let mut socket = event_socket(showing(&gateway, "nobody"), over_h2).await.unwrap();
        let reply = socket.call("auth", json!({ "token": token("mara", json!({})) }), "auth").await;
        assert!(reply.error.is_null(), "{reply:?}");
        for (cookie, expected) in [("banned", 403), ("broken", 503), ("slow", 503)] {
            let error = event_socket(showing(&gateway, cookie), over_h2).await.err().unwrap();
            assert_eq!(status(&error), expected, "{cookie}");
        }
    }
}

#[tokio::test]
async fn what_it_said_is_kept_for_as_long_as_it_said() {
    let application = Application::start().await;
    let gateway = gateway(&application, "");
    for transport in Transport::ALL {
        shows(showing(&gateway, "kept"), transport, 0).await;
    }
    assert_eq!(application.asked("who=kept"), 1);
    assert_eq!(metric(&gateway, "tidegate_identity_hook_cached_total").await, 5);
}

#[tokio::test]
async fn whom_it_let_in_is_revoked_by_user() {
    let application = Application::start().await;
    let gateway = gateway(&application, "");
    let mut clients = Vec::new();
    for transport in Transport::ALL {
        clients.push((transport, shows(showing(&gateway, "kept"), transport, 0).await));
    }
    let mut socket = event_socket(showing(&gateway, "kept"), false).await.unwrap();
    let mut other = shows(showing(&gateway, "mara"), Transport::Sse, 0).await;
    let _ = order(gateway.address(), "POST", "/v1/users/kept/revoke", &json!({})).await.ok();
    for (transport, mut client) in clients {
        let said = client.end().await;
        if transport.is_websocket() {
            assert_eq!(said.close, Some((1008, "revoked".into())), "{transport:?}");
        } else {
            assert_eq!((said.error.as_deref(), said.is_orderly), (Some("revoked"), true), "{transport:?}");
        }
    }
    assert_eq!(farewell(&mut socket).await, Some((1008, "revoked".into())));
    // What was said before does not count any more.
    for (status, body) in read(&showing(&gateway, "kept")).await {
        assert_eq!((status, &body["error"]["code"]), (401, &json!("revoked")), "{body}");
    }
    let changes = json!([{ "upsert": { "id": 1, "org": "acme", "text": "gold" } }]);
    write(gateway.address(), "note", changes).await;
    other.until("the note", |list| list.entries().len() == 1).await;
}
