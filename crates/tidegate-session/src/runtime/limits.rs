//! How much durable sessions may hold.

use crate::durable::Caps;

/// Bounds of durable sessions.
#[derive(Debug, Clone, Copy)]
pub struct SessionLimits {
    /// Milliseconds that a session can be gone on with after its last connection. Default 10 minutes.
    pub window_ms: u64,
    /// Of a session's sequence. Default 10,000 events and 16 MiB: what is not acknowledged, or inside the window.
    pub caps: Caps,
    /// Durable sessions in all; a new one beyond is refused. Default 100,000.
    pub sessions: usize,
    /// Durable sessions of one owner. Default 20,000.
    pub sessions_per_owner: usize,
    /// Jobs that one session watches beside its own. Default 1,000.
    pub subscriptions: usize,
    /// Submits of one session that wait for credentials of an earlier one. Default 64. More are refused, each in its turn; of sixteen
    /// times as many the connection is refused.
    pub waiting: usize,
    /// Unacknowledged events from which on a client that acknowledges is told to slow down, once. Default 1,000.
    pub lag: u64,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self {
            window_ms: 600_000,
            caps: Caps { events: 10_000, bytes: 16 << 20 },
            sessions: 100_000,
            sessions_per_owner: 20_000,
            subscriptions: 1_000,
            waiting: 64,
            lag: 1_000,
        }
    }
}
