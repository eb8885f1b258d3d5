//! `/connection/uni_…`: those who are only told. Each message is a push, the first what a connect is answered.

use std::time::Duration;

use serde_json::{Value as Json, json};
use tidegate_edge::{EdgeConfig, Order, To};
use tidegate_session::CloseReason;
use tidegate_topics::Data;

use super::orders::signed;
use super::{connected, publish, publish_key, result, start, start_with};
use crate::gateway::{Client, Gateway};
use crate::sse::Stream;

const PATH: &str = "/connection/uni_websocket";

async fn begun(gateway: &Gateway, connect: &Json) -> (Client, Json) {
    let mut client = gateway.ws(PATH).await;
    client.send(&connect.to_string()).await;
    let connected = client.json().await;
    (client, connected["connect"].clone())
}

#[tokio::test]
async fn a_socket_is_told_pushes_by_themselves() {
    let gateway = start().await;
    publish(&gateway, "chat:a", "1").await;
    let claims = json!({"sub": "ann", "subs": {"closed:x": {"data": {"y": 1}}}});
    let subs = json!({
        "chat:a": {"recover": true},
        "delta:d": {"delta": "fossil", "tf": {"key": "team", "cmp": "eq", "val": "eng"}},
        "asked:a": {},
        "asked:secret": {},
        "closed:a": {},
        "closed:b": {"token": signed(&json!({"sub": "ann", "channel": "closed:b"}))},
        "live:asset:mine": {"data": {"entity": "asset"}},
        "map:m": {"type": 1, "phase": 2},
    });
    let (mut client, connect) = begun(&gateway, &json!({"token": signed(&claims), "subs": subs})).await;
    assert!(connect["client"].as_str().unwrap().starts_with("c_"), "{connect}");
    // Nothing is expected of the client.
    assert_eq!((&connect["ping"], connect.get("pong"), connect.get("session")), (&json!(25), None, None));
    // What it may not have is not there.
    let names: Vec<&String> = connect["subs"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["asked:a", "chat:a", "closed:b", "closed:x", "delta:d"]);
    let subs = &connect["subs"];
    assert_eq!((&subs["chat:a"]["recovered"], &subs["chat:a"]["publications"][0]["data"]), (&json!(true), &json!(1)));
    assert_eq!((&subs["closed:x"]["data"], &subs["asked:a"]["data"]), (&json!({"y": 1}), &json!({"hello": 1})));
    assert!(subs["delta:d"].get("delta").is_none());

    // One who speaks both ways shares the channel.
    let (mut both, _) = connected(&gateway).await;
    result(&mut both, "subscribe", json!({"channel": "chat:a"})).await;
    publish(&gateway, "chat:a", "2").await;
    let push = client.json().await;
    assert_eq!(
        (&push["channel"], &push["pub"]["data"], &push["pub"]["offset"]),
        (&json!("chat:a"), &json!(2), &json!(2))
    );
    assert_eq!(both.json().await["push"], push);
    publish_key(&gateway, "delta:d", "", "3", &[("team", "sales")]).await;
    publish_key(&gateway, "delta:d", "", "4", &[("team", "eng")]).await;
    assert_eq!(client.json().await["pub"]["data"], 4);

    // What it says now is not heard.
    client.send(r#"{"id":2,"publish":{"channel":"chat:a","data":7}}"#).await;
    client.send("{}").await;
    let to = To::User { user: "ann".into(), tenant: None };
    gateway.edge.dispatch(&to, &Order::Send(Data::Json("[5]".into()))).unwrap();
    assert_eq!(client.json().await, json!({"message": {"data": [5]}}));
    gateway.edge.dispatch(&to, &Order::Unsubscribe { topic: "chat:a".into() }).unwrap();
    let push = client.json().await;
    assert_eq!((&push["channel"], &push["unsubscribe"]["code"]), (&json!("chat:a"), &json!(2000)));
    gateway.edge.dispatch(&to, &Order::Send(Data::Binary(vec![1].into()))).unwrap();
    assert_eq!(client.close().await.0, 3506);
}

#[tokio::test]
async fn who_cannot_be_let_in_learns_it_by_the_close() {
    let gateway = start().await;
    let expired = json!({"token": signed(&json!({"sub": "ann", "exp": 999}))}).to_string();
    for (first, code) in [
        (expired.as_str(), 3005),
        (r#"{"token":"nobody's"}"#, 3500),
        ("[]", 3501),
        ("nonsense", 3501),
        (r#"{"name":"12345678901234567"}"#, 3501),
    ] {
        let mut client = gateway.ws(PATH).await;
        client.send(first).await;
        assert_eq!(client.close().await.0, code, "{first}");
    }
    let config = EdgeConfig { auth_timeout: Duration::from_millis(50), ..EdgeConfig::default() };
    let gateway = start_with(config).await;
    assert_eq!(gateway.ws(PATH).await.close().await.0, 3502);
}

#[tokio::test]
async fn pings_need_no_pong() {
    let config = EdgeConfig { ping_interval: Duration::from_millis(20), ..EdgeConfig::default() };
    let gateway = start_with(config).await;
    let (mut client, _) = begun(&gateway, &json!({})).await;
    for _ in 0..3 {
        assert_eq!(client.text().await, "{}");
    }
}

fn read(block: Option<String>) -> Json {
    serde_json::from_str(block.unwrap().strip_prefix("data: ").unwrap()).unwrap()
}

#[tokio::test]
async fn events_are_pushes_too() {
    let gateway = start().await;
    let connect = "%7B%22subs%22%3A%7B%22chat%3Aa%22%3A%7B%7D%7D%7D";
    let request = format!("GET /connection/uni_sse?cf_connect={connect} HTTP/1.1\r\nhost: x\r\n\r\n");
    let mut stream = Stream::open(&gateway, &request).await;
    assert!(stream.head.contains("content-type: text/event-stream\r\n"), "{}", stream.head);
    assert_eq!(stream.block().await.unwrap(), "retry: 1000");
    let connect = read(stream.block().await)["connect"].clone();
    assert!(connect["subs"]["chat:a"].is_object() && connect.get("session").is_none(), "{connect}");
    publish(&gateway, "chat:a", "1").await;
    assert_eq!(read(stream.block().await)["pub"]["data"], 1);
    let name = connect["client"].as_str().unwrap();
    gateway.edge.dispatch(&To::Client(name.into()), &Order::Dismiss { code: None, reason: None }).unwrap();
    assert_eq!(read(stream.block().await)["disconnect"]["code"], 3503);
    assert_eq!(stream.block().await, None);
    gateway.eventually("dismissed", |gateway| gateway.closed(CloseReason::Dismissed) == 1).await;

    // Without anything to say.
    let mut stream = Stream::open(&gateway, "GET /connection/uni_sse HTTP/1.1\r\nhost: x\r\n\r\n").await;
    stream.block().await;
    assert!(read(stream.block().await)["connect"]["client"].is_string());
}

#[tokio::test]
async fn lines_are_pushes_too() {
    let gateway = start().await;
    let body = r#"{"subs":{"chat:a":{}}}"#;
    let length = body.len();
    let request =
        format!("POST /connection/uni_http_stream HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n{body}");
    let mut stream = Stream::open(&gateway, &request).await;
    let connect: Json = serde_json::from_str(&stream.line().await).unwrap();
    assert!(connect["connect"]["subs"]["chat:a"].is_object(), "{connect}");
    publish(&gateway, "chat:a", "1").await;
    let push: Json = serde_json::from_str(&stream.line().await).unwrap();
    assert_eq!(push["pub"]["data"], 1);
}
