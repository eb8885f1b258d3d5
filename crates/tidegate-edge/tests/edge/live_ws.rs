//! `/v1/live/ws`.

use std::sync::atomic::Ordering;

use crate::gateway::{Gateway, List};
use futures_util::StreamExt as _;
use tidegate_edge::EdgeConfig;
use tidegate_session::CloseReason;

const SUBSCRIBE: &str = r#"{"action":"subscribe","query":{"entity":"asset","sort":[{"column":"name"}],"limit":3}}"#;

#[tokio::test]
async fn a_snapshot_and_its_deltas_have_the_form_of_the_contract() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    gateway.write(&[("a-1", "north", 1.5)]);
    let mut client = gateway.ws("/v1/live/ws").await;
    client.send(SUBSCRIBE).await;
    let reset = client.text().await;
    let token = serde_json::from_str::<serde_json::Value>(&reset).unwrap()["stream_id"].as_str().unwrap().to_owned();
    let place = token.strip_suffix("~1").unwrap();
    assert_eq!(
        reset,
        format!(
            r#"{{"seq":1,"op":"reset","agg_id":"","version":0,"row":null,"old_index":-1,"new_index":-1,"cursor":null,"stream_id":"{place}~1"}}"#
        )
    );
    assert_eq!(
        client.text().await,
        format!(
            r#"{{"seq":2,"op":"enter","agg_id":"a-1","version":11,"row":{{"id":"a-1","name":"north","temp":1.5}},"old_index":-1,"new_index":0,"cursor":{{"values":["north","a-1"]}},"stream_id":"{place}~2"}}"#
        )
    );
    assert_eq!(
        client.text().await,
        format!(
            r#"{{"seq":3,"op":"ready","agg_id":"","version":0,"row":null,"old_index":-1,"new_index":-1,"cursor":null,"stream_id":"{place}","last":true}}"#
        )
    );
    gateway.write(&[("a-1", "north", 2.0)]);
    let update = client.json().await;
    assert_eq!((&update["op"], &update["row"]["temp"], &update["seq"]), (&"update".into(), &2.0.into(), &4.into()));
    assert_eq!(update["last"], true);
}

