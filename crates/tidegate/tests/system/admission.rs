//! Past the cap a connect gets 503 with `Retry-After`, costs no memory, and disturbs nobody who is in.

use std::net::SocketAddr;

use serde_json::json;
use tidegate_testkit::clients::{LiveSocket, ModelList, Response, request, within, write};
use tokio::task::JoinSet;

use crate::fixture::{assert_shows, gateway, upsert};

const CAP: usize = 50;
const CONNECTS: usize = 10_000;
const AT_ONCE: usize = 50;
/// What the allocator may keep of it all.
const GROWTH_KIB_MAX: u64 = 16 * 1024;

async fn knock(address: SocketAddr) -> Response {
    let headers = [
        ("upgrade", "websocket"),
        ("connection", "upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    within("an answer", request(address, "GET", "/v1/live/ws", &headers, b"")).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_connects_past_the_cap() {
    let gateway = gateway(&format!("[edge]\nmax_connections = {CAP}"));
    let address = gateway.address();
    write(address, "asset", json!([upsert("a", "x", 0)])).await;
    let query = json!({ "entity": "asset" });
    let mut inside = Vec::new();
    for _ in 0..CAP {
        let mut socket = LiveSocket::subscribe(address, &query, ModelList::new()).await.unwrap();
        socket.until("a snapshot", |_| true).await;
        inside.push(socket);
    }
    // The first refusals warm up what is allocated once.
    knock_often(address, AT_ONCE * 4).await;
    let before = gateway.resident_kib();
    knock_often(address, CONNECTS).await;
    if let (Some(before), Some(after)) = (before, gateway.resident_kib()) {
        assert!(after < before + GROWTH_KIB_MAX, "{before} KiB grew to {after} KiB");
    }
    let position = write(address, "asset", json!([upsert("a", "x", 1)])).await;
    for socket in &mut inside {
        socket.until("the write", |list| list.synced() >= Some(position)).await;
        assert_shows(address, &query, &socket.list).await;
    }
    // One goes, another one fits.
    inside.pop();
    let wait = async {
        loop {
            if let Ok(socket) = LiveSocket::subscribe(address, &query, ModelList::new()).await {
                return socket;
            }
        }
    };
    within("room", wait).await.until("a snapshot", |_| true).await;
}

async fn knock_often(address: SocketAddr, times: usize) {
    for _ in 0..times / AT_ONCE {
        let mut knocks = JoinSet::new();
        for _ in 0..AT_ONCE {
            knocks.spawn(knock(address));
        }
        for answer in knocks.join_all().await {
            assert_eq!(answer.status, 503);
            let seconds: u64 = answer.header("retry-after").expect("a Retry-After").parse().unwrap();
            assert!((5..=10).contains(&seconds), "{seconds}");
        }
    }
}
