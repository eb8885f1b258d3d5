//! What the engine counts. Plain atomics: the binary exports them.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that may be read while it changes.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    pub(crate) fn sub(&self, by: u64) {
        self.0.fetch_sub(by, Ordering::Relaxed);
    }

    /// The value now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counts over all workers since the start; those named as gauges go down too.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Gauge: views, lingering ones included.
    pub views: Counter,
    /// Gauge: subscriptions.
    pub subscriptions: Counter,
    /// Transactions folded in, once per worker.
    pub transactions: Counter,
    /// Batches recorded.
    pub batches: Counter,
    /// Deltas in them.
    pub deltas: Counter,
    /// Scans asked for: snapshots, refills.
    pub scans: Counter,
    /// Scans whose page did not fit any more and that were made again.
    pub scans_repeated: Counter,
    /// Views read anew because their entity was reloaded.
    pub views_reloaded: Counter,
    /// Lingering views that a reload let go.
    pub idle_reloaded: Counter,
    /// Resumes that were proven.
    pub resumed: Counter,
    /// Snapshots where a client had hoped to go on.
    pub resets: Counter,
    /// Re-anchors.
    pub reanchors: Counter,
    /// Subscribers that got the net of what they were too slow for.
    pub conflated: Counter,
    /// Subscribes refused at the cap on views.
    pub views_refused: Counter,
    /// Commands refused because a worker's queue was full.
    pub busy: Counter,
}
