//! The WebSocket transport: one byte stream, one session, one protocol.
//!
//! A plain state machine over `poll` calls. What the session holds is taken, encoded into the worker's [`Out`] and written
//! in one call; nothing more is taken until the stream has it. Its task is woken to read, and to write only after the
//! stream was full; deliveries are written by the worker's turn without waking it. Bytes are read into the worker's
//! scratch, so an idle connection has no buffer at all.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tidegate_identity::Principal;
use tidegate_model::Position;
use tidegate_session::{CloseReason, Item, Session};
use tidegate_ws::{Decoder, Error, Event, OpCode};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::time::Instant;

use self::closing::Closing;
use crate::admitted::Admitted;
use crate::config::unless_zero;
use crate::metrics::{Paused, count};
use crate::order::Order;
use crate::out::{Compression, Out, Size, Unsent};
use crate::pace::Pace;
use crate::passing::Passing;
use crate::protocol::Protocol;
use crate::rate::Bucket;
use crate::register::Register;
use crate::settling::{self, Party};
use crate::wire::Wire;

mod closing;

/// Bytes taken from a session for one write: enough to fill a socket's buffer.
const TURN_BYTES: usize = 64 << 10;
/// Bytes read at once, and so the most that is kept of a peer that is read slower than it sends.
pub(crate) const READ_BYTES: usize = 16 << 10;
/// Messages read while bytes wait for the socket.
const BLOCKED_READS_MAX: u32 = 32;
/// Bytes of pongs that wait; beyond, reading pauses.
const CONTROL_MAX: usize = 4 << 10;

/// What a worker lends to the connection that it is busy with.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) read: Box<[u8]>,
    pub(crate) out: Out,
    pub(crate) items: Vec<Item>,
    pub(crate) register: Rc<Register>,
}

impl Scratch {
    pub(crate) fn new(register: Rc<Register>) -> Self {
        Self { read: vec![0; READ_BYTES].into(), register, ..Self::default() }
    }
}

pub(crate) struct Socket {
    pub(crate) session: Session,
    wire: Wire,
    decoder: Decoder,
    protocol: Box<dyn Protocol>,
    admitted: Admitted,
    unsent: Unsent,
    /// Whether the stream has taken bytes that it has not passed on.
    needs_flush: bool,
    /// Frames that go before anything else: pongs.
    control: Vec<u8>,
    /// Bytes read and not decoded yet, because reading paused.
    held: Bytes,
    blocked_reads: u32,
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
    /// Reading pauses until then.
    read_at: Option<Instant>,
    /// Of the message that has begun.
    pace: Option<Pace>,
    ping_at: Option<Instant>,
    heard_at: Instant,
    admit_by: Option<Instant>,
    /// Credentials that came in a message are being looked at.
    passing: Option<Passing>,
    /// What the peer closed with: it gets the same back.
    peer_code: Option<u16>,
    closing: Option<Closing>,
}

/// What a call came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    Goes,
    Over,
}

impl Socket {
    pub(crate) fn new(
        session: Session,
        wire: Wire,
        decoder: Decoder,
        protocol: Box<dyn Protocol>,
        admitted: Admitted,
        early: Bytes,
        now: Instant,
    ) -> Self {
        let config = admitted.edge.config();
        let messages = config.messages_per_second;
        let bytes = u32::try_from(config.bytes_per_second).unwrap_or(u32::MAX);
        let is_paced = protocol.is_paced();
        Self {
            session,
            wire,
            decoder,
            protocol,
            unsent: Unsent::default(),
            needs_flush: false,
            control: Vec::new(),
            held: early,
            blocked_reads: 0,
            messages: is_paced.then(|| Bucket::new(messages, messages.saturating_mul(2), now)),
            bytes: (is_paced && bytes > 0).then(|| Bucket::new(bytes, bytes.max(READ_BYTES as u32), now)),
            read_at: None,
            pace: None,
            ping_at: unless_zero(config.ping_interval).map(|interval| now + interval),
            heard_at: now,
            admit_by: Some(now + config.auth_timeout),
            passing: None,
            peer_code: None,
            closing: None,
            admitted,
        }
    }

