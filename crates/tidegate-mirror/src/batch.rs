//! Batches of local writes: each is folded to its net changes and checked before its first row is written.

use tidegate_model::{EntityId, Guard, Position, Row, Tenant, Transaction, Value};

use crate::fold::{Checked, Fold, FoldError};
use crate::table::Table;
use crate::{ApplyError, KEY_BYTES_MAX, Refusal, Writer};

/// One write to one row.
#[derive(Debug, Clone)]
pub struct RowWrite {
    /// The row's entity.
    pub entity: EntityId,
    /// The row's partition. A tenant column gets this name, whatever the cells say; an entity without one has only the
    /// common tenant.
    pub tenant: Tenant,
    /// What to do.
    pub op: RowOp,
    /// Refuse the batch unless the row is at this version; 0 demands that it does not exist.
    pub if_version: Option<u64>,
}

/// What a write does.
#[derive(Debug, Clone)]
pub enum RowOp {
    /// The row is this, one value per column.
    Put(Box<[Value]>),
    /// These cells, the key's among them, over the row that is there or over nulls.
    Merge(Vec<(u16, Value)>),
    /// No row of this key, one value per key column. Deleting what is not there is no error.
    Delete(Vec<Value>),
}

/// A batch as it was applied.
#[derive(Debug)]
pub struct Applied {
    /// Its net changes.
    pub transaction: Transaction,
    /// For each write, in order: the version of its row after the batch; `None` for a row that is gone.
    pub versions: Vec<Option<u64>>,
}

impl Writer {
    /// Applies a batch as one transaction at `position`, where `guard` permits each of its writes. All checks come before
    /// the first row is written.
    ///
    /// # Errors
    /// [`ApplyError::Refused`]: nothing was applied and the commit goes on. [`ApplyError::Store`]: call
    /// [`Writer::rollback`].
    pub fn apply(
        &mut self,
        position: Position,
        writes: &[RowWrite],
        guard: Option<&Guard>,
    ) -> Result<Applied, ApplyError> {
        self.follows(position)?;
        let mut fold = Fold::new(position);
        let mut places = Vec::with_capacity(writes.len());
        for (index, write) in writes.iter().enumerate() {
            let place = self.fold(&mut fold, write, guard).map_err(|error| error.at(index))?;
            places.push((place, matches!(write.op, RowOp::Delete(_))));
        }
        let version = |(place, delete): (usize, bool)| fold.row(place).filter(|_| !delete).map(|row| row.version());
        let versions = places.into_iter().map(version).collect();
        let changes = self.write_fold(fold)?;
        self.move_to(position);
        Ok(Applied { transaction: Transaction { position, changes, reloads: Vec::new() }, versions })
    }

    fn fold(&self, fold: &mut Fold, write: &RowWrite, guard: Option<&Guard>) -> Result<usize, FoldError> {
        let table = self.table(write.entity);
        let pk = key_of(table, write)?;
        let tenant = write.tenant.name().as_bytes();
        let place = fold.place(write.entity, &write.tenant, pk, |pk| table.get(self.db(), tenant, pk))?;
        let named = guard.map_or(0, |_| named(table, &write.op));
        let permits = |old: Option<&Row>, new: Option<&Row>| match guard {
            Some(guard) if !guard.permits(named, old, new) => Err(Refusal::Forbidden),
            _ => Ok(()),
        };
        let old = fold.row(place).cloned();
        // First of all: what else is wrong would tell of a row that is none of the writer's.
        permits(old.as_deref(), None)?;
        if let Some(expected) = write.if_version {
            let actual = old.as_ref().map_or(0, |row| row.version());
            if expected != actual {
                return Err(Refusal::Version { expected, actual }.into());
            }
        }
        let values = values_of(table, write, old.as_deref())?;
        let max = self.options().row_bytes_max;
        let checked = values.map(|values| fold.check(place, values, max)).transpose()?;
        permits(old.as_deref(), checked.as_ref().map(Checked::row))?;
        fold.set(place, checked);
        Ok(place)
    }
}

/// The columns that a write names beside the row's identity, a bit each.
fn named(table: &Table, op: &RowOp) -> u128 {
    let is_named = |column: u16| match op {
        RowOp::Put(_) => true,
        RowOp::Merge(cells) => cells.iter().any(|(cell, _)| *cell == column),
        RowOp::Delete(_) => false,
    };
    let columns = 0..table.entity.columns().len() as u16;
    let named = columns.filter(|column| is_named(*column) && !table.entity.is_required(*column));
    named.fold(0, |set, column| set | 1 << column)
}

/// The encoded key that a write is about.
fn key_of(table: &Table, write: &RowWrite) -> Result<Vec<u8>, FoldError> {
    let key = table.entity.key();
    let mut values = Vec::with_capacity(key.len());
    for (i, column) in key.iter().enumerate() {
        let value = match &write.op {
            RowOp::Put(values) => values.get(usize::from(*column)),
            RowOp::Merge(cells) => cells.iter().rev().find(|(cell, _)| cell == column).map(|(_, value)| value),
            RowOp::Delete(values) => values.get(i),
        };
        // The tenant column may be part of the key, and is what the write's tenant says.
        let value = match value {
            _ if table.entity.tenant() == Some(*column) => Value::text(write.tenant.name()),
            Some(value) => value.clone(),
            None => Value::Null,
        };
        check_cell(table, *column, &value)?;
        values.push(value);
    }
    Ok(encoded_key(table, &values)?)
}

/// The encoding of one value per key column, if it is not too long.
pub(crate) fn encoded_key(table: &Table, values: &[Value]) -> Result<Vec<u8>, Refusal> {
    let pk = table.key_of_values(values);
    if pk.len() > KEY_BYTES_MAX { Err(Refusal::KeySize { bytes: pk.len() }) } else { Ok(pk) }
}

/// All cells of the row after the write, or `None` for a delete.
fn values_of(table: &Table, write: &RowWrite, before: Option<&Row>) -> Result<Option<Box<[Value]>>, FoldError> {
    let width = table.entity.columns().len();
    let mut values: Vec<Value> = match &write.op {
        RowOp::Delete(_) => return Ok(None),
        RowOp::Put(values) => values.to_vec(),
        RowOp::Merge(_) => before.map_or_else(|| vec![Value::Null; width], |row| row.values().to_vec()),
    };
    values.resize(width, Value::Null);
    if let RowOp::Merge(cells) = &write.op {
        for (column, value) in cells {
            if let Some(cell) = values.get_mut(usize::from(*column)) {
                *cell = value.clone();
            }
        }
    }
    if let Some(column) = table.entity.tenant() {
        values[usize::from(column)] = Value::text(write.tenant.name());
    }
    for (column, value) in (0u16..).zip(&values) {
        check_cell(table, column, value)?;
    }
    Ok(Some(values.into()))
}

pub(crate) fn check_cell(table: &Table, column: u16, value: &Value) -> Result<(), Refusal> {
    let expected = table.entity.column(column).kind;
    match value.kind() {
        None if table.entity.is_required(column) => Err(Refusal::Null { column }),
        Some(kind) if kind != expected => Err(Refusal::Type { column, expected }),
        _ => Ok(()),
    }
}
