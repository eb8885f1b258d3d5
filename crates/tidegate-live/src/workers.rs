//! The shell: engines on threads.
//!
//! Each worker is one OS thread that owns one engine. A partition `(tenant, entity)` always lives on the same worker;
//! every worker sees every transaction, so that all of them advance. Threads end when the last [`Live`] and
//! [`Subscription`] are dropped.
//!
//! Queues, each with its cap: transactions (the feed waits when a worker lags: back-pressure), commands (a subscribe is
//! refused with [`Busy`]; the end of a subscription or an entity and a catch-up wait, which is short because a worker
//! never waits for a session), pages (as many as scans may be under way).

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use rustc_hash::{FxBuildHasher, FxHashMap};
use tidegate_model::{EntityId, Position, Query, RowSource, Tenant, Token, Transaction};

use crate::engine::{Engine, Output, Request};
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::scans::{PageAnswer, RETRY, Scans};
use crate::{Delivery, Sink, SubscriptionId};

/// How often idle views are looked at.
const TICK: Duration = Duration::from_secs(1);

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
    /// Deliver [`Delivery::Synced`] after each transaction.
    pub synced: bool,
    /// Comes back in [`Delivery::Started`].
    pub request: u64,
    /// The number deliveries carry.
    pub id: SubscriptionId,
    /// Who takes them.
    pub sink: Arc<dyn Sink>,
}

enum Command {
    Subscribe { subscriber: u64, request: Request, id: SubscriptionId, sink: Arc<dyn Sink> },
    Reanchor { subscriber: u64, query: Arc<Query>, request: u64 },
    CatchUp { subscriber: u64, sent: Option<Position>, reset: bool, request: u64 },
    Unsubscribe { subscriber: u64 },
    EndEntity { entity: EntityId, reason: Arc<str> },
}

struct WorkerHandle {
    transactions: Sender<Arc<Transaction>>,
    commands: Sender<Command>,
}

struct Shared {
    workers: Vec<WorkerHandle>,
    metrics: Arc<Metrics>,
    progress: Arc<Progress>,
    next_subscriber: AtomicU64,
}

