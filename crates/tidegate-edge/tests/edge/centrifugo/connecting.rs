//! How a connection begins, lives and ends.

use std::time::Duration;

use futures_util::SinkExt as _;
use serde_json::json;
use tidegate_edge::EdgeConfig;
use tokio_websockets::Message;

use super::{PATH, ask, connected, connected_with, plain, refused, result, start, start_with};
use crate::gateway::Gateway;

/// HS256 with `secret`: `{"sub":"ann","exp":2000,"info":{"name":"Ann"},"channels":["chat:own"]}`.
fn token(claims: &serde_json::Value) -> String {
    super::orders::signed(claims)
}

#[tokio::test]
async fn the_first_command_is_a_connect() {
    let gateway = start().await;
    for first in [
        r#"{"id":1,"subscribe":{"channel":"chat:a"}}"#,
        "{}",
        "nonsense",
        "[]",
        r#"{"connect":{}}"#,
        r#"{"id":1}"#,
        r#"{"id":1,"connect":{"name":"12345678901234567"}}"#,
    ] {
        let mut client = gateway.ws(PATH).await;
        client.send(first).await;
        assert_eq!(client.close().await.0, 3501, "{first}");
    }
    let (mut client, _) = connected(&gateway).await;
    client.send(r#"{"id":2,"connect":{}}"#).await;
    assert_eq!(client.close().await, (3501, "bad request".into()));
    let mut client = gateway.ws(PATH).await;
    client.socket.send(Message::binary(&[0u8][..])).await.unwrap();
    assert_eq!(client.close().await.0, 3501);
}

#[tokio::test]
async fn who_does_not_connect_is_stale() {
    let config = EdgeConfig { auth_timeout: Duration::from_millis(50), ..EdgeConfig::default() };
    let gateway = start_with(config).await;
    let mut client = gateway.ws(PATH).await;
    assert_eq!(client.close().await, (3502, "stale".into()));
}

#[tokio::test]
async fn a_connect_is_answered_with_what_clients_read() {
    let gateway = start().await;
    let (_client, result) = connected(&gateway).await;
    assert!(result["client"].as_str().unwrap().starts_with("c_"), "{result}");
    assert_eq!((&result["ping"], &result["pong"]), (&json!(25), &json!(true)));
    assert!(!result["version"].as_str().unwrap().is_empty());
    assert!(result.get("expires").is_none() && result.get("ttl").is_none());
}

#[tokio::test]
async fn native_pings_are_enough_for_who_says_so() {
    let gateway = start().await;
    let mut client = gateway.ws("/connection/websocket?cf_ws_frame_ping_pong=true").await;
    let reply = ask(&mut client, 1, "connect", json!({})).await;
    assert!(reply["connect"].get("ping").is_none() && reply["connect"].get("pong").is_none(), "{reply}");
}

#[tokio::test]
async fn the_subprotocol_that_is_known_is_chosen() {
    let gateway = start().await;
    for (offered, chosen) in [("centrifuge-json", "centrifuge-json"), ("x, centrifuge-protobuf", "centrifuge-protobuf")]
    {
        let client = gateway.ws_with(PATH, &[("sec-websocket-protocol", offered)]).await.unwrap();
        assert_eq!(client.response_protocol.unwrap(), chosen);
    }
}

#[tokio::test]
async fn a_token_says_who_connects() {
    let gateway = start().await;
    // Of an issuer.
    let (mut client, _) = connected_with(&gateway, json!({"token": "ann////"})).await;
    result(&mut client, "subscribe", json!({"channel": "chat:a"})).await;
    let presence = result(&mut client, "presence", json!({"channel": "chat:a"})).await;
    let presence = presence["presence"].as_object().unwrap();
    assert_eq!(presence.values().next().unwrap()["user"], "ann");
    // Signed with the secret.
    let claims = json!({"sub": "ben", "info": {"name": "Ben"}, "exp": 90_000_000_000u64});
    let (mut client, connect) = connected_with(&gateway, json!({"token": token(&claims)})).await;
    assert_eq!(connect["expires"], true);
    result(&mut client, "subscribe", json!({"channel": "chat:b"})).await;
    let presence = result(&mut client, "presence", json!({"channel": "chat:b"})).await;
    let info = presence["presence"][connect["client"].as_str().unwrap()].clone();
    assert_eq!((&info["user"], &info["conn_info"]), (&json!("ben"), &json!({"name": "Ben"})));
}

#[tokio::test]
async fn commands_beside_the_connect_wait_for_it() {
    let gateway = start().await;
    let mut client = gateway.ws(PATH).await;
    let connect = json!({"id": 1, "connect": {"token": "ann////"}});
    client.send(&format!("{connect}\n{}", r#"{"id":2,"subscribe":{"channel":"chat:a"}}"#)).await;
    // Both replies may come in one message.
    let text = client.text().await;
    let mut replies: Vec<String> = text.lines().map(Into::into).collect();
    if replies.len() == 1 {
        replies.push(client.text().await);
    }
    assert!(replies[0].starts_with(r#"{"id":1,"connect""#) && replies[1].starts_with(r#"{"id":2,"subscribe""#));
}

#[tokio::test]
async fn bad_tokens_are_told_apart() {
    let gateway = start().await;
    let mut client = gateway.ws(PATH).await;
    client.send(&json!({"id": 1, "connect": {"token": "nobody's"}}).to_string()).await;
    assert_eq!(client.close().await, (3500, "invalid token".into()));
    let mut client = gateway.ws(PATH).await;
    let expired = token(&json!({"sub": "ann", "exp": 999}));
    assert_eq!(ask(&mut client, 1, "connect", json!({"token": expired})).await["error"]["code"], 109);
    // A token for a channel is none for a connection.
    let mut client = gateway.ws(PATH).await;
    client.send(&json!({"id": 1, "connect": {"token": token(&json!({"channel": "x"}))}}).to_string()).await;
    assert_eq!(client.close().await.0, 3500);
    // Where strangers are not let in.
    let gateway = Gateway::with(EdgeConfig::default(), false).await;
    let mut client = gateway.ws(PATH).await;
    client.send(r#"{"id":1,"connect":{}}"#).await;
    assert_eq!(client.close().await.0, 3500);
}

#[tokio::test]
async fn an_identity_is_renewed_or_ends() {
    let gateway = start().await;
    let (mut client, connect) = connected_with(&gateway, json!({"token": "ann////60000"})).await;
    assert_eq!(connect["expires"], true);
    // In time before the end.
    assert!((30..=45).contains(&connect["ttl"].as_u64().unwrap()), "{connect}");
    let refresh = result(&mut client, "refresh", json!({"token": "ann////600000"})).await;
    assert!(refresh["ttl"].as_u64().unwrap() > 500, "{refresh}");
    assert_eq!(refused(&mut client, "refresh", json!({"token": ""})).await, 107);
    assert_eq!(refused(&mut client, "refresh", json!({"token": "nobody's"})).await, 101);
    // Somebody else is another connection.
    client.send(&json!({"id": 3, "refresh": {"token": "bob////"}}).to_string()).await;
    assert_eq!(client.close().await.0, 3500);
    let (mut client, _) = connected_with(&gateway, json!({"token": "ann////200"})).await;
    assert_eq!(client.close().await, (3005, "connection expired".into()));
}

#[tokio::test]
async fn a_ping_has_one_pong() {
    let config = EdgeConfig { ping_interval: Duration::from_millis(50), ..EdgeConfig::default() };
    let gateway = start_with(config).await;
    let (mut client, connect) = connected(&gateway).await;
    assert_eq!(connect["ping"], 1);
    for _ in 0..3 {
        assert_eq!(client.text().await, "{}");
        client.send("{}").await;
    }
    assert_eq!(client.text().await, "{}");
    client.send("{}\n{}").await;
    assert_eq!(client.close().await.0, 3501);
}

#[tokio::test]
async fn who_does_not_answer_pings_is_gone() {
    let config = EdgeConfig { ping_interval: Duration::from_millis(200), ..EdgeConfig::default() };
    let gateway = start_with(config).await;
    let (mut client, _) = connected(&gateway).await;
    assert_eq!(client.close().await, (3012, "no pong".into()));
}

#[tokio::test]
async fn who_has_to_go_is_told_why() {
    let gateway = plain().await;
    let (mut client, _) = connected_with(&gateway, json!({"token": "ann/s1///"})).await;
    gateway.door.revoke("s1");
    assert_eq!(client.close().await, (3503, "force disconnect".into()));
    let (mut client, _) = connected(&gateway).await;
    gateway.shutdown.cancel();
    assert_eq!(client.close().await, (3001, "shutdown".into()));
}
