//! How much one session may hold.

/// Bounds of one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of encoded batches that may wait. Also the largest snapshot a client can be sent. Events of a durable session
    /// may take as much again; one alone may be larger. Default 1 MiB.
    pub outbox_bytes: usize,
    /// Frames that may wait, and as many events; one batch alone may have more. Default 4096.
    pub outbox_frames: usize,
    /// Bytes of replies that may wait, beside the batches; one that brings a recovery may need most of it. Default 1 MiB: a
    /// transport stops reading commands at half of it, so only a client that does not read its answers gets there, and is
    /// closed.
    pub reply_bytes: usize,
    /// Subscriptions. Default 256.
    pub subscriptions: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { outbox_bytes: 1 << 20, outbox_frames: 4096, reply_bytes: 1 << 20, subscriptions: 256 }
    }
}
