//! The hand-over between edge workers and a live worker, under every schedule that `shuttle` tries: full queues on both
//! sides, subscriptions that end at any moment, an entity that ends, receivers that go.
//!
//! What runs is the worker with its engine, its queues and the handles. Only what waits is played: the `select!` over the
//! worker's bells, the bounded inbox of an edge worker, the feed. A deadlock fails the test by itself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::sync::mpsc::{Receiver as Inbox, SyncSender, sync_channel};
use shuttle::sync::{Condvar, Mutex};
use shuttle::thread;
use tidegate_model::{
    BatchKind, Catalog, Change, EntityBuilder, Op, Page, RowSource, ScanReply, ScanRequest, Type, Value,
};

use super::*;
use crate::scans::PageAnswer;
use crate::{ClientId, Delivery, Parcel, SubscriptionId};

const EDGES: u64 = 2;
const OPERATIONS: usize = 8;
const TRANSACTIONS: u64 = 6;
/// Most transactions of a commit: more than a turn takes.
const COMMIT: u64 = TRANSACTIONS_MAX as u64 + 2;
/// Commands from which on what may be refused is refused, vectors of parcels that an edge worker has room for,
/// transactions from which on the feed waits: as small as can be.
const CAP: usize = 2;
const ROOM: usize = 1;

/// How often what must be seen to happen has happened, over all schedules.
#[derive(Default)]
struct Seen {
    refused: AtomicU64,
    resumed: AtomicU64,
    late: AtomicU64,
    ended: AtomicU64,
    shared: AtomicU64,
    waited: AtomicU64,
    parted: AtomicU64,
    joined: AtomicU64,
    held_up: AtomicU64,
}

impl Seen {
    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    fn assert_all(&self) {
        let Self { refused, resumed, late, ended, shared, waited, parted, joined, held_up } = self;
        for (name, counter) in [
            ("a command was refused", refused),
            ("a subscription went on after a catch-up", resumed),
            ("a delivery came after the end of its subscription", late),
            ("a subscription was ended by the engine", ended),
            ("a parcel was for several", shared),
            ("the live worker waited for an edge worker", waited),
            ("a turn ended in the midst of what waited", parted),
            ("a turn took all of several transactions", joined),
            ("the feed found a full queue", held_up),
        ] {
            assert!(counter.load(Ordering::Relaxed) > 0, "never seen: {name}");
        }
    }
}

/// What waits for the live worker, as its `select!` sees it.
#[derive(Default)]
struct Ready {
    committed: bool,
    commanded: bool,
    is_over: bool,
}

#[derive(Default)]
struct Signals {
    ready: Mutex<Ready>,
    changed: Condvar,
}

impl Signals {
    fn set(&self, set: impl FnOnce(&mut Ready)) {
        set(&mut self.ready.lock().unwrap());
        self.changed.notify_all();
    }
}

/// Rows by number, and the position.
struct Store(std::sync::Mutex<(Position, BTreeMap<i64, Arc<tidegate_model::Row>>)>);

impl RowSource for Store {
    fn scan(&self, request: ScanRequest, reply: ScanReply) {
        let state = self.0.lock().unwrap();
        let rows = state.1.values().map(|row| (request.order.key(row), row.clone()));
        let rows = rows.filter(|(key, _)| request.after.as_ref().is_none_or(|after| key > after)).collect();
        let page = Page { rows, upto: None, position: state.0 };
        drop(state);
        reply(Ok(page));
    }
}

/// An edge worker's end for the engine.
struct ToEdge {
    out: SyncSender<Vec<Parcel>>,
    seen: Arc<Seen>,
}

impl Sink for ToEdge {
    fn deliver(&self, parcels: Vec<Parcel>) {
        assert!(!parcels.is_empty());
        for Parcel { to, .. } in &parcels {
            assert!(!to.is_empty());
            if to.len() > 1 {
                Seen::count(&self.seen.shared);
            }
        }
        let parcels = match self.out.try_send(parcels) {
            Ok(()) => return,
            Err(shuttle::sync::mpsc::TrySendError::Full(parcels)) => parcels,
            Err(shuttle::sync::mpsc::TrySendError::Disconnected(_)) => return,
        };
        Seen::count(&self.seen.waited);
        // Fails if the edge worker is gone.
        let _ = self.out.send(parcels);
    }
}

/// A subscription as its client sees it.
struct Held {
    handle: Subscription,
    request: u64,
    awaiting: bool,
    /// The position of its list; `None` before the first snapshot.
    at: Option<Position>,
}

struct Edge {
    live: Live,
    query: Arc<Query>,
    sink: Arc<dyn Sink>,
    inbox: Inbox<Vec<Parcel>>,
    client: ClientId,
    next: u64,
    held: BTreeMap<SubscriptionId, Held>,
    seen: Arc<Seen>,
}

