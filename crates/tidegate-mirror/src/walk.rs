//! Rows in order, straight from a b-tree, however ascending and descending columns mix: no sort but of small groups.
//!
//! A b-tree is read in one direction. Terms of one direction that reach to the key are one plain read. Where the
//! direction changes after some terms (`temp desc`, then the key ascending), rows are read in batches and each group of
//! rows that are equal in those terms is put right here; a group that is larger than a batch is read on its own, its
//! terms held to their values, so that the remaining terms come in *their* direction.

use std::sync::Arc;

use rusqlite::{Connection, params_from_iter};
use tidegate_model::{Key, Order, Row};

use crate::MirrorError;
use crate::path::Ordered;
use crate::table::{Table, blob};

/// Rows of a batch that is to be put right, at most.
const BATCH_ROWS_MAX: usize = 512;
/// Rows of the first batch, at least.
const BATCH_ROWS_MIN: usize = 16;
/// Bytes of a batch, at most (but for one row).
const BATCH_BYTES_MAX: usize = 8 << 20;

/// Whether to go on.
pub(crate) type Step = std::ops::ControlFlow<()>;

/// A part of the rows that is still to come: those with the leading terms equal to `fixed`, beyond `after` in the next.
struct Segment {
    fixed: Vec<Vec<u8>>,
    after: Option<Vec<Vec<u8>>>,
}

pub(crate) struct Walk<'a> {
    pub(crate) db: &'a Connection,
    pub(crate) table: &'a Table,
    pub(crate) tenant: &'a [u8],
    pub(crate) order: &'a Order,
    pub(crate) path: &'a Ordered,
    /// How many rows are wanted: what a batch aims at.
    pub(crate) want: usize,
}

