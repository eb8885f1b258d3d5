//! The engine's caps, each with its default and why.

/// Caps and sizes of one worker's engine.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Rows kept beyond the visible ones, for a window of that many rows; `None` is a quarter, at least 8. A refill
    /// starts when half of them are used up. 0 is legal: every promotion is then a scan.
    pub cushion: Option<u32>,
    /// Views, with and without subscribers. At the cap idle ones go first; then a subscribe ends with
    /// [`crate::EndReason::TooManyViews`].
    pub views: usize,
    /// Batches in one view's log. Past it a resume from before finds a `reset`.
    pub log_batches: usize,
    /// Bytes of one view's log, the rows in it included.
    pub log_bytes: usize,
    /// How long a view outlives its last subscriber: a reload of the page, a change of network.
    pub linger_ms: u64,
    /// Views that linger at once; the oldest go first.
    pub linger_views: usize,
    /// Bytes of the views that linger: state and logs, by estimate.
    pub linger_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cushion: None,
            views: 2_000_000,
            log_batches: 256,
            log_bytes: 256 * 1024,
            linger_ms: 60_000,
            linger_views: 10_000,
            linger_bytes: 64 * 1024 * 1024,
        }
    }
}

impl Limits {
    /// Rows to keep beyond a window of `limit`.
    #[must_use]
    pub fn cushion(&self, limit: u32) -> u32 {
        self.cushion.unwrap_or_else(|| (limit / 4).max(8))
    }
}
