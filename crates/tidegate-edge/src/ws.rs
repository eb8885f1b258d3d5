//! The WebSocket transport: moves messages between one socket and one session, whatever protocol they speak.
//!
//! One task, one loop. What the session holds is taken, written and flushed as one; nothing more is taken until the
//! socket has it. While a flush is under way only a few messages are read, so a peer that sends and does not read can't
//! make answers pile up. Reading also pauses where the peer sends faster than it may.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::Request;
use axum::http::HeaderValue;
use axum::response::Response;
use futures_util::task::AtomicWaker;
use futures_util::{Sink as _, SinkExt as _, Stream as _, StreamExt as _};
use tidegate_model::Position;
use tidegate_session::{CloseReason, Item, Session};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_util::sync::WaitForCancellationFuture;
use tokio_websockets::{CloseCode, Error, Message};

use crate::config::unless_zero;
use crate::edge::{Admitted, Link};
use crate::metrics::{Paused, count};
use crate::rate::Bucket;
use crate::upgrade::Socket;
use crate::{Edge, upgrade};

/// Bytes taken from a session for one flush: enough to fill a socket's buffer.
const TURN_BYTES: usize = 64 << 10;
/// Messages read while a flush is under way; each may be a ping whose answer has to wait.
const UNFLUSHED_READS_MAX: u32 = 32;
/// Until the timer looks again where nothing is due at all.
const QUIET: Duration = Duration::from_secs(3600);
/// For the closing handshake.
const CLOSE_TIME: Duration = Duration::from_secs(2);
/// Bytes read and thrown away after the close, so that the close is not lost to a reset.
const LINGER_BYTES: usize = 1 << 20;

/// What a protocol wants sent: whole text messages.
pub(crate) type Messages = Vec<Vec<u8>>;

/// Messages to calls on the session, items to messages: a protocol knows no socket and does not wait.
pub(crate) trait Protocol: Send {
    /// Takes a message; answers go through the session. `Err` closes.
    fn message(&mut self, session: &Session, text: &str, now: Instant) -> Result<(), CloseReason>;

    /// Writes an item as messages. `Err` closes, after them.
    fn item(&mut self, item: Item, out: &mut Messages) -> Result<(), CloseReason>;

    /// Writes, on an idle connection, how far its subscriptions are.
    fn synced(&mut self, position: Position, out: &mut Messages);

    /// Why to close if, `auth_timeout` after the start, nothing more has been said; `None` if enough was.
    fn missing(&self) -> Option<CloseReason>;
}

/// Answers the handshake; what becomes of the socket then is the protocol's.
pub(crate) fn switch<P: Protocol + 'static>(
    edge: &Edge,
    link: &Arc<Link>,
    request: Request,
    accept: HeaderValue,
    protocol: P,
    admitted: Admitted,
) -> Response {
    upgrade::switch(edge, link, request, accept, move |socket| {
        let waker = Arc::new(AtomicWaker::new());
        let session = admitted.edge.session(&waker);
        run(socket, session, waker, protocol, admitted)
    })
}

/// Serves one socket to its end.
async fn run<P: Protocol>(
    socket: Socket,
    session: Session,
    waker: Arc<AtomicWaker>,
    protocol: P,
    mut admitted: Admitted,
) {
    let mut connection = Connection::new(socket, session, protocol, &admitted);
    let link = admitted.link.clone();
    let drain = pin!(link.drain.cancelled());
    let reason = connection.serve(&admitted, &waker, drain).await;
    connection.session.close(reason);
    admitted.close(reason);
    // The last replies, which may say why.
    let _ = connection.send(&admitted);
    connection.finish(reason).await;
}

enum Event {
    Flushed(Result<(), Error>),
    Ready,
    Received(Option<Result<Message, Error>>),
    Time,
    Draining,
}

