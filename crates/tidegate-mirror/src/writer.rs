//! The one writer: folds a batch to its net changes, checks it, writes it, and commits many batches at once.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rusqlite::Connection;
use tidegate_model::{Change, EntityId, Position, Row, Tenant, Transaction, Value};

use crate::table::Table;
use crate::{ApplyError, KEY_BYTES_MAX, Metrics, MirrorError, Options, Refusal, store};

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

/// The writing end of the store. `begin`, any number of `apply`, `commit`: what was applied is durable and readable
/// after the commit, all of it at once.
#[derive(Debug)]
pub struct Writer {
    db: Connection,
    tables: Arc<[Table]>,
    options: Options,
    metrics: Arc<Metrics>,
    data_dir: PathBuf,
    position: Position,
    durable: Position,
    /// The log's size when it could last not be emptied.
    wal_stuck: u64,
    _lock: Arc<File>,
}

/// A row that the batch touched: how it was before, and how it is so far.
struct Touched {
    entity: EntityId,
    tenant: Tenant,
    pk: Vec<u8>,
    old: Option<Arc<Row>>,
    new: Option<Arc<Row>>,
    data: Vec<u8>,
}

/// A batch being folded.
struct Fold {
    position: Position,
    touched: Vec<Touched>,
    places: HashMap<(EntityId, Tenant, Vec<u8>), usize>,
}

impl Writer {
    pub(crate) fn new(
        db: Connection,
        tables: Arc<[Table]>,
        options: Options,
        metrics: Arc<Metrics>,
        data_dir: PathBuf,
        lock: Arc<File>,
    ) -> Result<Self, MirrorError> {
        let position = store::position(&db)?;
        let (durable, wal_stuck) = (position, 0);
        Ok(Self { db, tables, options, metrics, data_dir, position, durable, wal_stuck, _lock: lock })
    }

    pub(crate) fn db(&self) -> &Connection {
        &self.db
    }

    /// Position of the last transaction applied, committed or not.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Counters of the store.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Opens a commit. One left open by an error is rolled back first.
    ///
    /// # Errors
    /// The store failed.
    pub fn begin(&mut self) -> Result<(), MirrorError> {
        self.rollback();
        Ok(self.db.execute_batch("BEGIN IMMEDIATE")?)
    }

    /// Applies a batch as one transaction at `position`. All checks come before the first row is written.
    ///
    /// # Errors
    /// [`ApplyError::Refused`]: nothing was applied and the commit goes on. [`ApplyError::Store`]: call
    /// [`Writer::rollback`].
    pub fn apply(&mut self, position: Position, writes: &[RowWrite]) -> Result<Applied, ApplyError> {
        if position <= self.position {
            return Err(MirrorError::PositionOrder { last: self.position.0, next: position.0 }.into());
        }
        let mut fold = Fold { position, touched: Vec::new(), places: HashMap::new() };
        let mut places = Vec::with_capacity(writes.len());
        for (index, write) in writes.iter().enumerate() {
            let place = self.fold(&mut fold, write).map_err(|error| match error {
                FoldError::Refused(refusal) => ApplyError::Refused { index, refusal },
                FoldError::Store(error) => ApplyError::Store(error),
            })?;
            places.push((place, matches!(write.op, RowOp::Delete(_))));
        }
        let version = |(place, delete): (usize, bool)| {
            fold.touched[place].new.as_ref().filter(|_| !delete).map(|row| row.version())
        };
        let versions = places.into_iter().map(version).collect();
        let changes = self.write(fold.touched)?;
        self.position = position;
        Ok(Applied { transaction: Transaction { position, changes, reloads: Vec::new() }, versions })
    }

    /// Makes everything applied since `begin` durable and readable.
    ///
    /// # Errors
    /// The store failed; everything since `begin` is undone, the position with it.
    pub fn commit(&mut self) -> Result<(), MirrorError> {
        let began = Instant::now();
        let done = store::set_position(&self.db, self.position)
            .and_then(|()| self.db.execute_batch("COMMIT").map_err(MirrorError::from));
        Metrics::add(&self.metrics.commit_micros, began.elapsed().as_micros() as u64);
        if let Err(error) = done {
            Metrics::add(&self.metrics.commits_failed, 1);
            self.rollback();
            return Err(error);
        }
        Metrics::add(&self.metrics.commits, 1);
        self.durable = self.position;
        self.bound_wal();
        Ok(())
    }

