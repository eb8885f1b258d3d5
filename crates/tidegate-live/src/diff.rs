//! From two lists to the deltas between them, and back.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;

use hashbrown::HashTable;
use rustc_hash::FxBuildHasher;
use smallvec::SmallVec;
use tidegate_model::{Batch, BatchKind, Delta, Op, Position, Row, Value, key};

/// The deltas of one batch.
pub(crate) type Deltas = SmallVec<[Delta; 1]>;

/// How a row that both lists hold differs between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Relation {
    /// Nothing that the subscriber is shown.
    Same,
    /// Content, with its sort key as it was.
    Changed,
    /// Its sort key, so that its place among the others may differ.
    Moved,
}

pub(crate) fn enter(row: Arc<Row>, at: usize) -> Delta {
    Delta { op: Op::Enter, old_index: -1, new_index: at as i32, version: row.version(), row: Some(row) }
}

pub(crate) fn leave(row: Arc<Row>, at: usize, version: u64) -> Delta {
    Delta { op: Op::Leave, old_index: at as i32, new_index: -1, version, row: Some(row) }
}

pub(crate) fn update(row: Arc<Row>, at: usize) -> Delta {
    Delta { op: Op::Update, old_index: at as i32, new_index: at as i32, version: row.version(), row: Some(row) }
}

/// A move, or an update if the place is the same after all.
pub(crate) fn shift(row: Arc<Row>, from: usize, to: usize) -> Delta {
    if from == to {
        return update(row, to);
    }
    Delta { op: Op::Move, old_index: from as i32, new_index: to as i32, version: row.version(), row: Some(row) }
}

/// A delta of a streamed view, or a frame around a snapshot: no index.
pub(crate) fn unplaced(op: Op, version: u64, row: Option<Arc<Row>>) -> Delta {
    Delta { op, old_index: -1, new_index: -1, version, row }
}

/// `reset`, every row, `ready`.
pub(crate) fn snapshot<'a>(position: Position, rows: impl Iterator<Item = &'a Arc<Row>>) -> Batch {
    let mut deltas = Deltas::new();
    deltas.push(unplaced(Op::Reset, 0, None));
    deltas.extend(rows.enumerate().map(|(at, row)| enter(row.clone(), at)));
    deltas.push(unplaced(Op::Ready, 0, None));
    Batch::new(position, BatchKind::Own, deltas)
}

/// Rows by identity: which of a list has the key of another row.
struct ByKey<'a> {
    table: HashTable<u32>,
    rows: &'a [&'a Arc<Row>],
    columns: &'a [u16],
}

impl<'a> ByKey<'a> {
    fn new(rows: &'a [&'a Arc<Row>], columns: &'a [u16]) -> Self {
        let mut table = HashTable::with_capacity(rows.len());
        for (at, row) in (0u32..).zip(rows) {
            table.insert_unique(hash(row, columns), at, |at| hash(rows[*at as usize], columns));
        }
        Self { table, rows, columns }
    }

    fn find(&self, row: &Row) -> Option<usize> {
        let same = |at: &u32| same_key(self.rows[*at as usize], row, self.columns);
        self.table.find(hash(row, self.columns), same).map(|at| *at as usize)
    }
}

fn hash(row: &Row, columns: &[u16]) -> u64 {
    let mut hasher = FxBuildHasher.build_hasher();
    for column in columns {
        match row.value(*column) {
            Value::Text(text) => text.hash(&mut hasher),
            Value::Int(int) => hasher.write_i64(*int),
            Value::Uuid(uuid) => uuid.hash(&mut hasher),
            value => key::encoded(value).hash(&mut hasher),
        }
    }
    hasher.finish()
}

/// Whether two rows are one row of the entity whose key columns these are.
pub(crate) fn same_key(a: &Row, b: &Row, columns: &[u16]) -> bool {
    columns.iter().all(|column| a.value(*column) == b.value(*column))
}

