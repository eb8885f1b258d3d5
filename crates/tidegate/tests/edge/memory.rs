//! Readers that stall, many of them and with rows as large as one likes: what the gateway holds for them is what its
//! configuration says.

use serde_json::{Value, json};
use tidegate_testkit::clients::{LiveClient, ModelList, Transport, within};

use crate::fixture::{Site, upsert};

const STALLED: u64 = 200;
/// Queries, so that not all share the bytes of one view: without a bound each would hold some 20 MB.
const QUERIES: u64 = 40;
const OUTBOX_BYTES: u64 = 128 * 1024;
const LOG_BYTES: u64 = 256 * 1024;
/// For the store's cache, a write under way in every room, and the allocator.
const ELSEWHERE_BYTES: u64 = 64 << 20;
const TRANSACTIONS: i64 = 100;
const NAME_BYTES: usize = 48_000;

fn query(index: u64) -> Value {
    json!({ "entity": "asset", "limit": 2, "where": [{ "column": "kind", "op": "ne", "value": format!("{index}") }] })
}

/// Each time other rows, so that no difference is small.
fn turn_over(n: i64) -> Value {
    let old = (0..2).map(|row| json!({ "delete": { "id": format!("{:04}-{row}", n - 1) } }));
    let new = (0..2).map(|row| upsert(&format!("{n:04}-{row}"), NAME_BYTES, n));
    if n == 0 { new.collect() } else { old.chain(new).collect() }
}

async fn stalled_readers_have_a_bound(transports: &[Transport]) {
    let sections = format!(
        "[edge]\noutbox_bytes = {OUTBOX_BYTES}\nwrite_timeout_ms = 60000\n[live]\nlog_bytes = {LOG_BYTES}\ncushion = 0\n"
    );
    let site = Site::plain(&sections);
    site.write(turn_over(0)).await;
    let mut stalled = Vec::new();
    for index in 0..STALLED {
        let transport = transports[index as usize % transports.len()];
        let query = query(index % QUERIES);
        let client = LiveClient::subscribe(site.endpoint().small(), transport, &query, ModelList::new());
        stalled.push(within("a subscription", client).await.unwrap_or_else(|error| panic!("{transport:?}: {error}")));
    }
    let before = site.gateway.resident_kib();
    for n in 1..=TRANSACTIONS {
        site.write(turn_over(n)).await;
    }
    site.until_metrics("readers that are slow", |metrics| metrics.value("session_resets_total") >= STALLED / 2).await;
    // A reader has an outbox, what the socket did not take of the item before, and both may be a snapshot.
    let bound = STALLED * 2 * OUTBOX_BYTES + QUERIES * 2 * LOG_BYTES + ELSEWHERE_BYTES;
    let (Some(before), Some(after)) = (before, site.gateway.resident_kib()) else { return };
    assert!(after < before + bound / 1024, "{before} KiB grew to {after} KiB, past {} KiB", bound / 1024);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_stalled_readers_over_http1() {
    stalled_readers_have_a_bound(&[Transport::WebSocket, Transport::Sse]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_stalled_readers_over_every_transport() {
    stalled_readers_have_a_bound(&Transport::ALL).await;
}
