//! One thread of a crowd: an event loop over thousands of sockets.
//!
//! A connection is a few dozen bytes; all read into one buffer and are timed once a read. Events are edge-triggered: a
//! read that fills the buffer is followed by another.

use std::io::{ErrorKind, Read as _};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crossbeam_channel::Receiver;
use mio::{Events, Interest, Poll, Token};
use socket2::SockRef;
use tidegate_ws::{OpCode, write_masked};

use super::board::{Board, End, Samples, Tally, add, read};
use super::connection::{Broken, Came, MASK, Wire};
use super::marker::{Clock, Mark, Marks};
use super::opening::{BACK_NANOS, Opening};
use super::order::Order;
use super::plan::Plan;
use super::socket::{Conn, Phase, connect};

/// One buffer for all.
const READ_BYTES: usize = 256 << 10;
/// Of the loop's waker.
pub(super) const WAKE: Token = Token(usize::MAX);
/// Longest wait for events while something is to be done by the clock.
const TICK: Duration = Duration::from_millis(1);
/// And while nothing is.
const IDLE_TICK: Duration = Duration::from_millis(100);
/// For a connection to become ready.
const READY_NANOS_MAX: u64 = 60_000_000_000;
/// Between looks for connections that take too long.
const SWEEP_NANOS: u64 = 1_000_000_000;

pub(super) struct Engine {
    plan: Arc<Plan>,
    board: Arc<Board>,
    clock: Clock,
    orders: Receiver<Order>,
    poll: Poll,
    conns: Vec<Option<Conn>>,
    free: Vec<usize>,
    opening: Opening,
    echo: Option<f64>,
    next_echo: f64,
    echo_at: usize,
    samples: Samples,
    tally: Tally,
    marks: Marks,
}

/// What a read came to.
#[derive(Default)]
struct Turn {
    refused: Option<(u16, Option<u64>)>,
    shaken: bool,
    ready: bool,
    echoed: u32,
}

