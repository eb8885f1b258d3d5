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
//! sink.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use rustc_hash::FxBuildHasher;
use tidegate_model::{EntityId, Page, Position, Query, RowSource, ScanError, Tenant, Token, Transaction};

use crate::delivery::{Address, Sink};
use crate::dispatch::Dispatch;
use crate::engine::{Engine, Output, Request, Subscriber};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::numbers::Numbers;
use crate::queue::CommandQueue;
use crate::scans::{PageAnswer, RETRY, Scans};

/// How often idle views are looked at.
const TICK: Duration = Duration::from_secs(1);

/// Most commands and most transactions of one turn: enough that handing over costs little beside them, few enough that
/// neither makes the other wait long.
const COMMANDS_MAX: usize = 256;
const TRANSACTIONS_MAX: usize = 16;

/// From so many outputs on a turn takes no more transactions.
const OUTPUTS_MAX: usize = 1_024;

/// Sizes of the shell.
#[derive(Debug, Clone)]
pub struct Config {
    /// Worker threads. Default: one a core, at most 8.
    pub workers: usize,
    /// Transactions that may wait for one worker; then the feed waits.
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
    transactions: Sender<Arc<Transaction>>,
    mailbox: Arc<Mailbox>,
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
            let (transactions, transactions_in) = bounded(config.transactions_queued.max(1));
            let (bell, rung) = bounded(1);
            let ring = Box::new(move || {
                // Full: the worker has not answered the last ring yet, and will find everything when it does.
                let _ = bell.try_send(());
            });
            let commands = CommandQueue::new(config.commands_queued.max(1), ring);
            let mailbox = Arc::new(Mailbox { commands, numbers: Numbers::default() });
            let (pages, pages_in) = bounded(config.scans.max(1));
            let worker = Worker {
                number,
                engine: Engine::new(config.limits.clone(), incarnation, start, metrics.clone()),
                dispatch: Dispatch::default(),
                mailbox: mailbox.clone(),
                taken: Vec::new(),
                scans: Scans::new(rows.clone(), pages, config.scans.max(1)),
                metrics: metrics.clone(),
                progress: progress.clone(),
                started: Instant::now(),
            };
            std::thread::Builder::new()
                .name(format!("live-{number}"))
                .spawn(move || worker.run(&transactions_in, &rung, &pages_in))?;
            workers.push(WorkerHandle { transactions, mailbox });
        }
        Ok(Self { shared: Arc::new(Shared { workers, metrics, progress }) })
    }

    /// Hands a committed transaction to every worker. Waits while a worker's queue is full: only the feed calls it.
    pub fn publish(&self, transaction: &Arc<Transaction>) {
        for worker in &self.shared.workers {
            // Fails only if the worker's thread is gone, which ends the process's usefulness: readiness shows it.
            if worker.transactions.send(transaction.clone()).is_err() {
                tracing::error!("a live worker is gone; its subscribers get nothing more");
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

struct Worker {
    number: usize,
    engine: Engine,
    dispatch: Dispatch,
    mailbox: Arc<Mailbox>,
    /// Commands of the turn; empty between turns.
    taken: Vec<Command>,
    scans: Scans,
    metrics: Arc<Metrics>,
    progress: Arc<Progress>,
    started: Instant,
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.mailbox.commands.close();
    }
}

impl Worker {
    fn run(mut self, transactions: &Receiver<Arc<Transaction>>, bell: &Receiver<()>, pages: &Receiver<PageAnswer>) {
        let mut last_tick = Instant::now();
        loop {
            crossbeam_channel::select! {
                recv(transactions) -> transaction => match transaction {
                    Ok(transaction) => self.transactions(transaction, transactions),
                    Err(_) => return,
                },
                recv(bell) -> _ => self.commands(),
                recv(pages) -> answer => {
                    if let Ok((ticket, page)) = answer {
                        self.page(ticket, page);
                    }
                },
                default(if self.scans.is_retrying() { RETRY } else { TICK }) => {}
            }
            if last_tick.elapsed() >= TICK {
                last_tick = Instant::now();
                let now_ms = self.now_ms();
                self.engine.tick(now_ms);
            }
            self.act();
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Folds a transaction in and some of those that wait behind it.
    fn transactions(&mut self, first: Arc<Transaction>, waiting: &Receiver<Arc<Transaction>>) {
        let behind = (1..TRANSACTIONS_MAX).map_while(|_| waiting.try_recv().ok());
        for transaction in std::iter::once(first).chain(behind) {
            self.metrics.transactions.add(1);
            self.engine.apply(&transaction);
            if self.engine.outputs() >= OUTPUTS_MAX {
                break;
            }
        }
    }

    fn page(&mut self, ticket: u64, page: Result<Page, ScanError>) {
        if let Some(page) = self.scans.answered(ticket, page) {
            self.engine.page(ticket, page);
        }
    }

    /// Takes some of the commands that wait.
    fn commands(&mut self) {
        let now_ms = self.now_ms();
        let mut taken = std::mem::take(&mut self.taken);
        self.mailbox.commands.take(COMMANDS_MAX, &mut taken);
        for command in taken.drain(..) {
            self.command(command, now_ms);
        }
        self.taken = taken;
    }

    fn command(&mut self, command: Command, now_ms: u64) {
        match command {
            Command::Subscribe { subscriber, request, address, sink } => {
                self.dispatch.enter(subscriber, address, sink);
                self.engine.subscribe(subscriber, *request);
            }
            Command::Reanchor { subscriber, query, request } => {
                self.engine.reanchor(subscriber, query, request, now_ms);
            }
            Command::CatchUp { subscriber, sent, reset, request } => {
                self.engine.catch_up(subscriber, sent, reset, request);
            }
            Command::Unsubscribe { subscriber } => {
                self.dispatch.leave(subscriber);
                self.engine.unsubscribe(subscriber, now_ms);
                // Whoever is given the number now is heard of in a later turn: nothing of this one can be taken for its.
                self.mailbox.numbers.give_back([subscriber].into_iter());
            }
            Command::EndEntity { entity, reason } => self.engine.end_entity(entity, &reason),
        }
    }

    /// Does what the engine asks for, then says how far it is.
    fn act(&mut self) {
        for output in self.engine.take_outputs() {
            match output {
                Output::Deliver(subscribers, delivery) => self.dispatch.put(&subscribers, &delivery),
                Output::Scan(ticket, request) => self.scans.push(ticket, request),
            }
        }
        self.dispatch.send();
        self.scans.start(&self.engine);
        self.progress.report(self.number, self.engine.exact());
    }
}
