//! What the feed publishes together reaches the sinks together, as far as a turn goes.

#![allow(clippy::expect_used)]

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use tidegate_live::{Address, ClientId, Config, Delivery, Live, Parcel, Sink, Subscribe, Subscription, SubscriptionId};
use tidegate_model::{
    Catalog, Change, EntityBuilder, EntityId, Page, Position, Query, Row, RowSource, ScanReply, ScanRequest, Tenant,
    Transaction, Type, Value,
};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// No rows, at position 1.
struct Nothing;

impl RowSource for Nothing {
    fn scan(&self, _: ScanRequest, reply: ScanReply) {
        reply(Ok(Page { rows: Vec::new(), upto: None, position: Position(1) }));
    }
}

/// Passes on the positions of each call's batches.
struct Calls(SyncSender<Vec<u64>>);

impl Sink for Calls {
    fn deliver(&self, parcels: Vec<Parcel>) {
        let positions = parcels.iter().filter_map(|parcel| match &parcel.delivery {
            Delivery::Batch { batch, .. } => Some(batch.position.0),
            _ => None,
        });
        let _ = self.0.send(positions.collect());
    }
}

struct Fixture {
    live: Live,
    calls: Receiver<Vec<u64>>,
    subscription: Subscription,
}

impl Fixture {
    /// One subscriber that has its snapshot; from `transactions_queued` on the feed waits.
    fn new(transactions_queued: usize) -> Self {
        let entity = EntityBuilder {
            name: "row".into(),
            columns: vec![("id".into(), Type::Int), ("n".into(), Type::Int)],
            key: vec!["id".into()],
            ..EntityBuilder::default()
        };
        let catalog = Catalog::build(&[entity]).expect("a valid description");
        let query = Arc::new(Query::from_json(&catalog, "{\"entity\":\"row\"}").expect("a valid query"));
        let rows: Arc<dyn RowSource> = Arc::new(Nothing);
        let config = Config { workers: 1, transactions_queued, ..Config::default() };
        let live = Live::start(&config, 1, Position(1), &rows, Box::new(|_| {})).expect("a thread");
        let (out, calls) = sync_channel(1_024);
        let address = Address { client: ClientId(1), subscription: SubscriptionId(1) };
        let (tenant, sink) = (Tenant::common(), Arc::new(Calls(out)));
        let subscribe = Subscribe { query, tenant, resume: None, synced: false, request: 1, address, sink };
        let subscription = live.subscribe(subscribe).expect("room");
        let fixture = Self { live, calls, subscription };
        assert_eq!(fixture.next(), [1], "the snapshot");
        fixture
    }

    /// One commit of transactions that each change the one row, at positions from `first` on.
    fn commit(&self, first: u64, count: u64) {
        let transactions = (first..first + count).map(|number| {
            let row = |number: u64| Row::new(Position(number), vec![Value::Int(1), Value::Int(number as i64)]);
            let (old, new) = ((number > 2).then(|| row(number - 1)), Some(row(number)));
            let change = Change { entity: EntityId(0), tenant: Tenant::common(), old, new };
            Arc::new(Transaction { position: Position(number), changes: vec![change], reloads: Vec::new() })
        });
        self.live.publish(&transactions.collect::<Vec<_>>());
    }

    fn next(&self) -> Vec<u64> {
        self.calls.recv_timeout(PATIENCE).expect("a call")
    }
}

#[test]
fn a_commit_is_one_call_of_a_sink() {
    let f = Fixture::new(1_024);
    for round in 0..100 {
        let first = 2 + round * 8;
        f.commit(first, 8);
        assert_eq!(f.next(), (first..first + 8).collect::<Vec<_>>());
    }
    assert_eq!(f.live.backlog(), 0);
}

#[test]
fn a_commit_longer_than_a_turn_and_than_the_queue_comes_whole_and_in_order() {
    let f = Fixture::new(1);
    f.commit(2, 1_000);
    let mut all = Vec::new();
    while all.len() < 1_000 {
        let call = f.next();
        assert!(call.len() <= 64, "{} in one turn", call.len());
        all.extend(call);
    }
    assert_eq!(all, (2..1_002).collect::<Vec<_>>());
}

#[test]
fn a_worker_ends_with_the_last_handle() {
    let Fixture { live, calls, subscription } = Fixture::new(1_024);
    drop(live);
    assert_eq!(calls.recv_timeout(Duration::ZERO), Err(RecvTimeoutError::Timeout), "a subscription is a handle");
    drop(subscription);
    assert_eq!(calls.recv_timeout(PATIENCE), Err(RecvTimeoutError::Disconnected));
}
