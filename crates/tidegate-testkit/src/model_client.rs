//! A client that only applies deltas, strictly: what a subscriber of the engine must end up with.
//!
//! Every rule of the wire that a delta must keep is asserted here, so that a list that is right by luck still fails.

use std::cmp::Ordering;
use std::sync::Arc;

use tidegate_model::{Batch, BatchKind, Delta, Mode, Op, Query, Row};

use crate::naive;

/// A subscriber's list (maintained) or set (streamed).
#[derive(Debug, Clone)]
pub struct ModelClient {
    query: Arc<Query>,
    rows: Vec<Arc<Row>>,
    /// Between `reset` and `ready`.
    seeding: bool,
    /// A `ready` has been seen.
    seeded: bool,
}

impl ModelClient {
    /// A client that knows nothing yet.
    #[must_use]
    pub fn new(query: Arc<Query>) -> Self {
        Self { query, rows: Vec::new(), seeding: false, seeded: false }
    }

    /// Its query.
    #[must_use]
    pub fn query(&self) -> &Arc<Query> {
        &self.query
    }

    /// The query it has re-anchored to. The list stays until the `reset` that answers.
    pub fn reanchored(&mut self, query: Arc<Query>) {
        self.query = query;
    }

    /// The rows it shows; in streamed mode those it knows of, in no order.
    #[must_use]
    pub fn rows(&self) -> &[Arc<Row>] {
        &self.rows
    }

    /// Applies the deltas of `batch` from index `from` on.
    ///
    /// # Errors
    /// The rule that a delta broke.
    pub fn apply(&mut self, batch: &Batch, from: usize) -> Result<(), String> {
        for (index, delta) in batch.deltas.iter().enumerate().skip(from) {
            self.step(delta, batch.kind).map_err(|rule| {
                let rows = &self.rows;
                format!("delta {index} of {batch:?}: {rule}; the list then: {rows:?}")
            })?;
        }
        match self.seeding {
            true => Err(format!("a reset without ready in one batch: {batch:?}")),
            false => Ok(()),
        }
    }

    /// Compares with what the list must be: same keys, same selected values, in the same order (a set in streamed mode).
    ///
    /// # Errors
    /// The first difference, with both lists.
    pub fn check(&self, expected: &[Arc<Row>]) -> Result<(), String> {
        if !self.seeded {
            return Err("no snapshot has arrived".to_owned());
        }
        let (mut got, mut expected) = (self.rows.clone(), expected.to_vec());
        if self.query.mode == Mode::Streamed {
            let terms = self.query.order.terms();
            got.sort_by(|a, b| naive::compare_rows(a, b, terms));
            expected.sort_by(|a, b| naive::compare_rows(a, b, terms));
        }
        let differs = got.iter().zip(&expected).position(|(a, b)| !self.shows_same(a, b));
        let at = differs.or((got.len() != expected.len()).then(|| got.len().min(expected.len())));
        match at {
            Some(at) => Err(format!(
                "differs at index {at}:\n got {:?}\n expected {:?}\n query {:?}\n whole list {got:?}\n expected list {expected:?}",
                got.get(at),
                expected.get(at),
                self.query
            )),
            None => Ok(()),
        }
    }

    /// Same key, same selected values, and the version is no later than the row's (a change of other columns makes no
    /// frame).
    fn shows_same(&self, got: &Row, expected: &Row) -> bool {
        let entity = &self.query.entity;
        let select = &self.query.select;
        naive::same_key(entity, got, expected)
            && got.version() <= expected.version()
            && select.iter().all(|c| naive::compare(got.value(*c), expected.value(*c)) == Ordering::Equal)
    }

    fn step(&mut self, delta: &Delta, kind: BatchKind) -> Result<(), String> {
        match delta.op {
            Op::Reset => {
                self.bare(delta)?;
                self.rows.clear();
                self.seeding = true;
                return Ok(());
            }
            Op::Ready if !self.seeding => return Err("ready without a reset".to_owned()),
            Op::Ready => {
                self.bare(delta)?;
                self.seeding = false;
                self.seeded = true;
                return Ok(());
            }
            _ if !self.seeded && !self.seeding => return Err("a delta before the first reset".to_owned()),
            _ => {}
        }
        let row = delta.row.as_ref().ok_or("a delta of a row without the row")?;
        match self.query.mode {
            Mode::Maintained => self.step_list(delta, row, kind),
            Mode::Streamed => self.step_set(delta, row),
        }
    }

    fn bare(&self, delta: &Delta) -> Result<(), String> {
        match (delta.old_index, delta.new_index, &delta.row) {
            (-1, -1, None) => Ok(()),
            _ => Err("reset and ready carry no row and no index".to_owned()),
        }
    }