impl Shared {
    fn try_send(&self, worker: usize, command: Command) -> Result<(), Busy> {
        match self.workers[worker].commands.try_send(command) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.metrics.busy.add(1);
                Err(Busy)
            }
        }
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
            let (commands, commands_in) = bounded(config.commands_queued.max(1));
            let (pages, pages_in) = bounded(config.scans.max(1));
            let worker = Worker {
                number,
                engine: Engine::new(config.limits.clone(), incarnation, start, metrics.clone()),
                sinks: FxHashMap::default(),
                scans: Scans::new(rows.clone(), pages, config.scans.max(1)),
                metrics: metrics.clone(),
                progress: progress.clone(),
                started: Instant::now(),
            };
            std::thread::Builder::new()
                .name(format!("live-{number}"))
                .spawn(move || worker.run(&transactions_in, &commands_in, &pages_in))?;
            workers.push(WorkerHandle { transactions, commands });
        }
        Ok(Self { shared: Arc::new(Shared { workers, metrics, progress, next_subscriber: AtomicU64::new(0) }) })
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

    /// Subscribes. The answer comes as [`Delivery::Started`].
    ///
    /// # Errors
    /// [`Busy`] if the worker has too many commands waiting.
    pub fn subscribe(&self, subscribe: Subscribe) -> Result<Subscription, Busy> {
        let Subscribe { query, tenant, resume, synced, request, id, sink } = subscribe;
        let worker = self.worker_of(query.entity.id(), &tenant);
        let subscriber = self.shared.next_subscriber.fetch_add(1, Ordering::Relaxed);
        let request = Request { query, tenant, resume, synced, request };
        self.shared.try_send(worker, Command::Subscribe { subscriber, request, id, sink })?;
        // Made only now: dropping one waits for room in the queue.
        Ok(Subscription { shared: self.shared.clone(), worker, subscriber })
    }

    /// Ends every subscription of an entity with [`EndReason::Unavailable`](crate::EndReason::Unavailable) and this
    /// reason. Make the store refuse the entity's scans before: a subscribe that comes later is decided by its scan. Waits
    /// while a worker's command queue is full.
    pub fn end_entity(&self, entity: EntityId, reason: &Arc<str>) {
        for worker in &self.shared.workers {
            // Fails only if the worker is gone, and its subscribers with it.
            let _ = worker.commands.send(Command::EndEntity { entity, reason: reason.clone() });
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

    fn worker_of(&self, entity: EntityId, tenant: &Tenant) -> usize {
        let hash = FxBuildHasher.hash_one((entity, tenant));
        (hash % self.shared.workers.len() as u64) as usize
    }
}

/// Ends its subscription when dropped. A few deliveries may still come until the worker has seen it.
pub struct Subscription {
    shared: Arc<Shared>,
    worker: usize,
    subscriber: u64,
}

impl Subscription {
    /// Another anchor or limit of the same query. Answered by [`Delivery::Started`] and a snapshot; a later one
    /// overtakes an earlier one.
    ///
    /// # Errors
    /// [`Busy`] if the worker has too many commands waiting.
    pub fn reanchor(&self, query: Arc<Query>, request: u64) -> Result<(), Busy> {
        self.shared.try_send(self.worker, Command::Reanchor { subscriber: self.subscriber, query, request })
    }

    /// The subscriber dropped what was queued after `sent` (the position of the last batch that it passed on, `None` if
    /// not even a snapshot was) and is ready again. Answered by [`Delivery::Started`] with this `request`, then one net
    /// batch if anything changed, or a snapshot where the log does not reach or `reset` asks for one. What is delivered
    /// before that answer is to be ignored.
    pub fn catch_up(&self, sent: Option<Position>, reset: bool, request: u64) {
        self.send(Command::CatchUp { subscriber: self.subscriber, sent, reset, request });
    }

    fn send(&self, command: Command) {
        // Fails only if the worker is gone, and then there is nothing left to tell it.
        let _ = self.shared.workers[self.worker].commands.send(command);
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
    sinks: FxHashMap<u64, (Arc<dyn Sink>, SubscriptionId)>,
    scans: Scans,
    metrics: Arc<Metrics>,
    progress: Arc<Progress>,
    started: Instant,
}

impl Worker {
    fn run(
        mut self,
        transactions: &Receiver<Arc<Transaction>>,
        commands: &Receiver<Command>,
        pages: &Receiver<PageAnswer>,
    ) {
        let mut last_tick = Instant::now();
        loop {
            crossbeam_channel::select! {
                recv(transactions) -> transaction => match transaction {
                    Ok(transaction) => {
                        self.metrics.transactions.add(1);
                        self.engine.apply(&transaction);
                    }
                    Err(_) => return,
                },
                recv(commands) -> command => match command {
                    Ok(command) => self.command(command),
                    Err(_) => return,
                },
                recv(pages) -> answer => {
                    if let Ok((ticket, page)) = answer
                        && let Some(page) = self.scans.answered(ticket, page)
                    {
                        self.engine.page(ticket, page);
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

    fn command(&mut self, command: Command) {
        let now_ms = self.now_ms();
        match command {
            Command::Subscribe { subscriber, request, id, sink } => {
                self.sinks.insert(subscriber, (sink, id));
                self.engine.subscribe(subscriber, request);
            }
            Command::Reanchor { subscriber, query, request } => {
                self.engine.reanchor(subscriber, &query, request, now_ms);
            }
            Command::CatchUp { subscriber, sent, reset, request } => {
                self.engine.catch_up(subscriber, sent, reset, request);
            }
            Command::Unsubscribe { subscriber } => {
                self.sinks.remove(&subscriber);
                self.engine.unsubscribe(subscriber, now_ms);
            }
            Command::EndEntity { entity, reason } => self.engine.end_entity(entity, &reason),
        }
    }

    /// Does what the engine asks for, then says how far it is.
    fn act(&mut self) {
        for output in self.engine.take_outputs() {
            match output {
                Output::Deliver(subscriber, delivery) => {
                    let ended = matches!(delivery, Delivery::Ended(_));
                    if let Some((sink, id)) = self.sinks.get(&subscriber) {
                        sink.deliver(*id, delivery);
                    }
                    if ended {
                        self.sinks.remove(&subscriber);
                    }
                }
                Output::Scan(ticket, request) => self.scans.push(ticket, request),
            }
        }
        self.scans.start(&self.engine);
        self.progress.report(self.number, self.engine.exact());
    }
}
