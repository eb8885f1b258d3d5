//! The shell when it can't: a queue that is full, a store that answers nothing, an entity that is not there yet or ends.

#![allow(clippy::expect_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tidegate_live::{
    Address, ClientId, Config, Delivery, EndReason, Live, Parcel, Sink, Subscribe, Subscription, SubscriptionId,
};
use tidegate_model::{
    Catalog, EntityBuilder, EntityId, Page, Position, Query, RowSource, ScanError, ScanReply, ScanRequest, Tenant, Type,
};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Answers with an empty page, or drops the question; the first few times it may have no room.
struct Store {
    is_broken: bool,
    refusals: AtomicU64,
}

impl RowSource for Store {
    fn scan(&self, _: ScanRequest, reply: ScanReply) {
        let had_room =
            self.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_err();
        if !had_room {
            reply(Err(ScanError::Busy));
        } else if !self.is_broken {
            reply(Ok(Page { rows: Vec::new(), upto: None, position: Position(1) }));
        }
    }
}

/// Passes deliveries on, each only when the test lets it.
struct Gate {
    out: SyncSender<Delivery>,
    /// Says that the worker is inside.
    entered: SyncSender<()>,
    open: std::sync::Mutex<Receiver<()>>,
}

impl Sink for Gate {
    fn deliver(&self, parcels: Vec<Parcel>) {
        let _ = self.entered.send(());
        let _ = self.open.lock().expect("not poisoned").recv();
        parcels.into_iter().for_each(|parcel| drop(self.out.send(parcel.delivery)));
    }
}

fn start(is_broken: bool, refusals: u64) -> (Live, Arc<Query>) {
    let entity = EntityBuilder {
        name: "row".into(),
        columns: vec![("id".into(), Type::Int)],
        key: vec!["id".into()],
        ..EntityBuilder::default()
    };
    let catalog = Catalog::build(&[entity]).expect("a valid description");
    let query = Arc::new(Query::from_json(&catalog, "{\"entity\":\"row\"}").expect("a valid query"));
    let config = Config { workers: 1, commands_queued: 1, ..Config::default() };
    let store: Arc<dyn RowSource> = Arc::new(Store { is_broken, refusals: refusals.into() });
    let live = Live::start(&config, 1, Position(1), &store, Box::new(|_| {})).expect("a thread");
    (live, query)
}

fn subscribe(live: &Live, query: &Arc<Query>, sink: &Arc<dyn Sink>) -> Option<Subscription> {
    let (query, tenant, sink) = (query.clone(), Tenant::common(), sink.clone());
    let subscribe = Subscribe { query, tenant, resume: None, synced: false, request: 1, address: address(1), sink };
    live.subscribe(subscribe).ok()
}

#[test]
fn a_subscribe_that_finds_the_queue_full_is_refused_at_once() {
    let (live, query) = start(false, 0);
    let (out, _deliveries) = sync_channel(16);
    let (entered, is_inside) = sync_channel(16);
    let (open, gate) = sync_channel(16);
    let sink: Arc<dyn Sink> = Arc::new(Gate { out, entered, open: gate.into() });
    let first = subscribe(&live, &query, &sink);
    is_inside.recv_timeout(PATIENCE).expect("the worker delivers");
    // The worker stands at the gate: one more fits into its queue.
    let second = subscribe(&live, &query, &sink);
    assert!(first.is_some() && second.is_some());
    let (told, answer) = sync_channel(16);
    let asking = std::thread::spawn(move || {
        let refused = subscribe(&live, &query, &sink).is_none();
        let _ = told.send(refused);
    });
    assert_eq!(answer.recv_timeout(PATIENCE), Ok(true), "refused, and not waiting for room");
    drop(open);
    asking.join().expect("no panic");
}

fn address(subscription: u64) -> Address {
    Address { client: ClientId(1), subscription: SubscriptionId(subscription) }
}

/// What a subscriber whose gate stands open is handed first.
fn first_delivery(is_broken: bool, refusals: u64) -> Delivery {
    let (live, query) = start(is_broken, refusals);
    let (out, deliveries) = sync_channel(16);
    let (entered, _is_inside) = sync_channel(16);
    let (open, gate) = sync_channel(16);
    drop(open);
    let sink: Arc<dyn Sink> = Arc::new(Gate { out, entered, open: gate.into() });
    let _subscription = subscribe(&live, &query, &sink).expect("room");
    deliveries.recv_timeout(PATIENCE).expect("an answer")
}

