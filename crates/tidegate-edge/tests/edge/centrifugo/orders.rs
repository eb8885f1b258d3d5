//! Tokens that grant a channel, and what servers have done on connections.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value as Json, json};
use tidegate_edge::{Order, To};
use tidegate_session::CloseReason;
use tidegate_topics::Data;

use super::{SECRET, connected, connected_with, publish, refused, result, start};

/// A token with these claims.
pub(super) fn signed(claims: &Json) -> String {
    encode(&Header::default(), claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

#[tokio::test]
async fn a_subscription_token_grants_its_channel() {
    let gateway = start().await;
    let (mut client, _) = connected_with(&gateway, json!({"token": "ann////"})).await;
    let of = |claims: Json| json!({"channel": "closed:a", "token": signed(&claims)});
    assert_eq!(refused(&mut client, "subscribe", json!({"channel": "closed:a"})).await, 103);
    assert_eq!(refused(&mut client, "subscribe", of(json!({"sub": "ann", "channel": "closed:b"}))).await, 103);
    assert_eq!(refused(&mut client, "subscribe", of(json!({"sub": "ben", "channel": "closed:a"}))).await, 103);
    assert_eq!(refused(&mut client, "subscribe", of(json!({"channel": "closed:a"}))).await, 103);
    let expired = of(json!({"sub": "ann", "channel": "closed:a", "exp": 999}));
    assert_eq!(refused(&mut client, "subscribe", expired).await, 109);
    let good = json!({"sub": "ann", "channel": "closed:a", "exp": 90_000_000_000u64});
    let subscribed = result(&mut client, "subscribe", of(good.clone())).await;
    assert_eq!(subscribed["expires"], true);
    assert_eq!(result(&mut client, "sub_refresh", of(good)).await["expires"], true);
    assert_eq!(refused(&mut client, "publish", json!({"channel": "closed:a", "data": 1})).await, 103);
    publish(&gateway, "closed:a", "1").await;
    assert_eq!(client.json().await["push"]["pub"]["data"], 1);
}

#[tokio::test]
async fn a_connection_token_brings_channels() {
    let gateway = start().await;
    publish(&gateway, "chat:own", "1").await;
    let claims = json!({
        "sub": "ann", "channels": ["chat:own"], "subs": {"closed:x": {"data": {"y": 1}, "info": "z"}}
    });
    let (mut client, connect) = connected_with(&gateway, json!({"token": signed(&claims)})).await;
    assert_eq!(connect["subs"]["closed:x"]["data"], json!({"y": 1}));
    let own = &connect["subs"]["chat:own"];
    assert_eq!((&own["offset"], &own["recoverable"]), (&json!(1), &json!(true)));
    publish(&gateway, "closed:x", "2").await;
    assert_eq!(client.json().await["push"]["pub"]["data"], 2);
    // Who comes back recovers in the connect.
    let position = json!({"recover": true, "epoch": own["epoch"], "offset": 0});
    let connect = json!({"token": signed(&claims), "subs": {"chat:own": position}});
    let (_client, connect) = connected_with(&gateway, connect).await;
    let own = &connect["subs"]["chat:own"];
    assert_eq!((&own["recovered"], &own["publications"][0]["data"]), (&json!(true), &json!(1)));
}

#[tokio::test]
async fn servers_have_things_done() {
    let gateway = start().await;
    let (mut client, connect) = connected_with(&gateway, json!({"token": "ann////"})).await;
    let name: Arc<str> = connect["client"].as_str().unwrap().into();
    let order = |order: Order| gateway.edge.dispatch(&To::Client(name.clone()), &order).unwrap();
    order(Order::Subscribe { topic: "closed:a".into(), since: None, data: Some("{\"z\":1}".into()) });
    let push = client.json().await["push"].clone();
    assert_eq!((&push["channel"], &push["subscribe"]["data"]), (&json!("closed:a"), &json!({"z": 1})));
    publish(&gateway, "closed:a", "1").await;
    assert_eq!(client.json().await["push"]["pub"]["data"], 1);
    order(Order::Unsubscribe { topic: "closed:a".into() });
    let push = client.json().await["push"].clone();
    assert_eq!(push["unsubscribe"], json!({"code": 2000, "reason": "server unsubscribe"}));
    order(Order::Send(Data::Json("[1]".into())));
    assert_eq!(client.json().await, json!({"push": {"message": {"data": [1]}}}));
    order(Order::Emit(r#"{"event":"x","data":1}"#.into()));
    assert_eq!(client.json().await["push"]["message"]["data"]["event"], "x");
    order(Order::Refresh(None));
    assert_eq!(client.json().await["push"]["refresh"], json!({}));
    order(Order::Refresh(Some(u64::MAX)));
    assert_eq!(client.json().await["push"]["refresh"]["expires"], true);
    order(Order::Dismiss { code: Some(4501), reason: Some("enough".into()) });
    assert_eq!(client.close().await, (4501, "enough".into()));
    let (mut client, _) = connected_with(&gateway, json!({"token": "ann////"})).await;
    let to = To::User { user: "ann".into(), tenant: None };
    gateway.edge.dispatch(&to, &Order::Dismiss { code: None, reason: None }).unwrap();
    assert_eq!(client.close().await, (3503, "force disconnect".into()));
}

#[tokio::test]
async fn a_server_says_when_an_identity_ends() {
    let gateway = start().await;
    let soon = || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Some(u64::try_from(since.as_millis()).unwrap() + 50)
    };
    let (mut client, connect) = connected_with(&gateway, json!({"token": "ann////60000"})).await;
    let to = To::Client(connect["client"].as_str().unwrap().into());
    gateway.edge.dispatch(&to, &Order::Refresh(soon())).unwrap();
    assert_eq!(client.json().await["push"]["refresh"]["expires"], true);
    assert_eq!(client.close().await, (3005, "connection expired".into()));
    // It need not be said to hold.
    let mut client = gateway.ws_with("/ws", &[("authorization", "Bearer ann////60000")]).await.unwrap();
    client.send(r#"{"event":"ping"}"#).await;
    client.text().await;
    let to = To::User { user: "ann".into(), tenant: None };
    gateway.edge.dispatch(&to, &Order::Refresh(soon())).unwrap();
    gateway.eventually("both ended", |gateway| gateway.closed(CloseReason::Expired) == 2).await;
}

#[tokio::test]
async fn bytes_that_are_no_json_are_not_for_json_clients() {
    let gateway = start().await;
    let (mut client, connect) = connected(&gateway).await;
    let name: Arc<str> = connect["client"].as_str().unwrap().into();
    let order = Order::Send(Data::Binary(vec![1, 2].into()));
    gateway.edge.dispatch(&To::Client(name), &order).unwrap();
    assert_eq!(client.close().await, (3506, "inappropriate protocol".into()));
}
