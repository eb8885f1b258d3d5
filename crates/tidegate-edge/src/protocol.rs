//! The seam between what clients say and how it travels.

use std::sync::Arc;

use tidegate_identity::{Principal, Refusal};
use tidegate_model::Position;
use tidegate_session::{CloseReason, Item, Session};
use tokio::time::Instant;

use crate::out::Out;
use crate::passing::Ask;

/// A protocol over WebSocket messages: messages to calls on the session, the session's items to messages. It knows no
/// socket, belongs to one worker, and does not wait.
pub trait Protocol {
    /// Takes a text message; answers go through the session.
    ///
    /// # Errors
    /// Why to close the connection.
    fn text(&mut self, session: &mut Session, text: &str, now: Instant) -> Result<(), CloseReason>;

    /// Takes a binary message. By default it is ignored; whatever is done with it, it is counted.
    ///
    /// # Errors
    /// Why to close the connection.
    fn binary(&mut self, _session: &mut Session, _bytes: &[u8], _now: Instant) -> Result<(), CloseReason> {
        Ok(())
    }

    /// Writes an item as messages.
    ///
    /// # Errors
    /// Why to close the connection, after these messages.
    fn item(&mut self, item: Item, out: &mut Out) -> Result<(), CloseReason>;

    /// Writes, on an idle connection whose client misses nothing, how far its subscriptions are. By default nothing.
    fn synced(&mut self, _position: Position, _out: &mut Out) {}

    /// Why to close if, `auth_timeout` after the start, nothing more has been said; `None` if enough was. Connections of
    /// clients that have yet to say more are capped apart.
    fn missing(&self) -> Option<CloseReason> {
        None
    }

    /// Credentials that the last message brought. Until they are settled no further message is taken.
    fn ask(&mut self) -> Option<Ask> {
        None
    }

    /// What came of those: who is there from now on, or a refusal, after which everything is as it was.
    ///
    /// # Errors
    /// Why to close the connection.
    fn settled(
        &mut self,
        _session: &mut Session,
        _settled: Result<&Arc<Principal>, Refusal>,
    ) -> Result<(), CloseReason> {
        Ok(())
    }
}
