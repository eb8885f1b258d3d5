//! What one user, and one tenant, may have.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_testkit::clients::{Endpoint, LiveClient, ModelList, Transport, request, within};
use tidegate_testkit::gateway::Gateway;

use crate::fixture::{authenticated, connected, gateway, refusal, token};
use crate::transports::{event_socket, every_note, metric, refused, shows, status};

fn limited(limits: &str) -> Gateway {
    gateway(&format!("[identity.limits]\n{limits}\n"))
}

fn showing(gateway: &Gateway, token: &str) -> Endpoint {
    Endpoint::from(gateway.address()).header("authorization", &format!("Bearer {token}"))
}

async fn code(endpoint: Endpoint) -> (u16, String) {
    let headers = [("content-type", "application/json"), ("accept", "text/event-stream")];
    let body = every_note().to_string();
    refusal(&within("a refusal", request(endpoint, "POST", "/v1/live", &headers, body.as_bytes())).await.unwrap())
}

/// With two connections each of another kind; whoever is one too many is told `code`.
async fn connections(gateway: &Gateway, holders: [&str; 2], one_more: &str, expected: &str) {
    for [first, second] in [[Transport::Sse, Transport::WebSocketH2], [Transport::WebSocket, Transport::NdjsonH2]] {
        let held = shows(showing(gateway, holders[0]), first, 0).await;
        let _other = shows(showing(gateway, holders[1]), second, 0).await;
        for transport in Transport::ALL {
            assert_eq!(refused(showing(gateway, one_more), transport).await, 429, "{transport:?}");
        }
        for over_h2 in [false, true] {
            let error = event_socket(showing(gateway, one_more), over_h2).await.err().unwrap();
            assert_eq!(status(&error), 429);
        }
        assert_eq!(code(showing(gateway, one_more)).await, (429, expected.to_owned()));
        // In the first message the same is said, and nothing is gained.
        let mut socket = event_socket(gateway.address().into(), false).await.unwrap();
        assert_eq!(authenticated(&mut socket, one_more).await.error["code"], expected);
        let subscribed = socket.call("live.subscribe", json!({ "sub": 1, "query": every_note() }), "s").await;
        assert_eq!(subscribed.error["code"], "unauthenticated");
        // Room again, once the gateway has seen the end of one.
        drop(held);
        within("room for another one", async {
            while !authenticated(&mut event_socket(gateway.address().into(), false).await.unwrap(), one_more)
                .await
                .error
                .is_null()
            {}
        })
        .await;
        within("nobody there", async {
            drop(_other);
            while metric(gateway, "tidegate_connections").await > 1 {}
        })
        .await;
        drop(socket);
    }
    assert!(metric(gateway, "tidegate_connections_refused_total{reason=\"quota\"}").await >= 18);
}

#[tokio::test]
async fn a_user_has_so_many_connections() {
    let gateway = limited("user_connections = 2");
    let mara = token("mara", json!({}));
    connections(&gateway, [&mara, &token("mara", json!({ "sid": "other" }))], &mara, "user_connections").await;
    let _held = [
        shows(showing(&gateway, &mara), Transport::Sse, 0).await,
        shows(showing(&gateway, &mara), Transport::Sse, 0).await,
    ];
    for other in [token("ole", json!({})), token("mara", json!({ "tenant": "umbrella" }))] {
        shows(showing(&gateway, &other), Transport::Sse, 0).await;
    }
}

#[tokio::test]
async fn a_tenant_has_so_many_connections() {
    let gateway = limited("tenant_connections = 2");
    let [mara, ole, eve] = ["mara", "ole", "eve"].map(|user| token(user, json!({})));
    connections(&gateway, [&mara, &ole], &eve, "tenant_connections").await;
    let _held = [
        shows(showing(&gateway, &mara), Transport::Sse, 0).await,
        shows(showing(&gateway, &ole), Transport::Sse, 0).await,
    ];
    shows(showing(&gateway, &token("eve", json!({ "tenant": "umbrella" }))), Transport::Sse, 0).await;
}

