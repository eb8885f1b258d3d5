//! The Centrifugo client protocol without a WebSocket: `/connection/sse`, `/connection/http_stream`, `/emulation`.

use std::time::Duration;

use serde_json::{Value as Json, json};
use tidegate_edge::{EdgeConfig, Order, To};
use tidegate_session::CloseReason;

use crate::gateway::Gateway;
use crate::sse::Stream;

const CONNECT: &str = "%7B%22id%22%3A1%2C%22connect%22%3A%7B%7D%7D";

async fn sse(gateway: &Gateway) -> (Stream, Json) {
    let request = format!("GET /connection/sse?cf_connect={CONNECT} HTTP/1.1\r\nhost: x\r\n\r\n");
    let mut stream = Stream::open(gateway, &request).await;
    assert!(stream.head.contains("content-type: text/event-stream\r\n"), "{}", stream.head);
    assert_eq!(stream.block().await.unwrap(), "retry: 1000");
    let answer = event(&mut stream).await;
    (stream, answer["connect"].clone())
}

async fn event(stream: &mut Stream) -> Json {
    let block = stream.block().await.unwrap();
    serde_json::from_str(block.strip_prefix("data: ").unwrap()).unwrap()
}

fn post(path: &str, kind: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n");
    [head.as_bytes(), b"connection: close\r\n\r\n", body].concat()
}

async fn emulate(gateway: &Gateway, session: &Json, node: &Json, data: &str) -> String {
    let body = json!({"session": session, "node": node, "data": data}).to_string();
    gateway.raw(std::str::from_utf8(&post("/emulation", "application/json", body.as_bytes())).unwrap()).await
}

#[tokio::test]
async fn commands_of_other_requests_are_answered_on_the_stream() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let (mut stream, connect) = sse(&gateway).await;
    let (session, node) = (&connect["session"], &connect["node"]);
    let (mut other, _) = sse(&gateway).await;
    let answer = emulate(&gateway, session, node, r#"{"id":2,"subscribe":{"channel":"chat:a"}}"#).await;
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    assert_eq!(event(&mut stream).await["id"], 2);
    let publish = r#"{"id":3,"publish":{"channel":"chat:a","data":{"n":1}}}"#;
    assert!(emulate(&gateway, session, node, publish).await.starts_with("HTTP/1.1 204"));
    // The publication, and the reply, in one event or two.
    let mut told = String::new();
    while !(told.contains("\"id\":3") && told.contains("{\"n\":1}")) {
        told += &stream.block().await.unwrap();
    }
    let name = connect["client"].as_str().unwrap();
    // Who knows the connection by its name cannot speak for it.
    let number = name.strip_prefix("c_").unwrap();
    assert_eq!(&session.as_str().unwrap()[..32], number);
    for (session, node) in [
        (&json!(name), node),
        (&json!(number.repeat(2)), node),
        (&json!(format!("{number}{}", "0".repeat(32))), node),
        (&json!(""), node),
        (session, &json!("another")),
    ] {
        let answer = emulate(&gateway, session, node, "{}").await;
        assert!(answer.starts_with("HTTP/1.1 404") && answer.contains("\"code\":\"unknown_session\""), "{answer}");
    }
    drop(stream);
    gateway.eventually("one left", |gateway| gateway.connections() == 1).await;
    assert!(emulate(&gateway, session, node, publish).await.starts_with("HTTP/1.1 404"));
    // Nobody else was touched.
    let dismiss = Order::Dismiss { code: None, reason: None };
    gateway.edge.dispatch(&To::Everybody { tenant: None }, &dismiss).unwrap();
    assert_eq!(event(&mut other).await["push"]["disconnect"]["code"], 3503);
    assert_eq!(other.block().await, None);
    gateway.eventually("dismissed", |gateway| gateway.closed(CloseReason::Dismissed) == 1).await;
}