/// The deltas that turn `before` into `after`, each index meaning the list as the deltas before left it: leaves from the
/// end, then moves, enters from the front, updates last. Rows that are `Same` or `Changed` keep their order among
/// themselves. `left` gives the version of a row of `before` that is gone.
pub(crate) fn diff(
    before: &[&Arc<Row>],
    after: &[&Arc<Row>],
    key_columns: &[u16],
    relation: impl Fn(usize, usize) -> Relation,
    left: impl Fn(usize) -> u64,
) -> Deltas {
    let mut deltas = Deltas::new();
    let after_by_key = ByKey::new(after, key_columns);
    let target: Vec<Option<usize>> = before.iter().map(|row| after_by_key.find(row)).collect();
    for (at, row) in before.iter().enumerate().rev().filter(|(at, _)| target[*at].is_none()) {
        deltas.push(leave((*row).clone(), at, left(at)));
    }
    // The list now, as indexes into `after`.
    let mut list: Vec<usize> = target.iter().filter_map(|at| *at).collect();
    let mut kept = vec![None; after.len()];
    for (from, to) in target.iter().enumerate() {
        if let Some(to) = to {
            kept[*to] = Some(relation(from, *to));
        }
    }
    let mut predecessor = None;
    for (to, relation) in kept.iter().enumerate() {
        let Some(relation) = relation else { continue };
        if *relation == Relation::Moved {
            let from = list.iter().position(|at| *at == to).unwrap_or_default();
            list.remove(from);
            let place = predecessor.and_then(|before| list.iter().position(|at| *at == before)).map_or(0, |at| at + 1);
            list.insert(place, to);
            deltas.push(shift(after[to].clone(), from, place));
        }
        predecessor = Some(to);
    }
    for (at, row) in after.iter().enumerate().filter(|(at, _)| kept[*at].is_none()) {
        deltas.push(enter((*row).clone(), at));
    }
    for (at, row) in after.iter().enumerate().filter(|(at, _)| kept[*at] == Some(Relation::Changed)) {
        deltas.push(update((*row).clone(), at));
    }
    deltas
}

/// A row of a list as it was, and what has become of it since.
#[derive(Debug)]
pub(crate) struct Then {
    pub(crate) row: Arc<Row>,
    pub(crate) relation: Relation,
    /// The position of its last change, as far as the view saw it.
    pub(crate) version: u64,
}

/// The list before `batches` were applied, given the list after.
pub(crate) fn undo<'a>(
    after: impl Iterator<Item = &'a Arc<Row>>,
    batches: impl DoubleEndedIterator<Item = &'a Arc<Batch>>,
) -> Vec<Then> {
    let as_now = |row: &Arc<Row>| Then { row: row.clone(), relation: Relation::Same, version: row.version() };
    let mut list: Vec<Then> = after.map(as_now).collect();
    for delta in batches.rev().flat_map(|batch| batch.deltas.iter().rev()) {
        let (old, new) = (delta.old_index as usize, delta.new_index as usize);
        match (delta.op, &delta.row) {
            (Op::Enter, _) => {
                list.remove(new);
            }
            (Op::Leave, Some(row)) => {
                list.insert(old, Then { row: row.clone(), relation: Relation::Moved, version: delta.version });
            }
            (Op::Move, _) => {
                let moved = list.remove(new);
                list.insert(old, Then { relation: Relation::Moved, ..moved });
            }
            (Op::Update, _) => list[new].relation = list[new].relation.max(Relation::Changed),
            _ => {}
        }
    }
    list
}

