//! A subscription as the body of an HTTP answer: Server-Sent Events, or lines of JSON.
//!
//! hyper pulls bytes from the session each time it has room, so there is no buffer in between that a slow reader could
//! fill. One subscription a stream, for which the protocol is the query that opened it.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body as ApiBody;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tidegate_identity::Principal;
use tidegate_session::{CloseReason, Item, Session};
use tokio::time::Instant;

use crate::ApiError;
use crate::admitted::Admitted;
use crate::client::{Carrier, Client};
use crate::config::unless_zero;
use crate::frames::{self, put};
use crate::metrics::Transport;
use crate::order::Order;
use crate::passing::refusal;
use crate::socket::Life;
use crate::worker::Worker;

/// Bytes taken from a session each time the body is asked: what hyper writes at once.
const TURN_BYTES: usize = 32 << 10;
/// What a client waits before it comes back, unless told otherwise.
const RETRY_MS: u64 = 1_000;
/// For the last words to one who may not be here any more.
const CUT_TIME: Duration = Duration::from_millis(500);

/// How frames are set apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// `text/event-stream`: an event a frame, a comment to keep alive.
    Events,
    /// `application/x-ndjson`: a line a frame, an empty one to keep alive.
    Lines,
}

impl Format {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Format::Events => "text/event-stream",
            Format::Lines => "application/x-ndjson",
        }
    }

    pub(crate) fn transport(self) -> Transport {
        match self {
            Format::Events => Transport::Sse,
            Format::Lines => Transport::Stream,
        }
    }
}

/// Why a body that was let go has no orderly end.
#[derive(Debug, thiserror::Error)]
#[error("the client took nothing for too long")]
struct Cut;

/// The client's side of a stream, as its worker holds it.
pub(crate) struct Stream {
    pub(crate) session: Session,
    admitted: Admitted,
    format: Format,
    /// When something has to be sent to keep the connection alive.
    quiet_by: Instant,
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
    pub(crate) fn new(session: Session, admitted: Admitted, format: Format, now: Instant) -> Self {
        let quiet_by = now + admitted.edge.config().sse_comment_interval;
        Self {
            session,
            admitted,
            format,
            quiet_by,
            is_quiet: false,
            waiting_since: None,
            leaving: None,
            cut_at: None,
            has_begun: false,
            has_ended: false,
        }
    }

    pub(crate) fn due(&self) -> Instant {
        let others = [self.stalls_at(), self.cut_at, self.admitted.expires_at()];
        others.into_iter().flatten().fold(self.quiet_by, Instant::min)
    }

    /// When the client has left unread what waits for too long. A socket that is full is seen below; this is about one
    /// stream of an HTTP/2 connection whose others may well go on.
    fn stalls_at(&self) -> Option<Instant> {
        let since = self.waiting_since?;
        unless_zero(self.admitted.edge.config().write_timeout).map(|timeout| since + timeout)
    }

    /// Something was delivered.
    pub(crate) fn note_waiting(&mut self, now: Instant) {
        self.waiting_since.get_or_insert(now);
    }

    /// Whether the body has to be asked.
    pub(crate) fn tick(&mut self, now: Instant) -> (bool, Life) {
        if self.cut_at.is_some_and(|at| at <= now) {
            self.admitted.cut();
            return (true, Life::Over);
        }
        if self.cut_at.is_none() && self.admitted.expires_at().is_some_and(|at| at <= now) {
            self.turn_out(CloseReason::Expired, now);
            return (true, Life::Goes);
        }
        if self.stalls_at().is_some_and(|at| at <= now) {
            self.end(CloseReason::WriteTimeout);
            return (true, Life::Over);
        }
        let is_due = self.quiet_by <= now;
        if is_due {
            self.is_quiet = true;
            self.quiet_by = now + self.admitted.edge.config().sse_comment_interval;
        }
        (is_due, Life::Goes)
    }

    /// The session of one who has said who that is.
    pub(crate) fn known(&mut self) -> Option<(&mut Session, &Principal)> {
        Some((&mut self.session, &**self.admitted.pass()?.principal()))
    }

    /// Has revocations find the stream; why to end it, where one came before.
    pub(crate) fn attach(&self) -> Option<CloseReason> {
        let pass = self.admitted.pass()?;
        pass.attach(self.session.client());
        pass.ended()
    }

    /// Ends it for one who may not be here any more: nothing that waits is sent but the reason, and whoever does not take even
    /// that is cut.
    pub(crate) fn turn_out(&mut self, reason: CloseReason, now: Instant) {
        self.session.close(reason);
        // Whoever is cut has not been told, and went for this all the same.
        self.admitted.close(reason);
        self.cut_at.get_or_insert(now + CUT_TIME);
    }

    pub(crate) fn is_staying(&self) -> bool {
        self.leaving.is_none() && !self.has_ended
    }

    /// Does what somebody else wants done: it only lets itself be dismissed.
    pub(crate) fn order(&mut self, order: &Order) {
        if matches!(order, Order::Dismiss { .. }) {
            self.turn_out(CloseReason::Dismissed, Instant::now());
        }
    }

