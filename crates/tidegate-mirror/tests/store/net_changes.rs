//! Net changes, versions and refusals against a map that is changed in the plainest way.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tidegate_mirror::{ApplyError, Refusal, RowOp, RowWrite};
use tidegate_model::{Tenant, Type, Value};

use super::{ENTITY, apply, catalog, entity, open};

/// What a write does to row `id` of tenant `tenant`.
#[derive(Debug, Clone)]
struct Step {
    tenant: bool,
    id: i64,
    /// `None` deletes.
    cells: Option<(Option<i64>, Option<bool>)>,
    put: bool,
    if_version: Option<u64>,
}

fn step() -> impl Strategy<Value = Step> {
    let cells = prop::option::weighted(0.75, (prop::option::of(0i64..3), prop::option::of(any::<bool>())));
    (any::<bool>(), 0i64..4, cells, any::<bool>(), prop::option::weighted(0.1, 0u64..6))
        .prop_map(|(tenant, id, cells, put, if_version)| Step { tenant, id, cells, put, if_version })
}

type Key = (String, i64);
type Rows = BTreeMap<Key, (u64, Vec<Value>)>;

fn tenant(step: &Step) -> Tenant {
    Tenant::new(if step.tenant { "a" } else { "b" })
}

fn write(step: &Step) -> RowWrite {
    let id = Value::Int(step.id);
    let cell = |n: Option<i64>| n.map_or(Value::Null, Value::Int);
    let flag = |b: Option<bool>| b.map_or(Value::Null, Value::Bool);
    let op = match step.cells {
        None => RowOp::Delete(vec![id]),
        Some((n, b)) if step.put => RowOp::Put(vec![id, Value::Null, cell(n), flag(b)].into()),
        Some((n, b)) => {
            let n = n.map(|n| (2, Value::Int(n)));
            let b = b.map(|b| (3, Value::Bool(b)));
            RowOp::Merge([(0, id)].into_iter().chain(n).chain(b).collect())
        }
    };
    RowWrite { entity: ENTITY, tenant: tenant(step), op, if_version: step.if_version }
}

/// The rows after the batch, or the index of the write that is refused.
fn model(rows: &Rows, steps: &[Step], position: u64) -> Result<Rows, usize> {
    let mut now = rows.clone();
    for (index, step) in steps.iter().enumerate() {
        let key = (tenant(step).name().to_owned(), step.id);
        let old = now.get(&key).cloned();
        if step.if_version.is_some_and(|version| version != old.as_ref().map_or(0, |(version, _)| *version)) {
            return Err(index);
        }
        let Some((n, b)) = step.cells else {
            now.remove(&key);
            continue;
        };
        let base = match old {
            Some((_, values)) if !step.put => values,
            _ => vec![Value::Int(step.id), Value::text(&key.0), Value::Null, Value::Null],
        };
        let keep = |given: Option<Value>, at: usize| given.unwrap_or_else(|| base[at].clone());
        let values = vec![base[0].clone(), base[1].clone(), keep(n.map(Value::Int), 2), keep(b.map(Value::Bool), 3)];
        // A row that is as it was before the transaction has its version again.
        let before = rows.get(&key).filter(|(_, before)| *before == values);
        now.insert(key, (before.map_or(position, |(version, _)| *version), values));
    }
    Ok(now)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn changes_are_the_net_of_the_batch(batches in prop::collection::vec(prop::collection::vec(step(), 0..8), 1..12)) {
        let dir = tempfile::tempdir().unwrap();
        let columns = [("id", Type::Int), ("org", Type::Text), ("n", Type::Int), ("b", Type::Bool)];
        let mut builder = entity(&columns, &["id"], &[&["n"]]);
        builder.tenant = Some("org".into());
        let catalog = catalog(&builder);
        let (mirror, mut writer) = open(dir.path(), &catalog);
        let mut rows = Rows::new();
        for steps in &batches {
            let position = writer.position().0 + 1;
            let writes: Vec<RowWrite> = steps.iter().map(write).collect();
            match (apply(&mut writer, &writes), model(&rows, steps, position)) {
                (Ok(applied), Ok(now)) => {
                    let mut changes: Rows = Rows::new();
                    for change in &applied.transaction.changes {
                        let row = change.new.as_ref().or(change.old.as_ref()).unwrap();
                        let Value::Int(id) = row.value(0) else { panic!("{row:?}") };
                        let key = (change.tenant.name().to_owned(), *id);
                        let image = |row: &tidegate_model::Row| (row.version(), row.values().to_vec());
                        prop_assert_eq!(change.old.as_deref().map(image), rows.get(&key).cloned());
                        prop_assert_eq!(change.new.as_deref().map(image), now.get(&key).cloned());
                        prop_assert!(changes.insert(key, image(row)).is_none(), "a row appears once");
                    }
                    let differs = |key: &&Key| rows.get(*key) != now.get(*key);
                    let keys: std::collections::BTreeSet<&Key> = rows.keys().chain(now.keys()).filter(differs).collect();
                    prop_assert_eq!(changes.keys().collect::<std::collections::BTreeSet<_>>(), keys);
                    for (step, version) in steps.iter().zip(applied.versions) {
                        let row = now.get(&(tenant(step).name().to_owned(), step.id));
                        prop_assert_eq!(version, step.cells.and(row).map(|(version, _)| *version));
                    }
                    rows = now;
                }
                (Err(ApplyError::Refused { index, refusal: Refusal::Version { .. } }), Err(expected)) => {
                    prop_assert_eq!(index, expected);
                    prop_assert_eq!(writer.position().0, position - 1);
                }
                (applied, expected) => prop_assert!(false, "{:?} instead of {:?}", applied, expected),
            }
        }
        let position = writer.position();
        drop((mirror, writer));
        let (mirror, writer) = open(dir.path(), &catalog);
        prop_assert_eq!(writer.position(), position);
        prop_assert_eq!(mirror.row_count(ENTITY).unwrap(), rows.len() as u64);
        for ((tenant, id), (version, values)) in &rows {
            let (row, at) = mirror.get(ENTITY, &Tenant::new(tenant), vec![Value::Int(*id)]).unwrap();
            let row = row.unwrap();
            prop_assert_eq!((row.version(), row.values(), at), (*version, &**values, position));
        }
    }
}

