//! Every bound and time of the edge, with its default and the reason for it.

use std::sync::Arc;
use std::time::Duration;

use tidegate_session::Limits;

use crate::{ArcpSettings, Quotas, Tls};

/// Replies as long as the longest message that may wait for one client.
const LONGEST_REPLIES: usize = 4;

/// Settings of the edge. A duration of zero turns the timeout off where its line says so.
#[derive(Debug, Clone)]
pub struct EdgeConfig {
    /// Threads that serve sockets, each with the connections that it owns. 0 = one a core, the default: a worker never waits,
    /// so more of them only take turns.
    pub workers: usize,
    /// Live connections: WebSockets, SSE and HTTP streams. Past it: `503` with `Retry-After`. Default 10,000.
    pub max_connections: usize,
    /// Sockets beyond `max_connections` that have said what they want: requests of the API, health checks, waits. Default
    /// 1,024. Past the sum of both and `max_unauthenticated` a socket gets a prepared `503`.
    pub max_other_sockets: usize,
    /// Sockets and connections that have not said yet who they are: in the TLS handshake, in the head of a first request,
    /// before a WebSocket's `auth`. Past it the one that has waited longest is cut for the one that comes, so whoever only
    /// opens sockets shuts nobody out: with 4,096 places it would take 4,096 new sockets within the round trip or two that
    /// an honest client needs, 40,000 a second at 100 ms. Shared out evenly over the workers. Default 4,096: 128 MiB where
    /// each has sent `max_header_bytes` of a head and no more.
    pub max_unauthenticated: usize,
    /// New live connections a second, and as many at once; past it `503` with `Retry-After`. The last quarter is for those
    /// who say that they resume. 0 = off. Default 10,000: everybody of a full gateway may come back within a second, and no
    /// flood of newcomers makes those who are in wait longer.
    pub connections_per_second: u32,
    /// Resident bytes of the process from which on new live connections are refused; those who resume, from a tenth above.
    /// Looked at once a second, so leave room for a second's worth: 2,000 connections that take 50 KB each are 100 MB. 0 = off,
    /// the default: only the operator knows what else the machine is for.
    pub max_memory_bytes: u64,
    /// Subscriptions of one connection. Default 256.
    pub max_subscriptions: usize,
    /// Longest message, and longest body of a live query, from a client. Four of the longest may wait as replies, but at
    /// least 256 KiB; reading pauses at half of that. Default 64 KiB, as for a query.
    pub max_message_bytes: usize,
    /// Fragments of one message. Each costs work however small it is, and none is needed for messages of 64 KiB. Default 256.
    pub max_fragments: u32,
    /// Grace of a message or body that has begun to arrive: it may be behind `min_bytes_per_second` by so much. Default 10 s,
    /// what a network may need to come back.
    pub message_timeout: Duration,
    /// What a message or body that has begun must arrive with, beyond its grace. Default 256, a tenth of the slowest mobile
    /// networks: 64 KiB may take 4 minutes, a byte a second is cut after 10 s.
    pub min_bytes_per_second: u32,
    /// Bytes of one connection that are read a second, and as many at once; more wait in the socket. 0 = off. Default 1 MiB:
    /// 16 of the longest messages.
    pub bytes_per_second: u64,
    /// Whether a WebSocket may have its messages compressed (permessage-deflate, without context takeover). A message is
    /// compressed once however many get it; at 100 MB a second of a core that is 10 microseconds a kilobyte. Only a client
    /// that asks for a window below 15 bits costs that for each of its messages. Default off: small
    /// messages gain little.
    pub compression: bool,
    /// Shorter messages are sent as they are: deflate's own tables eat what it would save. Default 256.
    pub compression_min_bytes: usize,
    /// Requests and live connections of one HTTP/2 connection at once. Default 100, what RFC 9113 asks for at least.
    pub max_streams: u32,
    /// Bytes of encoded batches that may wait for one client; also the largest snapshot. Default 1 MiB.
    pub outbox_bytes: usize,
    /// Frames that may wait for one client. Default 4096.
    pub outbox_frames: usize,
    /// For the TLS handshake. Default 10 s.
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
    /// The cookie that may carry a token. Whoever sets it must list the pages in `allowed_origins`. Default none.
    pub cookie: Option<String>,
    /// Whether a token may be in the address, as `access_token`: it ends up in logs of whatever stands in front. Default no.
    pub query_token: bool,
    /// What one user, and one tenant, may have. Default as much as there is.
    pub quotas: Quotas,
    /// Messages of one WebSocket that are read a second, twice as many at once; more wait in the socket. Default 100.
    pub messages_per_second: u32,
    /// `error` events of one connection a second; more are only counted. Default 5.
    pub errors_per_second: u32,
    /// Of agents' jobs, where they are served.
    pub arcp: Arc<ArcpSettings>,
    /// Certificate and key; absent means plain TCP. Default none.
    pub tls: Option<Tls>,
}

impl Default for EdgeConfig {
    fn default() -> Self {
        let limits = Limits::default();
        Self {
            workers: 0,
            max_connections: 10_000,
            max_other_sockets: 1_024,
            max_unauthenticated: 4_096,
            connections_per_second: 10_000,
            max_memory_bytes: 0,
            max_subscriptions: limits.subscriptions,
            max_message_bytes: 64 << 10,
            max_fragments: 256,
            message_timeout: Duration::from_secs(10),
            min_bytes_per_second: 256,
            bytes_per_second: 1 << 20,
            compression: false,
            compression_min_bytes: 256,
            max_streams: 100,
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
            cookie: None,
            query_token: false,
            quotas: Quotas::default(),
            messages_per_second: 100,
            errors_per_second: 5,
            arcp: Arc::default(),
            tls: None,
        }
    }
}

impl EdgeConfig {
    /// How many workers there will be.
    pub(crate) fn workers(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        }
    }

    pub(crate) fn limits(&self) -> Limits {
        let limits = Limits::default();
        Limits {
            // A protocol of the embedder's may answer a message with one as long.
            reply_bytes: limits.reply_bytes.max(self.max_message_bytes.saturating_mul(LONGEST_REPLIES)),
            outbox_bytes: self.outbox_bytes,
            outbox_frames: self.outbox_frames,
            subscriptions: self.max_subscriptions,
        }
    }
}

/// A timeout whose zero means never.
pub(crate) fn unless_zero(duration: Duration) -> Option<Duration> {
    (!duration.is_zero()).then_some(duration)
}
