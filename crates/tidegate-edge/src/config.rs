//! Every bound and time of the edge, with its default and the reason for it.

use std::time::Duration;

use tidegate_session::Limits;

use crate::Tls;

/// Settings of the edge. A duration of zero turns the timeout off where its line says so.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    /// Live connections (WebSocket and SSE). Past it: `503` with `Retry-After`. Default 10,000.
    pub max_connections: usize,
    /// Sockets in all, beyond `max_connections`: requests of the API, health checks, waits. Past the sum a socket gets a
    /// prepared `503`. Default 1,024.
    pub max_other_sockets: usize,
    /// Subscriptions of one connection. Default 256.
    pub max_subscriptions: usize,
    /// Longest message, and longest body of a live query, from a client. Default 64 KiB, as for a query.
    pub max_message_bytes: usize,
    /// Bytes of encoded batches that may wait for one client; also the largest snapshot. Default 1 MiB.
    pub outbox_bytes: usize,
    /// Frames that may wait for one client. Default 4096.
    pub outbox_frames: usize,
    /// For the TLS handshake, and for the body of a live query. Default 10 s.
    pub handshake_timeout: Duration,
    /// For the head of a request, the wait for the next one on a kept connection included. Default 10 s.
    pub header_timeout: Duration,
    /// Headers of one request. Default 64.
    pub max_headers: usize,
    /// Bytes of a request's head, and of hyper's buffers. Default 32 KiB, at least 8 KiB.
    pub max_header_bytes: usize,
    /// For the first message of a WebSocket: the subscribe, or the `auth` of one that came without credentials.
    /// Default 10 s.
    pub auth_timeout: Duration,
    /// Between pings. Default 25 s, below the 30 s after which the strictest proxies cut; 0 = off.
    pub ping_interval: Duration,
    /// A WebSocket from which nothing came for this long, pongs included, is closed. Default 75 s: three pings; 0 = off,
    /// and it should be off where pings are.
    pub idle_timeout: Duration,
    /// A client that takes no byte for this long while bytes wait is closed. Default 10 s; 0 = off.
    pub write_timeout: Duration,
    /// Between comments on an idle SSE stream. Default 15 s.
    pub sse_comment_interval: Duration,
    /// The time over which closes are spread on shutdown. Default 10 s.
    pub drain_window: Duration,
    /// Origins of pages that may connect beside the page's own host: `https://app.example`; `*` lets all in. Default
    /// none.
    pub allowed_origins: Vec<String>,
    /// Messages of one WebSocket that are read a second, twice as many at once; more wait in the socket. Default 100.
    pub messages_per_second: u32,
    /// `error` events of one connection a second; more are only counted. Default 5.
    pub errors_per_second: u32,
    /// Certificate and key; absent means plain TCP. Default none.
    pub tls: Option<Tls>,
}

impl Default for EdgeConfig {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            max_connections: 10_000,
            max_other_sockets: 1_024,
            max_subscriptions: limits.subscriptions,
            max_message_bytes: 64 << 10,
            outbox_bytes: limits.outbox_bytes,
            outbox_frames: limits.outbox_frames,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            max_headers: 64,
            max_header_bytes: 32 << 10,
            auth_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(25),
            idle_timeout: Duration::from_secs(75),
            write_timeout: Duration::from_secs(10),
            sse_comment_interval: Duration::from_secs(15),
            drain_window: Duration::from_secs(10),
            allowed_origins: Vec::new(),
            messages_per_second: 100,
            errors_per_second: 5,
            tls: None,
        }
    }
}

impl EdgeConfig {
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            outbox_bytes: self.outbox_bytes,
            outbox_frames: self.outbox_frames,
            subscriptions: self.max_subscriptions,
            ..Limits::default()
        }
    }
}

/// A timeout whose zero means never.
pub(crate) fn unless_zero(duration: Duration) -> Option<Duration> {
    (!duration.is_zero()).then_some(duration)
}