#[tokio::test]
async fn what_comes_too_fast_or_is_no_request_is_refused() {
    let config = EdgeConfig { messages_per_second: 1, max_message_bytes: 1_000, ..EdgeConfig::default() };
    let gateway = Gateway::start(config).await;
    let (mut stream, connect) = sse(&gateway).await;
    let (session, node) = (&connect["session"], &connect["node"]);
    let mut statuses = Vec::new();
    for id in 2..20 {
        let answer = emulate(&gateway, session, node, &json!({"id": id, "ping": {}}).to_string()).await;
        statuses.push(answer[9..12].to_owned());
        if answer.starts_with("HTTP/1.1 429") {
            assert!(answer.contains("retry-after: "), "{answer}");
        }
    }
    assert!(statuses.starts_with(&["204".to_owned(), "204".to_owned()]) && statuses.contains(&"429".to_owned()));
    assert_eq!(event(&mut stream).await["id"], 2);

    let answer = emulate(&gateway, session, node, &"x".repeat(1_001)).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let answer = emulate(&gateway, session, node, &"x".repeat(10_000)).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    for bad in ["", "[]", "{}", r#"{"session":"x","node":"y","data":{}}"#, r#"{"session":7}"#] {
        let request = post("/emulation", "application/json", bad.as_bytes());
        let answer = gateway.raw(std::str::from_utf8(&request).unwrap()).await;
        let is_refused = answer.starts_with("HTTP/1.1 400") || answer.starts_with("HTTP/1.1 404");
        assert!(is_refused, "{bad}: {answer}");
    }
    let foreign = "POST /emulation HTTP/1.1\r\nhost: x\r\norigin: https://evil.example\r\nconnection: close\r\n\r\n";
    assert!(gateway.raw(foreign).await.starts_with("HTTP/1.1 403"));
    let without = "GET /connection/sse HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = gateway.raw(without).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("\"path\":\"cf_connect\""), "{answer}");
}

#[tokio::test]
async fn lines_of_json_have_no_empty_one_and_pings_of_the_protocol() {
    let config = EdgeConfig {
        sse_comment_interval: Duration::from_millis(5),
        ping_interval: Duration::from_millis(40),
        ..EdgeConfig::default()
    };
    let gateway = Gateway::start(config).await;
    let request = post("/connection/http_stream", "application/json", br#"{"id":1,"connect":{}}"#);
    let mut stream = Stream::open(&gateway, std::str::from_utf8(&request).unwrap()).await;
    assert!(stream.head.contains("content-type: application/json\r\n"), "{}", stream.head);
    let connect: Json = serde_json::from_str(&stream.line().await).unwrap();
    assert_eq!(connect["id"], 1);
    assert_eq!(stream.line().await, "{}");
    let pong = emulate(&gateway, &connect["connect"]["session"], &connect["connect"]["node"], "{}").await;
    assert!(pong.starts_with("HTTP/1.1 204"), "{pong}");
    assert_eq!(stream.line().await, "{}");
}

#[tokio::test]
async fn a_first_message_that_is_none_ends_the_stream_with_the_reason() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let request = post("/connection/http_stream", "application/json", br#"{"id":1,"rpc":{}}"#);
    let answer = gateway.raw(std::str::from_utf8(&request).unwrap()).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(r#""disconnect":{"code":3501"#), "{answer}");
}

#[tokio::test]
async fn the_binary_encoding_is_carried_as_it_is() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    // A command of 4 bytes: id 1, an empty connect.
    let request = post("/connection/http_stream", "application/octet-stream", b"\x04\x08\x01\x22\x00");
    let mut stream = Stream::open(&gateway, std::str::from_utf8(&request).unwrap()).await;
    assert!(stream.head.contains("content-type: application/octet-stream\r\n"), "{}", stream.head);
    let reply = stream.chunk().await.unwrap();
    // Its length in two bytes, id 1, and the connect's result.
    assert!(reply[0] >= 0x80 && reply[2..5] == *b"\x08\x01\x2a", "{reply:?}");
    assert_eq!(usize::from(reply[0] & 0x7f) | usize::from(reply[1]) << 7, reply.len() - 2);
}