    /// Writes and reads as far as the stream goes. Called by the connection's task.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Life {
        // Bounded: a task that has had its share is called again by the runtime.
        loop {
            if self.closing.is_some() {
                return self.poll_close(cx, scratch);
            }
            let party =
                Party { session: &mut self.session, protocol: &mut *self.protocol, admitted: &mut self.admitted };
            let settled = party.settle(&mut self.passing, cx);
            let mut result = settled.and_then(|()| self.protocol.poll(&mut self.session, cx));
            result = result.and_then(|()| self.write(cx, scratch, true));
            if result.is_ok() && self.may_read() {
                result = match self.read(cx, scratch) {
                    Poll::Ready(result) => result,
                    Poll::Pending => return Life::Goes,
                };
            } else if result.is_ok() {
                return Life::Goes;
            }
            if let Err(reason) = result
                && self.close(reason, scratch) == Life::Over
            {
                return Life::Over;
            }
        }
    }

    /// Writes what was delivered, unless bytes wait for the stream already. Called by the worker's turn, with the waker of
    /// the connection's task; whether that has to be woken.
    pub(crate) fn flush(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> bool {
        if self.closing.is_some() {
            return false;
        }
        if !self.unsent.is_empty() && self.session.closed().is_none() {
            self.session.stall();
            return false;
        }
        let was_reading = self.may_read();
        match self.write(cx, scratch, false) {
            Ok(()) => !was_reading && self.may_read(),
            Err(reason) => {
                self.close(reason, scratch);
                true
            }
        }
    }

    /// Whether more can be read now. Otherwise a write, a delivery or the timer makes it so.
    fn may_read(&self) -> bool {
        let is_blocked = !self.unsent.is_empty() || !self.control.is_empty();
        self.read_at.is_none()
            && self.passing.is_none()
            && !self.session.is_reply_full()
            && !self.protocol.is_full()
            && !(is_blocked && (self.blocked_reads >= BLOCKED_READS_MAX || self.control.len() >= CONTROL_MAX))
    }

    /// Writes all that there is, or until the stream is full.
    fn write(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch, again: bool) -> Result<(), CloseReason> {
        if again
            && !self.unsent.is_empty()
            && let Poll::Ready(written) = self.unsent.poll_write(cx, &mut self.wire)
        {
            written.map_err(|error| reason_of(&error))?;
        }
        if !self.unsent.is_empty() {
            // Whoever took too little to stay may never take what waits in front of the close.
            return self.session.closed().map_or(Ok(()), Err);
        }
        while self.unsent.is_empty() && (self.session.is_ready() || !self.control.is_empty()) {
            let closed = self.encode(scratch);
            if !scratch.out.is_empty() {
                self.pass(cx, &mut scratch.out).map_err(|error| reason_of(&error))?;
            }
            closed?;
        }
        if self.unsent.is_empty() {
            self.blocked_reads = 0;
        }
        self.protocol.written(&mut self.session);
        self.flush_wire(cx)
    }

    fn flush_wire(&mut self, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        if self.needs_flush {
            match Pin::new(&mut self.wire).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.needs_flush = false,
                Poll::Ready(Err(error)) => return Err(reason_of(&error)),
                Poll::Pending => {}
            }
        }
        Ok(())
    }

    fn pass(&mut self, cx: &mut Context<'_>, out: &mut Out) -> io::Result<()> {
        let Size { messages, bytes, compressed } = out.size();
        let metrics = self.admitted.edge.metrics();
        metrics.sent(messages, bytes);
        metrics.compress(compressed);
        self.needs_flush = !matches!(self.wire, Wire::Plain(_));
        out.write(cx, &mut self.wire, &mut self.unsent)
    }

    /// Takes a turn's worth from the session. `Err` closes after what was encoded.
    fn encode(&mut self, scratch: &mut Scratch) -> Result<(), CloseReason> {
        let Scratch { out, items, .. } = scratch;
        out.begin(self.compression());
        out.frames(&std::mem::take(&mut self.control));
        items.clear();
        let closed = self.session.drain(TURN_BYTES, items);
        for item in items.drain(..) {
            self.protocol.item(item, out)?;
        }
        closed.map_or(Ok(()), Err)
    }

    fn compression(&self) -> Option<Compression> {
        let window_bits = self.decoder.deflate()?.server_window_bits;
        Some(Compression { window_bits, min_bytes: self.admitted.edge.config().compression_min_bytes })
    }

    /// Reads once and takes what came, or what had been held back.
    fn read(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<Result<(), CloseReason>> {
        let now = Instant::now();
        if !self.held.is_empty() {
            let mut held = Vec::from(std::mem::take(&mut self.held));
            return Poll::Ready(self.take(&mut held, &scratch.register, now));
        }
        if self.pace.is_none() {
            // After a pause nothing may come any more.
            self.keep_pace(0, now);
        }
        let read = std::task::ready!(poll_read(&mut self.wire, cx, &mut scratch.read));
        let count = match read {
            Ok(0) => return Poll::Ready(Err(CloseReason::Gone)),
            Ok(count) => count,
            Err(error) => return Poll::Ready(Err(reason_of(&error))),
        };
        self.heard_at = now;
        // They are taken all the same; the next ones wait.
        if let Some(until) = self.bytes.as_mut().and_then(|bucket| bucket.charge(count as u32, now)) {
            self.read_at = self.read_at.max(Some(until));
            self.admitted.edge.metrics().pause(Paused::Bytes);
        }
        let Scratch { read, register, .. } = scratch;
        Poll::Ready(self.take(&mut read[..count], register, now))
    }

    /// Decodes bytes and takes the messages in them, as far as may be read.
    fn take(&mut self, bytes: &mut [u8], register: &Rc<Register>, now: Instant) -> Result<(), CloseReason> {
        let mut at = 0;
        let mut messages = 0;
        let before = self.decoder.unfinished();
        loop {
            if messages > 0 && at < bytes.len() && !self.may_read() {
                self.held = Bytes::copy_from_slice(&bytes[at..]);
                break;
            }
            let (taken, event) = self.decoder.decode(&mut bytes[at..]).map_err(|error| refused(&error))?;
            at += taken;
            let Some(event) = event else { break };
            messages += 1;
            // The message is taken all the same; the next one waits.
            if let Some(until) = self.messages.as_mut().and_then(|bucket| bucket.charge(1, now)) {
                self.read_at = self.read_at.max(Some(until));
                self.admitted.edge.metrics().pause(Paused::Messages);
            }
            if let Some(until) = self.admitted.grip().and_then(|grip| grip.charge(now)) {
                self.read_at = self.read_at.max(Some(until));
                self.admitted.edge.metrics().pause(Paused::Quota);
            }
            self.blocked_reads += 1;
            let metrics = self.admitted.edge.metrics();
            match event {
                Event::Text(text) => {
                    count(&metrics.messages_in);
                    self.pace = None;
                    self.protocol.text(&mut self.session, text, now)?;
                    self.pass_asked(register);
                }
                Event::Binary(bytes) => {
                    count(&metrics.binary);
                    self.pace = None;
                    self.protocol.binary(&mut self.session, bytes, now)?;
                    self.pass_asked(register);
                }
                Event::Ping(payload) => tidegate_ws::write_frame(OpCode::Pong, payload, &mut self.control),
                Event::Pong(_) => {}
                Event::Close(close) => {
                    self.peer_code = close.map(|(code, _)| code);
                    return Err(CloseReason::Normal);
                }
            }
        }
        // Control frames between its fragments bring a message no further.
        self.keep_pace(self.decoder.unfinished().saturating_sub(before), now);
        Ok(())
    }

    /// Begins to find out about the credentials that the last message brought, if it did.
    fn pass_asked(&mut self, register: &Rc<Register>) {
        let ask = self.protocol.ask();
        self.passing =
            ask.map(|ask| ask.begin(self.admitted.edge.clone(), register.clone(), self.admitted.grip().cloned()));
    }

    /// A message that has begun has to go on, by so many bytes now; what is not read can't.
    fn keep_pace(&mut self, bytes: usize, now: Instant) {
        if self.decoder.unfinished() == 0 || !self.may_read() {
            self.pace = None;
        } else if let Some(pace) = &mut self.pace {
            pace.take(bytes, now);
        } else {
            let config = self.admitted.edge.config();
            self.pace = Some(Pace::new(now, config.message_timeout, config.min_bytes_per_second));
        }
    }

    /// Does what is due, given the position that everything delivered so far reaches to. Whether its task has to be woken.
    pub(crate) fn tick(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
        position: Position,
        now: Instant,
    ) -> (bool, Life) {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if let Some(closing) = &self.closing {
            return (false, if closing.by <= now { Life::Over } else { Life::Goes });
        }
        let mut reason = None;
        if is_due(unless_zero(self.admitted.edge.config().idle_timeout).map(|idle| self.heard_at + idle)) {
            reason = Some(CloseReason::IdleTimeout);
        }
        if is_due(self.pace.map(|pace| pace.deadline())) {
            reason = Some(CloseReason::TooSlow);
        }
        if is_due(self.admitted.expires_at()) {
            reason = Some(CloseReason::Expired);
        }
        if is_due(self.admit_by) {
            self.admit_by = None;
            reason = reason.or(self.protocol.missing());
        }
        if let Some(reason) = reason {
            return (true, self.close(reason, scratch));
        }
        let mut wake = false;
        if is_due(self.protocol.due()) {
            wake = true;
            if let Err(reason) = self.protocol.tick(&mut self.session, now) {
                return (true, self.close(reason, scratch));
            }
        }
        if is_due(self.read_at) {
            self.read_at = None;
            wake = true;
        }
        if is_due(self.ping_at) {
            self.ping_at = Some(now + self.admitted.edge.config().ping_interval);
            // Where bytes wait for the socket a ping would wait behind them; the write timeout watches over those.
            if self.unsent.is_empty()
                && let Err(reason) = self.ping(cx, scratch, position, now)
            {
                return (true, self.close(reason, scratch));
            }
        }
        (wake, Life::Goes)
    }

    /// A client whose rows do not change learns that it is connected, and that it misses nothing.
    fn ping(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
        position: Position,
        now: Instant,
    ) -> Result<(), CloseReason> {
        scratch.out.begin(self.compression());
        if !self.protocol.ping(&mut scratch.out, now) {
            scratch.out.frames(&tidegate_ws::header(OpCode::Ping, false, 0));
        }
        if self.session.is_caught_up() {
            self.protocol.synced(position, &mut scratch.out);
        }
        self.pass(cx, &mut scratch.out).map_err(|error| reason_of(&error))?;
        self.flush_wire(cx)
    }

    /// When [`Socket::tick`] is to be called.
    pub(crate) fn due(&self) -> Option<Instant> {
        if let Some(closing) = &self.closing {
            return Some(closing.by);
        }
        let idle = unless_zero(self.admitted.edge.config().idle_timeout).map(|idle| self.heard_at + idle);
        let pace = self.pace.map(|pace| pace.deadline());
        let times =
            [self.read_at, pace, self.ping_at, self.admit_by, self.admitted.expires_at(), idle, self.protocol.due()];
        times.into_iter().flatten().min()
    }

    /// Does what somebody else wants done on the connection.
    pub(crate) fn order(&mut self, order: Order, scratch: &mut Scratch, now: Instant) -> Life {
        if self.closing.is_some() {
            return Life::Goes;
        }
        if let Order::Refresh(expires_at_ms) = order {
            self.admitted.refresh(expires_at_ms, now);
        }
        match self.protocol.order(&mut self.session, order, now) {
            Ok(()) => Life::Goes,
            Err(reason) => self.close(reason, scratch),
        }
    }

    /// The session of one who has said who that is.
    pub(crate) fn known(&mut self) -> Option<(&mut Session, &Principal)> {
        Some((&mut self.session, &**self.admitted.pass()?.principal()))
    }

    /// Has revocations find the connection; why to close it, where one came before.
    pub(crate) fn attach(&mut self) -> Option<CloseReason> {
        settling::attach(&mut self.session, &self.admitted)
    }

    pub(crate) fn is_open(&self) -> bool {
        self.closing.is_none()
    }

    pub(crate) fn is_stranger(&self) -> bool {
        self.protocol.missing().is_some()
    }
}

fn poll_read(wire: &mut Wire, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<io::Result<usize>> {
    let mut buffer = ReadBuf::new(scratch);
    let polled = Pin::new(wire).poll_read(cx, &mut buffer);
    polled.map_ok(|()| buffer.filled().len())
}

fn reason_of(error: &io::Error) -> CloseReason {
    if error.kind() == io::ErrorKind::TimedOut { CloseReason::WriteTimeout } else { CloseReason::Gone }
}

fn refused(error: &Error) -> CloseReason {
    match error.code() {
        1007 => CloseReason::InvalidText,
        1009 => CloseReason::TooBig,
        _ => CloseReason::Protocol,
    }
}
