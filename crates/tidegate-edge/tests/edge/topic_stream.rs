//! `GET /v1/topics/stream`.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value as Json, json};
use tidegate_edge::{EdgeConfig, Order, To};
use tidegate_model::Tenant;
use tidegate_topics::{ClientInfo, Data, Join, Publish, Topic};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::gateway::{Gateway, PATIENCE};
use crate::sse::Stream;

fn topic(gateway: &Gateway, name: &str) -> Arc<Topic> {
    gateway.edge.topics().namespaces.topic(Tenant::common(), name).unwrap()
}

async fn publish(gateway: &Gateway, name: &str, data: Data) {
    let publish = Publish::new(topic(gateway, name), data);
    gateway.edge.topics().broker.publish(publish).wait().await.unwrap();
}

async fn say(gateway: &Gateway, name: &str, json: &'static str) {
    publish(gateway, name, Data::Json(Bytes::from_static(json.as_bytes()))).await;
}

async fn open(gateway: &Gateway, topics: &[&str], headers: &str) -> Stream {
    let topics: Vec<_> = topics.iter().map(|topic| format!("topic={topic}")).collect();
    let query = topics.join("&");
    let request = format!("GET /v1/topics/stream?{query} HTTP/1.1\r\nhost: x\r\n{headers}\r\n");
    let stream = Stream::open(gateway, &request).await;
    assert!(stream.head.starts_with("HTTP/1.1 200 OK\r\n"), "{}", stream.head);
    stream
}

/// Past the `retry` and whatever comes before all topics are joined; that, and the id of the place.
async fn joined(stream: &mut Stream) -> (Vec<String>, String) {
    assert_eq!(stream.block().await.unwrap(), "retry: 1000");
    let mut before = Vec::new();
    loop {
        let block = stream.block().await.unwrap();
        match block.strip_prefix("id: ").filter(|id| !id.contains('\n')) {
            Some(id) => return (before, id.to_owned()),
            None => before.push(block),
        }
    }
}

/// The id and the data of an event that has these alone.
fn parts(block: &str) -> (&str, &str) {
    let (id, data) = block.split_once("\ndata: ").unwrap();
    (id.strip_prefix("id: ").unwrap(), data)
}

fn last(id: &str) -> String {
    format!("last-event-id: {id}\r\n")
}

