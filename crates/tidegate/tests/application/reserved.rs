//! Rooms have topics of their own, which nobody can name.

use serde_json::{Value, json};
use tidegate_testkit::clients::{CentrifugoSocket, Endpoint, get, post, request, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::fixture::{ask, refused, serve, told};

const NAMES: [&str; 2] = ["$room:lobby", "$anything"];

#[tokio::test]
async fn nobody_reaches_a_room_by_its_topics_name() {
    let served = serve("[[topic]]\nprefix = \"\"\nhistory_size = 9\npresence = true\n", |gateway| {
        gateway.on("join", |client, _| async move {
            client.join_room("lobby").await?;
            client.broadcast_to_room("lobby", "said", 1).await?;
            Ok(Value::Null)
        })
    })
    .await;
    let at = served.address();
    let mut ann = served.client("ann").await;
    ann.send("join", Value::Null, Value::Null).await.unwrap();
    assert_eq!(told(&mut ann, "said").await, json!(1));
    let endpoint = Endpoint::from(at).header("authorization", "Bearer eve");
    let mut eve = CentrifugoSocket::connect(endpoint).await.unwrap();
    assert!(eve.call("connect", json!({})).await["connect"].is_object());
    for name in NAMES {
        for event in ["subscribe", "unsubscribe", "publish", "presence", "history", "values"] {
            let data = json!({ "topic": name, "data": 1 });
            assert_eq!(refused(&mut ann, &format!("topic.{event}"), data).await.0, "invalid_topic", "{event}");
        }
        for event in ["set", "clear", "list"] {
            let data = json!({ "topic": name, "key": "k", "payload": "" });
            assert_eq!(refused(&mut ann, &format!("ephemeral.{event}"), data).await.0, "invalid_topic", "{event}");
        }
        for command in ["subscribe", "publish", "presence", "presence_stats", "history"] {
            let reply = eve.call(command, json!({ "channel": name, "data": 1, "limit": 1 })).await;
            assert_eq!(reply["error"]["code"], 107, "{command}: {reply}");
        }
        let path = name.replace('$', "%24");
        for rest in ["history", "values", "presence", "presence/counts", "ephemeral"] {
            assert_eq!(get(at, &format!("/v1/topics/{path}/{rest}")).await.status, 400, "{rest}");
        }
        assert_eq!(post(at, &format!("/v1/topics/{path}/publish"), &json!({ "data": 1 })).await.status, 400);
        assert_eq!(get(at, &format!("/v1/topics/stream?topic={path}")).await.status, 400);
        for method in ["publish", "subscribe", "presence", "history", "history_remove"] {
            let body = json!({ "channel": name, "user": "ann", "data": 1, "limit": 1 });
            let answer = post(at, &format!("/api/{method}"), &body).await.json();
            assert_eq!(answer["error"]["code"], 107, "{method}: {answer}");
        }
    }
    ask(&mut ann, "topic.subscribe", json!({ "topic": "plain" })).await;
    assert_eq!(get(at, "/v1/topics").await.ok(), json!({ "topics": ["plain"] }));
    let channels = post(at, "/api/channels", &json!({})).await.ok();
    let names: Vec<&String> = channels["result"]["channels"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["plain"]);
    served.gateway.stop().await.unwrap();
}

/// What handlers publish, and what comes over HTTP with its line breaks.
#[tokio::test]
async fn what_is_published_has_its_client_and_one_line() {
    let served = serve("[[topic]]\nprefix = \"\"\nhistory_size = 9\n[topics]\nmax_payload_bytes = 1000\n", |gateway| {
        gateway.on("post", |client, data| async move {
            let at = client.publish("news", data).await?;
            Ok(json!(at.offset))
        })
    })
    .await;
    let at = served.address();
    let mut ann = served.client("ann").await;
    ask(&mut ann, "topic.subscribe", json!({ "topic": "news" })).await;
    ann.send("post", json!({ "a": [1] }), Value::Null).await.unwrap();
    let message = told(&mut ann, "topic.message").await;
    assert_eq!(message["data"], json!({ "a": [1] }));
    assert!(message["client_id"].as_str().unwrap().starts_with("c_"), "{message}");
    assert_eq!(refused(&mut ann, "post", json!("x".repeat(2_000))).await.0, "too_large");
    let headers = [("x-api-key", "any")];
    let mut stream = TcpStream::connect(at).await.unwrap();
    let open = "GET /v1/topics/stream?topic=news HTTP/1.1\r\nhost: x\r\nauthorization: Bearer bob\r\n\r\n";
    stream.write_all(open.as_bytes()).await.unwrap();
    let mut head = String::new();
    within("the stream", async {
        // The id of the place comes once the topic is joined.
        while !head.contains("\nid: ") {
            head.push(char::from(stream.read_u8().await.unwrap()));
        }
    })
    .await;
    for (path, body) in [
        ("/v1/topics/news/publish", "{\"data\":[1,\r\n 2]}"),
        ("/api/publish", "{\"channel\":\"news\",\"data\":[1,\r\n 2]}"),
    ] {
        let answer = request(at, "POST", path, &headers, body.as_bytes());
        let answer = within(path, answer).await.unwrap().ok();
        assert!(answer["error"].is_null(), "{answer}");
    }
    let mut told = String::new();
    within("what is told", async {
        while told.matches("2]\n").count() < 2 {
            let mut piece = [0; 4096];
            let count = stream.read(&mut piece).await.unwrap();
            assert!(count > 0, "{told}");
            told.push_str(str::from_utf8(&piece[..count]).unwrap());
        }
    })
    .await;
    assert_eq!(told.matches("\ndata: [1, 2]\n").count(), 2, "{told}");
    // The history holds what is told: read as text, since a parsed answer would not show it.
    let history = String::from_utf8(get(at, "/v1/topics/news/history").await.body).unwrap();
    assert_eq!(history.matches("[1, 2]").count(), 2, "{history}");
    served.gateway.stop().await.unwrap();
}
