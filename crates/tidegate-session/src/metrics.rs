//! What sessions count.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of all sessions of a process.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Subscriptions that exist now.
    pub subscriptions: AtomicU64,
    /// Subscribes refused because the session had as many as it may.
    pub subscriptions_refused: AtomicU64,
    /// Times that a subscription's queued batches were dropped, to be replaced by their net difference.
    pub conflated: AtomicU64,
    /// Times that a slow subscription was answered with a fresh snapshot instead.
    pub resets: AtomicU64,
    /// Subscriptions ended because a snapshot alone exceeds the outbox.
    pub too_large: AtomicU64,
    /// Publications that slow clients were not sent, because their namespace has the older or all but the newest dropped.
    pub publications_dropped: AtomicU64,
    /// Subscriptions to topics that ended because something was missing.
    pub gapped: AtomicU64,
    /// Times that a connection fell behind the events of its durable session, which it is then given from the store.
    pub events_behind: AtomicU64,
    /// Sessions closed because they could not take even a snapshot.
    pub slow_clients: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
