//! The shell: engines on threads.
//!
//! Each worker is one OS thread that owns one engine. A partition `(tenant, entity)` always lives on the same worker;
//! every worker sees every transaction, so that all of them advance. Threads end when the last [`Live`] and
//! [`Subscription`] are dropped.
//!
//! Queues, each with its cap: transactions (the feed waits when a worker lags: back-pressure), commands (a subscribe and a
//! re-anchor are refused with [`Busy`]; the end of a subscription or an entity and a catch-up are always taken: a few a
//! subscription), pages (as many as scans may be under way). Nobody who gives a command waits for a worker, so a worker
//! may wait for a [`Sink`].
//!
//! A worker goes on in turns: a few of what waits in one of the queues, then what came of it is handed over, one call a
//! sink. The transactions of one commit are put in together, so that they are one turn, if no more than a turn takes.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crossbeam_channel::{Receiver, bounded};
use rustc_hash::FxBuildHasher;
use tidegate_model::{EntityId, Position, Query, RowSource, Tenant, Token, Transaction};

use crate::delivery::{Address, Sink};
use crate::dispatch::Dispatch;
use crate::engine::{Engine, Request, Subscriber};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::numbers::Numbers;
use crate::queue::CommandQueue;
use crate::scans::Scans;
use crate::transactions::{Gone, TransactionQueue};

use worker::{TRANSACTIONS_MAX, Worker};

#[cfg(test)]
mod handover;
mod worker;

/// Sizes of the shell.
#[derive(Debug, Clone)]
pub struct Config {
    /// Worker threads. Default: one a core, at most 8.
    pub workers: usize,
    /// Transactions that may wait for one worker; then the feed waits. What is published together may go beyond it by a
    /// turn's.
    pub transactions_queued: usize,
    /// Commands that may wait for one worker; then subscribes are refused.
    pub commands_queued: usize,
    /// Scans that one worker has under way; more wait inside it, at most one a view.
    pub scans: usize,
    /// The caps of each worker's engine.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            workers: cores.min(8),
            transactions_queued: 1_024,
            commands_queued: 65_536,
            scans: 8,
            limits: Limits::default(),
        }
    }
}

/// The command queue of a worker is full; try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the live engine has more commands waiting than it takes; try again")]
pub struct Busy;