    /// Undoes everything since `begin`.
    pub fn rollback(&mut self) {
        if !self.db.is_autocommit()
            && let Err(error) = self.db.execute_batch("ROLLBACK")
        {
            // SQLite has rolled back by itself where ROLLBACK finds nothing to undo.
            tracing::warn!(%error, "rolling back failed");
        }
        self.position = self.durable;
    }

    /// SQLite copies the log into the file as it grows; where readers kept it from starting over, this empties it.
    fn bound_wal(&mut self) {
        let bytes = fs::metadata(store::wal_path(&self.data_dir)).map_or(0, |meta| meta.len());
        self.metrics.wal_bytes.store(bytes, Ordering::Relaxed);
        // Having failed, it waits until the log has grown by a quarter.
        if bytes <= self.options.wal_bytes_max.max(self.wal_stuck) {
            return;
        }
        let emptied = store::empty_wal(&self.db).unwrap_or_else(|error| {
            tracing::warn!(%error, "the write-ahead log could not be emptied");
            false
        });
        self.wal_stuck = if emptied { 0 } else { bytes + bytes / 4 };
    }

    fn fold(&self, fold: &mut Fold, write: &RowWrite) -> Result<usize, FoldError> {
        let table = &self.tables[write.entity.0 as usize];
        let pk = key_of(table, write)?;
        let place = self.place(fold, table, write, pk)?;
        let touched = &mut fold.touched[place];
        if let Some(expected) = write.if_version {
            let actual = touched.new.as_ref().map_or(0, |row| row.version());
            if expected != actual {
                return Err(Refusal::Version { expected, actual }.into());
            }
        }
        let Some(values) = values_of(table, write, touched.new.as_deref())? else {
            touched.new = None;
            return Ok(place);
        };
        touched.new = match &touched.old {
            Some(old) if *old.values() == *values => Some(old.clone()),
            _ => {
                let row = Row::new(fold.position, values);
                touched.data = Table::encode(&row)?;
                let (bytes, max) = (touched.data.len(), self.options.row_bytes_max);
                if bytes > max {
                    return Err(Refusal::RowSize { bytes, max }.into());
                }
                Some(row)
            }
        };
        Ok(place)
    }

    /// Where in the fold the row stands; the first touch reads it.
    fn place(&self, fold: &mut Fold, table: &Table, write: &RowWrite, pk: Vec<u8>) -> Result<usize, FoldError> {
        let identity = (write.entity, write.tenant.clone(), pk);
        if let Some(place) = fold.places.get(&identity) {
            return Ok(*place);
        }
        let old = table.get(&self.db, write.tenant.name().as_bytes(), &identity.2)?;
        let place = fold.touched.len();
        fold.touched.push(Touched {
            entity: write.entity,
            tenant: write.tenant.clone(),
            pk: identity.2.clone(),
            new: old.clone(),
            old,
            data: Vec::new(),
        });
        fold.places.insert(identity, place);
        Ok(place)
    }

    fn write(&mut self, touched: Vec<Touched>) -> Result<Vec<Change>, MirrorError> {
        let mut changes = Vec::with_capacity(touched.len());
        for Touched { entity, tenant, pk, old, new, data } in touched {
            let table = &self.tables[entity.0 as usize];
            let partition = tenant.name().as_bytes();
            match (&old, &new) {
                (None, None) => continue,
                (Some(old), Some(new)) if Arc::ptr_eq(old, new) => continue,
                (_, Some(new)) => table.put(&self.db, partition, &pk, old.as_deref(), new, &data)?,
                (Some(_), None) => table.remove(&self.db, partition, &pk)?,
            }
            changes.push(Change { entity, tenant, old, new });
        }
        Metrics::add(&self.metrics.rows_written, changes.len() as u64);
        Ok(changes)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.rollback();
        // A clean end leaves a short log; a failure here loses nothing.
        let _ = store::empty_wal(&self.db);
    }
}

enum FoldError {
    Refused(Refusal),
    Store(MirrorError),
}

impl From<Refusal> for FoldError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<MirrorError> for FoldError {
    fn from(error: MirrorError) -> Self {
        Self::Store(error)
    }
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
    let pk = table.key_of_values(&values);
    if pk.len() > KEY_BYTES_MAX {
        return Err(Refusal::KeySize { bytes: pk.len() }.into());
    }
    Ok(pk)
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

fn check_cell(table: &Table, column: u16, value: &Value) -> Result<(), Refusal> {
    let expected = table.entity.column(column).kind;
    match value.kind() {
        None if table.entity.is_required(column) => Err(Refusal::Null { column }),
        Some(kind) if kind != expected => Err(Refusal::Type { column, expected }),
        _ => Ok(()),
    }
}
