//! What the room counts. Plain atomics; the binary names and exports them.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters and levels of the room.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Publications taken.
    pub published: AtomicU64,
    /// Of these, such as were known by their idempotency key and not published again.
    pub repeated: AtomicU64,
    /// Publishes refused because too much waits for a worker.
    pub overloaded: AtomicU64,
    /// Items handed to workers.
    pub passed: AtomicU64,
    /// Times that a topic's subscriptions on a worker had to end because too much waited for it.
    pub gapped: AtomicU64,
    /// Topics about which something is remembered.
    pub topics: AtomicU64,
    /// Topics forgotten at the cap.
    pub topics_forgotten: AtomicU64,
    /// Bytes of histories and kept values.
    pub history_bytes: AtomicU64,
    /// Publications that left a history before their time because of the cap on bytes.
    pub history_evicted: AtomicU64,
    /// Subscribes that were recovered.
    pub recovered: AtomicU64,
    /// Subscribes that hoped to be and were not.
    pub unrecovered: AtomicU64,
    /// Members of all topics now.
    pub members: AtomicU64,
    /// Ephemeral entries now.
    pub entries: AtomicU64,
    /// Ephemeral sets taken.
    pub sets: AtomicU64,
    /// Ephemeral sets refused at a cap.
    pub sets_refused: AtomicU64,
    /// Entries cleared, by [`Cleared`](crate::Cleared).
    pub cleared: [AtomicU64; 5],
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
