//! The real engine, random transactions (some told in bulk), scans that take their time, and a reader of any slowness: in the end the list
//! that a client made of what was drained is the query run on the rows.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidegate_live::{Engine, Output, Request};
use tidegate_model::{
    Body, Catalog, Change, Entity, EntityBuilder, Mode, Page, Query, Row, ScanRequest, Tenant, Transaction, Type, Value,
};

use super::*;

const SUBSCRIBER: u32 = 7;
const ID: SubscriptionId = SubscriptionId(7);
const FRAME_BYTES: usize = 50;

fn encode(_: &View, batch: &Batch) -> Body {
    let starts = (0..batch.deltas.len()).map(|index| (index * FRAME_BYTES) as u32).collect();
    Body { bytes: vec![b'x'; batch.deltas.len() * FRAME_BYTES], starts }
}

struct World {
    entity: Arc<Entity>,
    engine: Engine,
    rows: BTreeMap<i64, Arc<Row>>,
    position: Position,
    scans: VecDeque<(u64, ScanRequest)>,
    outbox: Outbox,
    query: Arc<Query>,
    list: Vec<(i64, i64)>,
    seq: u64,
    closed: bool,
}

impl World {
    fn new(cushion: u32, streamed: bool) -> Self {
        let entity = EntityBuilder {
            name: "a".into(),
            columns: vec![("id".into(), Type::Int), ("n".into(), Type::Int)],
            key: vec!["id".into()],
            ..EntityBuilder::default()
        };
        let catalog = Catalog::build(&[entity]).unwrap();
        // The page that a set begins with holds every row there can be.
        let (limit, mode) = if streamed { (20, "streamed") } else { (4, "maintained") };
        let query =
            format!("{{\"entity\":\"a\",\"sort\":[{{\"column\":\"n\"}}],\"limit\":{limit},\"mode\":\"{mode}\"}}");
        let query = Arc::new(Query::from_json(&catalog, &query).unwrap());
        let limits = tidegate_live::Limits { cushion: Some(cushion), log_batches: 6, ..Default::default() };
        let position = Position(1);
        let outbox_bytes = if streamed { 900 } else { 700 };
        let bounds = Limits { outbox_bytes, outbox_frames: 12, ..Limits::default() };
        let mut world = Self {
            entity: query.entity.clone(),
            engine: Engine::new(limits, 1, position, Arc::default()),
            rows: BTreeMap::new(),
            position,
            scans: VecDeque::new(),
            outbox: Outbox::new(bounds, Arc::default()),
            query: query.clone(),
            list: Vec::new(),
            seq: 0,
            closed: false,
        };
        let request = world.outbox.open(ID, None, false);
        let tenant = Tenant::common();
        world.engine.subscribe(SUBSCRIBER, Request { query, tenant, resume: None, synced: false, request });
        world.act();
        world
    }

    fn act(&mut self) {
        for output in self.engine.take_outputs() {
            match output {
                Output::Deliver(_, delivery) => self.closed |= self.outbox.deliver(ID, delivery, encode).is_err(),
                Output::Scan(ticket, request) => self.scans.push_back((ticket, *request)),
            }
        }
    }

    fn write(&mut self, changes: &[(i64, Option<i64>)], bulk: bool) {
        self.position.0 += 1;
        let mut net = BTreeMap::new();
        for (id, n) in changes {
            net.insert(*id, *n);
        }
        let mut transaction = Transaction { position: self.position, changes: Vec::new(), reloads: Vec::new() };
        for (id, n) in net {
            let new = n.map(|n| Row::new(self.position, vec![Value::Int(id), Value::Int(n)]));
            let old = match &new {
                Some(row) => self.rows.insert(id, row.clone()),
                None => self.rows.remove(&id),
            };
            if old.is_some() || new.is_some() {
                let (entity, tenant) = (self.entity.id(), Tenant::common());
                transaction.changes.push(Change { entity, tenant, old, new });
            }
        }
        if bulk {
            transaction.changes.clear();
            transaction.reloads.push(self.entity.id());
        }
        self.engine.apply(&transaction);
        self.act();
    }

    fn answer(&mut self) -> bool {
        let Some((ticket, request)) = self.scans.pop_front() else { return false };
        let mut rows: Vec<_> = self.rows.values().map(|row| (request.order.key(row), row.clone())).collect();
        rows.retain(|(key, _)| request.after.as_ref().is_none_or(|after| key > after));
        rows.sort_by(|a, b| a.0.cmp(&b.0));
        let upto = (rows.len() > request.want).then(|| rows[request.want - 1].0.clone());
        rows.truncate(request.want);
        self.engine.page(ticket, Ok(Page { rows, upto, position: self.position }));
        self.act();
        true
    }

