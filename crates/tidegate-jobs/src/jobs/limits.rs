//! What bounds jobs.

/// How long a job waits for a worker that had it, unless it is said otherwise, in milliseconds.
pub const WORKER_GRACE_MS: u64 = 60_000;

/// Bounds of jobs. Everything that a client or an agent can make grow has one.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Jobs that have not ended. One more submit is refused with `INTERNAL_ERROR`, retryable.
    pub live: usize,
    /// The same of one owner.
    pub live_of_owner: usize,
    /// Jobs of which anything is kept. Past it those that ended first are forgotten, whoever still holds them.
    pub kept: usize,
    /// Bytes of all logs together. Past it the same.
    pub kept_bytes: usize,
    /// Entries of one job's log. Past it the oldest go, an eighth at once.
    pub log_entries: usize,
    /// Bytes of one job's log. Past it the same.
    pub log_bytes: usize,
    /// Bytes of a result that is streamed. Past it the job fails.
    pub result_bytes: u64,
    /// How long a job that has ended is listed and its log is kept, in milliseconds.
    pub window_ms: u64,
    /// How long an idempotency key is known, in milliseconds from the acceptance.
    pub key_ms: u64,
    /// How long after a restart a job waits for a worker that had it, in milliseconds: as long as without one
    /// ([`Agents::worker_grace`](crate::agents::Agents::worker_grace)).
    pub worker_grace_ms: u64,
    /// How often a job may be delegated on.
    pub depth: u8,
    /// Live jobs that one job has delegated.
    pub children: usize,
    /// Whether a lease without `model.use` allows no model; otherwise it allows all.
    pub require_model_use: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            live: 10_000,
            live_of_owner: 1_000,
            kept: 100_000,
            // On disk; in memory an entry counts for four bytes.
            kept_bytes: 8 << 30,
            // After a trim still more than a session keeps, so that no session loses what it has a number for.
            log_entries: 12_000,
            log_bytes: 20 << 20,
            result_bytes: 1 << 30,
            // As long as a session can be resumed.
            window_ms: 600_000,
            key_ms: 24 * 3_600_000,
            worker_grace_ms: WORKER_GRACE_MS,
            depth: 8,
            children: 64,
            require_model_use: false,
        }
    }
}
