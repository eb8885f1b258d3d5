//! `/ws`.

use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::SinkExt as _;
use serde_json::json;
use tidegate_edge::{EdgeConfig, Paused};
use tokio_websockets::{CloseCode, Message};

use crate::gateway::{Gateway, List};

const SUBSCRIBE: &str = r#"{"event":"live.subscribe","id":1,"data":{"sub":"s","query":{"entity":"asset","sort":[{"column":"name"}],"limit":2}}}"#;

#[tokio::test]
async fn who_closes_gets_its_own_code_back() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let mut client = gateway.ws("/ws").await;
    let code = CloseCode::try_from(4321).unwrap();
    client.socket.send(Message::close(Some(code), "enough")).await.unwrap();
    assert_eq!(client.close().await.0, 4321);
}

#[tokio::test]
async fn many_subscriptions_share_a_connection() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    gateway.write(&[("1", "a", 0.0)]);
    let mut client = gateway.ws("/ws").await;
    client.send(SUBSCRIBE).await;
    assert_eq!(client.text().await, r#"{"event":"reply","id":1,"data":{"sub":"s","resumed":false,"position":"11"}}"#);
    let mut list = List::default();
    let delta = client.text().await;
    assert!(
        delta.starts_with(r#"{"event":"live.delta","data":{"sub":"s","seq":1,"deltas":[{"op":"reset","agg_id":"","#),
        "{delta}"
    );
    let delta: serde_json::Value = serde_json::from_str(&delta).unwrap();
    let frames = delta["data"]["deltas"].as_array().unwrap();
    assert_eq!(frames.len(), 3);
    assert!(frames.iter().all(|frame| frame.get("seq").is_none()));
    frames.iter().for_each(|frame| list.change(frame));

    client.send(&SUBSCRIBE.replace("\"s\"", "7").replace("\"id\":1", "\"id\":\"two\"")).await;
    assert_eq!(
        client.json().await,
        json!({"event":"reply","id":"two","data":{"sub":7,"resumed":false,"position":"11"}})
    );
    assert_eq!(client.json().await["data"]["sub"], 7);

    client.send(r#"{"event":"live.unsubscribe","id":3,"data":{"sub":7}}"#).await;
    assert_eq!(client.json().await, json!({"event":"reply","id":3,"data":{"sub":7}}));
    gateway.write(&[("2", "b", 0.0), ("3", "0", 0.0)]);
    let delta = client.json().await;
    assert_eq!((&delta["data"]["sub"], &delta["data"]["seq"]), (&json!("s"), &json!(4)));
    delta["data"]["deltas"].as_array().unwrap().iter().for_each(|frame| list.change(frame));
    assert_eq!(list.ids, ["3", "1"]);

    client.send(r#"{"event":"live.reanchor","id":4,"data":{"sub":"s","limit":3}}"#).await;
    assert_eq!(client.json().await["id"], 4);
    let delta = client.json().await;
    assert_eq!(delta["data"]["deltas"][0]["op"], "reset");
    delta["data"]["deltas"].as_array().unwrap().iter().for_each(|frame| list.change(frame));
    assert_eq!(list.ids, ["3", "1", "2"]);
}

#[tokio::test]
async fn errors_are_replies_where_there_is_an_id() {
    let gateway = Gateway::start(EdgeConfig { max_subscriptions: 1, ..EdgeConfig::default() }).await;
    let mut client = gateway.ws("/ws").await;
    client.send(SUBSCRIBE).await;
    client.json().await;
    client.json().await;
    let mut code_of = async |message: &str| {
        client.send(message).await;
        let reply = client.json().await;
        assert_eq!((&reply["event"], &reply["id"]), (&json!("reply"), &json!(9)));
        assert_eq!(reply["error"].as_object().unwrap().len(), 3);
        reply["error"]["code"].as_str().unwrap().to_owned()
    };
    assert_eq!(code_of(&SUBSCRIBE.replace("\"id\":1", "\"id\":9")).await, "sub_in_use");
    assert_eq!(
        code_of(&SUBSCRIBE.replace("\"id\":1", "\"id\":9").replace("\"s\"", "2")).await,
        "too_many_subscriptions"
    );
    assert_eq!(code_of(r#"{"event":"topic.dance","id":9}"#).await, "unknown_event");
    assert_eq!(code_of(r#"{"event":"live.subscribe","id":9}"#).await, "malformed");
    assert_eq!(code_of(r#"{"event":"live.unsubscribe","id":9,"data":{"sub":3}}"#).await, "unknown_subscription");
    assert_eq!(code_of(r#"{"event":"auth","id":9,"data":{"token":"bad"}}"#).await, "unauthenticated");
    assert_eq!(code_of(r#"{"event":"auth","id":9,"data":{"token":"good"}}"#).await, "other_user");
}

#[tokio::test]
async fn a_flood_of_nonsense_is_answered_a_few_times_and_harms_nothing() {
    let config = EdgeConfig { messages_per_second: 1_000_000, ..EdgeConfig::default() };
    let gateway = Gateway::start(config).await;
    let mut client = gateway.ws("/ws").await;
    for _ in 0..500 {
        client.socket.feed(Message::text("{nonsense")).await.unwrap();
        client.socket.feed(Message::binary(&[1, 2, 3][..])).await.unwrap();
    }
    client.send(r#"{"event":"auth","id":"after","data":{"token":"good"}}"#).await;
    let mut errors = 0;
    loop {
        let message = client.json().await;
        if message["id"] == "after" {
            assert!(message["data"]["client_id"].as_str().unwrap().starts_with("c_"));
            break;
        }
        assert_eq!(message["event"], "error");
        errors += 1;
    }
    assert!((1..=15).contains(&errors), "{errors}");
    assert_eq!(gateway.edge.metrics().malformed.load(Ordering::Relaxed), 500);
    assert_eq!(gateway.edge.metrics().binary.load(Ordering::Relaxed), 500);
}

#[tokio::test]
async fn messages_beyond_the_rate_wait_and_are_not_lost() {
    let gateway = Gateway::start(EdgeConfig { messages_per_second: 50, ..EdgeConfig::default() }).await;
    let mut client = gateway.ws("/ws").await;
    for id in 0..130 {
        client
            .socket
            .feed(Message::text(format!(r#"{{"event":"auth","id":{id},"data":{{"token":"good"}}}}"#)))
            .await
            .unwrap();
    }
    client.socket.flush().await.unwrap();
    let start = std::time::Instant::now();
    for id in 0..130 {
        assert_eq!(client.json().await["id"], id);
    }
    // A hundred at once, and the other thirty by the rate.
    assert!(start.elapsed() > Duration::from_millis(550), "{:?}", start.elapsed());
    assert!(gateway.edge.metrics().paused[Paused::Messages as usize].load(Ordering::Relaxed) > 0);
}

#[tokio::test]
async fn subscriptions_beyond_the_cap_are_refused_and_counted() {
    let gateway = Gateway::start(EdgeConfig { max_subscriptions: 1, ..EdgeConfig::default() }).await;
    let mut client = gateway.ws("/ws").await;
    for id in 1..=2 {
        let data = format!(r#"{{"sub":{id},"query":{{"entity":"asset"}}}}"#);
        client.send(&format!(r#"{{"event":"live.subscribe","id":{id},"data":{data}}}"#)).await;
    }
    let refused = loop {
        let message = client.json().await;
        if message["id"] == 2 {
            break message;
        }
    };
    assert_eq!(refused["error"]["code"], "too_many_subscriptions");
    assert_eq!(gateway.edge.metrics().sessions.subscriptions_refused.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_stranger_may_show_a_token_first_and_nothing_else() {
    let gateway = Gateway::with(EdgeConfig::default(), false).await;
    let mut eager = gateway.ws("/ws").await;
    eager.send(SUBSCRIBE).await;
    assert_eq!(eager.json().await["error"]["code"], "unauthenticated");
    assert_eq!(eager.close().await, (1008, "unauthenticated".to_owned()));
    let mut honest = gateway.ws("/ws").await;
    honest.send(r#"{"event":"auth","id":0,"data":{"token":"good"}}"#).await;
    assert!(honest.json().await["data"]["client_id"].is_string());
    honest.send(SUBSCRIBE).await;
    assert_eq!(honest.json().await["id"], 1);

    let hasty = EdgeConfig { auth_timeout: Duration::from_millis(50), ..EdgeConfig::default() };
    let gateway = Gateway::with(hasty, false).await;
    let mut silent = gateway.ws("/ws").await;
    assert_eq!(silent.close().await, (1008, "unauthenticated".to_owned()));
}

#[tokio::test]
async fn an_entity_that_ends_tells_the_reason_and_frees_the_room() {
    let gateway = Gateway::start(EdgeConfig { max_subscriptions: 1, ..EdgeConfig::default() }).await;
    gateway.write(&[("1", "a", 0.0)]);
    let mut client = gateway.ws("/ws").await;
    for _ in 0..2 {
        client.send(SUBSCRIBE).await;
        assert_eq!(client.json().await["id"], 1);
        client.json().await;
        gateway.end_entity("the table public.asset was dropped");
        let error = client.json().await;
        assert_eq!((&error["event"], &error["data"]["sub"]), (&json!("live.error"), &json!("s")));
        assert_eq!((&error["data"]["code"], &error["data"]["retryable"]), (&json!("unavailable"), &json!(true)));
        assert_eq!(error["data"]["message"], "the table public.asset was dropped");
        gateway.eventually("forgotten", |gateway| gateway.subscriptions() == 0).await;
    }
}

#[tokio::test]
async fn a_subscription_that_the_engine_ends_leaves_the_connection() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let names: Vec<String> = (100..200).map(|n| n.to_string()).collect();
    gateway.write(&names.iter().map(|name| (name.as_str(), name.as_str(), 0.0)).collect::<Vec<_>>());
    let mut client = gateway.ws("/ws").await;
    client.send(SUBSCRIBE).await;
    client.json().await;
    client.json().await;
    gateway.break_store();
    client.send(r#"{"event":"live.reanchor","id":2,"data":{"sub":"s","cursor":{"values":["180","180"]}}}"#).await;
    let reply = client.json().await;
    assert_eq!((&reply["id"], &reply["error"]["code"]), (&json!(2), &json!("store_failed")));
    let error = client.json().await;
    assert_eq!((&error["event"], &error["data"]["sub"]), (&json!("live.error"), &json!("s")));
    assert_eq!(error["data"]["retryable"], true);
    client.send(r#"{"event":"live.unsubscribe","id":3,"data":{"sub":"s"}}"#).await;
    assert_eq!(client.json().await["error"]["code"], "unknown_subscription");
}

#[tokio::test]
async fn synced_names_the_subscription_and_the_position() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let mut client = gateway.ws("/ws").await;
    client.send(&SUBSCRIBE.replace("\"sub\"", "\"synced\":true,\"sub\"")).await;
    client.json().await;
    client.json().await;
    // The snapshot is the first thing to be in step with.
    assert_eq!(client.json().await["event"], "live.synced");
    let position = gateway.write(&[("1", "a", 0.0)]);
    assert_eq!(client.json().await["event"], "live.delta");
    let synced = format!(r#"{{"event":"live.synced","data":{{"sub":"s","position":"{position}"}}}}"#);
    assert_eq!(client.text().await, synced);
}

#[tokio::test]
async fn an_idle_connection_learns_its_position_with_each_ping() {
    let gateway =
        Gateway::start(EdgeConfig { ping_interval: Duration::from_millis(20), ..EdgeConfig::default() }).await;
    let mut client = gateway.ws("/ws").await;
    client.send(SUBSCRIBE).await;
    assert_eq!(client.json().await["event"], "reply");
    assert_eq!(client.json().await["event"], "live.delta");
    let position = gateway.write(&[("1", "elsewhere", 0.0)]);
    loop {
        let message = client.json().await;
        if message["event"] == "live.synced" {
            assert_eq!(message["data"].get("sub"), None);
            if message["data"]["position"] == position.to_string() {
                return;
            }
        }
    }
}