    fn step_list(&mut self, delta: &Delta, row: &Arc<Row>, kind: BatchKind) -> Result<(), String> {
        let known = self.rows.iter().position(|held| naive::same_key(&self.query.entity, held, row));
        let old = usize::try_from(delta.old_index).ok();
        let new = usize::try_from(delta.new_index).ok();
        match (delta.op, old, new) {
            (Op::Enter, None, Some(new)) => {
                expect(known.is_none(), "enter of a row that is in the list")?;
                expect(new <= self.rows.len(), "enter past the end")?;
                expect(!self.seeding || new == self.rows.len(), "a snapshot comes in order")?;
                self.rows.insert(new, row.clone());
            }
            (Op::Leave, Some(old), None) => {
                expect(known == Some(old), "old_index is not where the row is")?;
                let held = self.rows.remove(old);
                // Whoever was too slow may have missed how the row was just before it left.
                let known = kind == BatchKind::Own || self.shows_same(&held, row);
                expect(known, "leave carries the row as the client knew it")?;
            }
            (Op::Move, Some(old), Some(new)) => {
                expect(known == Some(old), "old_index is not where the row is")?;
                self.rows.remove(old);
                expect(new <= self.rows.len(), "move past the end")?;
                self.rows.insert(new, row.clone());
            }
            (Op::Update, Some(old), Some(new)) => {
                expect(known == Some(old) && old == new, "an update is in the row's place")?;
                self.rows[old] = row.clone();
            }
            _ => return Err("the indexes do not fit the op, or the op not the mode".to_owned()),
        }
        expect(!self.seeding || delta.op == Op::Enter, "a snapshot is made of enters")?;
        // During a batch the list may be longer than the limit for a moment, never by more than the batch's own rows.
        expect(matches!(delta.op, Op::Leave) || delta.version == row.version(), "the version is not the row's")
    }

    fn step_set(&mut self, delta: &Delta, row: &Arc<Row>) -> Result<(), String> {
        let known = self.rows.iter().position(|held| naive::same_key(&self.query.entity, held, row));
        match (delta.op, known) {
            (Op::Match, Some(_)) => return Err("match of a row that is known to match".to_owned()),
            (Op::Enter, None) if self.seeding => self.rows.push(row.clone()),
            (Op::Match, None) => self.rows.push(row.clone()),
            (Op::Update, Some(at)) if !self.seeding => self.rows[at] = row.clone(),
            // The snapshot is one page; what matches beyond it becomes known as it changes.
            (Op::Update, None) if !self.seeding => self.rows.push(row.clone()),
            (Op::Unmatch, Some(at)) if !self.seeding => {
                self.rows.remove(at);
            }
            (Op::Unmatch, None) if !self.seeding => {}
            _ => return Err("the op does not fit the mode or the moment".to_owned()),
        }
        Ok(())
    }
}

fn expect(holds: bool, rule: &str) -> Result<(), String> {
    if holds { Ok(()) } else { Err(rule.to_owned()) }
}

/// What a streamed subscriber must know, recomputed from the rows themselves: a page at first, then every change.
#[derive(Debug, Clone)]
pub struct ExpectedSet {
    query: Arc<Query>,
    rows: Vec<Arc<Row>>,
}

impl ExpectedSet {
    /// Right after a snapshot whose page was `page`.
    #[must_use]
    pub fn new(query: Arc<Query>, page: Vec<Arc<Row>>) -> Self {
        Self { query, rows: page }
    }

    /// A row changed from `old` to `new` and is now known or known not to match.
    ///
    /// A change that touches no selected and no filtered column makes no frame, so it makes nothing known.
    pub fn change(&mut self, old: Option<&Arc<Row>>, new: Option<&Arc<Row>>) {
        let entity = &self.query.entity;
        let Some(row) = new.or(old) else { return };
        let known = self.rows.iter().position(|held| naive::same_key(entity, held, row));
        let matches = |row: &Arc<Row>| naive::matches(&self.query.filter, row);
        let seen = match (old, new) {
            (Some(old), Some(new)) if matches(old) && matches(new) => self.touches(old, new),
            _ => true,
        };
        match (known, new.filter(|row| matches(row))) {
            (Some(at), Some(new)) => self.rows[at] = new.clone(),
            (Some(at), None) => drop(self.rows.remove(at)),
            (None, Some(new)) if seen => self.rows.push(new.clone()),
            (None, _) => {}
        }
    }

    /// The rows, in no order.
    #[must_use]
    pub fn rows(&self) -> &[Arc<Row>] {
        &self.rows
    }

    fn touches(&self, old: &Row, new: &Row) -> bool {
        let sorted = self.query.order.terms().iter().map(|term| term.column);
        let filtered = self.query.filter.columns();
        let all = 0..self.query.entity.columns().len() as u16;
        let concerned =
            all.filter(|column| filtered & (1 << column) != 0).chain(sorted).chain(self.query.select.iter().copied());
        concerned.into_iter().any(|column| naive::compare(old.value(column), new.value(column)) != Ordering::Equal)
    }
}
