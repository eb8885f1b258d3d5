//! The transport of those who have no WebSocket: the body of an HTTP answer, one session, one protocol.
//!
//! hyper pulls bytes from the session each time it has room, so there is no buffer in between that a slow reader could
//! fill. What the client has to say comes on requests of their own, see [`inlet`].

use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tidegate_identity::Principal;
use tidegate_model::Position;
use tidegate_session::{CloseReason, Session};
use tokio::time::Instant;

use self::body::StreamBody;
use self::inlet::Inlet;
use crate::admitted::Admitted;
use crate::config::unless_zero;
use crate::format::Format;
use crate::order::Order;
use crate::passing::Passing;
use crate::protocol::Protocol;
use crate::settling::{self, Party};
use crate::socket::{Life, Scratch};

mod body;
mod inlet;
mod opening;

pub(crate) use body::{Cut, Payload};
pub(crate) use inlet::{Letterbox, unknown};
pub(crate) use opening::{Beginning, Opening};

/// Bytes taken from a session each time the body is asked: what hyper writes at once.
const TURN_BYTES: usize = 32 << 10;
/// What a client waits before it comes back, unless told otherwise.
const RETRY_MS: u64 = 1_000;
/// For the last words to one who may not be here any more.
const CUT_TIME: Duration = Duration::from_millis(500);

/// The client's side of a stream, as its worker holds it.
pub(crate) struct Stream {
    pub(crate) session: Session,
    protocol: Box<dyn Protocol>,
    admitted: Admitted,
    format: Format,
    /// Where the client is heard on other requests, if it is.
    inlet: Option<Box<Inlet>>,
    /// Credentials that came in a message are being looked at.
    passing: Option<Passing>,
    admit_by: Option<Instant>,
    ping_at: Option<Instant>,
    /// A ping is due, and everything delivered so far reaches to there.
    ping: Option<Position>,
    /// When something has to be sent to keep the connection alive.
    quiet_by: Option<Instant>,
    is_quiet: bool,
    /// Since when something waits for hyper to ask for it.
    waiting_since: Option<Instant>,
    /// Milliseconds after which the client is to come back, once it has to go.
    leaving: Option<u64>,
    /// Since it may not be here any more: when it is cut.
    cut_at: Option<Instant>,
    has_begun: bool,
    has_ended: bool,
}

impl Stream {
    pub(crate) fn new(
        session: Session,
        protocol: Box<dyn Protocol>,
        admitted: Admitted,
        format: Format,
        now: Instant,
    ) -> Self {
        let config = admitted.edge.config();
        Self {
            session,
            protocol,
            format,
            inlet: None,
            passing: None,
            admit_by: Some(now + config.auth_timeout),
            ping_at: unless_zero(config.ping_interval).map(|interval| now + interval),
            ping: None,
            quiet_by: (!format.keep_alive().is_empty()).then(|| now + config.sse_comment_interval),
            is_quiet: false,
            waiting_since: None,
            leaving: None,
            cut_at: None,
            has_begun: false,
            has_ended: false,
            admitted,
        }
    }

    pub(crate) fn due(&self) -> Option<Instant> {
        if self.cut_at.is_some() {
            return self.cut_at;
        }
        let times = [
            self.quiet_by,
            self.ping_at,
            self.admit_by,
            self.stalls_at(),
            self.admitted.expires_at(),
            self.protocol.due(),
        ];
        times.into_iter().flatten().min()
    }

    /// When the client has left unread what waits for too long. A socket that is full is seen below; this is about one
    /// stream of an HTTP/2 connection whose others may well go on.
    fn stalls_at(&self) -> Option<Instant> {
        let since = self.waiting_since?;
        unless_zero(self.admitted.edge.config().write_timeout).map(|timeout| since + timeout)
    }

    /// Something was delivered.
    pub(crate) fn note_waiting(&mut self, now: Instant) {
        match self.waiting_since {
            None => self.waiting_since = Some(now),
            Some(_) => self.session.stall(),
        }
    }

