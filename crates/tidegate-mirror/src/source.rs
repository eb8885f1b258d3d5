//! Transactions of a source, row by row: folded in memory while they are small, written straight through from where
//! they are not.
//!
//! An entity is written **straight through** from the moment at which its net changes cannot be told any more: the
//! transaction outgrew the fold, the entity was cleared, or it is being copied. Where it is ready at the end, it goes
//! under the transaction's `reloads`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tidegate_model::{Change, EntityId, Position, Row, Tenant, Transaction, Value, json};

use crate::batch::{check_cell, encoded_key};
use crate::copy::State;
use crate::fold::{Fold, FoldError};
use crate::table::Table;
use crate::{ApplyError, MirrorError, Refusal, Writer};

/// Longest text that names a row, in bytes.
const ROW_NAME_BYTES_MAX: usize = 200;

/// What a source's transaction does to an entity. The partition follows from the row itself: its tenant column and the
/// entity's row filter.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum SourceOp {
    /// The row is this.
    Upsert {
        /// The key that the row had, one value per key column, where it may be another than that of `cells`.
        old_key: Option<Vec<Value>>,
        /// One per column; `None` is as it was in the row under `old_key`, else under the row's own key. A key cell
        /// that is `None` is that of `old_key`.
        cells: Vec<Option<Value>>,
    },
    /// No row of this key, one value per key column. Deleting what is not there is nothing.
    Delete {
        /// The key.
        key: Vec<Value>,
    },
    /// No row at all.
    Clear,
}

/// A source transaction under way.
pub(crate) struct Open {
    fold: Fold,
    /// Written straight through.
    direct: BTreeSet<EntityId>,
    /// The transaction outgrew the fold: from here on every entity is written straight through.
    spilled: bool,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open").field("position", &self.fold.position).field("rows", &self.fold.len()).finish()
    }
}

impl Open {
    /// From here on the entity is written straight through; what was folded of it is forgotten.
    pub(crate) fn forget(&mut self, entity: EntityId) {
        self.fold.forget(entity);
        self.direct.insert(entity);
    }
}

impl Writer {
    /// Opens a source transaction at `position`, within the open commit.
    ///
    /// # Errors
    /// A position that does not follow the last, or another transaction that is still open.
    pub fn open(&mut self, position: Position) -> Result<(), MirrorError> {
        self.follows(position)?;
        self.open = Some(Open { fold: Fold::new(position), direct: BTreeSet::new(), spilled: false });
        Ok(())
    }

    /// Does one thing of the open transaction to a sourced entity. Memory is bounded: see
    /// [`crate::Options::fold_rows_max`].
    ///
    /// # Errors
    /// [`ApplyError::Refused`] with index 0: this was not done, and the transaction stays open. All but
    /// [`Refusal::Unknown`] name the row ([`Refusal::Row`]). [`ApplyError::Store`]: call [`Writer::rollback`].
    pub fn write(&mut self, entity: EntityId, op: SourceOp) -> Result<(), ApplyError> {
        self.sourced(entity)?;
        let Some(mut open) = self.open.take() else {
            return Err(MirrorError::Misuse("no source transaction is open").into());
        };
        let done = self.write_open(&mut open, entity, op);
        self.open = Some(open);
        done.map_err(|error| error.at(0))
    }

    /// Ends the open transaction. What it did is written; what everybody may be told of it is returned.
    ///
    /// # Errors
    /// The store failed: call [`Writer::rollback`].
    pub fn close(&mut self) -> Result<Transaction, MirrorError> {
        let Some(Open { fold, direct, .. }) = self.open.take() else {
            return Err(MirrorError::Misuse("no source transaction is open"));
        };
        let position = fold.position;
        let changes = self.write_fold(fold)?;
        self.move_to(position);
        let reloads = direct.into_iter().filter(|entity| self.state(*entity) == State::Ready).collect();
        Ok(Transaction { position, changes, reloads })
    }

    /// The table of an entity that a source writes.
    pub(crate) fn sourced(&self, entity: EntityId) -> Result<&Table, MirrorError> {
        let table = self.table(entity);
        match table.entity.is_sourced() {
            true => Ok(table),
            false => Err(MirrorError::Misuse("the entity's rows come from no source")),
        }
    }

    fn write_open(&self, open: &mut Open, entity: EntityId, op: SourceOp) -> Result<(), FoldError> {
        if matches!(op, SourceOp::Clear) {
            open.forget(entity);
            return Ok(self.table(entity).clear(self.db())?);
        }
        if open.spilled || self.state(entity) == State::Filling || open.direct.contains(&entity) {
            open.direct.insert(entity);
            let mut one = Fold::new(open.fold.position);
            self.fold_op(&mut one, entity, op)?;
            self.write_fold(one)?;
            return Ok(());
        }
        self.fold_op(&mut open.fold, entity, op)?;
        let options = self.options();
        if open.fold.len() > options.fold_rows_max || open.fold.bytes() > options.fold_bytes_max {
            let rest = Fold::new(open.fold.position);
            let fold = std::mem::replace(&mut open.fold, rest);
            open.direct.extend(fold.entities());
            open.spilled = true;
            let _told_by_reloads: Vec<Change> = self.write_fold(fold)?;
        }
        Ok(())
    }