#[test]
fn a_scan_that_the_store_drops_ends_the_subscription() {
    let delivery = first_delivery(true, 0);
    assert!(matches!(delivery, Delivery::Ended(EndReason::StoreFailed)));
}

/// An entity named `copied` that is not ready until told, and one that is always there. Counts the questions for the
/// first.
struct Copying {
    copied: EntityId,
    is_ready: AtomicBool,
    asked: AtomicU64,
}

impl RowSource for Copying {
    fn scan(&self, request: ScanRequest, reply: ScanReply) {
        let is_copied = request.entity == self.copied;
        self.asked.fetch_add(u64::from(is_copied), Ordering::SeqCst);
        if is_copied && !self.is_ready.load(Ordering::SeqCst) {
            reply(Err(ScanError::NotReady));
        } else {
            reply(Ok(Page { rows: Vec::new(), upto: None, position: Position(1) }));
        }
    }
}

/// Takes what comes.
struct Inbox(SyncSender<(SubscriptionId, Delivery)>);

impl Sink for Inbox {
    fn deliver(&self, parcels: Vec<Parcel>) {
        for Parcel { to, delivery } in parcels {
            to.iter().for_each(|address| drop(self.0.send((address.subscription, delivery.clone()))));
        }
    }
}

#[test]
fn an_entity_that_is_being_copied_stands_in_nobodys_way_and_may_end() {
    let builder = |name: &str| EntityBuilder {
        name: name.into(),
        columns: vec![("id".into(), Type::Int)],
        key: vec!["id".into()],
        ..EntityBuilder::default()
    };
    let catalog = Catalog::build(&[builder("copied"), builder("there")]).expect("valid descriptions");
    let copied = catalog.entities()[0].id();
    let store = Arc::new(Copying { copied, is_ready: false.into(), asked: 0.into() });
    let rows: Arc<dyn RowSource> = store.clone();
    let config = Config { workers: 1, scans: 1, ..Config::default() };
    let live = Live::start(&config, 1, Position(1), &rows, Box::new(|_| {})).expect("a thread");
    let (out, deliveries) = sync_channel(1_024);
    let sink: Arc<dyn Sink> = Arc::new(Inbox(out));
    let next = || deliveries.recv_timeout(PATIENCE).expect("an answer");
    let ask = |entity: &str, number: u64| {
        let text = format!("{{\"entity\":\"{entity}\",\"limit\":{number}}}");
        let query = Arc::new(Query::from_json(&catalog, &text).expect("a valid query"));
        let (tenant, sink, address) = (Tenant::common(), sink.clone(), address(number));
        live.subscribe(Subscribe { query, tenant, resume: None, synced: false, request: 1, address, sink })
            .expect("room")
    };
    // Many views wait; the only scan that may be under way is free for the other entity all the same.
    let waiting: Vec<Subscription> = (1..=50).map(|number| ask("copied", number)).collect();
    for number in 100..110 {
        let _there = ask("there", number);
        assert!(matches!(next(), (SubscriptionId(id), Delivery::Started { .. }) if id == number));
        assert!(matches!(next(), (SubscriptionId(id), Delivery::Batch { .. }) if id == number));
    }
    // One of them asks for all.
    while store.asked.load(Ordering::SeqCst) < 4 {
        std::thread::yield_now();
    }
    store.is_ready.store(true, Ordering::SeqCst);
    let mut started = 0;
    while started < waiting.len() {
        started += usize::from(matches!(next().1, Delivery::Started { .. }));
    }
    let asked = store.asked.load(Ordering::SeqCst);
    assert!(asked < 60, "{asked} questions for 50 views");
    live.end_entity(copied, &"dropped".into());
    let mut ended = 0;
    while ended < waiting.len() {
        match next().1 {
            Delivery::Ended(reason) => {
                assert_eq!(reason, EndReason::Unavailable("dropped".into()));
                ended += 1;
            }
            Delivery::Batch { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_store_that_has_no_room_is_asked_again() {
    let delivery = first_delivery(false, 3);
    assert!(matches!(delivery, Delivery::Started { .. }), "{delivery:?}");
}
