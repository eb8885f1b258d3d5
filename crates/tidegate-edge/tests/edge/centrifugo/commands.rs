//! Commands and their errors.

use serde_json::{Value as Json, json};
use tidegate_edge::EdgeConfig;

use super::{PATH, connected, connected_with, plain, publish, refused, result, start, start_with};

#[tokio::test]
async fn what_is_published_reaches_subscribers() {
    let gateway = start().await;
    let (mut client, connect) = connected(&gateway).await;
    let subscribed = result(&mut client, "subscribe", json!({"channel": "chat:a"})).await;
    assert_eq!((&subscribed["recoverable"], &subscribed["positioned"]), (&json!(true), &json!(true)));
    assert!(!subscribed["epoch"].as_str().unwrap().is_empty());
    assert_eq!(refused(&mut client, "subscribe", json!({"channel": "chat:a"})).await, 105);
    client.send(r#"{"id":3,"publish":{"channel":"chat:a","data":{"x":[1, 2]}}}"#).await;
    let mut messages: Vec<Json> = vec![client.json().await, client.json().await];
    messages.sort_by_key(|message| message["id"].as_u64().unwrap_or(99));
    assert_eq!(messages[0], json!({"id": 3, "publish": {}}));
    let push = &messages[1]["push"];
    assert_eq!((&push["channel"], &push["pub"]["offset"]), (&json!("chat:a"), &json!(1)));
    assert_eq!(push["pub"]["data"], json!({"x": [1, 2]}));
    assert_eq!(push["pub"]["info"]["client"], connect["client"]);
    assert_eq!(result(&mut client, "unsubscribe", json!({"channel": "chat:a"})).await, json!({}));
    publish(&gateway, "chat:a", "1").await;
    assert_eq!(result(&mut client, "ping", json!({})).await, json!({}));
    assert_eq!(gateway.subscriptions(), 0);
}

#[tokio::test]
async fn errors_have_the_numbers_that_clients_know() {
    let gateway = start_with(EdgeConfig { max_subscriptions: 1, ..EdgeConfig::default() }).await;
    let (mut client, _) = connected(&gateway).await;
    let long = "x".repeat(256);
    for (method, request, code) in [
        ("subscribe", json!({"channel": "closed:a"}), 103),
        ("subscribe", json!({"channel": ""}), 107),
        ("subscribe", json!({"channel": "$a"}), 107),
        ("subscribe", json!({"channel": long}), 107),
        ("subscribe", json!({"channel": "chat:a", "tf": {"key": "x", "cmp": "?"}}), 107),
        ("subscribe", json!({"channel": "chat:a", "type": 4}), 108),
        ("subscribe", json!({"channel": "chat:a", "type": 1, "phase": 2}), 108),
        ("publish", json!({"channel": "closed:a", "data": 1}), 103),
        ("publish", json!({"channel": "chat:a"}), 107),
        ("publish", json!({"channel": "chat:a", "data": 1, "type": 1}), 107),
        ("presence", json!({"channel": "plain"}), 108),
        ("presence_stats", json!({"channel": "closed:a"}), 103),
        ("history", json!({"channel": "plain", "limit": 1}), 108),
        ("history", json!({"channel": "chat:a", "limit": 1, "since": {"epoch": "other", "offset": 1}}), 112),
        ("sub_refresh", json!({"channel": "chat:a", "type": 1}), 108),
        ("sub_refresh", json!({"channel": "chat:a", "token": "x"}), 103),
        ("rpc", json!({"method": "unknown"}), 104),
        ("rpc", json!({"method": "live.reanchor", "data": 1}), 107),
        ("rpc", json!({"method": "live.reanchor", "data": {"channel": "live:asset:a"}}), 102),
        ("subscribe", json!({"channel": "live:asset"}), 107),
        ("subscribe", json!({"channel": "live:asset:a", "data": {"entity": "other"}}), 107),
    ] {
        assert_eq!(refused(&mut client, method, request.clone()).await, code, "{method} {request}");
    }
    result(&mut client, "subscribe", json!({"channel": "chat:a"})).await;
    assert_eq!(refused(&mut client, "subscribe", json!({"channel": "chat:b"})).await, 106);
    let gateway = plain().await;
    let (mut client, _) = connected(&gateway).await;
    assert_eq!(refused(&mut client, "rpc", json!({"method": "x"})).await, 108);
    assert_eq!(refused(&mut client, "subscribe", json!({"channel": "a", "token": "t"})).await, 103);
}

#[tokio::test]
async fn a_message_has_as_many_commands_as_it_may() {
    let gateway = start().await;
    let (mut client, _) = connected(&gateway).await;
    let pings = |count| (1..=count).map(|id| format!("{{\"id\":{id},\"ping\":{{}}}}\n")).collect::<String>();
    client.send(&pings(384)).await;
    // They come back together.
    let replies = client.text().await;
    assert_eq!(replies.lines().count(), 384);
    assert_eq!(replies.lines().last(), Some(r#"{"id":384,"ping":{}}"#));
    client.send(&pings(385)).await;
    assert_eq!(client.close().await.0, 3501);
    let mut client = gateway.ws(PATH).await;
    client.send(&"\n".repeat(60_000)).await;
    client.send(r#"{"id":1,"connect":{}}"#).await;
    assert_eq!(client.json().await["id"], 1);
}

#[tokio::test]
async fn who_is_there_is_known_and_told() {
    let gateway = start().await;
    let (mut ann, _) = connected_with(&gateway, json!({"token": "ann////"})).await;
    result(&mut ann, "subscribe", json!({"channel": "chat:a", "join_leave": true})).await;
    // It hears of itself too.
    assert_eq!(ann.json().await["push"]["join"]["info"]["user"], "ann");
    let (mut ben, connect) = connected_with(&gateway, json!({"token": "ben////"})).await;
    result(&mut ben, "subscribe", json!({"channel": "chat:a"})).await;
    let join = ann.json().await;
    assert_eq!(join["push"]["channel"], "chat:a");
    let info = json!({"user": "ben", "client": connect["client"]});
    assert_eq!(join["push"]["join"]["info"], info);
    let stats = result(&mut ann, "presence_stats", json!({"channel": "chat:a"})).await;
    assert_eq!(stats, json!({"num_clients": 2, "num_users": 2}));
    let presence = result(&mut ann, "presence", json!({"channel": "chat:a"})).await;
    assert_eq!(presence["presence"].as_object().unwrap().len(), 2);
    assert_eq!(presence["presence"][connect["client"].as_str().unwrap()], info);
    drop(ben);
    assert_eq!(ann.json().await["push"]["leave"]["info"], info);
}

#[tokio::test]
async fn a_history_is_read_from_either_end() {
    let gateway = start().await;
    for n in 1..=5 {
        publish(&gateway, "chat:h", &n.to_string()).await;
    }
    let (mut client, _) = connected(&gateway).await;
    let mut history = async |request: Json| {
        let mut request = request;
        request["channel"] = json!("chat:h");
        let history = result(&mut client, "history", request).await;
        let data: Vec<_> =
            history["publications"].as_array().into_iter().flatten().map(|it| it["data"].clone()).collect();
        (json!(data), history["epoch"].clone(), history["offset"].clone())
    };
    let (data, epoch, offset) = history(json!({})).await;
    assert_eq!((data, offset), (json!([]), json!(5)));
    assert_eq!(history(json!({"limit": -1})).await.0, json!([1, 2, 3, 4, 5]));
    assert_eq!(history(json!({"limit": 2, "reverse": true})).await.0, json!([5, 4]));
    let since = json!({"epoch": epoch, "offset": 3});
    assert_eq!(history(json!({"limit": 10, "since": since})).await.0, json!([4, 5]));
}

#[tokio::test]
async fn the_application_answers() {
    let gateway = start().await;
    let (mut client, connect) = connected(&gateway).await;
    let echo = result(&mut client, "rpc", json!({"method": "echo", "data": {"a": 1}})).await;
    assert_eq!(echo["data"], json!({"of": connect["client"], "data": {"a": 1}}));
    assert_eq!(result(&mut client, "rpc", json!({"method": "echo"})).await["data"]["data"], json!(null));
    assert_eq!(refused(&mut client, "rpc", json!({"method": "fail"})).await, 103);
    client.send(r#"{"send":{"data":{"a":1}}}"#).await;
    let subscribed = result(&mut client, "subscribe", json!({"channel": "asked:a"})).await;
    assert_eq!(subscribed["data"], json!({"hello": 1}));
    assert_eq!(refused(&mut client, "subscribe", json!({"channel": "asked:secret"})).await, 103);
}

#[tokio::test]
async fn what_concerns_one_channel_is_done_in_order() {
    let gateway = start().await;
    let (mut client, _) = connected(&gateway).await;
    // The application takes longer over the first; a subscribe that it is asked about is behind both.
    client
        .send(concat!(
            r#"{"id":2,"publish":{"channel":"asked:o","data":"slow"}}"#,
            "\n",
            r#"{"id":3,"publish":{"channel":"asked:o","data":"fast"}}"#,
            "\n",
            r#"{"id":4,"subscribe":{"channel":"asked:o"}}"#,
            "\n",
            r#"{"id":5,"subscribe":{"channel":"asked:o"}}"#,
            "\n",
            r#"{"id":6,"unsubscribe":{"channel":"asked:o"}}"#,
            "\n",
            r#"{"id":7,"ping":{}}"#
        ))
        .await;
    let mut ids = Vec::new();
    let mut offset = Json::Null;
    while ids.len() < 6 {
        for line in client.text().await.lines() {
            let reply: Json = serde_json::from_str(line).unwrap();
            ids.push(reply["id"].as_u64().unwrap());
            if reply["id"] == 4 {
                offset = reply["subscribe"]["offset"].clone();
            }
            if reply["id"] == 5 {
                assert_eq!(reply["error"]["code"], 105);
            }
        }
    }
    assert_eq!((ids, offset), (vec![7, 2, 3, 4, 5, 6], json!(2)));
    // Who does not subscribe where the application decides about that sees nothing.
    let ask = json!({"channel": "asked:o", "limit": 10});
    assert_eq!(refused(&mut client, "history", ask.clone()).await, 103);
    result(&mut client, "subscribe", json!({"channel": "asked:o"})).await;
    assert_eq!(result(&mut client, "history", ask).await["publications"][0]["data"], "slow");
}

#[tokio::test]
async fn where_the_application_has_to_be_asked_and_there_is_none_nobody_is_let_in() {
    let gateway = plain().await;
    let (mut client, _) = connected(&gateway).await;
    for (method, request) in [
        ("subscribe", json!({"channel": "asked:a"})),
        ("publish", json!({"channel": "asked:a", "data": 1})),
        ("history", json!({"channel": "asked:a", "limit": 1})),
        ("presence", json!({"channel": "asked:a"})),
        ("presence_stats", json!({"channel": "asked:a"})),
    ] {
        assert_eq!(refused(&mut client, method, request).await, 103, "{method}");
    }
}