    fn fold_op(&self, fold: &mut Fold, entity: EntityId, op: SourceOp) -> Result<(), FoldError> {
        match op {
            SourceOp::Clear => Ok(()),
            SourceOp::Delete { key } => {
                let place = self.source_place(fold, entity, key)?;
                fold.set(place, None);
                Ok(())
            }
            SourceOp::Upsert { old_key, cells } => self.fold_upsert(fold, entity, old_key, cells),
        }
    }

    fn fold_upsert(
        &self,
        fold: &mut Fold,
        entity: EntityId,
        old_key: Option<Vec<Value>>,
        mut cells: Vec<Option<Value>>,
    ) -> Result<(), FoldError> {
        let table = self.table(entity);
        cells.resize(table.entity.columns().len(), None);
        let mut key = Vec::with_capacity(table.entity.key().len());
        for (i, column) in table.entity.key().iter().enumerate() {
            let cell = &mut cells[usize::from(*column)];
            if cell.is_none() {
                *cell = old_key.as_ref().and_then(|key| key.get(i).cloned());
            }
            key.push(cell.clone().ok_or(Refusal::Unknown { column: *column })?);
        }
        let named = key.clone();
        let fold_named = || {
            let before = old_key.map(|key| self.source_place(fold, entity, key)).transpose()?;
            let place = self.source_place(fold, entity, key)?;
            let before = before.unwrap_or(place);
            let values = cells_over(cells, fold.row(before).map(AsRef::as_ref))?;
            check_cells(table, &values)?;
            let checked = fold.check(place, values, self.options().row_bytes_max)?;
            fold.set(before, None);
            fold.set(place, Some(checked));
            Ok(())
        };
        fold_named().map_err(|error| named_error(table, &named, error))
    }

    /// Where the row of that key stands in the fold.
    fn source_place(&self, fold: &mut Fold, entity: EntityId, mut key: Vec<Value>) -> Result<usize, FoldError> {
        let table = self.table(entity);
        let pk = source_key(table, &mut key).map_err(|refusal| named_error(table, &key, refusal.into()))?;
        Ok(fold.place(entity, &Tenant::common(), pk, |pk| table.find(self.db(), &key, pk))?)
    }
}

/// Checks one value per key column, and encodes them.
fn source_key(table: &Table, key: &mut Vec<Value>) -> Result<Vec<u8>, Refusal> {
    key.resize(table.entity.key().len(), Value::Null);
    for (column, value) in table.entity.key().iter().zip(&*key) {
        check_cell(table, *column, value)?;
    }
    encoded_key(table, key)
}

/// Every cell, the unchanged ones from the row before.
fn cells_over(cells: Vec<Option<Value>>, before: Option<&Row>) -> Result<Box<[Value]>, Refusal> {
    let cell = |(column, cell): (u16, Option<Value>)| {
        cell.or_else(|| before.map(|row| row.value(column).clone())).ok_or(Refusal::Unknown { column })
    };
    (0u16..).zip(cells).map(cell).collect()
}

/// Checks a row of a source: its tenant may be null, for then it is hidden.
pub(crate) fn check_cells(table: &Table, values: &[Value]) -> Result<(), Refusal> {
    let tenant = table.entity.tenant().filter(|column| !table.entity.key().contains(column));
    for (column, value) in (0u16..).zip(values) {
        if !(value.is_null() && tenant == Some(column)) {
            check_cell(table, column, value)?;
        }
    }
    Ok(())
}

/// A refusal with the row's key, for whoever has to mend the row. An unknown cell is the feed's affair, not the row's.
pub(crate) fn named_error(table: &Table, key: &[Value], error: FoldError) -> FoldError {
    let refusal = match error {
        FoldError::Refused(refusal @ (Refusal::Unknown { .. } | Refusal::Row { .. })) => return refusal.into(),
        FoldError::Refused(refusal) => refusal,
        error => return error,
    };
    let mut out = Vec::new();
    for (i, (column, value)) in table.entity.key().iter().zip(key).enumerate() {
        let separator = if i > 0 { ", " } else { "" };
        out.extend_from_slice(format!("{separator}{} = ", table.entity.column(*column).name).as_bytes());
        json::write_value(value, &mut out);
    }
    let cut = out.len() > ROW_NAME_BYTES_MAX;
    out.truncate(ROW_NAME_BYTES_MAX);
    let key = String::from_utf8_lossy(&out).into_owned() + if cut { "…" } else { "" };
    FoldError::Refused(Refusal::Row { key, refusal: Box::new(refusal) })
}
