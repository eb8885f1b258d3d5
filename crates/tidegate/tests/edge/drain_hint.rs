//! What a drain tells each client: when to come back, each another time; and that a few clients need no window.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use serde_json::json;
use tidegate_testkit::clients::Transport;

use crate::drain::{Left, WINDOW, drained};
use crate::fixture::Site;

/// The hint of a close reason or an event stream, in milliseconds.
fn hint(left: &Left) -> Option<u64> {
    match &left.farewell.close {
        Some((_, reason)) => reason.strip_prefix("going_away; reconnect_after_ms=")?.parse().ok(),
        None => left.farewell.retry_ms,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_is_told_when_to_come_back() {
    let left = drained(&[Transport::WebSocket, Transport::Sse]).await;
    for transport in [Transport::WebSocket, Transport::Sse] {
        let hints = left.iter().filter(|left| left.transport == transport).map(|left| {
            let hint = hint(left).unwrap_or_else(|| panic!("no hint: {:?}", left.farewell));
            assert!(hint <= 4 * WINDOW.as_millis() as u64, "{transport:?}: {hint} ms is no time to wait");
            hint
        });
        let different: HashSet<u64> = hints.collect();
        assert!(different.len() > 50, "{transport:?}: all come back together: {different:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_clients_go_at_once() {
    let mut site = Site::plain("[edge]\ndrain_window_ms = 30000\n");
    let mut clients = Vec::new();
    for transport in [Transport::WebSocket, Transport::Sse, Transport::WebSocket] {
        clients.push(site.client(transport, &json!({ "entity": "asset" })).await);
    }
    let began = Instant::now();
    site.gateway.ask_to_stop();
    for client in &mut clients {
        let farewell = client.end().await;
        assert!(farewell.close.is_some() || farewell.is_orderly, "{farewell:?}");
    }
    drop(clients);
    assert!(site.gateway.stopped().success());
    assert!(began.elapsed() < Duration::from_secs(5), "three took {:?}", began.elapsed());
}