impl Edge {
    fn run(mut self) {
        let last = Position(1 + TRANSACTIONS);
        for _ in 0..OPERATIONS {
            for _ in 0..thread_rng().gen_range(0..3) {
                if let Ok(parcels) = self.inbox.try_recv() {
                    self.take(parcels);
                }
            }
            self.operate();
        }
        // Everything that was not ended gets everything, and in order.
        while self.held.values().any(|held| held.awaiting || held.at != Some(last)) {
            let parcels = self.inbox.recv().expect("the live worker goes on");
            self.take(parcels);
        }
    }

    fn operate(&mut self) {
        let number = thread_rng().gen_range(0..self.held.len() as u64 + 1);
        let Some(id) = self.held.keys().nth(number as usize).copied() else { return self.subscribe() };
        let Some(held) = self.held.get_mut(&id) else { return };
        match thread_rng().gen_range(0..4) {
            0 => self.subscribe(),
            1 => drop(self.held.remove(&id)),
            2 if !held.awaiting && held.at.is_some() => {
                (held.request, held.awaiting) = (held.request + 1, true);
                held.handle.catch_up(held.at, false, held.request);
            }
            _ => match held.handle.reanchor(self.query.clone(), held.request + 1) {
                Ok(()) => (held.request, held.awaiting) = (held.request + 1, true),
                Err(Busy) => Seen::count(&self.seen.refused),
            },
        }
    }

    fn subscribe(&mut self) {
        let id = SubscriptionId(self.next);
        self.next += 1;
        let subscribe = Subscribe {
            query: self.query.clone(),
            tenant: Tenant::common(),
            resume: None,
            synced: false,
            request: 1,
            address: Address { client: self.client, subscription: id },
            sink: self.sink.clone(),
        };
        match self.live.subscribe(subscribe) {
            Ok(handle) => drop(self.held.insert(id, Held { handle, request: 1, awaiting: true, at: None })),
            Err(Busy) => Seen::count(&self.seen.refused),
        }
    }

    fn take(&mut self, parcels: Vec<Parcel>) {
        for Parcel { to, delivery } in parcels {
            for address in to {
                assert_eq!(address.client, self.client);
                self.take_one(address.subscription, &delivery);
            }
        }
    }

    fn take_one(&mut self, id: SubscriptionId, delivery: &Delivery) {
        assert!(id.0 < self.next, "a subscription that never was");
        let Some(held) = self.held.get_mut(&id) else { return Seen::count(&self.seen.late) };
        match delivery {
            Delivery::Started { request, resumed, position } if *request == held.request => {
                assert!(held.awaiting, "answered twice");
                held.awaiting = false;
                if *resumed {
                    Seen::count(&self.seen.resumed);
                    assert!(held.at <= Some(*position), "back in time");
                } else {
                    held.at = None;
                }
            }
            // It was overtaken, or is of a list that was given up.
            Delivery::Started { .. } => assert!(held.awaiting, "an answer to nothing"),
            Delivery::Batch { .. } if held.awaiting => {}
            Delivery::Batch { batch, .. } => {
                let is_snapshot = batch.deltas[0].op == Op::Reset;
                match held.at {
                    None => assert!(is_snapshot, "a list that begins with a change"),
                    Some(at) if batch.kind == BatchKind::Own => assert!(at < batch.position, "back in time"),
                    Some(at) => assert_eq!(Position(at.0 + 1), batch.position, "lost or out of order"),
                }
                held.at = Some(batch.position);
            }
            Delivery::Synced { .. } => panic!("nobody asked for it"),
            Delivery::Ended(_) => {
                Seen::count(&self.seen.ended);
                self.held.remove(&id);
            }
        }
    }
}

/// The live worker until everything is over, then what is left of it.
fn work(mut worker: Worker, pages: &Receiver<PageAnswer>, signals: &Signals, seen: &Seen) -> Worker {
    loop {
        let mut ready = signals.ready.lock().unwrap();
        let choice = loop {
            let choices = [ready.commanded, ready.committed, !pages.is_empty()];
            let choices: Vec<usize> = (0..3).filter(|choice| choices[*choice]).collect();
            if !choices.is_empty() {
                break Some(choices[thread_rng().gen_range(0..choices.len())]);
            }
            if ready.is_over {
                break None;
            }
            ready = signals.changed.wait(ready).unwrap();
        };
        match choice {
            Some(0) => {
                ready.commanded = false;
                drop(ready);
                worker.commands();
            }
            Some(1) => {
                ready.committed = false;
                drop(ready);
                let (waiting, before) = (worker.transactions.len() as u64, worker.metrics.transactions.get());
                assert!(worker.transactions(), "the feed is there");
                let folded = worker.metrics.transactions.get() - before;
                if folded < waiting {
                    Seen::count(&seen.parted);
                } else if waiting > 1 {
                    Seen::count(&seen.joined);
                }
            }
            Some(_) => {
                drop(ready);
                let (ticket, page) = pages.try_recv().expect("there is one");
                worker.page(ticket, page);
            }
            None => return worker,
        }
        worker.act();
    }
}

