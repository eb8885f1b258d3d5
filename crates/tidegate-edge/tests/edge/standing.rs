//! Connections end when whoever they are bound to may not be here any more.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tidegate_edge::{EdgeConfig, Quota, Quotas, Refused};
use tidegate_identity::Revocation;
use tidegate_model::Tenant;
use tidegate_session::CloseReason;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::gateway::{Client, Gateway, List, PATIENCE};

const SUBSCRIBE: &str = r#"{"event":"live.subscribe","id":1,"data":{"sub":"s","query":{"entity":"asset"}}}"#;
const REVOKED: (u16, &str) = (1008, "revoked");

async fn connect(gateway: &Gateway, path: &str, token: &str) -> Client {
    gateway.ws_with(path, &[("authorization", &format!("Bearer {token}"))]).await.unwrap()
}

async fn closed(client: &mut Client) -> (u16, String) {
    client.close().await
}

/// An SSE stream whose head has come.
async fn stream(gateway: &Gateway, token: &str) -> TcpStream {
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    let query = r#"{"entity":"asset"}"#;
    let request = format!(
        "POST /v1/live HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\n\r\n{query}",
        query.len()
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut first = [0; 12];
    timeout(PATIENCE, socket.read_exact(&mut first)).await.unwrap().unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    socket
}

async fn rest(mut socket: TcpStream) -> String {
    let mut rest = Vec::new();
    timeout(PATIENCE, socket.read_to_end(&mut rest)).await.expect("the stream goes on").unwrap();
    String::from_utf8(rest).unwrap()
}

#[tokio::test]
async fn a_revoked_session_takes_all_its_connections_with_it() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let mut events = connect(&gateway, "/ws", "ann/s1///").await;
    let mut live = connect(&gateway, "/v1/live/ws", "ann/s1///").await;
    let mut embedded = connect(&gateway, "/replies", "ann/s1///").await;
    let stream = stream(&gateway, "ann/s1///").await;
    let mut other = connect(&gateway, "/ws", "ann/s2///").await;
    gateway.eventually("five connections", |gateway| gateway.connections() == 5).await;
    gateway.door.revoke("s1");
    for client in [&mut events, &mut live, &mut embedded] {
        assert_eq!(closed(client).await, (REVOKED.0, REVOKED.1.to_owned()));
    }
    let told = rest(stream).await;
    assert!(told.contains("event: error\ndata: {\"op\":\"error\",\"code\":\"revoked\""), "{told}");
    assert!(told.contains("\"retryable\":false"), "{told}");
    gateway.eventually("four closes", |gateway| gateway.closed(CloseReason::Revoked) == 4).await;
    assert_eq!(gateway.edge.metrics().revoked.load(Ordering::Relaxed), 4);
    // The other one goes on.
    other.send(SUBSCRIBE).await;
    assert_eq!(other.json().await["event"], "reply");
}

#[tokio::test]
async fn users_and_tenants_are_revoked_as_such() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let tokens = ["ann//acme//", "ann//umbrella//", "bob//acme//", "bob//umbrella//"];
    let mut clients = Vec::new();
    for token in tokens {
        clients.push(connect(&gateway, "/ws", token).await);
    }
    gateway.eventually("four connections", |gateway| gateway.connections() == 4).await;
    gateway.door.tell(Revocation::User { user: "ann".into(), tenant: Some(Tenant::new("acme")) });
    assert_eq!(closed(&mut clients[0]).await.1, "revoked");
    gateway.door.tell(Revocation::Tenant(Tenant::new("umbrella")));
    for client in [1, 3] {
        assert_eq!(closed(&mut clients[client]).await.1, "revoked");
    }
    clients[2].send(SUBSCRIBE).await;
    assert_eq!(clients[2].json().await["event"], "reply");
    gateway.door.tell(Revocation::User { user: "bob".into(), tenant: None });
    assert_eq!(closed(&mut clients[2]).await.1, "revoked");
}

