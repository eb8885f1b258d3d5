//! An engine over rows in memory, for benches: scans are answered at once.

use std::sync::Arc;

use tidegate_live::{Engine, Limits, Metrics, Output, Request, Subscriber};
use tidegate_model::{
    Catalog, Change, EntityBuilder, EntityId, Page, Position, Query, Row, Tenant, Transaction, Type, Value,
};

/// The allocator of the `tidegate` binary.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// One entity `asset`: `id`, `kind`, `temp`, `name`, `note`.
pub fn catalog() -> Catalog {
    let columns =
        [("id", Type::Int), ("kind", Type::Text), ("temp", Type::Float), ("name", Type::Text), ("note", Type::Int)];
    let builder = EntityBuilder {
        name: "asset".into(),
        columns: columns.map(|(name, kind)| (name.to_owned(), kind)).to_vec(),
        key: vec!["id".into()],
        max_window: Some(10_000),
        ..EntityBuilder::default()
    };
    Catalog::build(&[builder]).expect("a valid catalog")
}

pub fn row(id: i64, kind: &str, temp: f64, note: i64) -> Arc<Row> {
    let name = format!("north-{id:07}");
    let values = vec![Value::Int(id), Value::text(kind), Value::Float(temp), Value::text(name), Value::Int(note)];
    Row::new(Position(1), values)
}

pub struct World {
    catalog: Catalog,
    pub engine: Engine,
    rows: Vec<Arc<Row>>,
    position: u64,
    subscribers: Subscriber,
}

impl World {
    pub fn new(rows: Vec<Arc<Row>>, cushion: Option<u32>) -> Self {
        let limits = Limits { cushion, ..Limits::default() };
        let engine = Engine::new(limits, 1, Position(1), Arc::new(Metrics::default()));
        Self { catalog: catalog(), engine, rows, position: 1, subscribers: 0 }
    }

    pub fn subscribe(&mut self, query: &str) {
        let query = Arc::new(Query::from_json(&self.catalog, query).expect("a valid query"));
        self.subscribers += 1;
        let request = Request { query, tenant: Tenant::common(), resume: None, synced: false, request: 0 };
        self.engine.subscribe(self.subscribers, request);
        self.answer_scans();
    }

    fn answer_scans(&mut self) {
        loop {
            let outputs: Vec<Output> = self.engine.take_outputs().collect();
            let scans = outputs.into_iter().filter_map(|output| match output {
                Output::Scan(ticket, request) => Some((ticket, request)),
                Output::Deliver(..) => None,
            });
            let mut any = false;
            for (ticket, request) in scans {
                any = true;
                let mut rows: Vec<_> = self
                    .rows
                    .iter()
                    .filter(|row| request.predicate.matches(row))
                    .map(|row| (request.order.key(row), row.clone()))
                    .filter(|(key, _)| request.after.as_ref().is_none_or(|after| key > after))
                    .collect();
                rows.sort_by(|a, b| a.0.cmp(&b.0));
                let end = rows.len() <= request.want;
                rows.truncate(request.want);
                let upto = if end { None } else { rows.last().map(|(key, _)| key.clone()) };
                self.engine.page(ticket, Ok(Page { rows, upto, position: Position(self.position) }));
            }
            if !any {
                return;
            }
        }
    }

    /// Folds one changed row in and throws the deliveries away; panics if there were not as many as expected.
    pub fn apply(&mut self, transaction: &mut Transaction, deliveries: usize) {
        self.position += 1;
        transaction.position = Position(self.position);
        self.engine.apply(transaction);
        let delivered = self.engine.take_outputs().map(|output| match output {
            Output::Deliver(subscribers, _) => subscribers.len(),
            Output::Scan(..) => 0,
        });
        assert_eq!(delivered.sum::<usize>(), deliveries);
    }

    pub fn change(&self, old: Option<Arc<Row>>, new: Option<Arc<Row>>) -> Transaction {
        let change = Change { entity: EntityId(0), tenant: Tenant::common(), old, new };
        Transaction { position: Position(0), changes: vec![change], reloads: Vec::new() }
    }
}