    /// Does what is due, given the position that everything delivered so far reaches to. Whether the body has to be asked.
    pub(crate) fn tick(&mut self, position: Position, now: Instant) -> (bool, Life) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if let Some(cut_at) = self.cut_at {
            if cut_at <= now {
                self.admitted.cut();
                return (true, Life::Over);
            }
            return (false, Life::Goes);
        }
        if is_due(self.stalls_at()) {
            self.end(CloseReason::WriteTimeout);
            return (true, Life::Over);
        }
        let mut reason = is_due(self.admitted.expires_at()).then_some(CloseReason::Expired);
        if is_due(self.admit_by) {
            self.admit_by = None;
            reason = reason.or(self.protocol.missing());
        }
        let mut wake = false;
        if reason.is_none() && is_due(self.protocol.due()) {
            wake = true;
            reason = self.protocol.tick(&mut self.session, now).err();
        }
        if let Some(reason) = reason {
            self.turn_out(reason, now);
            return (true, Life::Goes);
        }
        let config = self.admitted.edge.config();
        if is_due(self.ping_at) {
            self.ping_at = Some(now + config.ping_interval);
            self.ping = Some(position);
            wake = true;
        }
        if is_due(self.quiet_by) {
            self.quiet_by = Some(now + config.sse_comment_interval);
            self.is_quiet = true;
            wake = true;
        }
        (wake, Life::Goes)
    }

    /// The session of one who has said who that is.
    pub(crate) fn known(&mut self) -> Option<(&mut Session, &Principal)> {
        Some((&mut self.session, &**self.admitted.pass()?.principal()))
    }

    /// Has revocations find the stream; why to end it, where one came before.
    pub(crate) fn attach(&mut self) -> Option<CloseReason> {
        settling::attach(&mut self.session, &self.admitted)
    }

    /// Ends it soon: of what waits only replies are sent, and the reason; whoever does not take even that is cut.
    pub(crate) fn turn_out(&mut self, reason: CloseReason, now: Instant) {
        self.session.close(reason);
        // Whoever is cut has not been told, and went for this all the same.
        self.admitted.close(reason);
        self.cut_at.get_or_insert(now + CUT_TIME);
    }

    pub(crate) fn is_staying(&self) -> bool {
        self.leaving.is_none() && self.cut_at.is_none() && !self.has_ended
    }

    pub(crate) fn is_stranger(&self) -> bool {
        self.protocol.missing().is_some()
    }

    /// Does what somebody else wants done on the connection.
    pub(crate) fn order(&mut self, order: Order, now: Instant) {
        if self.cut_at.is_some() || self.has_ended {
            return;
        }
        if let Order::Refresh(expires_at_ms) = order {
            self.admitted.refresh(expires_at_ms, now);
        }
        if let Err(reason) = self.protocol.order(&mut self.session, order, now) {
            self.turn_out(reason, now);
        }
    }

    pub(crate) fn leave(&mut self, reconnect_after_ms: u64) {
        self.leaving = Some(reconnect_after_ms);
    }

    /// What is to be sent now. Called by the task that moves the bytes.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<Option<Bytes>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        self.take(cx, scratch);
        match scratch.out.is_empty() {
            true if self.has_ended => Poll::Ready(None),
            true => Poll::Pending,
            false => Poll::Ready(Some(scratch.out.body())),
        }
    }

    /// Puts what is to be sent now into `scratch.out`: nothing, if nothing is; after the end there is nothing more.
    fn take(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) {
        scratch.out.begin_body(self.format);
        self.waiting_since = None;
        let mut aside = Vec::new();
        if !self.has_begun {
            self.has_begun = true;
            self.format.write_retry(RETRY_MS, &mut aside);
            scratch.out.frames(&aside);
        }
        let result = self.advance(cx).and_then(|()| self.write_waiting(scratch));
        let now = Instant::now();
        if let Some(after_ms) = self.leaving {
            aside.clear();
            self.format.write_retry(after_ms, &mut aside);
            scratch.out.frames(&aside);
        }
        match (result, self.leaving) {
            (Err(reason), _) => self.finish(reason, scratch),
            (Ok(()), Some(_)) => self.finish(CloseReason::GoingAway, scratch),
            (Ok(()), None) => self.keep_alive(scratch, now),
        }
        if !scratch.out.is_empty() && self.quiet_by.is_some() {
            self.quiet_by = Some(now + self.admitted.edge.config().sse_comment_interval);
        }
        let sent = scratch.out.size();
        if sent.messages > 0 {
            self.admitted.edge.metrics().sent(sent.messages, sent.bytes);
        }
    }

    /// Goes on with what is under way, unless it is over.
    fn advance(&mut self, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        if self.session.closed().is_some() {
            return Ok(());
        }
        let party = Party { session: &mut self.session, protocol: &mut *self.protocol, admitted: &mut self.admitted };
        party.settle(&mut self.passing, cx)?;
        self.protocol.poll(&mut self.session, cx)
    }

    /// Takes a turn's worth from the session. `Err` ends the stream after what was written.
    fn write_waiting(&mut self, scratch: &mut Scratch) -> Result<(), CloseReason> {
        let Scratch { out, items, .. } = scratch;
        loop {
            items.clear();
            let closed = self.session.drain(TURN_BYTES, items);
            for item in items.drain(..) {
                self.protocol.item(item, out)?;
            }
            closed.map_or(Ok(()), Err)?;
            // Nobody asks again where a protocol had nothing to say about what there was.
            if !out.is_empty() || !self.session.is_ready() {
                return Ok(());
            }
        }
    }

    fn keep_alive(&mut self, scratch: &mut Scratch, now: Instant) {
        if let Some(position) = self.ping.take() {
            self.protocol.ping(&mut scratch.out, now);
            if self.session.is_caught_up() {
                self.protocol.synced(position, &mut scratch.out);
            }
        }
        if std::mem::take(&mut self.is_quiet) && scratch.out.is_empty() {
            scratch.out.frames(self.format.keep_alive());
        }
    }

    /// The last replies, which may say why, and the protocol's last word.
    fn finish(&mut self, reason: CloseReason, scratch: &mut Scratch) {
        self.end(reason);
        // Nothing but replies is left.
        let _ = self.write_waiting(scratch);
        self.protocol.farewell(reason, &mut scratch.out);
    }

    fn end(&mut self, reason: CloseReason) {
        self.has_ended = true;
        self.session.close(reason);
        self.admitted.close(reason);
    }
}