    pub(crate) fn leave(&mut self, reconnect_after_ms: u64) {
        self.leaving = Some(reconnect_after_ms);
    }

    /// What is to be sent now. Empty if nothing is; after the end there is nothing more.
    fn take(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        self.waiting_since = None;
        if !self.has_begun {
            self.has_begun = true;
            self.write_retry(RETRY_MS, &mut out);
        }
        self.write_waiting(&mut out);
        if let Some(reconnect_after_ms) = self.leaving {
            self.write_retry(reconnect_after_ms, &mut out);
            self.end(CloseReason::GoingAway);
        }
        if !out.is_empty() {
            self.quiet_by = Instant::now() + self.admitted.edge.config().sse_comment_interval;
        } else if self.is_quiet {
            out.extend_from_slice(match self.format {
                Format::Events => b":\n\n",
                Format::Lines => b"\n",
            });
        }
        self.is_quiet = false;
        out
    }

    fn write_retry(&self, after_ms: u64, out: &mut Vec<u8>) {
        if self.format == Format::Events {
            put(out, format_args!("retry: {after_ms}\n\n"));
        }
    }

    fn write_waiting(&mut self, out: &mut Vec<u8>) {
        let (start, mut frames) = (out.len(), 0);
        let mut items = Vec::new();
        let closed = self.session.drain(TURN_BYTES, &mut items);
        for item in items {
            frames += self.write_item(item, out);
        }
        if let Some(reason) = closed {
            if self.cut_at.is_some() {
                self.write_error(&refusal(reason).into(), out);
                frames += 1;
            }
            self.end(reason);
        }
        if frames > 0 {
            self.admitted.edge.metrics().sent(frames, out.len() - start);
        }
    }

    /// How many frames were written.
    fn write_item(&mut self, item: Item, out: &mut Vec<u8>) -> usize {
        match item {
            Item::Frames { seq, view, batch, from, .. } => {
                let body = batch.body(|batch| frames::encode(&view, batch));
                match self.format {
                    Format::Events => frames::write_events(&view, &batch, body, from, seq, out),
                    Format::Lines => frames::write_lines(body, from, seq, out),
                }
            }
            Item::Synced { position, .. } => {
                let mut data = Vec::new();
                put(&mut data, format_args!("{{\"op\":\"synced\",\"position\":\"{position}\"}}"));
                self.write_aside("synced", &data, out);
                1
            }
            Item::Ended(_, reason) => {
                self.write_error(&ApiError::from(&reason), out);
                self.end(CloseReason::Ended);
                1
            }
            Item::TooLarge(_, bytes) => {
                self.write_error(&ApiError::too_large(bytes), out);
                self.end(CloseReason::Refused);
                1
            }
            // One live query a stream.
            Item::Started(..) | Item::Reply(_) | Item::Publication { .. } | Item::Dropped(..) | Item::Gapped(_) => 0,
        }
    }

    /// An error in mid-stream.
    fn write_error(&self, error: &ApiError, out: &mut Vec<u8>) {
        let mut data = b"{\"op\":\"error\",".to_vec();
        error.write_parts_retryable(&mut data);
        data.push(b'}');
        self.write_aside("error", &data, out);
    }

    /// What is no frame of the list.
    fn write_aside(&self, name: &str, data: &[u8], out: &mut Vec<u8>) {
        if self.format == Format::Events {
            put(out, format_args!("event: {name}\ndata: "));
        }
        out.extend_from_slice(data);
        out.extend_from_slice(if self.format == Format::Events { b"\n\n" } else { b"\n" });
    }

    fn end(&mut self, reason: CloseReason) {
        self.has_ended = true;
        self.session.close(reason);
        self.admitted.close(reason);
    }
}

/// A stream's bytes, as hyper asks for them. Dropping it ends the client.
pub(crate) struct StreamBody {
    worker: Rc<Worker>,
    client: Rc<Client>,
}

impl StreamBody {
    pub(crate) fn new(worker: Rc<Worker>, client: Rc<Client>) -> Self {
        Self { worker, client }
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        self.worker.leave(&self.client);
    }
}

/// The body of any answer of the edge.
pub(crate) enum Payload {
    /// Of the API, or a whole one.
    Api(ApiBody),
    /// Of a stream.
    Stream(StreamBody),
}

impl Body for Payload {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let client = match self.get_mut() {
            Payload::Api(body) => return Pin::new(body).poll_frame(cx),
            Payload::Stream(body) => &body.client,
        };
        client.set_waker(cx.waker());
        let Carrier::Stream(stream) = &mut *client.carrier.borrow_mut() else {
            return Poll::Ready(Some(Err(axum::Error::new(Cut))));
        };
        if stream.has_ended {
            return Poll::Ready(None);
        }
        let bytes = stream.take();
        match bytes.is_empty() {
            true if stream.has_ended => Poll::Ready(None),
            true => Poll::Pending,
            false => Poll::Ready(Some(Ok(Frame::data(bytes.into())))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Payload::Api(body) if body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Payload::Api(body) => body.size_hint(),
            Payload::Stream(_) => SizeHint::default(),
        }
    }
}