#[test]
fn a_refused_batch_leaves_the_commit_to_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = catalog(&entity(&[("id", Type::Int), ("n", Type::Int)], &["id"], &[]));
    let (mirror, mut writer) = open(dir.path(), &catalog);
    let row = |id, value| super::put(&Tenant::common(), vec![Value::Int(id), value]);
    writer.begin().unwrap();
    writer.apply(tidegate_model::Position(1), &[row(1, Value::Int(1))], None).unwrap();
    for (bad, refusal) in [
        (row(2, Value::text("x")), Refusal::Type { column: 1, expected: Type::Int }),
        (super::put(&Tenant::common(), vec![Value::Null, Value::Null]), Refusal::Null { column: 0 }),
    ] {
        match writer.apply(tidegate_model::Position(2), &[row(3, Value::Null), bad], None) {
            Err(ApplyError::Refused { index: 1, refusal: found }) => assert_eq!(found, refusal),
            other => panic!("{other:?}"),
        }
    }
    writer.apply(tidegate_model::Position(2), &[row(4, Value::Null)], None).unwrap();
    writer.commit().unwrap();
    assert_eq!(mirror.row_count(ENTITY).unwrap(), 2);
    assert!(mirror.get(ENTITY, &Tenant::common(), vec![Value::Int(3)]).unwrap().0.is_none());
}

#[test]
fn what_is_not_committed_is_neither_seen_nor_kept() {
    let dir = tempfile::tempdir().unwrap();
    let catalog = catalog(&entity(&[("id", Type::Int)], &["id"], &[]));
    let (mirror, mut writer) = open(dir.path(), &catalog);
    writer.begin().unwrap();
    writer.apply(tidegate_model::Position(1), &[super::put(&Tenant::common(), vec![Value::Int(1)])], None).unwrap();
    assert_eq!(mirror.row_count(ENTITY).unwrap(), 0);
    writer.rollback();
    assert_eq!(writer.position().0, 0);
    drop((mirror, writer));
    let (mirror, _writer) = open(dir.path(), &catalog);
    assert_eq!(mirror.row_count(ENTITY).unwrap(), 0);
}