    fn reanchor(&mut self, after: Option<i64>, limit: u32) {
        let mut query = (*self.query).clone();
        query.after = after.map(|n| query.order.key_of_values(&[Value::Int(n), Value::Int(0)]));
        query.limit = limit;
        self.query = Arc::new(query);
        let (engine, query) = (&mut self.engine, self.query.clone());
        self.outbox.reanchor(ID, |request| {
            engine.reanchor(SUBSCRIBER, query.clone(), request, 0);
            true
        });
        self.act();
    }

    fn drain(&mut self, max_bytes: usize) -> bool {
        let mut items = Vec::new();
        let catch_up = self.outbox.drain(max_bytes, &mut items);
        let did = catch_up.is_some() || !items.is_empty();
        for item in items {
            let Item::Frames { seq, batch, from, .. } = item else { continue };
            assert_eq!(seq, self.seq + 1, "a gap in the numbers");
            for delta in &batch.deltas[from..] {
                self.seq += 1;
                self.apply(delta);
            }
        }
        if let Some(CatchUp { sent, reset, request, .. }) = catch_up {
            self.engine.catch_up(SUBSCRIBER, sent, reset, request);
            self.act();
        }
        did
    }

    fn apply(&mut self, delta: &tidegate_model::Delta) {
        let row = delta.row.as_ref().map(|row| cells(row));
        let (old, new) = (delta.old_index as usize, delta.new_index as usize);
        match (delta.op, row) {
            (Op::Reset, _) => self.list.clear(),
            (Op::Enter, Some(row)) => self.list.insert(new, row),
            (Op::Leave, Some(row)) => assert_eq!(self.list.remove(old).0, row.0),
            (Op::Move, Some(row)) => {
                assert_eq!(self.list.remove(old).0, row.0);
                self.list.insert(new, row);
            }
            (Op::Update, Some(row)) if self.query.mode == Mode::Maintained => {
                assert_eq!(self.list[old].0, row.0);
                self.list[old] = row;
            }
            (Op::Match | Op::Update | Op::Unmatch, Some(row)) => {
                let before = self.list.len();
                self.list.retain(|(id, _)| *id != row.0);
                assert_eq!(self.list.len() < before, delta.op != Op::Match, "{delta:?}");
                if delta.op != Op::Unmatch {
                    self.list.push(row);
                }
            }
            _ => {}
        }
    }

    fn expected(&self) -> Vec<(i64, i64)> {
        let mut rows: Vec<_> = self.rows.values().map(|row| (self.query.order.key(row), cells(row))).collect();
        rows.retain(|(key, _)| self.query.after.as_ref().is_none_or(|after| key > after));
        rows.sort();
        rows.into_iter().map(|(_, row)| row).take(self.query.limit as usize).collect()
    }
}

/// Its id and its number: what the client is shown.
fn cells(row: &Row) -> (i64, i64) {
    match row.values() {
        [Value::Int(id), Value::Int(n)] => (*id, *n),
        other => panic!("{other:?}"),
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Changes, and whether they are told in bulk.
    Write(Vec<(i64, Option<i64>)>, bool),
    Answer,
    Drain(usize),
    Reanchor(Option<i64>, u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = (0..12_i64, prop::option::weighted(0.7, 0..10_i64));
    let step = prop_oneof![
        8 => (prop::collection::vec(change, 1..5), prop::bool::weighted(0.1))
            .prop_map(|(changes, bulk)| Step::Write(changes, bulk)),
        4 => Just(Step::Answer),
        4 => (1..800_usize).prop_map(Step::Drain),
        1 => (prop::option::of(0..8_i64), 1..6_u32).prop_map(|(after, limit)| Step::Reanchor(after, limit)),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn a_reader_of_any_slowness_ends_with_the_query_run_on_the_rows(cushion in 0..3_u32, streamed: bool, steps in steps()) {
        let mut world = World::new(cushion, streamed);
        for step in steps {
            match step {
                Step::Write(changes, bulk) => world.write(&changes, bulk),
                Step::Answer => { world.answer(); }
                Step::Drain(max_bytes) => { world.drain(max_bytes); }
                // What a set knows after that is not the query run on the rows.
                Step::Reanchor(..) if streamed => {}
                Step::Reanchor(after, limit) => world.reanchor(after, limit),
            }
        }
        let mut turns = 0;
        while world.answer() | world.drain(100) {
            turns += 1;
            assert!(turns < 10_000, "it does not come to rest");
        }
        prop_assert!(!world.closed);
        let mut expected = world.expected();
        if streamed {
            world.list.sort_unstable();
            expected.sort_unstable();
        }
        prop_assert_eq!(&world.list, &expected);
    }
}
