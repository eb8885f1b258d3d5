//! The seam between what clients say and how it travels.

use std::borrow::Cow;
use std::sync::Arc;
use std::task::Context;

use tidegate_identity::{Principal, Refusal};
use tidegate_model::Position;
use tidegate_session::{CloseReason, Item, Session};
use tokio::time::Instant;

use crate::order::Order;
use crate::out::Out;
use crate::passing::Ask;

/// A protocol over whole messages, whatever carries them: messages to calls on the session, the session's items to messages. It knows no
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

    /// Whether no further message is to be taken now. Whoever says so has the connection's task woken when that changes. By default
    /// one is always taken.
    fn is_full(&self) -> bool {
        false
    }

    /// Whether its messages are read no faster than the configuration says. By default they are.
    fn is_paced(&self) -> bool {
        true
    }

    /// Writes an item as messages.
    ///
    /// # Errors
    /// Why to close the connection, after these messages.
    fn item(&mut self, item: Item, out: &mut Out) -> Result<(), CloseReason>;

    /// Called when what waited was written, or as much of it as goes: to ask for what comes next. By default nothing.
    fn written(&mut self, _session: &mut Session) {}

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

    /// What came of those: who is there from now on, or a refusal. Whether the connection is theirs now; if not, everything is
    /// as it was.
    ///
    /// # Errors
    /// Why to close the connection.
    fn settled(
        &mut self,
        _session: &mut Session,
        _settled: Result<&Arc<Principal>, Refusal>,
    ) -> Result<bool, CloseReason> {
        Ok(false)
    }

    /// Goes on with answers that it waits for, and has the connection's task woken when one comes. Called whenever that task
    /// runs.
    ///
    /// # Errors
    /// Why to close the connection.
    fn poll(&mut self, _session: &mut Session, _cx: &mut Context<'_>) -> Result<(), CloseReason> {
        Ok(())
    }

    /// Does what somebody else in the process wants done on this connection. By default it only lets itself be dismissed.
    ///
    /// # Errors
    /// Why to close the connection.
    fn order(&mut self, _session: &mut Session, order: Order, _now: Instant) -> Result<(), CloseReason> {
        match order {
            Order::Dismiss { .. } => Err(CloseReason::Dismissed),
            _ => Ok(()),
        }
    }

    /// When [`Protocol::tick`] is to be called, if ever.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// Does what is due.
    ///
    /// # Errors
    /// Why to close the connection.
    fn tick(&mut self, _session: &mut Session, _now: Instant) -> Result<(), CloseReason> {
        Ok(())
    }

    /// Writes the protocol's own ping; whether it has one. Otherwise the transport's is sent.
    fn ping(&mut self, _out: &mut Out, _now: Instant) -> bool {
        false
    }

    /// Writes what a client is told at the end where there is no close to say it: in the body of an HTTP answer. By default
    /// nothing.
    fn farewell(&mut self, _reason: CloseReason, _out: &mut Out) {}

    /// What a close says: the code, and at most 123 bytes. `reconnect_after_ms` is given where the process ends.
    fn goodbye(&mut self, reason: CloseReason, reconnect_after_ms: Option<u64>) -> (u16, Cow<'static, str>) {
        let text = match reconnect_after_ms {
            Some(after) => format!("{}; reconnect_after_ms={after}", reason.name()).into(),
            None => reason.name().into(),
        };
        (reason.code(), text)
    }
}
