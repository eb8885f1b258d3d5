//! A gateway with namespaces of every sort, and those who publish there.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use tidegate_testkit::clients::{API_KEY, Response, request, within};
use tidegate_testkit::gateway::Gateway;

const SECRET: &str = "a-secret-of-more-than-thirty-two-bytes";

const CONFIG: &str = r#"
[log]
level = "warn"

[identity]
anonymous = true
api_keys = ["a-key-for-the-tests"]

[[identity.issuer]]
issuer = "https://id.example"
audience = "tidegate"
algorithm = "HS256"
secret = "a-secret-of-more-than-thirty-two-bytes"

[application]
# Nobody is there.
url = "http://127.0.0.1:9"
secret = "what-the-application-shares-with-the-gateway"

[topics]
max_payload_bytes = 1000

[[topic]]
prefix = "log:"
history_size = 3

[[topic]]
prefix = "board:"
history_size = 100
keep = "last_of_key"

[[topic]]
prefix = "room:"
presence = true

[[topic]]
prefix = "plain:"
ephemeral = false

[[topic]]
prefix = "asked:"
ask = ["subscribe", "publish"]

[[permission]]
roles = ["talker"]
topics = ["log:*", "board:*", "room:*", "plain:*", "asked:*"]
may = ["subscribe", "publish", "presence", "history"]

[[permission]]
roles = ["publisher"]
topics = ["log:open:*"]
may = ["publish"]

[[permission]]
roles = ["reader"]
topics = ["log:*", "room:*"]
may = ["presence", "history"]
"#;

pub(crate) fn gateway() -> Gateway {
    Gateway::start(env!("CARGO_BIN_EXE_tidegate"), CONFIG)
}

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) enum Who {
    Server,
    Stranger,
    /// With a token.
    User(String),
}

/// A user of a tenant, or of none, with a role.
pub(crate) fn user(name: &str, tenant: Option<&str>, role: &str) -> Who {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut claims = json!({
        "iss": "https://id.example", "aud": "tidegate", "sub": name, "roles": [role], "iat": now - 5, "exp": now + 600,
    });
    if let Some(tenant) = tenant {
        claims["tenant"] = tenant.into();
    }
    Who::User(encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap())
}

pub(crate) fn talker(name: &str, tenant: &str) -> Who {
    user(name, Some(tenant), "talker")
}

/// What is answered to `who`.
pub(crate) async fn ask(at: SocketAddr, who: &Who, method: &str, path: &str, body: &[u8]) -> Response {
    ask_with(at, who, method, path, &[], body).await
}

pub(crate) async fn ask_with(
    at: SocketAddr,
    who: &Who,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Response {
    let bearer;
    let mut all = headers.to_vec();
    match who {
        Who::Server => all.push(("x-api-key", API_KEY)),
        Who::Stranger => {}
        Who::User(token) => {
            bearer = format!("Bearer {token}");
            all.push(("authorization", &bearer));
        }
    }
    within(path, request(at, method, path, &all, body)).await.unwrap()
}

pub(crate) async fn get(at: SocketAddr, who: &Who, path: &str) -> Response {
    ask(at, who, "GET", path, b"").await
}

pub(crate) async fn post(at: SocketAddr, who: &Who, path: &str, body: &Value) -> Response {
    ask(at, who, "POST", path, body.to_string().as_bytes()).await
}

/// Publishes `data` and gives the offset.
pub(crate) async fn publish(at: SocketAddr, who: &Who, topic: &str, data: Value) -> u64 {
    let answer = post(at, who, &format!("/v1/topics/{topic}/publish"), &json!({ "data": data })).await.ok();
    answer["offset"].as_u64().unwrap()
}

/// The data of a topic's history, oldest first.
pub(crate) async fn told(at: SocketAddr, who: &Who, topic: &str) -> Vec<Value> {
    let answer = get(at, who, &format!("/v1/topics/{topic}/history")).await.ok();
    answer["messages"].as_array().unwrap().iter().map(|message| message["data"].clone()).collect()
}

pub(crate) fn accepted(answer: &Response) {
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
}

/// The status and code of a refusal.
pub(crate) fn refusal(answer: &Response) -> (u16, String) {
    let error = &answer.json()["error"];
    assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{error}");
    (answer.status, error["code"].as_str().unwrap().to_owned())
}