struct Connection<P> {
    socket: Socket,
    session: Session,
    protocol: P,
    is_flushing: bool,
    unflushed_reads: u32,
    reads: Bucket,
    /// Reading pauses until then.
    read_at: Option<Instant>,
    ping_at: Option<Instant>,
    idle_at: Option<Instant>,
    admit_by: Option<Instant>,
    drain_at: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl<P: Protocol> Connection<P> {
    fn new(socket: Socket, session: Session, protocol: P, admitted: &Admitted) -> Self {
        let config = admitted.edge.config();
        let now = Instant::now();
        let rate = config.messages_per_second;
        let after = |duration| unless_zero(duration).map(|duration| now + duration);
        let mut connection = Self {
            socket,
            session,
            protocol,
            is_flushing: false,
            unflushed_reads: 0,
            reads: Bucket::new(rate, rate.saturating_mul(2), now),
            read_at: None,
            ping_at: after(config.ping_interval),
            idle_at: after(config.idle_timeout),
            admit_by: Some(now + config.auth_timeout),
            drain_at: None,
            timer: Box::pin(sleep_until(now)),
        };
        connection.set_timer();
        connection
    }

    async fn serve(
        &mut self,
        admitted: &Admitted,
        waker: &AtomicWaker,
        mut drain: Pin<&mut WaitForCancellationFuture<'_>>,
    ) -> CloseReason {
        loop {
            let event = std::future::poll_fn(|cx| {
                waker.register(cx.waker());
                if self.drain_at.is_none() && drain.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Event::Draining);
                }
                self.poll(cx)
            });
            let result = match event.await {
                Event::Flushed(Ok(())) => {
                    self.is_flushing = false;
                    self.unflushed_reads = 0;
                    Ok(())
                }
                Event::Flushed(Err(error)) => Err(reason_of(&error)),
                Event::Ready => self.send(admitted),
                Event::Received(received) => self.receive(admitted, received),
                Event::Time => self.tick(admitted),
                Event::Draining => {
                    // Not all at once: so that not all come back at once.
                    let window = admitted.edge.drain_window();
                    self.drain_at = Some(Instant::now() + window.mul_f64(rand::random_range(0.0..=1.0)));
                    self.set_timer();
                    Ok(())
                }
            };
            if let Err(reason) = result {
                return reason;
            }
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if self.is_flushing {
            if let Poll::Ready(flushed) = Pin::new(&mut self.socket).poll_flush(cx) {
                return Poll::Ready(Event::Flushed(flushed));
            }
            if self.session.closed().is_some() {
                return Poll::Ready(Event::Ready);
            }
        } else if self.session.is_ready() {
            return Poll::Ready(Event::Ready);
        }
        if self.timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Event::Time);
        }
        let is_full = self.unflushed_reads >= UNFLUSHED_READS_MAX || self.session.is_reply_full();
        if self.read_at.is_none()
            && !(self.is_flushing && is_full)
            && let Poll::Ready(received) = Pin::new(&mut self.socket).poll_next(cx)
        {
            return Poll::Ready(Event::Received(received));
        }
        Poll::Pending
    }

    /// Writes what the session holds, up to a turn's worth, and begins the flush.
    fn send(&mut self, admitted: &Admitted) -> Result<(), CloseReason> {
        let drained = self.session.drain(TURN_BYTES);
        let mut messages = Messages::new();
        let mut result = Ok(());
        for item in drained.items {
            result = self.protocol.item(item, &mut messages);
            if result.is_err() {
                break;
            }
        }
        admitted.edge.metrics().sent(messages.len(), messages.iter().map(Vec::len).sum());
        for message in messages {
            self.start(Message::text(message))?;
        }
        result.and(drained.closed.map_or(Ok(()), Err))
    }

    fn start(&mut self, message: Message) -> Result<(), CloseReason> {
        Pin::new(&mut self.socket).start_send(message).map_err(|error| reason_of(&error))?;
        self.is_flushing = true;
        Ok(())
    }

    fn receive(&mut self, admitted: &Admitted, received: Option<Result<Message, Error>>) -> Result<(), CloseReason> {
        let message = match received {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(reason_of(&error)),
            None => return Err(CloseReason::Gone),
        };
        let now = Instant::now();
        let (config, metrics) = (admitted.edge.config(), admitted.edge.metrics());
        self.idle_at = unless_zero(config.idle_timeout).map(|idle| now + idle);
        if self.is_flushing {
            self.unflushed_reads += 1;
        }
        // The message is taken all the same; the next one waits.
        self.read_at = self.reads.take(now).err();
        if self.read_at.is_some() {
            metrics.pause(Paused::Messages);
            self.set_timer();
        }
        if message.is_close() {
            return Err(CloseReason::Normal);
        }
        if message.is_ping() {
            // The library has queued the pong.
            self.is_flushing = true;
        }
        if message.is_binary() {
            count(&metrics.binary);
        }
        if !message.is_text() {
            return Ok(());
        }
        // Not `as_text`: the library misses a code point that an empty last fragment cuts off, and trusts itself.
        let text = std::str::from_utf8(message.as_payload()).map_err(|_| CloseReason::InvalidText)?;
        count(&metrics.messages_in);
        self.protocol.message(&self.session, text, now)
    }

    fn tick(&mut self, admitted: &Admitted) -> Result<(), CloseReason> {
        let now = Instant::now();
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if is_due(self.drain_at) {
            return Err(CloseReason::GoingAway);
        }
        if is_due(self.idle_at) {
            return Err(CloseReason::IdleTimeout);
        }
        if is_due(self.admit_by) {
            self.admit_by = None;
            if let Some(reason) = self.protocol.missing() {
                return Err(reason);
            }
        }
        if is_due(self.read_at) {
            self.read_at = None;
        }
        if is_due(self.ping_at) {
            self.ping_at = Some(now + admitted.edge.config().ping_interval);
            // Where bytes wait for the socket a ping would wait behind them; the write timeout watches over those.
            if !self.is_flushing {
                self.start(Message::ping(""))?;
                self.tell_position(admitted)?;
            }
        }
        self.set_timer();
        Ok(())
    }

    /// A client whose rows do not change learns that it misses nothing. The position is read first: whatever was
    /// delivered up to it is in the session by then.
    fn tell_position(&mut self, admitted: &Admitted) -> Result<(), CloseReason> {
        let position = admitted.edge.live().position();
        let mut messages = Messages::new();
        if self.session.is_caught_up() {
            self.protocol.synced(position, &mut messages);
        }
        messages.into_iter().try_for_each(|message| self.start(Message::text(message)))
    }

    fn set_timer(&mut self) {
        let times = [self.read_at, self.ping_at, self.idle_at, self.admit_by, self.drain_at];
        let next = times.into_iter().flatten().min();
        self.timer.as_mut().reset(next.unwrap_or_else(|| Instant::now() + QUIET));
    }

    /// Sends the close and waits a little for the peer's.
    async fn finish(mut self, reason: CloseReason) {
        if matches!(reason, CloseReason::WriteTimeout) {
            return;
        }
        let closing = async {
            if let Ok(code) = CloseCode::try_from(reason.code()) {
                // It fails where a close is on its way already, which the loop below flushes.
                let _ = self.socket.send(Message::close(Some(code), reason.name())).await;
            }
            while let Some(Ok(_)) = self.socket.next().await {}
            let mut io = self.socket.into_inner();
            io.shutdown().await?;
            let mut scratch = [0; 2048];
            let mut left = LINGER_BYTES;
            while left > 0 {
                match io.read(&mut scratch).await? {
                    0 => break,
                    read => left = left.saturating_sub(read),
                }
            }
            std::io::Result::Ok(())
        };
        // Whatever comes of it, the socket is dropped now.
        let _ = timeout(CLOSE_TIME, closing).await;
    }
}

fn reason_of(error: &Error) -> CloseReason {
    match error {
        Error::Protocol(_) => CloseReason::Protocol,
        Error::PayloadTooLong { .. } => CloseReason::TooBig,
        Error::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => CloseReason::WriteTimeout,
        _ => CloseReason::Gone,
    }
}
