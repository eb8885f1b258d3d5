//! Counters, read by whoever exports them.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters since the start, but for the two levels of the queue.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Requests waiting, now.
    pub queue_requests: AtomicU64,
    /// Their bytes, now.
    pub queue_bytes: AtomicU64,
    /// Requests turned away because the queue was full.
    pub overloaded: AtomicU64,
    /// Requests that broke a rule.
    pub refused: AtomicU64,
    /// Requests answered from an idempotency key.
    pub replayed: AtomicU64,
    /// Requests lost to a failing store.
    pub failed: AtomicU64,
    /// Transactions committed.
    pub transactions: AtomicU64,
    /// Rows changed by them.
    pub rows: AtomicU64,
    /// Time from a request's arrival until it was durable, summed over transactions, in microseconds.
    pub latency_micros: AtomicU64,
    /// The longest of these times, in microseconds.
    pub latency_micros_max: AtomicU64,
}

impl Metrics {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn sub(counter: &AtomicU64, n: u64) {
        counter.fetch_sub(n, Ordering::Relaxed);
    }
}
