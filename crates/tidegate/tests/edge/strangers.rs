//! Sockets that have not said who they are (`max_unauthenticated`): past the cap the one that waited longest is cut, so
//! silent ones can't keep others out.

use std::time::{Duration, Instant};

use serde_json::json;
use tidegate_testkit::clients::raw::RawSocket;
use tidegate_testkit::clients::{Transport, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::fixture::Site;

const CAP: usize = 64;
const FLOOD: usize = 300;

/// Deadlines that nobody meets here: only the cap cuts.
fn sections() -> String {
    format!(
        "[edge]\nmax_unauthenticated = {CAP}\nheader_timeout_ms = 60000\nhandshake_timeout_ms = 60000\n\
         auth_timeout_ms = 60000\nconnections_per_second = 0\n"
    )
}

async fn a_good_client_gets_in(site: &Site) {
    let began = Instant::now();
    site.client(Transport::WebSocket, &json!({ "entity": "asset" })).await;
    site.client(Transport::Sse, &json!({ "entity": "asset" })).await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

async fn silent_sockets_keep_nobody_out(site: Site) {
    let mut flood = Vec::new();
    for _ in 0..FLOOD {
        flood.push(site.endpoint().tcp().await.unwrap());
    }
    a_good_client_gets_in(&site).await;
    // The first were cut, and it was counted.
    let mut first = flood.remove(0);
    let mut rest = Vec::new();
    let _ = within("the end of the one that waited longest", first.read_to_end(&mut rest)).await;
    let cut = site.until_metrics("the count", |metrics| metrics.refused("strangers") >= (FLOOD - CAP * 2) as u64).await;
    assert!(cut.refused("strangers") <= FLOOD as u64);
    // The last still waits: what it says now is heard.
    let last = Box::new(flood.pop().unwrap());
    let mut last = within("a handshake", site.endpoint().over("http/1.1", last)).await.unwrap();
    last.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    last.flush().await.unwrap();
    let mut answer = String::new();
    let _ = within("an answer", last.read_to_string(&mut answer)).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_sockets_keep_nobody_out_of_plain() {
    silent_sockets_keep_nobody_out(Site::plain(&sections())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_sockets_keep_nobody_out_of_tls() {
    silent_sockets_keep_nobody_out(Site::tls(&sections())).await;
}

/// Who has been let in to a WebSocket and says nothing is a stranger still.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_websockets_keep_nobody_out() {
    let site = Site::plain(&sections());
    let mut flood = Vec::new();
    for _ in 0..FLOOD {
        flood.push(RawSocket::connect(site.endpoint(), "/v1/live/ws", false).await);
    }
    a_good_client_gets_in(&site).await;
    let _ = flood[0].close_code().await;
    let mut good = site.client(Transport::WebSocket, &json!({ "entity": "asset" })).await;
    for _ in 0..FLOOD {
        flood.push(RawSocket::connect(site.endpoint(), "/v1/live/ws", false).await);
    }
    // Who has said who it is, is none, however long ago it came.
    let position = site.write(json!([{ "upsert": { "id": "a" } }])).await;
    good.until("a write", |list| list.synced() >= Some(position)).await;
}