async fn subscriptions(gateway: &Gateway, holders: [&str; 2], expected: &str) {
    let mut first = connected(gateway.address(), holders[0]).await;
    first.subscribe("a", &every_note(), ModelList::new()).await;
    let second = shows(showing(gateway, holders[1]), Transport::SseH2, 0).await;
    let one_more = |sub: &str| json!({ "sub": sub, "query": every_note() });
    assert_eq!(first.call("live.subscribe", one_more("b"), "b").await.error["code"], expected);
    for transport in Transport::ALL {
        let (endpoint, query) = (showing(gateway, holders[0]), every_note());
        let subscribed = LiveClient::subscribe(endpoint, transport, &query, ModelList::new());
        match within("an answer", subscribed).await {
            // A WebSocket is told in a frame.
            Ok(mut client) if transport.is_websocket() => {
                assert_eq!(client.end().await.error.as_deref(), Some(expected), "{transport:?}");
            }
            Ok(_) => panic!("{transport:?}: let in"),
            Err(error) => assert_eq!(status(&error), 429, "{transport:?}: {error}"),
        }
    }
    assert_eq!(code(showing(gateway, holders[1])).await, (429, expected.to_owned()));
    // What is given back can be had again.
    let reply: Value = first.call("live.unsubscribe", json!({ "sub": "a" }), "u").await.error;
    assert!(reply.is_null(), "{reply}");
    assert!(first.call("live.subscribe", one_more("c"), "c").await.error.is_null());
    drop(second);
    let again = async { while !first.call("live.subscribe", one_more("d"), "d").await.error.is_null() {} };
    within("room for another one", again).await;
    assert!(metric(gateway, "tidegate_session_subscriptions_refused_total").await >= 8);
}

#[tokio::test]
async fn a_user_has_so_many_subscriptions() {
    let gateway = limited("user_subscriptions = 2");
    let mara = token("mara", json!({}));
    subscriptions(&gateway, [&mara, &mara], "user_subscriptions").await;
    shows(showing(&gateway, &token("ole", json!({}))), Transport::Sse, 0).await;
}

#[tokio::test]
async fn a_tenant_has_so_many_subscriptions() {
    let gateway = limited("tenant_subscriptions = 2");
    let [mara, ole] = ["mara", "ole"].map(|user| token(user, json!({})));
    subscriptions(&gateway, [&mara, &ole], "tenant_subscriptions").await;
    shows(showing(&gateway, &token("ole", json!({ "tenant": "umbrella" }))), Transport::Sse, 0).await;
}

/// So many a second, twice as many at once: the rest waits, and nothing is lost.
async fn messages(gateway: &Gateway, tokens: [&str; 2]) {
    let mut sockets = [connected(gateway.address(), tokens[0]).await, connected(gateway.address(), tokens[1]).await];
    let begun = Instant::now();
    for id in 0..50 {
        for socket in &mut sockets {
            socket.send("nothing", Value::Null, json!(id)).await.unwrap();
        }
    }
    for socket in &mut sockets {
        for id in 0..50 {
            let reply = within("a reply", socket.next()).await.unwrap();
            assert_eq!((reply.id, &reply.error["code"]), (json!(id), &json!("unknown_event")));
        }
    }
    // 102 in all, 40 of them at once; less a second, which what begins it has ahead.
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
    assert!(metric(gateway, "tidegate_messages_paused_total{reason=\"quota\"}").await > 0);
}

#[tokio::test]
async fn messages_of_all_connections_of_a_user_are_counted_together() {
    let gateway = limited("user_messages_per_second = 20");
    let mara = token("mara", json!({}));
    messages(&gateway, [&mara, &mara]).await;
}

#[tokio::test]
async fn messages_of_all_users_of_a_tenant_are_counted_together() {
    let gateway = limited("tenant_messages_per_second = 20");
    messages(&gateway, [&token("mara", json!({})), &token("ole", json!({}))]).await;
}
