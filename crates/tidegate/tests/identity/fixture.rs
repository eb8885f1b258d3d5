//! A gateway with an issuer of shared secrets, and its tokens.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use tidegate_testkit::clients::{API_KEY, EventSocket, Message, Response, request, within};
use tidegate_testkit::gateway::Gateway;

pub(crate) const SECRET: &str = "a-secret-of-more-than-thirty-two-bytes";

const CONFIG: &str = r#"
[[identity.issuer]]
issuer = "https://id.example"
audience = "tidegate"
algorithm = "HS256"
secret = "a-secret-of-more-than-thirty-two-bytes"

[[permission]]
roles = ["*"]
entities = ["note"]
may = ["read", "write"]

[[entity]]
name = "note"
key = ["id"]
tenant = "org"
columns = { id = "int", org = "text", text = "text" }
"#;

/// One with `sections` of further configuration.
pub(crate) fn gateway(sections: &str) -> Gateway {
    let identity = format!("[log]\nlevel = \"warn\"\n[identity]\napi_keys = [\"{API_KEY}\"]\n");
    Gateway::start(env!("CARGO_BIN_EXE_tidegate"), &format!("{identity}{sections}\n{CONFIG}"))
}

/// A good token of the user `user` of the tenant `acme`, with more claims or others.
pub(crate) fn token(user: &str, claims: Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut all = json!({
        "iss": "https://id.example", "aud": "tidegate", "sub": user, "tenant": "acme", "iat": now - 5, "exp": now + 600,
    });
    let Value::Object(claims) = claims else { panic!("claims are an object") };
    for (name, value) in claims {
        all[name] = value;
    }
    encode(&Header::default(), &all, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

/// What is answered to whoever shows the token.
pub(crate) async fn ask(at: SocketAddr, method: &str, path: &str, token: &str, body: &Value) -> Response {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", &*bearer), ("content-type", "application/json")];
    within(path, request(at, method, path, &headers, body.to_string().as_bytes())).await.unwrap()
}

/// What is answered to the server.
pub(crate) async fn order(at: SocketAddr, method: &str, path: &str, body: &Value) -> Response {
    let headers = [("x-api-key", API_KEY), ("content-type", "application/json")];
    within(path, request(at, method, path, &headers, body.to_string().as_bytes())).await.unwrap()
}

/// The status and code of a refusal.
pub(crate) fn refusal(answer: &Response) -> (u16, String) {
    (answer.status, answer.json()["error"]["code"].as_str().unwrap().to_owned())
}

/// A connection that said who it is.
pub(crate) async fn connected(at: SocketAddr, token: &str) -> EventSocket {
    let mut socket = EventSocket::connect(at).await.unwrap();
    let reply = authenticated(&mut socket, token).await;
    assert!(reply.error.is_null(), "{reply:?}");
    socket
}

pub(crate) async fn authenticated(socket: &mut EventSocket, token: &str) -> Message {
    socket.call("auth", json!({ "token": token }), "auth").await
}

/// Waits until the connection is closed from there.
pub(crate) async fn closed(mut socket: EventSocket) {
    within("the close", async { while socket.next().await.is_some() {} }).await;
}
