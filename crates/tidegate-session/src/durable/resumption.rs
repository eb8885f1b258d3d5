//! Who may go on with a session, and until when.
//!
//! A welcome brings a new token, and can be lost on its way. So the token that was shown stays good until the client is heard, which
//! proves that it has the new one. Looking at a token changes nothing: a failed attempt burns none.

use subtle::ConstantTimeEq;

/// SHA-256 of a token.
type Hash = [u8; 32];

/// The tokens of a session, and the window in which it can be gone on with.
pub struct Resumption {
    token: Hash,
    /// The one shown last, until its client is heard.
    previous: Option<Hash>,
    window_ms: u64,
    /// When the last connection left; `None` while one has the session.
    left_ms: Option<u64>,
}

impl Resumption {
    /// Of a session that a connection has just begun.
    #[must_use]
    pub fn new(token: Hash, window_ms: u64) -> Self {
        Self { token, previous: None, window_ms, left_ms: None }
    }

    /// As it was stored. No connection has outlived the restart, for which no client is to blame: the window begins anew.
    #[must_use]
    pub fn restored(token: Hash, previous: Option<Hash>, window_ms: u64, now_ms: u64) -> Self {
        Self { token, previous, window_ms, left_ms: Some(now_ms) }
    }

    /// Whether this is the current token or the one before. Takes as long whatever is shown.
    #[must_use]
    pub fn show(&self, token: &Hash) -> bool {
        let previous = self.previous.as_ref().unwrap_or(&self.token);
        (self.token.ct_eq(token) | previous.ct_eq(token)).into()
    }

    /// After a resume that `shown` opened: `next` is in the welcome, and `shown` stays good until that is known to have arrived.
    pub fn rotate(&mut self, next: Hash, shown: &Hash) {
        self.token = next;
        self.previous = Some(*shown);
    }

    /// The connection that has the session sent something, so its welcome has arrived. Whether a token ended thereby, which
    /// is to be stored.
    pub fn heard(&mut self) -> bool {
        self.previous.take().is_some()
    }

    /// The connection that had the session is gone. Said again, it does not prolong the window.
    pub fn left(&mut self, now_ms: u64) {
        self.left_ms.get_or_insert(now_ms);
    }

    /// A connection has the session.
    pub fn taken(&mut self) {
        self.left_ms = None;
    }

    /// When the session ends, in milliseconds since 1970; `None` while a connection has it.
    #[must_use]
    pub fn ends_at(&self) -> Option<u64> {
        self.left_ms.map(|left_ms| left_ms.saturating_add(self.window_ms))
    }

    /// What to store: the current token's hash, and that of the one before while it is good.
    #[must_use]
    pub fn tokens(&self) -> (&Hash, Option<&Hash>) {
        (&self.token, self.previous.as_ref())
    }
}

#[cfg(test)]
mod tests;
