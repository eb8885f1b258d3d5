//! What the edge counts. Plain atomics; the binary names and exports them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_session::{CloseReason, Metrics as SessionMetrics};

/// Why a client was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refused {
    /// `max_connections` is reached.
    Capacity,
    /// So many sockets are open that not even a request was read.
    Sockets,
    /// From a page of a foreign origin.
    Origin,
    /// No or bad credentials.
    Unauthenticated,
    /// No well-formed opening handshake of a WebSocket.
    Handshake,
    /// The TLS handshake failed or took too long.
    Tls,
    /// The process is stopping.
    Draining,
}

impl Refused {
    /// All of them: the index of each is `reason as usize`.
    pub const ALL: [Self; 7] = [
        Self::Capacity,
        Self::Sockets,
        Self::Origin,
        Self::Unauthenticated,
        Self::Handshake,
        Self::Tls,
        Self::Draining,
    ];

    /// The metric label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Capacity => "capacity",
            Self::Sockets => "sockets",
            Self::Origin => "origin",
            Self::Unauthenticated => "unauthenticated",
            Self::Handshake => "handshake",
            Self::Tls => "tls",
            Self::Draining => "draining",
        }
    }
}

/// Counters of one edge.
#[derive(Debug, Default)]
pub struct EdgeMetrics {
    /// Live connections (WebSocket and SSE) that are open now.
    pub connections: AtomicU64,
    /// Live connections ever opened.
    pub connections_total: AtomicU64,
    /// Clients not let in, by [`Refused`].
    pub refused: [AtomicU64; Refused::ALL.len()],
    /// Live connections closed, by [`CloseReason`].
    pub closed: [AtomicU64; CloseReason::ALL.len()],
    /// Messages from clients.
    pub messages_in: AtomicU64,
    /// Messages and events to clients.
    pub messages_out: AtomicU64,
    /// Bytes of those, without framing.
    pub bytes_out: AtomicU64,
    /// Messages from clients that could not be understood, and unknown events and actions.
    pub malformed: AtomicU64,
    /// Binary messages, which are ignored.
    pub binary: AtomicU64,
    /// Times that a client sent faster than `messages_per_second` and reading from it paused.
    pub paused: AtomicU64,
    /// What the sessions count.
    pub sessions: Arc<SessionMetrics>,
}

impl EdgeMetrics {
    pub(crate) fn refuse(&self, reason: Refused) {
        count(&self.refused[reason as usize]);
    }

    pub(crate) fn sent(&self, messages: usize, bytes: usize) {
        self.messages_out.fetch_add(messages as u64, Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_index_the_list_of_all() {
        for (index, reason) in Refused::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }
}
