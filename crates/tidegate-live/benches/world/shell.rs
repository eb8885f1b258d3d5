//! A live worker whose subscribers all watch one view through one sink.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tidegate_live::{Address, ClientId, Config, Delivery, Live, Parcel, Sink, Subscribe, Subscription, SubscriptionId};
use tidegate_model::{
    Change, EntityId, Page, Position, Query, Row, RowSource, ScanReply, ScanRequest, Tenant, Transaction,
};

struct Store(Vec<Arc<Row>>);

impl RowSource for Store {
    fn scan(&self, request: ScanRequest, reply: ScanReply) {
        let rows = self.0.iter().map(|row| (request.order.key(row), row.clone()));
        let rows = rows.filter(|(key, _)| request.after.as_ref().is_none_or(|after| key > after)).collect();
        reply(Ok(Page { rows, upto: None, position: Position(1) }));
    }
}

/// Says how many addresses got a batch.
struct Count(SyncSender<usize>);

impl Sink for Count {
    fn deliver(&self, parcels: Vec<Parcel>) {
        let batches = parcels.iter().filter(|parcel| matches!(parcel.delivery, Delivery::Batch { .. }));
        let _ = self.0.send(batches.map(|parcel| parcel.to.len()).sum());
    }
}

pub struct Shell {
    live: Live,
    delivered: Receiver<usize>,
    position: u64,
    pub subscriptions: Vec<Subscription>,
}

impl Shell {
    /// With `subscribers` that have their snapshot.
    pub fn new(subscribers: usize) -> Self {
        let rows: Arc<dyn RowSource> =
            Arc::new(Store((0..20).map(|id| super::row(id, "pump", id as f64, 0)).collect()));
        let config = Config { workers: 1, ..Config::default() };
        let live = Live::start(&config, 1, Position(1), &rows, Box::new(|_| {})).expect("a thread");
        let (out, delivered) = sync_channel(1_024);
        let sink: Arc<dyn Sink> = Arc::new(Count(out));
        let query = r#"{"entity":"asset","sort":[{"column":"temp"}],"limit":10}"#;
        let query = Arc::new(Query::from_json(&super::catalog(), query).expect("a valid query"));
        let mut shell = Self { live, delivered, position: 1, subscriptions: Vec::with_capacity(subscribers) };
        let mut started = 0;
        for number in 0..subscribers as u64 {
            let subscription = loop {
                started += shell.delivered.try_iter().sum::<usize>();
                let subscribe = Subscribe {
                    query: query.clone(),
                    tenant: Tenant::common(),
                    resume: None,
                    synced: false,
                    request: 0,
                    address: Address { client: ClientId(number), subscription: SubscriptionId(1) },
                    sink: sink.clone(),
                };
                if let Ok(subscription) = shell.live.subscribe(subscribe) {
                    break subscription;
                }
                std::thread::yield_now();
            };
            shell.subscriptions.push(subscription);
        }
        while started < subscribers {
            started += shell.delivered.recv().expect("the worker lives");
        }
        shell
    }

    /// Publishes a change of a row that all see and waits until all were handed it.
    pub fn change(&mut self) {
        self.position += 1;
        let image = |position: u64| super::row(5, "pump", 5.0, position as i64);
        let (old, new) = (Some(image(self.position - 1)), Some(image(self.position)));
        let change = Change { entity: EntityId(0), tenant: Tenant::common(), old, new };
        let transaction = Transaction { position: Position(self.position), changes: vec![change], reloads: Vec::new() };
        self.live.publish(&[Arc::new(transaction)]);
        let mut left = self.subscriptions.len();
        while left > 0 {
            left -= self.delivered.recv().expect("the worker lives");
        }
    }
}
