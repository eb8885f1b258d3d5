//! Many connections to one server, on a few threads, as one thing.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use mio::{Poll, Waker};

use super::BenchError;
use super::board::{Board, Samples, read};
use super::engine::{Engine, WAKE};
use super::marker::Clock;
use super::order::Order;
use super::plan::Plan;
use super::report::Progress;

/// Orders that wait for a thread.
const ORDERS: usize = 64;
/// Between looks at the board.
const LOOK: Duration = Duration::from_millis(20);
/// Connections that a crowd opens at a time, unless it is told otherwise.
const AT_ONCE: usize = 128;

/// Ends its threads, and with them every connection, when it is dropped.
pub(crate) struct Crowd {
    threads: Vec<Thread>,
    pub(crate) board: Arc<Board>,
    opened: usize,
}

struct Thread {
    orders: Sender<Order>,
    waker: Waker,
    handle: Option<JoinHandle<()>>,
}

impl Thread {
    fn order(&self, order: Order) {
        // A thread that has ended has told why on the board.
        let _ = self.orders.send(order);
        let _ = self.waker.wake();
    }
}

impl Crowd {
    pub(crate) fn start(plan: Plan, threads: usize, clock: Clock) -> Result<Self, BenchError> {
        let (plan, board) = (Arc::new(plan), Arc::new(Board::default()));
        let count = threads.max(1);
        let thread = |nth: usize| -> std::io::Result<Thread> {
            let poll = Poll::new()?;
            let waker = Waker::new(poll.registry(), WAKE)?;
            let (orders, incoming) = bounded(ORDERS);
            let numbers = (nth as u32, count as u32);
            let engine = Engine::new(plan.clone(), board.clone(), clock, (poll, incoming), numbers);
            let builder = std::thread::Builder::new().name(format!("bench-{nth}"));
            Ok(Thread { orders, waker, handle: Some(builder.spawn(move || engine.run())?) })
        };
        let threads = (0..count).map(thread).collect::<std::io::Result<_>>()?;
        Ok(Self { threads, board, opened: 0 })
    }

    /// Begins to open so many more, at most so many a second (0 = as fast as they are accepted).
    pub(crate) fn open(&mut self, count: usize, per_second: f64) {
        let threads = self.threads.len();
        for (nth, thread) in self.threads.iter().enumerate() {
            // Where the last ones stopped the next go on, so that numbers have no gap.
            let upto = |total: usize| (total + threads - 1 - nth) / threads;
            let count = upto(self.opened + count) - upto(self.opened);
            let at_once = AT_ONCE.div_ceil(threads);
            thread.order(Order::Open { count, at_once, per_second: per_second / threads as f64 });
        }
        self.opened += count;
    }

    /// At most about so many of those that were dropped and stay away come back.
    pub(crate) fn bring_back(&self, count: usize) {
        let each = count.div_ceil(self.threads.len());
        self.threads.iter().for_each(|thread| thread.order(Order::BringBack(each)));
    }

    /// Opens no more than are under way.
    pub(crate) fn hold(&self) {
        self.threads.iter().for_each(|thread| thread.order(Order::Hold));
    }

    /// Opens so many and waits until all are ready. How long that took.
    pub(crate) fn fill(
        &mut self,
        count: usize,
        per_second: f64,
        patience: Duration,
        progress: &Progress,
    ) -> Result<Duration, BenchError> {
        let began = Instant::now();
        let wanted = read(&self.board.ready) + count as u64;
        self.open(count, per_second);
        self.wait("connections ready", |board| &board.ready, wanted, patience, progress)?;
        Ok(began.elapsed())
    }

    /// Until so many are counted. `patience` is for one of them, not for all.
    pub(crate) fn wait(
        &self,
        what: &'static str,
        counter: impl Fn(&Board) -> &AtomicU64,
        wanted: u64,
        patience: Duration,
        progress: &Progress,
    ) -> Result<(), BenchError> {
        let (mut most, mut since) = (0, Instant::now());
        loop {
            let count = read(counter(&self.board));
            if count >= wanted {
                return Ok(());
            }
            if count > most {
                (most, since) = (count, Instant::now());
            }
            if since.elapsed() > patience {
                let trouble = self.board.first_trouble().unwrap_or_else(|| "nothing was said".to_owned());
                return Err(BenchError::Stuck { what, got: count, wanted, trouble });
            }
            progress.say(|| format!("{count} of {wanted} {what}, {} refused", read(&self.board.refused)));
            std::thread::sleep(LOOK);
        }
    }

    /// Ends a share of those that are ready; they come back over the time, if one is given.
    pub(crate) fn drop_share(&self, share: f64, back: Option<Duration>) {
        self.threads.iter().for_each(|thread| thread.order(Order::Drop { share, back }));
    }

    /// A share of those that are ready stops reading; all others read.
    pub(crate) fn stall(&self, share: f64) {
        self.threads.iter().for_each(|thread| thread.order(Order::Stall { share }));
    }

    /// Sends echoes from now on (see [`Order::Echo`]), or no more.
    pub(crate) fn echo(&self, per_second: Option<f64>) {
        let each = per_second.map(|rate| rate / self.threads.len() as f64);
        self.threads.iter().for_each(|thread| thread.order(Order::Echo(each)));
    }

    /// What was gathered since the last time.
    pub(crate) fn take(&self) -> Samples {
        let mut all = Samples::default();
        for thread in &self.threads {
            let (reply, samples) = bounded(1);
            thread.order(Order::Take(reply));
            all.merge(samples.recv().unwrap_or_default());
        }
        all
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.threads.iter().for_each(|thread| thread.order(Order::End));
        for thread in &mut self.threads {
            if let Some(handle) = thread.handle.take() {
                // It ends by itself; a panic of it has been printed.
                let _ = handle.join();
            }
        }
    }
}