#[tokio::test]
async fn a_window_is_moved_and_numbers_go_on() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    gateway.write(&[("1", "a", 0.0), ("2", "b", 0.0), ("3", "c", 0.0), ("4", "d", 0.0), ("5", "e", 0.0)]);
    let mut client = gateway.ws("/v1/live/ws").await;
    client.send(SUBSCRIBE).await;
    let mut list = List::default();
    let snapshot = client.batch().await;
    snapshot.iter().for_each(|frame| list.apply(frame));
    assert_eq!(list.ids, ["1", "2", "3"]);
    let cursor = &snapshot[2]["cursor"];
    client.send(&format!(r#"{{"action":"reanchor","cursor":{cursor},"limit":2}}"#)).await;
    client.batch().await.iter().for_each(|frame| list.apply(frame));
    assert_eq!(list.ids, ["3", "4"]);
    client.send(r#"{"action":"reanchor"}"#).await;
    client.batch().await.iter().for_each(|frame| list.apply(frame));
    assert_eq!(list.ids, ["1", "2"]);
    client.send(r#"{"action":"reanchor","cursor":{"values":[1]}}"#).await;
    let error = client.json().await;
    assert_eq!((&error["op"], &error["code"]), (&"error".into(), &"invalid_query".into()));
    gateway.write(&[("0", "A", 0.0)]);
    client.batch().await.iter().for_each(|frame| list.apply(frame));
    assert_eq!(list.ids, ["0", "1"]);
}

#[tokio::test]
async fn unsubscribing_ends_with_1000_and_an_unknown_action_ends_nothing() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let mut client = gateway.ws("/v1/live/ws").await;
    client.send(SUBSCRIBE).await;
    client.batch().await;
    client.send(r#"{"action":"dance"}"#).await;
    let error = client.text().await;
    assert!(error.starts_with(r#"{"op":"error","code":"unknown_action","message":""#), "{error}");
    client.send("not json").await;
    assert_eq!(client.json().await["code"], "malformed");
    client.send(r#"{"action":"unsubscribe"}"#).await;
    assert_eq!(client.close().await, (1000, "normal".to_owned()));
    gateway.eventually("a normal close", |gateway| gateway.closed(CloseReason::Normal) == 1).await;
}

#[tokio::test]
async fn a_first_message_that_is_no_subscribe_is_answered_and_closes() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    for first in [r#"{"action":"reanchor"}"#, "{}", r#"{"action":"subscribe","query":{"entity":"nope"}}"#] {
        let mut client = gateway.ws("/v1/live/ws").await;
        client.send(first).await;
        assert_eq!(client.json().await["op"], "error");
        assert_eq!(client.close().await, (1008, "first_message".to_owned()));
    }
}

#[tokio::test]
async fn a_client_that_says_nothing_is_closed() {
    let config = EdgeConfig { auth_timeout: std::time::Duration::from_millis(50), ..EdgeConfig::default() };
    let gateway = Gateway::start(config).await;
    let mut client = gateway.ws("/v1/live/ws").await;
    assert_eq!(client.close().await, (1008, "first_message".to_owned()));
}

#[tokio::test]
async fn a_token_resumes_after_a_batch_and_inside_one_and_anything_else_resets() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    gateway.write(&[("1", "a", 0.0)]);
    let mut client = gateway.ws("/v1/live/ws").await;
    client.send(SUBSCRIBE).await;
    let ready = client.batch().await.pop().unwrap();
    gateway.write(&[("2", "b", 0.0), ("3", "c", 0.0)]);
    let both = client.batch().await;
    assert_eq!(both.len(), 2);

    let resume = async |token: &serde_json::Value| {
        let mut client = gateway.ws("/v1/live/ws").await;
        client.send(&SUBSCRIBE.replace("}}", &format!("}},\"resume_from\":{token}}}"))).await;
        client.batch().await
    };
    let ops = |frames: &[serde_json::Value]| {
        frames.iter().map(|frame| format!("{}{}", frame["seq"], frame["op"].as_str().unwrap())).collect::<Vec<_>>()
    };
    let missed = resume(&ready["stream_id"]).await;
    assert_eq!(ops(&missed), ["1enter", "2enter"]);
    assert_eq!(missed[1]["stream_id"], both[1]["stream_id"]);
    let rest = resume(&both[0]["stream_id"]).await;
    assert_eq!(ops(&rest), ["1enter"]);
    assert_eq!(rest[0]["agg_id"], "3");
    for stale in [r#""1.2.3""#, r#""nonsense""#, "null"] {
        assert_eq!(ops(&resume(&stale.parse().unwrap()).await)[0], "1reset");
    }
}

#[tokio::test]
async fn synced_follows_each_transaction_where_asked_for() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let mut client = gateway.ws("/v1/live/ws").await;
    client
        .send(
            &SUBSCRIBE
                .replace("}}", "},\"synced\":true}")
                .replace("\"sort\"", "\"where\":[{\"column\":\"temp\",\"op\":\"gt\",\"value\":5}],\"sort\""),
        )
        .await;
    client.batch().await;
    assert_eq!(client.text().await, r#"{"op":"synced","position":"10"}"#, "with the snapshot");
    let position = gateway.write(&[("1", "a", 0.0)]);
    assert_eq!(client.text().await, format!(r#"{{"op":"synced","position":"{position}"}}"#));
}

#[tokio::test]
async fn a_message_too_long_closes_with_1009() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let mut client = gateway.ws("/v1/live/ws").await;
    client.send(&" ".repeat(70_000)).await;
    assert_eq!(client.close().await.0, 1009);
    gateway.eventually("too big", |gateway| gateway.closed(CloseReason::TooBig) == 1).await;
}

#[tokio::test]
async fn an_entity_that_ends_tells_the_reason() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    gateway.write(&[("1", "a", 0.0)]);
    let mut client = gateway.ws("/v1/live/ws").await;
    client.send(SUBSCRIBE).await;
    client.batch().await;
    gateway.end_entity("the table public.asset was dropped");
    let error = client.text().await;
    let expected = r#"{"op":"error","code":"unavailable","message":"the table public.asset was dropped"}"#;
    assert_eq!(error, expected);
    assert_eq!(client.close().await, (1013, "ended".to_owned()));
    gateway.eventually("forgotten", |gateway| gateway.subscriptions() == 0).await;
}

#[tokio::test]
async fn a_subscription_that_the_engine_ends_is_told_why() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    gateway.break_store();
    let mut client = gateway.ws("/v1/live/ws").await;
    client.send(SUBSCRIBE).await;
    let error = client.text().await;
    assert!(error.starts_with(r#"{"op":"error","code":"store_failed","message":""#), "{error}");
    assert_eq!(client.close().await, (1013, "ended".to_owned()));
}

#[tokio::test]
async fn a_protocol_that_panics_ends_its_own_connection_only() {
    let gateway = Gateway::start(EdgeConfig { workers: 1, ..EdgeConfig::default() }).await;
    let mut bystander = gateway.ws("/v1/live/ws").await;
    bystander.send(SUBSCRIBE).await;
    bystander.batch().await;
    // While the worker hands out what was delivered, and while it reads.
    for message in [r#"{"entity":"asset"}"#, "nonsense"] {
        let mut failing = gateway.ws("/failing").await;
        failing.send(message).await;
        assert!(failing.socket.next().await.is_none_or(|message| message.is_err()));
        gateway.write(&[("1", "a", 0.0), ("2", message, 0.0)]);
        bystander.batch().await;
    }
    gateway
        .eventually("one connection is left", |gateway| {
            gateway.edge.metrics().connections.load(Ordering::Relaxed) == 1 && gateway.closed(CloseReason::Gone) == 2
        })
        .await;
}
