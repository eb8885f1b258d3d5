//! Source transactions against a map that is changed in the plainest way: what tenants see, and whether whoever follows
//! what is told sees the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use tidegate_mirror::{ApplyError, Mirror, Options, Refusal, SourceOp, State, Writer};
use tidegate_model::{
    Catalog, EntityBuilder, EntityId, Filter, Order, Position, Predicate, ScanError, ScanRequest, Tenant, Transaction,
    Type, Value,
};

/// How the two entities hold their tenants and keys; the second is always the plain one.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// The tenant column is no part of the key, and there is a row filter.
    Apart,
    /// It is part of the key.
    InKey,
    /// No tenant column, but a row filter.
    Filtered,
}

const TENANTS: [&str; 2] = ["a", "b"];
const ROW_BYTES_MAX: usize = 60;

fn builders(shape: Shape) -> Vec<EntityBuilder> {
    let builder = |name: &str, sourced| EntityBuilder {
        name: name.into(),
        columns: ["id", "org", "n", "text"].map(str::to_owned).into_iter().zip(KINDS).collect(),
        key: vec!["id".into()],
        indexes: Some(vec![vec!["n".into()], vec!["org".into(), "id".into()]]),
        sourced,
        ..EntityBuilder::default()
    };
    let filter = Some(r#"[{"column":"n","op":"lt","value":2}]"#.to_owned());
    let mut first = builder("first", true);
    match shape {
        Shape::Apart => (first.tenant, first.row_filter) = (Some("org".into()), filter),
        Shape::InKey => (first.tenant, first.key) = (Some("org".into()), vec!["org".into(), "id".into()]),
        Shape::Filtered => first.row_filter = filter,
    }
    vec![first, builder("second", true)]
}

const KINDS: [Type; 4] = [Type::Int, Type::Text, Type::Int, Type::Text];

/// Rows by key, of one entity.
type Rows = BTreeMap<Vec<String>, Vec<Value>>;
/// What everybody may see: by entity, tenant and key.
type Shown = BTreeMap<(u32, String, Vec<String>), Vec<Value>>;

#[derive(Debug, Clone)]
enum Step {
    /// `from` names an old key; `unchanged` leaves text and org out.
    Upsert {
        id: i64,
        from: Option<i64>,
        org: Option<usize>,
        n: i64,
        text: usize,
        unchanged: bool,
    },
    Delete(i64),
    Clear,
    /// Keys trade places by way of a third.
    Swap(i64, i64),
    State(bool),
}

#[derive(Debug, Clone)]
enum Act {
    Transaction(Vec<(u32, Step)>),
    /// A new copy of the entity from what it holds.
    Copy(u32),
    Commit,
    Rollback,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let upsert = (0i64..5, prop::option::weighted(0.3, 0i64..5), prop::option::of(0usize..2), 0i64..4);
    let text = prop_oneof![5 => 0usize..3, 1 => Just(ROW_BYTES_MAX)];
    prop_oneof![
        12 => (upsert, text, any::<bool>()).prop_map(|((id, from, org, n), text, unchanged)| {
            Step::Upsert { id, from, org, n, text, unchanged }
        }),
        4 => (0i64..5).prop_map(Step::Delete),
        1 => Just(Step::Clear),
        2 => (0i64..5, 0i64..5).prop_map(|(a, b)| Step::Swap(a, b)),
        1 => any::<bool>().prop_map(Step::State),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => prop::collection::vec((0u32..2, step()), 0..10).prop_map(Act::Transaction),
        1 => (0u32..2).prop_map(Act::Copy),
        6 => Just(Act::Commit),
        1 => Just(Act::Rollback),
        1 => Just(Act::Reopen),
    ]
}

/// The plain model of the store.
#[derive(Debug, Clone, Default)]
struct Model {
    rows: [Rows; 2],
    filling: [bool; 2],
}

impl Model {
    fn shown(&self, catalog: &Catalog) -> Shown {
        let mut shown = Shown::new();
        for (entity, rows) in (0u32..).zip(&self.rows) {
            for (key, values) in rows.iter().filter(|_| !self.filling[entity as usize]) {
                if let Some(tenant) = tenant_of(catalog, entity, values) {
                    shown.insert((entity, tenant, key.clone()), values.clone());
                }
            }
        }
        shown
    }
}

fn tenant_of(catalog: &Catalog, entity: u32, values: &[Value]) -> Option<String> {
    let entity = catalog.entity(EntityId(entity));
    let Value::Int(n) = values[2] else { panic!("{values:?}") };
    match (entity.row_filter(), entity.tenant(), &values[1]) {
        (Some(_), ..) if n >= 2 => None,
        (_, None, _) => Some(String::new()),
        (_, Some(_), Value::Text(org)) => Some(org.to_string()),
        (_, Some(_), _) => None,
    }
}

fn key_of(catalog: &Catalog, entity: u32, values: &[Value]) -> Vec<String> {
    catalog.entity(EntityId(entity)).key().iter().map(|column| format!("{:?}", values[usize::from(*column)])).collect()
}

/// One store, the model beside it, and a replica that only hears what is told.
struct World {
    dir: tempfile::TempDir,
    catalog: Catalog,
    options: Options,
    store: Option<(Mirror, Writer)>,
    now: Model,
    durable: Model,
    told: Vec<Transaction>,
    replica: Shown,
}

impl World {
    fn new(shape: Shape, fold_rows_max: usize, fold_bytes_max: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let catalog = Catalog::build(&builders(shape)).unwrap();
        let options =
            Options { fold_rows_max, fold_bytes_max, row_bytes_max: ROW_BYTES_MAX, readers: 1, ..Options::default() };
        let mut store = Mirror::open(dir.path(), &catalog, &options).unwrap();
        store.1.begin().unwrap();
        let filling = Model { filling: [true; 2], ..Model::default() };
        let (store, told) = (Some(store), Vec::new());
        Self { dir, catalog, options, store, now: filling.clone(), durable: filling, told, replica: Shown::new() }
    }

    fn writer(&mut self) -> &mut Writer {
        &mut self.store.as_mut().unwrap().1
    }

    fn values(&self, id: i64, org: Option<usize>, n: i64, text: usize) -> Vec<Value> {
        let org = org.map_or(Value::Null, |org| Value::text(TENANTS[org]));
        vec![Value::Int(id), org, Value::Int(n), Value::text("x".repeat(text))]
    }

    /// The key that names a row of that id: with any tenant in the key, that of the row which is there.
    fn source_key(&self, entity: u32, id: i64) -> Vec<Value> {
        let rows = &self.now.rows[entity as usize];
        let found = rows.values().find(|values| values[0] == Value::Int(id));
        let row = found.cloned().unwrap_or_else(|| self.values(id, Some(0), 0, 0));
        let entity = self.catalog.entity(EntityId(entity));
        entity.key().iter().map(|column| row[usize::from(*column)].clone()).collect()
    }

    fn step(&mut self, entity: u32, step: &Step) {
        let at = entity as usize;
        match step {
            Step::Upsert { id, from, org, n, text, unchanged } => {
                let values = self.values(*id, *org, *n, *text);
                self.upsert(entity, *from, values, *unchanged);
            }
            Step::Delete(id) => {
                let key = self.source_key(entity, *id);
                let text: Vec<String> = key.iter().map(|value| format!("{value:?}")).collect();
                self.writer().write(EntityId(entity), SourceOp::Delete { key }).unwrap();
                self.now.rows[at].remove(&text);
            }
            Step::Clear => {
                self.writer().write(EntityId(entity), SourceOp::Clear).unwrap();
                self.now.rows[at].clear();
            }
            Step::Swap(a, b) => {
                for (from, to) in [(*a, 9), (*b, *a), (9, *b)] {
                    let rows = &self.now.rows[at];
                    let Some(mut values) = rows.values().find(|row| row[0] == Value::Int(from)).cloned() else {
                        continue;
                    };
                    values[0] = Value::Int(to);
                    self.upsert(entity, Some(from), values, true);
                }
            }
            Step::State(true) => {
                self.writer().set_ready(EntityId(entity)).unwrap();
                self.now.filling[at] = false;
            }
            Step::State(false) => {
                self.writer().clear(EntityId(entity)).unwrap();
                self.now.rows[at].clear();
                self.now.filling[at] = true;
            }
        }
    }

    fn upsert(&mut self, entity: u32, from: Option<i64>, values: Vec<Value>, unchanged: bool) {
        let at = entity as usize;
        let old_key = from.map(|id| self.source_key(entity, id));
        let own = key_of(&self.catalog, entity, &values);
        let old = old_key.as_ref().map(|key| key.iter().map(|value| format!("{value:?}")).collect());
        let before = self.now.rows[at].get(old.as_ref().unwrap_or(&own)).cloned();
        let mut cells: Vec<Option<Value>> = values.iter().cloned().map(Some).collect();
        let mut expected = Ok(values);
        if unchanged {
            cells[3] = None;
            expected = expected.and_then(|mut values| match &before {
                Some(before) => {
                    values[3] = before[3].clone();
                    Ok(values)
                }
                None => Err("unknown"),
            });
        }
        let in_key = self.catalog.entity(EntityId(entity)).key().contains(&1);
        expected = expected.and_then(|values| match &values[3] {
            _ if in_key && values[1].is_null() => Err("row"),
            Value::Text(text) if text.len() >= ROW_BYTES_MAX => Err("row"),
            _ => Ok(values),
        });
        if in_key && cells[1] == Some(Value::Null) {
            expected = Err("row");
        }
        let written = self.writer().write(EntityId(entity), SourceOp::Upsert { old_key, cells });
        match (written, expected) {
            (Ok(()), Ok(values)) => {
                if let Some(old) = old {
                    self.now.rows[at].remove(&old);
                }
                self.now.rows[at].insert(own, values);
            }
            (Err(ApplyError::Refused { index: 0, refusal: Refusal::Unknown { column: 3 } }), Err("unknown")) => {}
            (Err(ApplyError::Refused { index: 0, refusal: Refusal::Row { key, .. } }), Err("row")) => {
                assert!(key.contains("id = "), "{key}");
            }
            (written, expected) => panic!("{written:?} instead of {expected:?}"),
        }
    }

    fn act(&mut self, act: &Act) {
        let next = Position(self.writer().position().0 + 3);
        match act {
            Act::Transaction(steps) => {
                self.writer().open(next).unwrap();
                for (entity, step) in steps {
                    self.step(*entity, step);
                }
                let told = self.writer().close().unwrap();
                assert_eq!(told.position, next);
                self.told.push(told);
            }
            Act::Copy(entity) => {
                let rows: Vec<Box<[Value]>> =
                    self.now.rows[*entity as usize].values().map(|values| values.clone().into()).collect();
                let (id, count) = (EntityId(*entity), rows.len() as u64);
                let writer = self.writer();
                writer.clear(id).unwrap();
                assert_eq!(writer.load(id, &mut rows.into_iter(), next).unwrap().rows, count);
                writer.set_ready(id).unwrap();
                writer.advance(next).unwrap();
                self.now.filling[*entity as usize] = false;
                self.told.push(Transaction { position: next, changes: Vec::new(), reloads: vec![id] });
            }
            Act::Commit => {
                self.writer().commit().unwrap();
                self.durable = self.now.clone();
                self.check();
                self.writer().begin().unwrap();
            }
            Act::Rollback | Act::Reopen => {
                // In the middle of a transaction that goes beyond its fold.
                self.writer().open(next).unwrap();
                (0..2).for_each(|entity| self.step(entity, &Step::Clear));
                for id in 0..4 {
                    self.upsert(1, None, [Value::Int(id)].into_iter().chain(rest()).collect(), false);
                }
                self.writer().rollback();
                self.now = self.durable.clone();
                self.told.clear();
                if matches!(act, Act::Reopen) {
                    self.store = None;
                    self.store = Some(Mirror::open(self.dir.path(), &self.catalog, &self.options).unwrap());
                }
                self.check();
                self.writer().begin().unwrap();
            }
        }
    }

    /// What the store shows is what the model shows, and what the replica made of what it was told.
    fn check(&mut self) {
        let (mirror, writer) = self.store.as_ref().unwrap();
        let shown = self.durable.shown(&self.catalog);
        let mut read = Shown::new();
        for entity in 0..2u32 {
            let filling = self.durable.filling[entity as usize];
            assert_eq!(writer.state(EntityId(entity)), if filling { State::Filling } else { State::Ready });
            let tenants: &[&str] =
                if self.catalog.entity(EntityId(entity)).tenant().is_some() { &TENANTS } else { &[""] };
            for tenant in tenants {
                match mirror.page(everything(&self.catalog, EntityId(entity), tenant)) {
                    Err(ScanError::NotReady) if filling => {}
                    Ok(page) if !filling => {
                        assert_eq!(page.position, writer.position());
                        for (_, row) in page.rows {
                            let key = key_of(&self.catalog, entity, row.values());
                            read.insert((entity, (*tenant).to_owned(), key), row.values().to_vec());
                        }
                    }
                    other => panic!("{other:?} while filling is {filling}"),
                }
            }
            match mirror.row_count(EntityId(entity)) {
                Err(ScanError::NotReady) if filling => {}
                count => assert_eq!(count.unwrap(), shown.keys().filter(|(of, ..)| *of == entity).count() as u64),
            }
        }
        assert_eq!(read, shown);
        self.follow(&read);
    }

    /// Applies what was told to the replica; what is under reloads, and what is not ready, is read anew.
    fn follow(&mut self, read: &Shown) {
        let mut reread = self.durable.filling;
        for transaction in std::mem::take(&mut self.told) {
            for change in &transaction.changes {
                let entity = change.entity.0;
                assert!(!transaction.reloads.contains(&change.entity), "told twice: {transaction:?}");
                let row = change.new.as_ref().or(change.old.as_ref()).unwrap();
                let key = (entity, change.tenant.name().to_owned(), key_of(&self.catalog, entity, row.values()));
                let before = match &change.new {
                    Some(row) => self.replica.insert(key, row.values().to_vec()),
                    None => self.replica.remove(&key),
                };
                if !reread[entity as usize] {
                    assert_eq!(before.as_deref(), change.old.as_deref().map(tidegate_model::Row::values));
                    assert_ne!(before.as_deref(), change.new.as_deref().map(tidegate_model::Row::values));
                    assert_eq!(
                        change.new.as_ref().map_or(transaction.position.0, |row| row.version()),
                        transaction.position.0
                    );
                }
            }
            transaction.reloads.iter().for_each(|entity| reread[entity.0 as usize] = true);
        }
        self.replica.retain(|(entity, ..), _| !reread[*entity as usize]);
        let of_reread = read.iter().filter(|((entity, ..), _)| reread[*entity as usize]);
        self.replica.extend(of_reread.map(|(key, values)| (key.clone(), values.clone())));
        assert_eq!(&self.replica, read);
    }
}

/// The other cells of a row that everybody may see.
fn rest() -> [Value; 3] {
    [Value::text("a"), Value::Int(0), Value::text("")]
}

fn everything(catalog: &Catalog, entity: EntityId, tenant: &str) -> ScanRequest {
    ScanRequest {
        entity,
        tenant: Tenant::new(tenant),
        order: Arc::new(Order::new(catalog.entity(entity), &[])),
        predicate: Arc::new(Predicate::new(Filter::everything())),
        after: None,
        want: usize::MAX,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn what_is_told_makes_what_is_shown(
        shape in prop_oneof![Just(Shape::Apart), Just(Shape::InKey), Just(Shape::Filtered)],
        caps in prop_oneof![3 => Just((1_000, 1 << 20)), 2 => (0usize..6, Just(1 << 20)), 1 => (Just(1_000), 300usize..3_000)],
        ready in any::<bool>(),
        acts in prop::collection::vec(act(), 1..25),
    ) {
        let mut world = World::new(shape, caps.0, caps.1);
        if ready {
            let both = (0..2).map(|entity| (entity, Step::State(true))).collect();
            [Act::Transaction(both), Act::Commit].iter().for_each(|act| world.act(act));
        }
        acts.iter().chain([&Act::Commit]).for_each(|act| world.act(act));
    }
}
