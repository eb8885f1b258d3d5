//! A connection cut after every single byte of a snapshot and of a batch, over WebSocket and over SSE: what the client
//! resumes to is the right list, and where the log can prove continuity it is not even reset.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tidegate_testkit::clients::{Entry, LiveSocket, ModelList, SseStream, page, within, write};
use tidegate_testkit::gateway::Gateway;
use tidegate_testkit::proxy::{Fault, Proxy};

use crate::fixture::{gateway, upsert};

#[derive(Debug, Clone, Copy)]
enum Transport {
    WebSocket,
    Sse,
}

impl Transport {
    /// Applies what comes until the connection is lost or the list is `page`.
    async fn follow(self, address: SocketAddr, query: &Value, list: ModelList, page: &[Entry]) -> ModelList {
        let enough = |list: &ModelList| list.check(page).is_ok();
        match self {
            Transport::WebSocket => match LiveSocket::subscribe(address, query, list.clone()).await {
                Ok(mut socket) => {
                    while !enough(&socket.list) && within("a frame or an end", socket.next()).await.is_some() {}
                    socket.list
                }
                Err(_) => list,
            },
            Transport::Sse => match SseStream::subscribe(address, query, list.clone()).await {
                Ok(mut stream) => {
                    while !enough(&stream.list) && within("a frame or an end", stream.next()).await.is_some() {}
                    stream.list
                }
                Err(_) => list,
            },
        }
    }
}

fn query() -> Value {
    json!({ "entity": "asset", "sort": [{ "column": "n" }], "limit": 4, "select": ["id", "n"] })
}

async fn filled() -> (Gateway, SocketAddr) {
    let gateway = gateway("");
    let address = gateway.address();
    write(address, "asset", (0..8).map(|n| upsert(&format!("a{n}"), "x", n * 10)).collect()).await;
    (gateway, address)
}

/// Cuts after each byte of what follows for a client that comes with `list`; each time the client returns unharmed and
/// must end with what the query gives. Gives the most resets that any of them saw.
async fn cut_everywhere(transport: Transport, address: SocketAddr, list: &ModelList) -> usize {
    let query = query();
    let (rows, _) = page(address, &query).await;
    let proxy = Proxy::start(address).await.unwrap();
    let whole = transport.follow(proxy.address(), &query, list.clone(), &rows).await;
    whole.check(&rows).unwrap();
    let bytes = proxy.bytes_to_client();
    assert!(bytes > 500, "{bytes} bytes are too few to cut");
    let mut resets = 0;
    for cut in 0..bytes {
        proxy.set(Fault::CutToClient(cut));
        let cut_off = transport.follow(proxy.address(), &query, list.clone(), &rows).await;
        let back = transport.follow(address, &query, cut_off, &rows).await;
        back.check(&rows).unwrap_or_else(|difference| panic!("{transport:?} cut after {cut} bytes: {difference}"));
        resets = resets.max(back.resets);
    }
    resets
}

async fn snapshots(transport: Transport) {
    let (_gateway, address) = filled().await;
    cut_everywhere(transport, address, &ModelList::new()).await;
}

async fn batches(transport: Transport) {
    let (_gateway, address) = filled().await;
    // Stays, so that the view and its log do.
    let mut keeper = LiveSocket::subscribe(address, &query(), ModelList::new()).await.unwrap();
    keeper.until("a snapshot", |_| true).await;
    let (before, _) = page(address, &query()).await;
    let list = transport.follow(address, &query(), ModelList::new(), &before).await;
    // Rows enter, leave, move and change within the window of four, and the cushion hands some up.
    let changes = json!([
        upsert("a0", "x", 25),
        upsert("a1", "x", 999),
        { "delete": { "id": "a2" } },
        upsert("b", "x", 5),
        upsert("a3", "y", 31),
    ]);
    let position = write(address, "asset", changes).await;
    keeper.until("the batch", |list| list.synced() >= Some(position)).await;
    assert!(keeper.list.frames > 8, "a batch of several frames: {:?}", keeper.list);
    let resets = cut_everywhere(transport, address, &list).await;
    assert_eq!(resets, 1, "the log proves continuity at every byte, so nobody is reset");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_snapshot_over_websocket() {
    snapshots(Transport::WebSocket).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_snapshot_over_sse() {
    snapshots(Transport::Sse).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_batch_over_websocket() {
    batches(Transport::WebSocket).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_batch_over_sse() {
    batches(Transport::Sse).await;
}