/// Commits one row after the other, some of them together.
fn feed(live: &Live, entity: EntityId, store: &Store, seen: &Seen) {
    let ends_at = thread_rng().gen_range(0..2 * TRANSACTIONS);
    let mut numbers = 0..TRANSACTIONS;
    while !numbers.is_empty() {
        let first = numbers.start;
        let together = numbers.by_ref().take(thread_rng().gen_range(1..=COMMIT) as usize);
        let rows: Vec<_> = together
            .map(|number| (number, tidegate_model::Row::new(Position(2 + number), vec![Value::Int(number as i64)])))
            .collect();
        {
            let mut state = store.0.lock().unwrap();
            state.0 = Position(1 + numbers.start);
            state.1.extend(rows.iter().cloned().map(|(number, row)| (number as i64, row)));
        }
        let commit = rows.into_iter().map(|(number, row)| {
            let change = Change { entity, tenant: Tenant::common(), old: None, new: Some(row) };
            Arc::new(Transaction { position: Position(2 + number), changes: vec![change], reloads: Vec::new() })
        });
        let commit: Vec<_> = commit.collect();
        if live.backlog() >= ROOM {
            Seen::count(&seen.held_up);
        }
        live.publish(&commit);
        if (first..numbers.start).contains(&ends_at) {
            live.end_entity(entity, &"dropped".into());
        }
    }
}

fn scenario(seen: &Arc<Seen>) {
    let entity = EntityBuilder {
        name: "row".into(),
        columns: vec![("id".into(), Type::Int)],
        key: vec!["id".into()],
        ..EntityBuilder::default()
    };
    let catalog = Catalog::build(&[entity]).unwrap();
    let entity = catalog.entities()[0].id();
    let query = Arc::new(Query::from_json(&catalog, "{\"entity\":\"row\"}").unwrap());
    let store = Arc::new(Store(std::sync::Mutex::new((Position(1), BTreeMap::new()))));
    let rows: Arc<dyn RowSource> = store.clone();
    let signals = Arc::new(Signals::default());
    let ring = |set: fn(&mut Ready)| {
        let signals = signals.clone();
        Box::new(move || signals.set(set))
    };
    let transactions = Arc::new(TransactionQueue::new(ROOM, ring(|ready| ready.committed = true)));
    let ring = ring(|ready| ready.commanded = true);
    let (pages, pages_in) = bounded(1);
    let mailbox = Arc::new(Mailbox { commands: CommandQueue::new(CAP, ring), numbers: Numbers::default() });
    let (metrics, on_advance) = (Arc::new(Metrics::default()), Box::new(|_| {}));
    let progress = Progress { exact: vec![AtomicU64::new(1)], lowest: AtomicU64::new(1), on_advance };
    let worker = Worker {
        number: 0,
        engine: Engine::new(Limits::default(), 1, Position(1), metrics.clone()),
        dispatch: Dispatch::default(),
        transactions: transactions.clone(),
        mailbox: mailbox.clone(),
        taken: Vec::new(),
        scans: Scans::new(rows, pages, 1),
        metrics: metrics.clone(),
        progress: Arc::new(progress),
        started: Instant::now(),
    };
    let progress = worker.progress.clone();
    let workers = vec![WorkerHandle { transactions, mailbox: mailbox.clone() }];
    let live = Live { shared: Arc::new(Shared { workers, metrics: metrics.clone(), progress }) };

    let working = {
        let (signals, seen) = (signals.clone(), seen.clone());
        thread::spawn(move || work(worker, &pages_in, &signals, &seen))
    };
    let edges = (0..EDGES).map(|number| {
        let (out, inbox) = sync_channel(ROOM);
        let edge = Edge {
            live: live.clone(),
            query: query.clone(),
            sink: Arc::new(ToEdge { out, seen: seen.clone() }),
            inbox,
            client: ClientId(number),
            next: 0,
            held: BTreeMap::new(),
            seen: seen.clone(),
        };
        thread::spawn(|| edge.run())
    });
    let edges: Vec<_> = edges.collect();
    feed(&live, entity, &store, seen);
    edges.into_iter().for_each(|edge| edge.join().unwrap());
    signals.set(|ready| ready.is_over = true);
    let mut worker = working.join().unwrap();
    assert_eq!(live.position(), Position(1 + TRANSACTIONS));
    assert_eq!(metrics.subscriptions.get(), 0, "a subscription was left");
    assert!(worker.dispatch.is_empty(), "a sink was left");
    assert_eq!(mailbox.numbers.given(), 0, "a number was left");
    drop(live);
    assert!(!worker.transactions(), "the worker ends with the last handle");
}

fn check(scheduler: impl Scheduler + 'static) {
    let seen = Arc::new(Seen::default());
    let counting = seen.clone();
    let mut config = shuttle::Config::new();
    config.stack_size = 1 << 19;
    shuttle::Runner::new(scheduler, config).run(move || scenario(&counting));
    seen.assert_all();
}

#[test]
fn nothing_is_lost_and_nobody_waits_for_ever_under_random_schedules() {
    check(RandomScheduler::new(10_000));
}

#[test]
fn nothing_is_lost_and_nobody_waits_for_ever_under_unfair_schedules() {
    check(PctScheduler::new(4, 10_000));
}
