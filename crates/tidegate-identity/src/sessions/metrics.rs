//! What is counted about device sessions.

use std::sync::atomic::AtomicU64;

/// Counts and gauges of device sessions. All but the first two are of sessions in Redis.
#[derive(Debug, Default)]
pub struct SessionMetrics {
    /// Sessions held in memory now.
    pub held: AtomicU64,
    /// Sessions that were revoked.
    pub revoked: AtomicU64,
    /// Sessions that had to leave memory for others.
    pub evicted: AtomicU64,
    /// Entries read from the stream.
    pub entries: AtomicU64,
    /// Of these, malformed: `reason="malformed_event"`.
    pub malformed: AtomicU64,
    /// Sessions that could not be stored: `reason="store_failure"`.
    pub store_failures: AtomicU64,
    /// Times that entries of the stream were missed.
    pub gaps: AtomicU64,
    /// Times that the connection to the stream failed, or could not be made.
    pub disconnects: AtomicU64,
    /// 1 while nothing is missing and the stream is in reach, else 0.
    pub in_step: AtomicU64,
    /// Reads of a session's hash.
    pub lookups: AtomicU64,
    /// Of these, thrown away because the stream was faster.
    pub overtaken: AtomicU64,
    /// Of these, failed.
    pub lookup_failures: AtomicU64,
    /// Of these, of a hash that is malformed.
    pub malformed_hashes: AtomicU64,
}
