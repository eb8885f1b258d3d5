//! What is counted of the application.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counts of handlers and of the endpoint.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// Handlers begun.
    pub(crate) handled: AtomicU64,
    /// Of these, such as panicked.
    pub(crate) panicked: AtomicU64,
    /// Of these, such as took too long.
    pub(crate) timed_out: AtomicU64,
    /// Events that found as many handlers running as may, and connects or disconnects that found too many waiting.
    pub(crate) handlers_busy: AtomicU64,
    /// Questions to the endpoint, without repetitions.
    pub(crate) asked: AtomicU64,
    /// Of these, such as were answered as agreed, with a yes or a no.
    pub(crate) answered: AtomicU64,
    /// Asked once more after a connection that failed.
    pub(crate) repeated: AtomicU64,
    /// Questions not asked because as many were under way as may.
    pub(crate) turned_away: AtomicU64,
    /// By [`Failed`].
    pub(crate) failed: [AtomicU64; Failed::ALL.len()],
}

/// Why a question was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failed {
    /// Not in time.
    Late,
    /// Longer than an answer may be.
    TooLong,
    /// Another status than 200.
    Status,
    /// Nothing came, or what is not HTTP.
    Connection,
    /// Not what was agreed.
    Malformed,
}

impl Failed {
    pub(crate) const ALL: [Self; 5] = [Self::Late, Self::TooLong, Self::Status, Self::Connection, Self::Malformed];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::TooLong => "too_long",
            Self::Status => "status",
            Self::Connection => "connection",
            Self::Malformed => "malformed",
        }
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Relaxed);
}