impl Engine {
    pub(super) fn new(
        plan: Arc<Plan>,
        board: Arc<Board>,
        clock: Clock,
        (poll, orders): (Poll, Receiver<Order>),
        (first, stride): (u32, u32),
    ) -> Self {
        Self {
            plan,
            board,
            clock,
            orders,
            poll,
            conns: Vec::new(),
            free: Vec::new(),
            opening: Opening::new(first, stride),
            echo: None,
            next_echo: 0.0,
            echo_at: 0,
            samples: Samples::default(),
            tally: Tally::default(),
            marks: Marks::new(),
        }
    }

    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(4096);
        let mut buffer = vec![0; READ_BYTES];
        let mut swept = 0;
        loop {
            let busy = self.opening.is_busy() || self.echo.is_some_and(|rate| rate > 0.0);
            match self.poll.poll(&mut events, Some(if busy { TICK } else { IDLE_TICK })) {
                Err(error) if error.kind() != ErrorKind::Interrupted => {
                    return self.board.trouble(|| format!("the event loop failed: {error}"));
                }
                _ => {}
            }
            for event in &events {
                if event.token() != WAKE {
                    self.serve(event.token().0, event.is_writable(), event.is_read_closed(), &mut buffer);
                }
            }
            while let Ok(order) = self.orders.try_recv() {
                if matches!(order, Order::End) {
                    return;
                }
                self.obey(order, &mut buffer);
            }
            let now = self.clock.nanos();
            self.open(now);
            self.echo(now);
            if now - swept > SWEEP_NANOS {
                swept = now;
                self.sweep(now);
            }
            self.board.add(&std::mem::take(&mut self.tally));
        }
    }

    fn obey(&mut self, order: Order, buffer: &mut [u8]) {
        match order {
            Order::Open { count, at_once, per_second } => {
                self.opening.open(count, at_once, per_second, self.clock.nanos());
            }
            Order::BringBack(count) => self.opening.bring_back(count, self.clock.nanos()),
            Order::Hold => self.opening.hold(),
            Order::Drop { share, back } => self.drop_share(share, back),
            Order::Stall { share } => {
                let stalled = self.share(share);
                for at in 0..self.conns.len() {
                    let Some(conn) = &mut self.conns[at] else { continue };
                    let was = std::mem::replace(&mut conn.stalled, stalled.contains(&at));
                    if was && !conn.stalled {
                        self.serve(at, true, true, buffer);
                    }
                }
            }
            Order::Echo(rate) => {
                self.echo = rate;
                self.next_echo = self.clock.nanos() as f64;
                if rate == Some(0.0) {
                    for at in 0..self.conns.len() {
                        self.send_echo(at);
                    }
                }
            }
            // Whoever asked may be gone.
            Order::Take(reply) => drop(reply.send(std::mem::take(&mut self.samples))),
            Order::End => {}
        }
    }

    /// Places of that share of the ready ones, evenly chosen.
    fn share(&self, share: f64) -> std::collections::BTreeSet<usize> {
        let ready = self.conns.iter().enumerate();
        let ready = ready.filter(|(_, conn)| conn.as_ref().is_some_and(|conn| conn.phase == Phase::Ready));
        let mut due = 0.0;
        let chosen = ready.filter(|_| {
            due += share;
            let is_due = due >= 1.0 - 1e-9;
            due -= f64::from(u8::from(is_due));
            is_due
        });
        chosen.map(|(at, _)| at).collect()
    }

    fn drop_share(&mut self, share: f64, back: Option<Duration>) {
        let now = self.clock.nanos();
        let places = self.share(share);
        let count = places.len().max(1) as u64;
        for (nth, at) in places.into_iter().enumerate() {
            let Some(conn) = self.remove(at) else { continue };
            if nth % 2 == 0 {
                // Closing with time 0 to linger is a reset.
                let _ = SockRef::from(&conn.stream).set_linger(Some(Duration::ZERO));
            }
            match back {
                Some(over) => self.opening.comes_back(conn.number, now + over.as_nanos() as u64 * nth as u64 / count),
                None => self.opening.stays_away(conn.number),
            }
        }
    }

    fn remove(&mut self, at: usize) -> Option<Conn> {
        let mut conn = self.conns.get_mut(at)?.take()?;
        let _ = self.poll.registry().deregister(&mut conn.stream);
        self.free.push(at);
        match conn.phase {
            Phase::Ready => drop(self.board.ready.fetch_sub(1, Relaxed)),
            Phase::Closing => {}
            Phase::Connecting | Phase::Asked | Phase::Subscribing => self.opening.under_way -= 1,
        }
        Some(conn)
    }

    fn open(&mut self, now: u64) {
        for number in self.opening.returning(now) {
            self.begin(number, now);
        }
        while let Some(number) = self.opening.next(now) {
            self.begin(number, now);
        }
    }

    fn begin(&mut self, number: u32, now: u64) {
        add(&self.board.begun, 1);
        let at = self.free.pop().unwrap_or_else(|| {
            self.conns.push(None);
            self.conns.len() - 1
        });
        let stream = connect(self.plan.address, number).and_then(|mut stream| {
            let both = Interest::READABLE | Interest::WRITABLE;
            self.poll.registry().register(&mut stream, Token(at), both).map(|()| stream)
        });
        match stream {
            Ok(stream) => {
                self.opening.under_way += 1;
                let (wire, phase, unsent) = (Wire::new(), Phase::Connecting, Vec::new());
                self.conns[at] =
                    Some(Conn { stream, wire, number, phase, stalled: false, since: now, begun: now, unsent });
            }
            Err(error) => {
                self.free.push(at);
                add(&self.board.failed, 1);
                self.board.trouble(|| format!("connect: {error}"));
                self.opening.comes_back(number, now + BACK_NANOS);
            }
        }
    }

    fn serve(&mut self, at: usize, is_writable: bool, is_closed: bool, buffer: &mut [u8]) {
        let Some(conn) = self.conns.get_mut(at).and_then(Option::as_mut) else { return };
        if is_writable {
            let flushed = if conn.phase == Phase::Connecting {
                conn.phase = Phase::Asked;
                let request = self.plan.request(conn.number);
                conn.send(&request)
            } else {
                conn.send(&[])
            };
            if let Err(error) = flushed {
                return self.end(at, &error.to_string());
            }
        }
        loop {
            let Some(conn) = self.conns.get_mut(at).and_then(Option::as_mut) else { return };
            if conn.stalled || conn.phase == Phase::Connecting {
                return;
            }
            match conn.stream.read(buffer) {
                Ok(0) => return self.end(at, "the server ended the connection"),
                Ok(read) => {
                    if !self.received(at, &mut buffer[..read]) {
                        return;
                    }
                    // A short read has emptied the socket; only its end may still be there.
                    if read < READ_BYTES && !is_closed {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.end(at, &error.to_string()),
            }
        }
    }

    /// Whether the connection is still there.
    fn received(&mut self, at: usize, input: &mut [u8]) -> bool {
        let now = self.clock.nanos();
        let published = read(&self.board.published);
        let Some(conn) = self.conns.get_mut(at).and_then(Option::as_mut) else { return false };
        if conn.phase == Phase::Closing {
            return true;
        }
        let (plan, tally, samples, marks) = (&self.plan, &mut self.tally, &mut self.samples, &self.marks);
        let mut turn = Turn::default();
        let before = tally.messages;
        let mut phase = conn.phase;
        let mut out = Vec::new();
        let fed = conn.wire.feed(plan.transport, input, &mut out, |came| match came {
            Came::Head { status, retry_after } if !plan.accepts(status) => turn.refused = Some((status, retry_after)),
            Came::Head { .. } => {
                turn.shaken = true;
                phase = if plan.ready.is_none() { Phase::Ready } else { Phase::Subscribing };
            }
            Came::Payload(bytes, _) if phase != Phase::Ready => {
                let ready = plan.ready.as_deref().unwrap_or_default();
                if memchr::memmem::find(bytes, ready.as_bytes()).is_some() {
                    phase = Phase::Ready;
                }
            }
            Came::Payload(bytes, count) => {
                tally.messages += u64::from(count);
                tally.bytes += bytes.len() as u64;
                for Mark { number, sent } in marks.find(bytes) {
                    let took = now.saturating_sub(sent);
                    if plan.echo.is_some() {
                        turn.echoed += 1;
                        samples.trips.push(took);
                    } else if u64::from(number) < published {
                        tally.delivered += 1;
                        if plan.keeps {
                            samples.of(number as usize).push((took / 1_000) as u32);
                        }
                    }
                }
            }
        });
        tally.reads += u64::from(tally.messages > before);
        if let Some(refusal) = turn.refused {
            self.refused(at, refusal);
            return false;
        }
        turn.ready = phase == Phase::Ready && conn.phase != Phase::Ready;
        conn.phase = phase;
        if turn.shaken {
            add(&self.board.shaken, 1);
            samples.handshakes.push(now - conn.since);
            conn.since = now;
            if let Some(hello) = plan.hello(conn.number) {
                write_masked(OpCode::Text, hello.as_bytes(), MASK, &mut out);
            }
        }
        if turn.ready {
            add(&self.board.ready, 1);
            self.opening.under_way -= 1;
            samples.readies.push(now - conn.since);
            samples.opened.push(now - conn.begun);
        }
        let sent = if out.is_empty() { Ok(()) } else { conn.send(&out) };
        match (fed, sent) {
            (Err(Broken::Closed(why)), _)
                if conn.phase == Phase::Ready && plan.end.is_some_and(|reason| why.contains(reason)) =>
            {
                (conn.phase, conn.since) = (Phase::Closing, now);
                self.board.ready.fetch_sub(1, Relaxed);
                out.clear();
                write_masked(OpCode::Close, &[], MASK, &mut out);
                // Where the server is gone already, the next read says so.
                let _ = conn.send(&out);
                return true;
            }
            (Err(Broken::Closed(why)), _) => self.end(at, &format!("closed by the server with {why}")),
            (Err(broken), _) => self.end(at, &broken.to_string()),
            (_, Err(error)) => self.end(at, &error.to_string()),
            (Ok(()), Ok(())) => {
                if self.echo == Some(0.0) && (turn.echoed > 0 || turn.ready) {
                    self.send_echo(at);
                }
                return true;
            }
        }
        false
    }

    fn refused(&mut self, at: usize, (status, retry_after): (u16, Option<u64>)) {
        add(&self.board.refused, 1);
        add(&self.board.told_to_wait, u64::from(retry_after.is_some()));
        self.board.trouble(|| format!("refused with status {status}"));
        let Some(conn) = self.remove(at) else { return };
        let wait = retry_after.map_or(BACK_NANOS, |seconds| seconds.saturating_mul(1_000_000_000));
        self.opening.comes_back(conn.number, self.clock.nanos() + wait);
    }

    /// It comes back in a second, unless its end was waited for.
    fn end(&mut self, at: usize, why: &str) {
        let Some(conn) = self.remove(at) else { return };
        if conn.phase == Phase::Closing {
            add(&self.board.ended, 1);
            let (number, closed, ended) = (conn.number, conn.since, self.clock.nanos());
            return self.samples.ends.push(End { number, closed, ended });
        }
        let was_ready = conn.phase == Phase::Ready;
        add(if was_ready { &self.board.lost } else { &self.board.failed }, 1);
        self.board.trouble(|| format!("{} connection: {why}", if was_ready { "a ready" } else { "an opening" }));
        self.opening.comes_back(conn.number, self.clock.nanos() + BACK_NANOS);
    }

    /// Ends those that take too long to become ready.
    fn sweep(&mut self, now: u64) {
        for at in 0..self.conns.len() {
            let late = self.conns[at].as_ref();
            if late.is_some_and(|conn| conn.phase < Phase::Ready && now - conn.begun > READY_NANOS_MAX) {
                self.end(at, "not ready in time");
            }
        }
    }

    fn echo(&mut self, now: u64) {
        let Some(rate) = self.echo.filter(|rate| *rate > 0.0) else { return };
        while self.next_echo <= now as f64 && !self.conns.is_empty() {
            self.next_echo += 1e9 / rate;
            self.echo_at = (self.echo_at + 1) % self.conns.len();
            self.send_echo(self.echo_at);
        }
    }

    fn send_echo(&mut self, at: usize) {
        let Some(conn) = self.conns.get_mut(at).and_then(Option::as_mut) else { return };
        let Some(template) = self.plan.echo.as_ref().filter(|_| conn.phase == Phase::Ready) else { return };
        let mark = Mark { number: conn.number, sent: self.clock.nanos() };
        let text = template.replace("{mark}", &mark.text());
        let mut frame = Vec::with_capacity(text.len() + 16);
        write_masked(OpCode::Text, text.as_bytes(), MASK, &mut frame);
        match conn.send(&frame) {
            Ok(()) => self.tally.sent += 1,
            Err(error) => self.end(at, &error.to_string()),
        }
    }
}