/// The net of a streamed view's batches: one delta a row at most.
pub(crate) fn net<'a>(batches: impl Iterator<Item = &'a Arc<Batch>>, key_columns: &[u16]) -> Deltas {
    let all: Vec<&Delta> = batches.flat_map(|batch| batch.deltas.iter()).filter(|delta| delta.row.is_some()).collect();
    let rows: Vec<&Arc<Row>> = all.iter().filter_map(|delta| delta.row.as_ref()).collect();
    // For each row, its first and its last delta, in the order of the last.
    let mut table: HashTable<(u32, u32)> = HashTable::with_capacity(all.len());
    let hash_of = |at: u32| hash(rows[at as usize], key_columns);
    for at in 0..all.len() as u32 {
        let same = |entry: &(u32, u32)| same_key(rows[entry.0 as usize], rows[at as usize], key_columns);
        match table.find_mut(hash_of(at), same) {
            Some(entry) => entry.1 = at,
            None => {
                table.insert_unique(hash_of(at), (at, at), |entry| hash_of(entry.0));
            }
        }
    }
    let mut ends: Vec<(u32, u32)> = table.into_iter().collect();
    ends.sort_unstable_by_key(|(_, last)| *last);
    let mut deltas = Deltas::new();
    for (first, last) in ends {
        let (first, last) = (all[first as usize], all[last as usize]);
        let known = first.op != Op::Match;
        let op = match (known, last.op == Op::Unmatch) {
            (false, true) => continue,
            (true, true) => Op::Unmatch,
            (true, false) => Op::Update,
            (false, false) => Op::Match,
        };
        deltas.push(unplaced(op, last.version, last.row.clone()));
    }
    deltas
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(id: i64, content: i64) -> Arc<Row> {
        Row::new(Position(1), vec![Value::Int(id), Value::Int(content)])
    }

    fn apply(list: &mut Vec<(i64, i64)>, deltas: &[Delta]) {
        for delta in deltas {
            let cells = delta.row.as_ref().map(|row| match row.values() {
                [Value::Int(id), Value::Int(content)] => (*id, *content),
                _ => unreachable!(),
            });
            match delta.op {
                Op::Leave => assert_eq!(list.remove(delta.old_index as usize).0, cells.unwrap().0),
                Op::Enter => list.insert(delta.new_index as usize, cells.unwrap()),
                Op::Update => list[delta.new_index as usize] = cells.unwrap(),
                Op::Move => {
                    assert_eq!(list.remove(delta.old_index as usize).0, cells.unwrap().0);
                    list.insert(delta.new_index as usize, cells.unwrap());
                }
                _ => unreachable!(),
            }
        }
    }

    /// A list sorted by (sort key, id): id, sort key, content.
    fn list() -> impl Strategy<Value = Vec<(i64, i64, i64)>> {
        proptest::collection::btree_map(0..12i64, (0..6i64, 0..2i64), 0..9).prop_map(|rows| {
            let mut rows: Vec<_> = rows.into_iter().map(|(id, (sort, content))| (id, sort, content)).collect();
            rows.sort_by_key(|(id, sort, _)| (*sort, *id));
            rows
        })
    }

    fn diff_of(before: &[(i64, i64, i64)], after: &[(i64, i64, i64)]) -> Deltas {
        let rows =
            |list: &[(i64, i64, i64)]| list.iter().map(|(id, _, content)| row(*id, *content)).collect::<Vec<_>>();
        let (b, a) = (rows(before), rows(after));
        let relation = |x: usize, y: usize| match (before[x], after[y]) {
            (x, y) if x.1 != y.1 => Relation::Moved,
            (x, y) if x.2 != y.2 => Relation::Changed,
            _ => Relation::Same,
        };
        diff(&b.iter().collect::<Vec<_>>(), &a.iter().collect::<Vec<_>>(), &[0], relation, |_| 7)
    }

    fn shown(list: &[(i64, i64, i64)]) -> Vec<(i64, i64)> {
        list.iter().map(|(id, _, content)| (*id, *content)).collect()
    }

    proptest! {
        #[test]
        fn applying_the_difference_gives_the_other_list(before in list(), after in list()) {
            let mut client = shown(&before);
            // A moved row whose content is the same still travels whole, so compare after content is taken from it.
            apply(&mut client, &diff_of(&before, &after));
            prop_assert_eq!(client, shown(&after));
        }

        #[test]
        fn one_delta_a_row_and_never_longer_than_either_list(before in list(), after in list()) {
            let deltas = diff_of(&before, &after);
            let mut seen: Vec<i64> = deltas.iter().map(|delta| match delta.row.as_ref().unwrap().value(0) { Value::Int(id) => *id, _ => unreachable!() }).collect();
            let count = seen.len();
            seen.sort_unstable();
            seen.dedup();
            prop_assert_eq!(seen.len(), count);
        }

        #[test]
        fn undo_leads_back_and_the_net_forward_again(lists in proptest::collection::vec(list(), 2..5)) {
            let batches: Vec<Arc<Batch>> = lists.windows(2).enumerate().map(|(i, pair)| {
                Arc::new(Batch::new(Position(i as u64), BatchKind::Logged, diff_of(&pair[0], &pair[1])))
            }).collect();
            let now: Vec<Arc<Row>> = lists.last().unwrap().iter().map(|(id, _, content)| row(*id, *content)).collect();
            let then = undo(now.iter(), batches.iter());
            let ids = |row: &Arc<Row>| match row.value(0) { Value::Int(id) => *id, _ => unreachable!() };
            prop_assert_eq!(then.iter().map(|then| ids(&then.row)).collect::<Vec<_>>(), lists[0].iter().map(|l| l.0).collect::<Vec<_>>());
            let before: Vec<&Arc<Row>> = then.iter().map(|then| &then.row).collect();
            let net = diff(&before, &now.iter().collect::<Vec<_>>(), &[0], |from, _| then[from].relation, |from| then[from].version);
            // Whatever is gone left in one of the batches, and is told with the version it left with.
            prop_assert!(net.iter().all(|delta| delta.op != Op::Leave || delta.version == 7));
            let mut client = shown(&lists[0]);
            apply(&mut client, &net);
            prop_assert_eq!(client, shown(lists.last().unwrap()));
        }
    }
}