/// A thread could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot start a worker thread: {0}")]
pub struct StartError(#[from] std::io::Error);

/// What a session asks for.
pub struct Subscribe {
    /// The effective query.
    pub query: Arc<Query>,
    /// Whose rows: from the verified identity.
    pub tenant: Tenant,
    /// Where the client was.
    pub resume: Option<Token>,
    /// Deliver [`Delivery::Synced`](crate::Delivery::Synced) after each transaction.
    pub synced: bool,
    /// Comes back in [`Delivery::Started`](crate::Delivery::Started).
    pub request: u64,
    /// The address that deliveries carry.
    pub address: Address,
    /// Who takes them.
    pub sink: Arc<dyn Sink>,
}

enum Command {
    Subscribe { subscriber: Subscriber, request: Box<Request>, address: Address, sink: Arc<dyn Sink> },
    Reanchor { subscriber: Subscriber, query: Arc<Query>, request: u64 },
    CatchUp { subscriber: Subscriber, sent: Option<Position>, reset: bool, request: u64 },
    Unsubscribe { subscriber: Subscriber },
    EndEntity { entity: EntityId, reason: Arc<str> },
}

struct WorkerHandle {
    transactions: Arc<TransactionQueue>,
    mailbox: Arc<Mailbox>,
}

impl Drop for WorkerHandle {
    /// The worker ends once it has taken what waits.
    fn drop(&mut self) {
        self.transactions.close();
    }
}

/// What those who subscribe share with a worker.
struct Mailbox {
    commands: CommandQueue<Command>,
    /// A number is given back when its subscriber's last command has been taken.
    numbers: Numbers,
}

struct Shared {
    workers: Vec<WorkerHandle>,
    metrics: Arc<Metrics>,
    progress: Arc<Progress>,
}

impl Shared {
    fn mailbox(&self, worker: u32) -> &Mailbox {
        &self.workers[worker as usize].mailbox
    }

    fn offer(&self, worker: u32, command: Command) -> Result<(), Busy> {
        self.mailbox(worker).commands.offer(command).inspect_err(|Busy| self.metrics.busy.add(1))
    }
}

/// How far each worker is, and who is told.
struct Progress {
    exact: Vec<AtomicU64>,
    lowest: AtomicU64,
    on_advance: Box<dyn Fn(Position) + Send + Sync>,
}

impl Progress {
    fn report(&self, worker: usize, position: Position) {
        if self.exact[worker].swap(position.0, Ordering::SeqCst) == position.0 {
            return;
        }
        let lowest = self.exact.iter().map(|exact| exact.load(Ordering::SeqCst)).min().unwrap_or_default();
        if self.lowest.fetch_max(lowest, Ordering::SeqCst) < lowest {
            (self.on_advance)(Position(lowest));
        }
    }
}

/// What rings, and what hears it.
fn bell() -> (Box<dyn Fn() + Send + Sync>, Receiver<()>) {
    let (bell, rung) = bounded(1);
    let ring = move || {
        // Full: the worker has not answered the last ring yet, and will find everything when it does.
        let _ = bell.try_send(());
    };
    (Box::new(ring), rung)
}

/// A cheap, cloneable handle on the workers.
#[derive(Clone)]
pub struct Live {
    shared: Arc<Shared>,
}

impl Live {
    /// Starts the workers. `start` is the mirror's position. `on_advance` is called on a worker's thread, and must not
    /// block, whenever the position advances up to which *every* subscriber has been handed everything.
    ///
    /// # Errors
    /// [`StartError`] if a thread can't be started.
    pub fn start(
        config: &Config,
        incarnation: u64,
        start: Position,
        rows: &Arc<dyn RowSource>,
        on_advance: Box<dyn Fn(Position) + Send + Sync>,
    ) -> Result<Self, StartError> {
        let metrics = Arc::new(Metrics::default());
        let count = config.workers.max(1);
        let exact = (0..count).map(|_| AtomicU64::new(start.0)).collect();
        let progress = Arc::new(Progress { exact, lowest: AtomicU64::new(start.0), on_advance });
        let mut workers = Vec::with_capacity(count);
        for number in 0..count {
            let (ring, committed) = bell();
            let transactions = Arc::new(TransactionQueue::new(config.transactions_queued.max(1), ring));
            let (ring, commanded) = bell();
            let commands = CommandQueue::new(config.commands_queued.max(1), ring);
            let mailbox = Arc::new(Mailbox { commands, numbers: Numbers::default() });
            let (pages, pages_in) = bounded(config.scans.max(1));
            let worker = Worker {
                number,
                engine: Engine::new(config.limits.clone(), incarnation, start, metrics.clone()),
                dispatch: Dispatch::default(),
                transactions: transactions.clone(),
                mailbox: mailbox.clone(),
                taken: Vec::new(),
                scans: Scans::new(rows.clone(), pages, config.scans.max(1)),
                metrics: metrics.clone(),
                progress: progress.clone(),
                started: Instant::now(),
            };
            std::thread::Builder::new()
                .name(format!("live-{number}"))
                .spawn(move || worker.run(&committed, &commanded, &pages_in))?;
            workers.push(WorkerHandle { transactions, mailbox });
        }
        Ok(Self { shared: Arc::new(Shared { workers, metrics, progress }) })
    }

    /// Hands the transactions of a commit to every worker, in order. Waits while a worker's queue is full: only the feed
    /// calls it.
    pub fn publish(&self, commit: &[Arc<Transaction>]) {
        // No worker waits for more of a long commit than a turn of another.
        for together in commit.chunks(TRANSACTIONS_MAX) {
            for worker in &self.shared.workers {
                // Its thread is gone, which ends the process's usefulness: readiness shows it.
                if let Err(Gone) = worker.transactions.put(together) {
                    tracing::error!("a live worker is gone; its subscribers get nothing more");
                }
            }
        }
    }

    /// Subscribes. The answer comes as [`Delivery::Started`](crate::Delivery::Started).
    ///
    /// # Errors
    /// [`Busy`] if the worker has too many commands waiting.
    pub fn subscribe(&self, subscribe: Subscribe) -> Result<Subscription, Busy> {
        let Subscribe { query, tenant, resume, synced, request, address, sink } = subscribe;
        let worker = self.worker_of(query.entity.id(), &tenant);
        let numbers = &self.shared.mailbox(worker).numbers;
        let subscriber = numbers.give().ok_or(Busy)?;
        let request = Box::new(Request { query, tenant, resume, synced, request });
        let command = Command::Subscribe { subscriber, request, address, sink };
        self.shared.offer(worker, command).inspect_err(|Busy| numbers.give_back([subscriber].into_iter()))?;
        Ok(Subscription { shared: self.shared.clone(), worker, subscriber })
    }

    /// Ends every subscription of an entity with [`EndReason::Unavailable`](crate::EndReason::Unavailable) and this
    /// reason. Make the store refuse the entity's scans before: a subscribe that comes later is decided by its scan.
    pub fn end_entity(&self, entity: EntityId, reason: &Arc<str>) {
        for worker in &self.shared.workers {
            worker.mailbox.commands.push(Command::EndEntity { entity, reason: reason.clone() });
        }
    }

    /// The position up to which every subscriber has been handed everything.
    #[must_use]
    pub fn position(&self) -> Position {
        Position(self.shared.progress.lowest.load(Ordering::SeqCst))
    }

    /// Transactions that wait for the slowest worker.
    #[must_use]
    pub fn backlog(&self) -> usize {
        self.shared.workers.iter().map(|worker| worker.transactions.len()).max().unwrap_or_default()
    }

    /// What the engines count.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    fn worker_of(&self, entity: EntityId, tenant: &Tenant) -> u32 {
        let hash = FxBuildHasher.hash_one((entity, tenant));
        (hash % self.shared.workers.len() as u64) as u32
    }
}