#[tokio::test]
async fn a_revocation_during_the_handshake_is_not_missed() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    gateway.door.answer(false);
    let handshake = gateway.raw(
        "GET /ws HTTP/1.1\r\nhost: a\r\nupgrade: websocket\r\nconnection: upgrade, close\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         authorization: Bearer ann/s1///\r\n\r\n",
    );
    let revocation = async {
        gateway.door.asked.subscribe().wait_for(|asked| *asked == 1).await.unwrap();
        // The check has found the session active, and says so only after the revocation was told.
        gateway.door.revoke("s1");
        gateway.eventually("it is noted", |gateway| gateway.edge.metrics().revoked.load(Ordering::Relaxed) == 1).await;
        gateway.door.answer(true);
    };
    let (answer, ()) = tokio::join!(handshake, revocation);
    assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("\"revoked\""), "{answer}");
}

#[tokio::test]
async fn a_revocation_during_an_auth_message_is_not_missed() {
    let gateway = Gateway::with(EdgeConfig::default(), false).await;
    let mut client = gateway.ws("/ws").await;
    gateway.door.answer(false);
    client.send(r#"{"event":"auth","id":1,"data":{"token":"ann/s1///"}}"#).await;
    // No further message is taken meanwhile.
    client.send(SUBSCRIBE).await;
    gateway.door.asked.subscribe().wait_for(|asked| *asked == 1).await.unwrap();
    gateway.door.revoke("s1");
    gateway.eventually("it is noted", |gateway| gateway.edge.metrics().revoked.load(Ordering::Relaxed) == 1).await;
    gateway.door.answer(true);
    let refused = client.json().await;
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(1), &json!("revoked")));
    assert_eq!(closed(&mut client).await.0, 1008);
}

#[tokio::test]
async fn a_message_after_auth_waits_for_its_answer() {
    let gateway = Gateway::with(EdgeConfig::default(), false).await;
    let mut client = gateway.ws("/ws").await;
    gateway.door.answer(false);
    client.send(r#"{"event":"auth","id":0,"data":{"token":"ann/s1///60000"}}"#).await;
    client.send(SUBSCRIBE).await;
    gateway.door.asked.subscribe().wait_for(|asked| *asked == 1).await.unwrap();
    gateway.door.answer(true);
    let known = client.json().await;
    assert_eq!(known["id"], 0);
    assert!(known["data"]["expires_at"].as_str().unwrap().ends_with('Z'), "{known}");
    assert_eq!(client.json().await["id"], 1);
}

#[tokio::test]
async fn who_is_checked_again_stays_if_that_succeeds() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let mut lost = connect(&gateway, "/ws", "ann/s1///").await;
    let mut kept = connect(&gateway, "/ws", "bob/s2///").await;
    let mut unbound = connect(&gateway, "/ws", "cid////").await;
    gateway.eventually("three connections", |gateway| gateway.connections() == 3).await;
    gateway.door.forget("s1");
    gateway.door.tell(Revocation::Recheck("s2".into()));
    gateway.door.tell(Revocation::RecheckAll);
    assert_eq!(closed(&mut lost).await, (REVOKED.0, REVOKED.1.to_owned()));
    for client in [&mut kept, &mut unbound] {
        client.send(SUBSCRIBE).await;
        assert_eq!(client.json().await["event"], "reply");
    }
    // Whoever cannot be asked about goes too, but may come back.
    gateway.door.answer(false);
    let before = Instant::now();
    gateway.door.tell(Revocation::RecheckAll);
    assert_eq!(closed(&mut kept).await, (1013, "unverified".to_owned()));
    assert!(before.elapsed() >= Duration::from_secs(1), "it was given its time");
    gateway.eventually("one connection", |gateway| gateway.connections() == 1).await;
}

#[tokio::test]
async fn everybody_who_is_checked_again_includes_those_without_a_session() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let mut ended = connect(&gateway, "/ws", "ann////").await;
    let mut kept = connect(&gateway, "/ws", "bob////").await;
    gateway.eventually("two connections", |gateway| gateway.connections() == 2).await;
    gateway.door.forget("ann");
    gateway.door.tell(Revocation::RecheckAll);
    assert_eq!(closed(&mut ended).await, (REVOKED.0, REVOKED.1.to_owned()));
    kept.send(SUBSCRIBE).await;
    assert_eq!(kept.json().await["event"], "reply");
}

