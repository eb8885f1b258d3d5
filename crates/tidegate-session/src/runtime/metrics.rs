//! What the runtime counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of the runtime. Gauges are as after the last commit.
#[derive(Debug, Default)]
pub struct RuntimeMetrics {
    /// Sessions that began.
    pub begun: AtomicU64,
    /// Sessions that were gone on with.
    pub resumed: AtomicU64,
    /// Wishes for a session that were refused.
    pub refused: AtomicU64,
    /// Sessions whose window was over.
    pub ended: AtomicU64,
    /// Connections that fell behind what is kept of their session.
    pub outrun: AtomicU64,
    /// Submits that were refused.
    pub rejected: AtomicU64,
    /// Commands that found no room.
    pub busy: AtomicU64,
    /// Gauge: durable sessions.
    pub sessions: AtomicU64,
    /// Gauge: those with a connection.
    pub attached: AtomicU64,
    /// Gauge: jobs that have not ended.
    pub live: AtomicU64,
    /// Gauge: jobs that are remembered, ended ones included.
    pub kept: AtomicU64,
    /// Gauge: credentials that are yet to be revoked.
    pub unrevoked: AtomicU64,
    /// Entries of logs that were stored.
    pub entries: AtomicU64,
    /// Commits, and the microseconds that they took.
    pub commits: AtomicU64,
    /// See there.
    pub commit_us: AtomicU64,
    /// Commits that failed and were tried again.
    pub commit_failures: AtomicU64,
    /// Revocations that failed and are tried again.
    pub revoke_failures: AtomicU64,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