/// Ends its subscription when dropped. A few deliveries may still come until the worker has seen it.
pub struct Subscription {
    shared: Arc<Shared>,
    worker: u32,
    subscriber: Subscriber,
}

impl Subscription {
    /// Another anchor or limit of the same query. Answered by [`Delivery::Started`](crate::Delivery::Started) and a
    /// snapshot; a later one overtakes an earlier one.
    ///
    /// # Errors
    /// [`Busy`] if the worker has too many commands waiting.
    pub fn reanchor(&self, query: Arc<Query>, request: u64) -> Result<(), Busy> {
        self.shared.offer(self.worker, Command::Reanchor { subscriber: self.subscriber, query, request })
    }

    /// The subscriber dropped what was queued after `sent` (the position of the last batch that it passed on, `None` if
    /// not even a snapshot was) and is ready again. Answered by [`Delivery::Started`](crate::Delivery::Started) with this
    /// `request`, then one net batch if anything changed, or a snapshot where the log does not reach or `reset` asks for
    /// one. What is delivered before that answer is to be ignored, and none is to be asked for before it.
    pub fn catch_up(&self, sent: Option<Position>, reset: bool, request: u64) {
        self.send(Command::CatchUp { subscriber: self.subscriber, sent, reset, request });
    }

    fn send(&self, command: Command) {
        self.shared.mailbox(self.worker).commands.push(command);
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.send(Command::Unsubscribe { subscriber: self.subscriber });
    }
}