#[tokio::test]
async fn who_shows_nothing_may_say_so_later_unless_the_answer_is_another_no() {
    let gateway = Gateway::with(EdgeConfig::default(), false).await;
    let refused = |reason| gateway.edge.metrics().refused[reason as usize].load(Ordering::Relaxed);
    let mut client = gateway.ws("/ws").await;
    client.send(r#"{"event":"auth","id":1,"data":{"token":"ann////"}}"#).await;
    assert_eq!(client.json().await["id"], 1);
    assert_eq!((refused(Refused::Unauthenticated), refused(Refused::Identity)), (0, 0));
    assert!(gateway.ws_with("/ws", &[("x-nobody-to-ask", "1")]).await.is_err());
    assert_eq!((refused(Refused::Unauthenticated), refused(Refused::Identity)), (0, 1));
}

#[tokio::test]
async fn an_identity_that_ends_ends_the_connection_unless_it_is_refreshed() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let mut refreshed = connect(&gateway, "/ws", "ann////1500").await;
    let mut left = connect(&gateway, "/v1/live/ws", "ann////1500").await;
    let stream = stream(&gateway, "ann////1500").await;
    refreshed.send(r#"{"event":"auth.refresh","id":1,"data":{"token":"ann////60000"}}"#).await;
    assert_eq!(refreshed.json().await["id"], 1);
    assert_eq!(closed(&mut left).await, (1008, "expired".to_owned()));
    assert!(rest(stream).await.contains("\"code\":\"expired\""));
    refreshed.send(SUBSCRIBE).await;
    assert_eq!(refreshed.json().await["event"], "reply");
}

#[tokio::test]
async fn a_refresh_decides_again_what_may_be_seen() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    gateway.write(&[("1", "a", 5.0), ("2", "b", -5.0)]);
    let mut client = connect(&gateway, "/ws", "ann////").await;
    client.send(SUBSCRIBE).await;
    assert_eq!(client.json().await["event"], "reply");
    let mut list = List::default();
    let apply = |list: &mut List, delta: serde_json::Value| {
        assert_eq!(delta["data"]["seq"], list.seq + 1, "{delta}");
        for frame in delta["data"]["deltas"].as_array().unwrap() {
            list.change(frame);
            list.seq += 1;
        }
    };
    apply(&mut list, client.json().await);
    assert_eq!(list.ids, ["1", "2"]);
    let refresh = |token: &str| format!(r#"{{"event":"auth.refresh","id":2,"data":{{"token":"{token}"}}}}"#);
    for (token, expected) in [("ann///cold/", &["2"][..]), ("ann////", &["1", "2"])] {
        client.send(&refresh(token)).await;
        assert_eq!(client.json().await["event"], "reply");
        apply(&mut list, client.json().await);
        assert_eq!(list.ids, expected);
    }
    // The same again changes nothing; nor does another's token.
    client.send(&refresh("ann////")).await;
    assert_eq!(client.json().await["event"], "reply");
    client.send(&refresh("bob////")).await;
    assert_eq!(client.json().await["error"]["code"], "other_user");
    client.send(&refresh("ann///blind/")).await;
    assert_eq!(client.json().await["event"], "reply");
    let ended = client.json().await;
    assert_eq!((&ended["event"], &ended["data"]["code"]), (&json!("live.error"), &json!("forbidden")));
    gateway.eventually("no subscription", |gateway| gateway.subscriptions() == 0).await;
}

#[tokio::test]
async fn a_token_that_is_not_taken_on_binds_nothing() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let mut client = connect(&gateway, "/ws", "ann/s1///").await;
    client.send(r#"{"event":"auth.refresh","id":2,"data":{"token":"bob/s2///"}}"#).await;
    assert_eq!(client.json().await["error"]["code"], "other_user");
    client.send(r#"{"event":"auth.refresh","id":3,"data":{"token":"nobody"}}"#).await;
    assert_eq!(client.json().await["error"]["code"], "unauthenticated");
    gateway.door.revoke("s2");
    client.send(&SUBSCRIBE.replace("\"s\"", "2")).await;
    assert_eq!(client.json().await["data"]["sub"], 2);
    gateway.door.revoke("s1");
    assert_eq!(closed(&mut client).await, (REVOKED.0, REVOKED.1.to_owned()));
}

#[tokio::test]
async fn who_does_not_even_read_the_close_is_cut() {
    let gateway = Gateway::start(EdgeConfig { write_timeout: Duration::ZERO, ..EdgeConfig::default() }).await;
    let long = "x".repeat(60_000);
    let stalled = stream(&gateway, "ann/s1///").await;
    let mut silent = connect(&gateway, "/v1/live/ws", "ann/s1///").await;
    silent.send(r#"{"action":"subscribe","query":{"entity":"asset"}}"#).await;
    gateway.eventually("two subscriptions", |gateway| gateway.subscriptions() == 2).await;
    // Far more than the system's buffers take.
    for round in 0..400 {
        gateway.write(&[("1", &format!("{round}{long}"), 0.0)]);
    }
    gateway.eventually("it is slow", |gateway| gateway.slow() > 0).await;
    gateway.door.revoke("s1");
    gateway.eventually("nobody is there", |gateway| gateway.connections() == 0).await;
    drop((stalled, silent));
}

#[tokio::test]
async fn users_have_so_many_connections_and_subscriptions() {
    let user = Quota { connections: 2, subscriptions: 3, ..Quota::default() };
    let quotas = Quotas { user, ..Quotas::default() };
    let gateway = Gateway::start(EdgeConfig { quotas, ..EdgeConfig::default() }).await;
    let mut first = connect(&gateway, "/ws", "ann//acme//").await;
    let stream = stream(&gateway, "ann//acme//").await;
    let refused = gateway
        .raw("GET /v1/live?query={} HTTP/1.1\r\nhost: a\r\nconnection: close\r\nauthorization: Bearer ann//acme//\r\n\r\n")
        .await;
    assert!(refused.starts_with("HTTP/1.1 429") && refused.contains("user_connections"), "{refused}");
    assert_eq!(gateway.edge.metrics().refused[Refused::Quota as usize].load(Ordering::Relaxed), 1);
    let subscribe =
        |sub: u64| SUBSCRIBE.replace("\"s\"", &sub.to_string()).replace("\"id\":1", &format!("\"id\":{sub}"));
    for sub in [1, 2] {
        first.send(&subscribe(sub)).await;
        assert_eq!(first.json().await["id"], sub);
        assert_eq!(first.json().await["event"], "live.delta");
    }
    // The stream has the third.
    first.send(&subscribe(3)).await;
    assert_eq!(first.json().await["error"]["code"], "user_subscriptions");
    drop(stream);
    gateway.eventually("the stream is gone", |gateway| gateway.connections() == 1).await;
    first.send(&subscribe(4)).await;
    assert_eq!(first.json().await["data"]["sub"], 4);
}

#[tokio::test]
async fn a_cookie_lets_in_pages_that_are_listed_and_no_others() {
    let config = EdgeConfig {
        cookie: Some("gate".into()),
        allowed_origins: vec!["https://app.example".into()],
        ..EdgeConfig::default()
    };
    let gateway = Gateway::with(config, false).await;
    let position = async |headers: &str| {
        let head = "GET /v1/position HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncookie: gate=ann////\r\n";
        gateway.raw(&format!("{head}{headers}\r\n")).await
    };
    let answer = position("origin: https://app.example\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("access-control-allow-credentials: true\r\n"), "{answer}");
    assert!(answer.contains("access-control-allow-origin: https://app.example\r\n"), "{answer}");
    assert!(position("sec-fetch-site: same-origin\r\n").await.starts_with("HTTP/1.1 200"));
    for headers in ["origin: https://evil.example\r\n", "", "sec-fetch-site: cross-site\r\n"] {
        let answer = position(headers).await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{headers}: {answer}");
    }
    let headers = [("cookie", "gate=ann////"), ("origin", "https://app.example")];
    let mut client = gateway.ws_with("/ws", &headers).await.unwrap();
    client.send(SUBSCRIBE).await;
    assert_eq!(client.json().await["event"], "reply");
}

#[tokio::test]
async fn a_token_in_the_address_is_taken_where_that_is_switched_on() {
    for query_token in [false, true] {
        let gateway = Gateway::with(EdgeConfig { query_token, ..EdgeConfig::default() }, false).await;
        let request = "GET /v1/position?access_token=ann%2F%2F%2F%2F HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        let status = if query_token { "HTTP/1.1 200" } else { "HTTP/1.1 401" };
        assert!(gateway.raw(request).await.starts_with(status));
    }
}
