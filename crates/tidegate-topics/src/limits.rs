//! How much may be held.

/// Bounds of the room. Each says what happens at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one publication's data; longer is refused. Default 64 KiB.
    pub payload_bytes: usize,
    /// Topics about which something is remembered. Past it the one that was used longest ago and has no subscriber, no
    /// members and no values of keys is forgotten, one without history before others: it has another epoch if it comes back.
    /// Where all are in use, what would have to be remembered of another is refused. Default 1,000,000.
    pub topics: usize,
    /// Bytes of all histories and kept values. Past it the oldest publications of the topic that is published to go first,
    /// then other topics'. A value never gives way: one for which there is no room is refused. Default 256 MiB.
    pub history_bytes: usize,
    /// Keys of one topic that keeps values. Past it another key is refused. Default 10,000.
    pub values: usize,
    /// Idempotency keys of one topic; past it the oldest is forgotten. Default 1,000.
    pub idempotency_keys: usize,
    /// How long one is remembered, in milliseconds. Default 5 minutes.
    pub idempotency_ms: u64,
    /// Keys that one client may own. Default 256.
    pub owned_keys: usize,
    /// Bytes of an ephemeral payload. Default 16 KiB.
    pub ephemeral_bytes: usize,
    /// Ephemeral entries of all topics; past it a new one is refused. Default 1,000,000.
    pub entries: usize,
    /// Bytes of the payloads of all entries; past it one that would add to them is refused. Default 256 MiB.
    pub entries_bytes: usize,
    /// Publications that wait for one worker. Past it publishing is refused, and what cannot be refused ends the
    /// subscriptions of its topic there with `insufficient_state`. Default 65,536.
    pub passed_queued: usize,
    /// Bytes of those. Default 64 MiB.
    pub passed_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            payload_bytes: 64 << 10,
            topics: 1_000_000,
            history_bytes: 256 << 20,
            values: 10_000,
            idempotency_keys: 1_000,
            idempotency_ms: 300_000,
            owned_keys: 256,
            ephemeral_bytes: 16 << 10,
            entries: 1_000_000,
            entries_bytes: 256 << 20,
            passed_queued: 65_536,
            passed_bytes: 64 << 20,
        }
    }
}
