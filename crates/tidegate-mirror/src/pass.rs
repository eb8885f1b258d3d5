//! The first rows of an order that no index serves: one pass over all rows concerned, keeping only the smallest keys.

use std::collections::BinaryHeap;
use std::sync::Arc;

use rusqlite::{Connection, params_from_iter};
use tidegate_model::{Key, Row, ScanRequest};

use crate::MirrorError;
use crate::path::{Bounds, Narrowed};
use crate::table::{Table, blob};

pub(crate) struct Pass<'a> {
    pub(crate) db: &'a Connection,
    pub(crate) table: &'a Table,
    pub(crate) request: &'a ScanRequest,
    pub(crate) path: &'a Narrowed,
    pub(crate) bytes_max: usize,
}

/// The rows found, how far they are complete, and how many were looked at.
pub(crate) struct Found {
    pub(crate) rows: Vec<(Key, Arc<Row>)>,
    pub(crate) upto: Option<Key>,
    pub(crate) scanned: u64,
}

/// By key alone; keys are unique.
struct Entry(Key, Arc<Row>);

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

/// The smallest so far. Everything at or past `bound` has been turned away.
struct Smallest {
    heap: BinaryHeap<Entry>,
    bytes: usize,
    bound: Option<Key>,
}

impl Smallest {
    fn offer(&mut self, key: &[u8], row: &Arc<Row>, want: usize, bytes_max: usize) {
        if self.bound.as_ref().is_some_and(|bound| key >= &**bound) {
            return;
        }
        self.bytes += row.size() + key.len();
        self.heap.push(Entry(key.into(), row.clone()));
        while self.heap.len() > want || (self.bytes > bytes_max && self.heap.len() > 1) {
            let Some(Entry(key, row)) = self.heap.pop() else { return };
            self.bytes -= row.size() + key.len();
            self.bound = Some(key);
        }
    }
}

impl Pass<'_> {
    pub(crate) fn run(&self) -> Result<Found, MirrorError> {
        let mut smallest = Smallest { heap: BinaryHeap::new(), bytes: 0, bound: None };
        let (mut key, mut scanned) = (Vec::new(), 0);
        let want = self.request.want.max(1);
        self.each(u64::MAX, |row| {
            scanned += 1;
            if self.request.predicate.matches(&row) {
                key.clear();
                self.request.order.encode(&row, &mut key);
                if self.request.after.as_ref().is_none_or(|after| *key > **after) {
                    smallest.offer(&key, &row, want, self.bytes_max);
                }
            }
        })?;
        let rows: Vec<_> = smallest.heap.into_sorted_vec().into_iter().map(|Entry(key, row)| (key, row)).collect();
        let upto = smallest.bound.and_then(|_| rows.last().map(|(key, _)| key.clone()));
        Ok(Found { rows, upto, scanned })
    }

    fn each(&self, mut left: u64, mut take: impl FnMut(Arc<Row>)) -> Result<(), MirrorError> {
        for range in self.ranges() {
            let (sql, values) = self.query("version, data", range);
            let mut statement = self.db.prepare_cached(&sql)?;
            let mut rows = statement.query(params_from_iter(values))?;
            while let Some(row) = rows.next()? {
                if left == 0 {
                    return Ok(());
                }
                left -= 1;
                take(self.table.decode(row.get(0)?, blob(row, 1)?)?);
            }
        }
        Ok(())
    }

    /// Whether at most `max` rows would be looked at. Reads no more than that many index entries.
    pub(crate) fn is_at_most(&self, max: usize) -> Result<bool, MirrorError> {
        let mut left = max;
        for range in self.ranges() {
            let (sql, values) = self.query("1", range);
            let mut statement = self.db.prepare_cached(&sql)?;
            let mut rows = statement.query(params_from_iter(values))?;
            while rows.next()?.is_some() {
                match left.checked_sub(1) {
                    Some(less) => left = less,
                    None => return Ok(false),
                }
            }
        }
        Ok(true)
    }

    fn ranges(&self) -> impl Iterator<Item = Option<(&str, &Bounds)>> {
        let whole = self.path.ranges.is_none().then_some(None);
        let parts =
            self.path.ranges.iter().flat_map(|(name, parts)| parts.iter().map(|part| Some((name.as_str(), part))));
        whole.into_iter().chain(parts)
    }

    fn query<'b>(&'b self, columns: &str, range: Option<(&'b str, &'b Bounds)>) -> (String, Vec<&'b [u8]>) {
        let mut sql = format!("SELECT {columns} FROM {} {} WHERE tenant = ?", self.table.name, self.path.by);
        let mut values: Vec<&[u8]> = vec![self.request.tenant.name().as_bytes()];
        for (name, value) in &self.path.fixed {
            sql.extend([" AND ", name, " = ?"]);
            values.push(value);
        }
        if let Some((name, bounds)) = range {
            for (op, bound) in [(" >= ?", &bounds.low), (" < ?", &bounds.high)] {
                if let Some(bound) = bound {
                    sql.extend([" AND ", name, op]);
                    values.push(bound);
                }
            }
        }
        (sql, values)
    }
}