fn reset(block: &str) -> Option<String> {
    let (lines, data) = block.split_once("\ndata: ")?;
    let data: Json = serde_json::from_str(data).unwrap();
    lines.starts_with("event: reset\nid: ").then(|| data["topic"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn publications_of_all_topics_come_bare() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let mut stream = open(&gateway, &["chat:a", "plain"], "").await;
    assert!(stream.head.contains("content-type: text/event-stream\r\n"), "{}", stream.head);
    let (before, _) = joined(&mut stream).await;
    assert!(before.is_empty(), "{before:?}");
    say(&gateway, "chat:a", r#"{"n":1}"#).await;
    let block = stream.block().await.unwrap();
    assert_eq!(parts(&block).1, r#"{"n":1}"#);
    // Without a history there is no place to come back to.
    say(&gateway, "plain", "7").await;
    assert_eq!(stream.block().await.unwrap(), "data: 7");
    // Who comes is not told; the next that is told is the publication after it.
    let member = Some(Arc::new(ClientInfo { client: "c_x".into(), ..ClientInfo::default() }));
    let join = Join { topic: topic(&gateway, "chat:a"), member, since: None, bytes_max: 0 };
    gateway.edge.topics().broker.join(join).wait().await.unwrap();
    say(&gateway, "chat:a", "2").await;
    assert_eq!(parts(&stream.block().await.unwrap()).1, "2");
}

#[tokio::test]
async fn nothing_that_is_published_reaches_the_framing() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let mut stream = open(&gateway, &["plain", "chat:a"], "").await;
    joined(&mut stream).await;
    say(&gateway, "plain", "[1,\r\n\n2,\r3]").await;
    assert_eq!(stream.block().await.unwrap(), "data: [1,\ndata: \ndata: \ndata: 2,\ndata: 3]");
    publish(&gateway, "plain", Data::Binary(Bytes::from_static(b"x\0\n\nevent: reset\nid: 1\n\n"))).await;
    assert_eq!(stream.block().await.unwrap(), "event: binary\ndata: eAAKCmV2ZW50OiByZXNldAppZDogMQoK");
    drop(stream);

    let mut stream = open(&gateway, &["plain", "chat:a"], "accept: application/x-ndjson\r\n").await;
    let mut line = async || stream.line().await;
    let place: Json = serde_json::from_str(&line().await).unwrap();
    assert!(place["id"].is_string() && place["data"].is_null(), "{place}");
    say(&gateway, "plain", "[1,\r\n\n2]").await;
    assert_eq!(line().await, r#"{"topic":"plain","data":[1,   2]}"#);
    publish(&gateway, "chat:a", Data::Binary(Bytes::from_static(b"\n"))).await;
    let told: Json = serde_json::from_str(&line().await).unwrap();
    assert_eq!((&told["event"], &told["topic"], &told["data"]), (&json!("binary"), &json!("chat:a"), &json!("Cg==")));
    assert!(told["id"].is_string());
}

#[tokio::test]
async fn a_place_is_one_in_all_topics() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let mut stream = open(&gateway, &["chat:a", "chat:b", "short:c"], "").await;
    let (_, start) = joined(&mut stream).await;
    say(&gateway, "chat:b", "1").await;
    let first = stream.block().await.unwrap();
    let (first, _) = parts(&first);
    drop(stream);
    say(&gateway, "chat:b", "2").await;
    say(&gateway, "chat:a", "3").await;
    say(&gateway, "chat:a", "4").await;

    // In whichever order they are named.
    let mut stream = open(&gateway, &["short:c", "chat:b", "chat:a"], &last(first)).await;
    let (missed, place) = joined(&mut stream).await;
    let mut data: Vec<_> = missed.iter().map(|block| parts(block).1).collect();
    data.sort_unstable();
    assert_eq!(data, ["2", "3", "4"]);
    say(&gateway, "short:c", "5").await;
    assert_eq!(parts(&stream.block().await.unwrap()).1, "5");
    // The last event's id is as good as the place after it.
    for id in [parts(missed.last().unwrap()).0, &place] {
        let query = format!("chat:a&topic=chat:b&topic=short:c&last_event_id={id}");
        let (missed, _) = joined(&mut open(&gateway, &[&query], "").await).await;
        assert_eq!(missed.iter().map(|block| parts(block).1).collect::<Vec<_>>(), ["5"]);
    }
    // Of one topic too much was missed: that is said, and the others go on. So is a topic that is new.
    say(&gateway, "short:c", "6").await;
    say(&gateway, "short:c", "7").await;
    let (missed, _) = joined(&mut open(&gateway, &["chat:b", "short:c", "chat:new"], &last(&start)).await).await;
    let mut resets: Vec<_> = missed.iter().filter_map(|block| reset(block)).collect();
    resets.sort_unstable();
    assert_eq!(resets, ["chat:new", "short:c"]);
    let rest: Vec<_> = missed.iter().filter(|block| reset(block).is_none()).map(|block| parts(block).1).collect();
    assert_eq!(rest, ["1", "2"]);
}

#[tokio::test]
async fn a_place_of_elsewhere_resets_every_topic() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let other = Gateway::start(EdgeConfig::default()).await;
    say(&gateway, "chat:a", "1").await;
    say(&other, "chat:a", "1").await;
    let (_, foreign) = joined(&mut open(&other, &["chat:a", "chat:b"], "").await).await;
    for id in [&*foreign, "k3f9.q7mz.0/16B3748", "AQ", "\u{e9}", &"A".repeat(9_000)] {
        let (before, _) = joined(&mut open(&gateway, &["chat:a", "chat:b", "plain"], &last(id)).await).await;
        let mut resets: Vec<_> = before.iter().filter_map(|block| reset(block)).collect();
        resets.sort_unstable();
        assert_eq!(resets, ["chat:a", "chat:b", "plain"], "{id:.40}: {before:?}");
        assert_eq!(before.len(), 3);
    }
}

#[tokio::test]
async fn topics_that_may_not_be_seen_are_http_errors() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let many: Vec<_> = (0..33).map(|n| format!("topic=t{n}")).collect();
    for (query, status, code) in [
        ("", 400, "malformed"),
        (&*many.join("&"), 400, "malformed"),
        ("topic=chat:a&topic=closed:b", 403, "forbidden"),
        ("topic=%24users", 400, "invalid_topic"),
        ("topic=a%0d%0aevent:%20x", 400, "invalid_topic"),
        ("topic=a%00", 400, "invalid_topic"),
        ("topic=asked:a", 200, "\"code\":\"forbidden\""),
    ] {
        let request = format!("GET /v1/topics/stream?{query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = gateway.raw(&request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")) && answer.contains(code), "{query}: {answer}");
    }
    // The same one named often is one.
    let (before, _) = joined(&mut open(&gateway, &["chat:a"; 40], "").await).await;
    assert!(before.is_empty());
}

#[tokio::test]
async fn a_server_ends_a_subscription_and_with_it_the_stream() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let mut stream = open(&gateway, &["chat:a"], "").await;
    joined(&mut stream).await;
    let everybody = To::Everybody { tenant: None };
    gateway.edge.dispatch(&everybody, &Order::Unsubscribe { topic: "chat:other".into() }).unwrap();
    gateway.edge.dispatch(&everybody, &Order::Unsubscribe { topic: "chat:a".into() }).unwrap();
    let told = stream.block().await.unwrap();
    assert!(told.starts_with("event: error\ndata: {\"code\":\"unsubscribed\""), "{told}");
    assert_eq!(stream.block().await, None);
}

#[tokio::test]
async fn many_streams_of_one_http2_connection_are_clients_of_their_own() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let socket = TcpStream::connect(gateway.address).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    let mut moving = JoinSet::new();
    moving.spawn(connection);
    let mut client = client.ready().await.unwrap();
    let mut bodies = Vec::new();
    for topic in ["chat:a", "chat:b"] {
        let uri = format!("http://{}/v1/topics/stream?topic={topic}", gateway.address);
        let request = axum::http::Request::get(uri).body(()).unwrap();
        let (response, _) = client.send_request(request, true).unwrap();
        let response = timeout(PATIENCE, response).await.unwrap().unwrap();
        assert_eq!(response.status(), 200);
        let (mut body, mut text) = (response.into_body(), String::new());
        while !text.contains("\n\nid: ") {
            text += std::str::from_utf8(&timeout(PATIENCE, body.data()).await.unwrap().unwrap().unwrap()).unwrap();
        }
        bodies.push(body);
    }
    for (topic, body) in ["chat:a", "chat:b"].into_iter().zip(&mut bodies) {
        publish(&gateway, topic, Data::Json(format!("\"{topic}\"").into())).await;
        let data = timeout(PATIENCE, body.data()).await.unwrap().unwrap().unwrap();
        let text = std::str::from_utf8(&data).unwrap();
        assert!(text.ends_with(&format!("\ndata: \"{topic}\"\n\n")), "{text}");
    }
    drop(bodies);
    gateway.eventually("both gone", |gateway| gateway.connections() == 0).await;
}
