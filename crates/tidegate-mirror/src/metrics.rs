//! Counters, read by whoever exports them.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters since the store was opened, but for `wal_bytes` and the pending, which are levels.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Scans and pages answered.
    pub scans: AtomicU64,
    /// Of these, the ones that no index served in order: a pass over all rows concerned.
    pub passes: AtomicU64,
    /// Rows looked at by scans.
    pub rows_scanned: AtomicU64,
    /// Reads refused because too many were waiting.
    pub busy: AtomicU64,
    /// Commits.
    pub commits: AtomicU64,
    /// Commits that failed.
    pub commits_failed: AtomicU64,
    /// Sum of the time that commits took, fsync included, in microseconds.
    pub commit_micros: AtomicU64,
    /// Rows written or deleted.
    pub rows_written: AtomicU64,
    /// Size of the write-ahead log.
    pub wal_bytes: AtomicU64,
    /// Changes recorded beside copies under way, of all entities.
    pub pending_rows: AtomicU64,
    /// Bytes of these.
    pub pending_bytes: AtomicU64,
}

impl Metrics {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}
