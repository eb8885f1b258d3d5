//! Readers that stop reading: what becomes of them, and of everybody else.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_testkit::clients::{LiveClient, ModelList, Transport, within};
use tokio::task::JoinSet;

use crate::fixture::{Site, upsert};

const GOOD: usize = 200;
const TRANSACTIONS: i64 = 40;
/// Rows of the window, each so large that what a stalled reader has not taken can't hide in socket buffers.
const ROWS: i64 = 4;
const NAME_BYTES: usize = 48_000;

/// Bounds that a whole window fits and the difference between two does not, so that a slow reader is reset.
const SECTIONS: &str = "[edge]\noutbox_bytes = 262144\n";

fn wide() -> Value {
    json!({ "entity": "asset", "limit": ROWS })
}

fn narrow() -> Value {
    json!({ "entity": "asset", "limit": ROWS, "select": ["id", "n"] })
}

/// The `n`-th set of rows instead of the one before it: never the same keys twice, so no two sets have a small
/// difference.
fn turn_over(n: i64) -> Value {
    let old = (0..ROWS).map(|row| json!({ "delete": { "id": format!("{:04}-{row}", n - 1) } }));
    let new = (0..ROWS).map(|row| upsert(&format!("{n:04}-{row}"), NAME_BYTES, n));
    if n == 0 { new.collect() } else { old.chain(new).collect() }
}

/// A subscriber with hardly a buffer that never reads.
async fn stall(site: &Site, transport: Transport) -> LiveClient {
    let query = wide();
    let client = LiveClient::subscribe(site.endpoint().small(), transport, &query, ModelList::new());
    within("a subscription", client).await.unwrap_or_else(|error| panic!("{transport:?}: {error}"))
}

/// A stalled reader on each transport beside 200 good ones, spread over them: these see every transaction; it is closed,
/// and the metrics say why.
pub(crate) async fn one_stalls_and_the_others_see_everything(tls: bool, transports: &[Transport]) {
    let sections = format!("{SECTIONS}write_timeout_ms = 1000\n");
    let site = if tls { Site::tls(&sections) } else { Site::plain(&sections) };
    site.write(turn_over(0)).await;
    let mut readers = JoinSet::new();
    for index in 0..GOOD {
        let mut client = site.client(transports[index % transports.len()], &narrow()).await;
        readers.spawn(async move {
            let mut seen = Vec::new();
            while seen.last() != Some(&TRANSACTIONS) {
                let ended = within("a delta", client.next()).await.is_none();
                assert!(!ended, "a good reader was closed: {:?}", client.farewell);
                if client.list.is_whole()
                    && let Some(n) = client.list.entries()[0].row["n"].as_i64()
                    && seen.last().is_none_or(|last| *last < n)
                {
                    seen.push(n);
                }
            }
            (seen, client)
        });
    }
    let mut stalled = Vec::new();
    for transport in transports {
        stalled.push((*transport, stall(&site, *transport).await));
    }
    for n in 1..=TRANSACTIONS {
        site.write(turn_over(n)).await;
    }
    for (seen, client) in within("the good readers", readers.join_all()).await {
        assert_eq!(seen, (0..=TRANSACTIONS).collect::<Vec<_>>(), "every transaction, once, in order");
        assert_eq!(client.list.resets, 1, "a good reader was reset");
        site.assert_shows(&narrow(), &client.list).await;
    }
    let count = transports.len() as u64;
    let metrics = site
        .until_metrics("the close of the stalled readers", |metrics| {
            metrics.closed(&["write_timeout", "slow_client"]) >= count
        })
        .await;
    assert_eq!(metrics.closed(&["write_timeout", "slow_client"]), count, "only they are closed");
    let slowed = metrics.value("session_conflated_total") + metrics.value("session_resets_total");
    assert!(slowed >= count, "closed without having been conflated or reset: {slowed}");
    for (transport, mut client) in stalled {
        let _ = client.end().await;
        let last = client.list.entries().first().map(|entry| entry.row["n"].clone());
        assert_ne!(last, Some(json!(TRANSACTIONS)), "{transport:?}: everything had been sent, so nothing was tested");
    }
}

/// Too slow for every delta, but back in time: conflated or reset, never wrong.
pub(crate) async fn who_reads_again_in_time_has_the_right_list(tls: bool, transports: &[Transport]) {
    let sections = format!("{SECTIONS}write_timeout_ms = 60000\n");
    let site = if tls { Site::tls(&sections) } else { Site::plain(&sections) };
    site.write(turn_over(0)).await;
    let mut stalled = Vec::new();
    for transport in transports {
        stalled.push((*transport, stall(&site, *transport).await));
    }
    for n in 1..=TRANSACTIONS {
        site.write(turn_over(n)).await;
    }
    let before = site
        .until_metrics("a conflation for each stalled reader", |metrics| {
            metrics.value("session_conflated_total") >= transports.len() as u64
        })
        .await;
    assert_eq!(before.closed(&["write_timeout", "slow_client"]), 0);
    for (transport, mut client) in stalled {
        client
            .until("the last set", |list| list.entries().first().is_some_and(|row| row.row["n"] == TRANSACTIONS))
            .await;
        assert!(client.list.resets > 1, "{transport:?} was never reset: {:?}", client.list.resets);
        let most = ROWS as usize * 2 * TRANSACTIONS as usize;
        assert!(client.list.frames < most, "{transport:?}: {} frames, nothing was left out", client.list.frames);
        site.assert_shows(&wide(), &client.list).await;
        // Nothing is wrong with it from now on either.
        let position = site.write(json!([upsert("0000", 10, 0)])).await;
        client.until("a write after it", |list| list.synced() >= Some(position)).await;
        site.assert_shows(&wide(), &client.list).await;
        site.write(json!([{ "delete": { "id": "0000" } }])).await;
    }
    // Time for a client to think is not time for it to be closed.
    let closed = site.metrics().await.closed(&["write_timeout", "slow_client"]);
    assert_eq!(closed, 0, "closed within {:?}", Duration::from_secs(60));
}