impl Walk<'_> {
    /// Calls `take` with each row in order until it breaks or there are no more.
    pub(crate) fn run(&self, mut take: impl FnMut(Arc<Row>) -> Step) -> Result<Step, MirrorError> {
        let mut pending = self.start();
        let mut batch_rows = self.want.saturating_add(self.want / 4 + 1).clamp(BATCH_ROWS_MIN, BATCH_ROWS_MAX);
        while let Some(segment) = pending.pop() {
            let step = if self.run_end(segment.fixed.len()) == self.path.terms.len() {
                self.stream(&segment, &mut take)?
            } else {
                let rows = self.batch(segment, batch_rows, &mut pending)?;
                batch_rows = (batch_rows * 2).min(BATCH_ROWS_MAX);
                rows.into_iter().try_for_each(|(_, row)| take(row))
            };
            if step.is_break() {
                return Ok(step);
            }
        }
        Ok(Step::Continue(()))
    }

    /// The parts that lie beyond the place to go on, nearest last.
    fn start(&self) -> Vec<Segment> {
        let Some(after) = &self.path.after else { return vec![Segment { fixed: Vec::new(), after: None }] };
        let (mut segments, mut level) = (Vec::new(), 0);
        while level < after.len() {
            let end = self.run_end(level);
            segments.push(Segment { fixed: after[..level].to_vec(), after: Some(after[level..end].to_vec()) });
            level = end;
        }
        segments
    }

    /// Where the terms that share the direction of the one at `level` end.
    fn run_end(&self, level: usize) -> usize {
        let terms = &self.path.terms;
        let desc = terms.get(level).is_some_and(|(_, desc)| *desc);
        level + terms[level..].iter().take_while(|(_, other)| *other == desc).count()
    }

    fn stream(&self, segment: &Segment, take: &mut impl FnMut(Arc<Row>) -> Step) -> Result<Step, MirrorError> {
        let (sql, values) = self.query(segment);
        let mut statement = self.db.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        while let Some(row) = rows.next()? {
            let step = take(self.table.decode(row.get(0)?, blob(row, 1)?)?);
            if step.is_break() {
                return Ok(step);
            }
        }
        Ok(Step::Continue(()))
    }

    /// Reads up to `max` rows, keeps the groups that are whole, and leaves the rest pending.
    fn batch(
        &self,
        segment: Segment,
        max: usize,
        pending: &mut Vec<Segment>,
    ) -> Result<Vec<(Key, Arc<Row>)>, MirrorError> {
        let run = segment.fixed.len()..self.run_end(segment.fixed.len());
        let (sql, values) = self.query(&segment);
        let mut statement = self.db.prepare_cached(&sql)?;
        let mut rows = statement.query(params_from_iter(values))?;
        let mut batch: Vec<(i64, Vec<u8>)> = Vec::new();
        let (mut bytes, mut group, mut group_start, mut whole) = (0, Vec::new(), 0, None);
        let mut full = false;
        while let Some(row) = rows.next()? {
            if batch.len() >= max || bytes > BATCH_BYTES_MAX {
                full = true;
                break;
            }
            let of_row = |i| Ok(blob(row, 2 + i)?.to_vec());
            let next: Vec<Vec<u8>> = (0..run.len()).map(of_row).collect::<Result<_, rusqlite::Error>>()?;
            if next != group {
                group_start = batch.len();
                whole = (group_start > 0).then(|| std::mem::take(&mut group));
                group = next;
            }
            let data = blob(row, 1)?.to_vec();
            bytes += data.len();
            batch.push((row.get(0)?, data));
        }
        if full {
            let large = whole.is_none().then(|| [&*segment.fixed, &*group].concat());
            let after = whole.or(Some(group));
            pending.push(Segment { fixed: segment.fixed, after });
            pending.extend(large.map(|fixed| Segment { fixed, after: None }));
            batch.truncate(group_start);
        }
        let mut keyed = Vec::with_capacity(batch.len());
        for (version, data) in batch {
            let row = self.table.decode(version, &data)?;
            keyed.push((self.path.key(self.order, &row), row));
        }
        keyed.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Ok(keyed)
    }

    /// The statement that reads a segment in the direction of its first terms, with its parameters.
    fn query<'b>(&'b self, segment: &'b Segment) -> (String, Vec<&'b [u8]>) {
        let level = segment.fixed.len();
        let (terms, run) = (&self.path.terms, &self.path.terms[level..self.run_end(level)]);
        let desc = run.first().is_some_and(|(_, desc)| *desc);
        let mut values: Vec<&[u8]> = vec![self.tenant];
        let mut sql = String::from("SELECT version, data");
        run.iter().for_each(|(name, _)| sql.extend([", ", name]));
        sql.extend([" FROM ", &self.table.name, " ", &self.path.by, " WHERE tenant = ?"]);
        let held = terms[..level].iter().map(|(name, _)| name).zip(&segment.fixed);
        for (name, value) in self.path.fixed.iter().map(|(name, value)| (name, value)).chain(held) {
            sql.extend([" AND ", name, " = ?"]);
            values.push(value);
        }
        let bounds = &self.path.bounds;
        let bounded = level == 0;
        if let Some(after) = &segment.after {
            let names: Vec<&str> = run.iter().map(|(name, _)| name.as_str()).collect();
            let marks = vec!["?"; names.len()].join(", ");
            sql.extend([" AND (", &names.join(", "), if desc { ") < (" } else { ") > (" }, &marks, ")"]);
            values.extend(after.iter().map(Vec::as_slice));
        }
        // The end that the place to go on does not bound.
        let name = run.first().map_or("pk", |(name, _)| name);
        let bound_by_after = |end_desc: bool| segment.after.is_some() && desc == end_desc;
        if let Some(low) = bounds.low.as_ref().filter(|_| bounded && !bound_by_after(false)) {
            sql.extend([" AND ", name, " >= ?"]);
            values.push(low);
        }
        if let Some(high) = bounds.high.as_ref().filter(|_| bounded && !bound_by_after(true)) {
            sql.extend([" AND ", name, " < ?"]);
            values.push(high);
        }
        sql.push_str(" ORDER BY ");
        let direction = if desc { " DESC" } else { "" };
        let names: Vec<String> = terms[level..].iter().map(|(name, _)| format!("{name}{direction}")).collect();
        sql.push_str(&names.join(", "));
        (sql, values)
    }
}

#[cfg(test)]
mod tests;
