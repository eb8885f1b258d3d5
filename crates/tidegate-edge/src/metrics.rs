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
    /// More than `connections_per_second` came.
    Rate,
    /// The process has grown to `max_memory_bytes`.
    Memory,
    /// Whether they may could not be found out: a key, a session or the application could not be asked.
    Identity,
    /// The user, or the tenant, has as many connections as it may.
    Quota,
    /// Cut because `max_unauthenticated` others came who had not said either who they are.
    Strangers,
}

impl Refused {
    /// All of them: the index of each is `reason as usize`.
    pub const ALL: [Self; 12] = [
        Self::Capacity,
        Self::Sockets,
        Self::Origin,
        Self::Unauthenticated,
        Self::Handshake,
        Self::Tls,
        Self::Draining,
        Self::Rate,
        Self::Memory,
        Self::Identity,
        Self::Quota,
        Self::Strangers,
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
            Self::Rate => "rate",
            Self::Memory => "memory",
            Self::Identity => "identity",
            Self::Quota => "quota",
            Self::Strangers => "strangers",
        }
    }
}

/// Why reading from a client paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Paused {
    /// It sent more than `messages_per_second`.
    Messages,
    /// It sent more than `bytes_per_second`.
    Bytes,
    /// Its user or tenant sent more than its quota.
    Quota,
}

impl Paused {
    /// All of them: the index of each is `reason as usize`.
    pub const ALL: [Self; 3] = [Self::Messages, Self::Bytes, Self::Quota];

    /// The metric label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Messages => "messages",
            Self::Bytes => "bytes",
            Self::Quota => "quota",
        }
    }
}

/// How a live connection is carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A WebSocket on a socket of its own.
    WebSocket,
    /// A WebSocket on a stream of HTTP/2.
    WebSocketH2,
    /// Server-Sent Events, over either HTTP.
    Sse,
    /// A line a frame, over either HTTP.
    Stream,
}

impl Transport {
    /// All of them: the index of each is `transport as usize`.
    pub const ALL: [Self; 4] = [Self::WebSocket, Self::WebSocketH2, Self::Sse, Self::Stream];

    /// The metric label.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::WebSocketH2 => "websocket_h2",
            Self::Sse => "sse",
            Self::Stream => "stream",
        }
    }
}

/// Counters of one edge.
#[derive(Debug, Default)]
pub struct EdgeMetrics {
    /// Live connections that are open now.
    pub connections: AtomicU64,
    /// The same by [`Transport`].
    pub connections_by: [AtomicU64; Transport::ALL.len()],
    /// Live connections ever opened.
    pub connections_total: AtomicU64,
    /// Sockets and connections that have not said yet who they are.
    pub strangers: AtomicU64,
    /// Resident bytes of the process, as of the last look; 0 where the system does not tell.
    pub memory: AtomicU64,
    /// What waits for the edge's workers now, all of them together: turns of the live engine and new sockets.
    pub queued: AtomicU64,
    /// Clients not let in, by [`Refused`].
    pub refused: [AtomicU64; Refused::ALL.len()],
    /// Live connections closed, by [`CloseReason`].
    pub closed: [AtomicU64; CloseReason::ALL.len()],
    /// Live connections, and clients on their way in, that a revocation or a failed check ended.
    pub revoked: AtomicU64,
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
    /// Times that a client sent too fast and reading from it paused, by [`Paused`].
    pub paused: [AtomicU64; Paused::ALL.len()],
    /// Messages that were compressed, each counted once however many got it.
    pub compressed: AtomicU64,
    /// What the sessions count.
    pub sessions: Arc<SessionMetrics>,
}

impl EdgeMetrics {
    pub(crate) fn refuse(&self, reason: Refused) {
        count(&self.refused[reason as usize]);
    }

    pub(crate) fn pause(&self, reason: Paused) {
        count(&self.paused[reason as usize]);
    }

    pub(crate) fn sent(&self, messages: usize, bytes: usize) {
        self.messages_out.fetch_add(messages as u64, Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn compress(&self, messages: usize) {
        if messages > 0 {
            self.compressed.fetch_add(messages as u64, Ordering::Relaxed);
        }
    }
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_the_index_of_its_counter() {
        assert!(Refused::ALL.iter().enumerate().all(|(index, reason)| *reason as usize == index));
        assert!(Paused::ALL.iter().enumerate().all(|(index, reason)| *reason as usize == index));
        assert!(Transport::ALL.iter().enumerate().all(|(index, transport)| *transport as usize == index));
    }
}
