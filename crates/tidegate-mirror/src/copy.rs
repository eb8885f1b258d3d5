//! Copies of sourced entities: the state of each table, rows in bulk, and what is recorded beside a copy.

use std::sync::Arc;

use rusqlite::{Connection, ErrorCode, OptionalExtension as _, params};
use tidegate_model::{EntityId, Position, Value};

use crate::batch::encoded_key;
use crate::fold::{FoldError, encoded};
use crate::source::{check_cells, named_error};
use crate::table::{Table, partition};
use crate::writer::Standing;
use crate::{ApplyError, Metrics, MirrorError, Refusal, Writer, store};

/// Largest note, in bytes.
pub const NOTE_BYTES_MAX: usize = 1 << 20;
/// Bytes from which on a read of pending ends.
const PENDING_READ_BYTES: usize = 8 << 20;

/// Whether an entity's rows are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// They are all there, as of the store's position.
    Ready,
    /// They are being copied: nobody may read them yet.
    Filling,
}

/// What [`Writer::load`] took in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Loaded {
    /// Rows.
    pub rows: u64,
    /// Bytes of their stored form.
    pub bytes: u64,
}

/// Something recorded beside a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// Greater than that of what was recorded before.
    pub number: i64,
    /// The source transaction that it is part of.
    pub xid: u64,
    /// As it was given.
    pub bytes: Vec<u8>,
}

impl State {
    fn stored(self) -> i64 {
        match self {
            State::Ready => 0,
            State::Filling => 1,
        }
    }
}

/// The state of an entity in the connection's snapshot.
pub(crate) fn state(db: &Connection, table: &Table) -> Result<State, MirrorError> {
    if !table.entity.is_sourced() {
        return Ok(State::Ready);
    }
    let mut statement = db.prepare_cached("SELECT state FROM entity WHERE number = ?1")?;
    match statement.query_row([table.number], |row| row.get::<_, i64>(0))? {
        0 => Ok(State::Ready),
        1 => Ok(State::Filling),
        other => Err(MirrorError::Damaged(format!("entity {:?} is in state {other}", table.entity.name()))),
    }
}

pub(crate) fn set_state(db: &Connection, number: i64, state: State) -> Result<(), MirrorError> {
    db.prepare_cached("UPDATE entity SET state = ?2 WHERE number = ?1")?.execute([number, state.stored()])?;
    Ok(())
}

/// Removes everything recorded for an entity.
pub(crate) fn forget_pending(db: &Connection, number: i64) -> Result<(), MirrorError> {
    db.prepare_cached("DELETE FROM pending WHERE entity = ?1")?.execute([number])?;
    Ok(())
}

/// What the writer remembers of the store, read anew.
pub(crate) fn standing(db: &Connection, tables: &[Table]) -> Result<Standing, MirrorError> {
    let states = tables.iter().map(|table| state(db, table)).collect::<Result<_, _>>()?;
    let count = "SELECT count(*), coalesce(sum(length(bytes)), 0) FROM pending";
    let (rows, bytes): (i64, i64) = db.query_row(count, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let position = store::position(db)?;
    Ok(Standing { position, states, pending_rows: rows as u64, pending_bytes: bytes as u64 })
}

impl Writer {
    /// Keeps named bytes of the feed's own, as part of the open commit.
    ///
    /// # Errors
    /// More than [`NOTE_BYTES_MAX`] bytes, or the store failed.
    pub fn note(&mut self, name: &str, bytes: &[u8]) -> Result<(), MirrorError> {
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(MirrorError::NoteSize { name: name.to_owned(), bytes: bytes.len() });
        }
        let sql =
            "INSERT INTO note (name, bytes) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET bytes = excluded.bytes";
        self.db().prepare_cached(sql)?.execute((name, bytes))?;
        Ok(())
    }

    /// What was last noted under the name, durable or within the open commit.
    ///
    /// # Errors
    /// The store failed.
    pub fn noted(&self, name: &str) -> Result<Option<Vec<u8>>, MirrorError> {
        let mut statement = self.db().prepare_cached("SELECT bytes FROM note WHERE name = ?1")?;
        Ok(statement.query_row([name], |row| row.get(0)).optional()?)
    }

    /// Whether the entity's rows are there, in the open commit.
    #[must_use]
    pub fn state(&self, entity: EntityId) -> State {
        self.standing().states[entity.0 as usize]
    }

    /// Removes all rows of a sourced entity and what is pending for it; it is [`State::Filling`] from then on. Part of
    /// the open commit, inside or outside of a source transaction.
    ///
    /// # Errors
    /// The store failed: call [`Writer::rollback`].
    pub fn clear(&mut self, entity: EntityId) -> Result<(), MirrorError> {
        self.sourced(entity)?.clear(self.db())?;
        self.unpend(entity, i64::MAX)?;
        self.set_state(entity, State::Filling)
    }

    /// The rows of a sourced entity are all there. Part of the open commit, inside or outside of a source transaction;
    /// inside of one, the entity goes under its `reloads`. Makes the indexes that [`Writer::load`] has left for now.
    ///
    /// # Errors
    /// The store failed: call [`Writer::rollback`].
    pub fn set_ready(&mut self, entity: EntityId) -> Result<(), MirrorError> {
        let create_indexes = self.sourced(entity)?.create_indexes();
        // One that is ready may have rows in the fold: it stays as it is.
        if self.state(entity) == State::Ready {
            return Ok(());
        }
        self.db().execute_batch(&create_indexes)?;
        self.set_state(entity, State::Ready)
    }

    fn set_state(&mut self, entity: EntityId, state: State) -> Result<(), MirrorError> {
        set_state(self.db(), self.table(entity).number, state)?;
        self.standing_mut().states[entity.0 as usize] = state;
        if let Some(open) = &mut self.open {
            open.forget(entity);
        }
        Ok(())
    }

    /// Takes in rows of a sourced entity that is [`State::Filling`], one value per column each, as part of the open
    /// commit. `version` becomes the version of each.
    ///
    /// Into an empty table while no sourced entity is ready, rows are loaded without the entity's indexes: made of all
    /// rows at once at the end they cost a fraction. That takes about a second for a million rows and index, in which
    /// nothing else is written. Entities that are copied together may hold each other up so, once; beside entities that
    /// are served already, indexes grow with the rows.
    ///
    /// # Errors
    /// [`ApplyError::Refused`] with the index and the key of the first row that the store cannot hold (too large, a
    /// null or another type where none may be, a key that is there already): the rows before it are taken in.
    /// [`ApplyError::Store`]: call [`Writer::rollback`].
    pub fn load(
        &mut self,
        entity: EntityId,
        rows: &mut dyn Iterator<Item = Box<[Value]>>,
        version: Position,
    ) -> Result<Loaded, ApplyError> {
        let table = self.sourced(entity)?;
        if self.state(entity) != State::Filling {
            return Err(MirrorError::Misuse("rows are loaded into a table that is not being filled").into());
        }
        if table.is_empty(self.db())? {
            let sql = if self.has_ready() { table.create_indexes() } else { table.drop_indexes() };
            self.db().execute_batch(&sql).map_err(MirrorError::from)?;
        }
        let mut loaded = Loaded::default();
        for (index, values) in rows.enumerate() {
            let bytes = self.load_row(table, values, version).map_err(|error| error.at(index))?;
            loaded.rows += 1;
            loaded.bytes += bytes;
        }
        Metrics::add(&self.metrics().rows_written, loaded.rows);
        Ok(loaded)
    }

    /// Whether any sourced entity may be read.
    fn has_ready(&self) -> bool {
        let mut tables = self.tables().iter().zip(&self.standing().states);
        tables.any(|(table, state)| table.entity.is_sourced() && *state == State::Ready)
    }

    fn load_row(&self, table: &Table, values: Box<[Value]>, version: Position) -> Result<u64, FoldError> {
        let cell = |column: &u16| values.get(usize::from(*column)).cloned().unwrap_or(Value::Null);
        let key: Vec<Value> = table.entity.key().iter().map(cell).collect();
        let load = || {
            if values.len() != table.entity.columns().len() {
                return Err(MirrorError::Misuse("a row has not one value per column").into());
            }
            check_cells(table, &values)?;
            let pk = encoded_key(table, &key)?;
            let (row, data) = encoded(version, values, self.options().row_bytes_max)?;
            let tenant = table.tenant_of(&row);
            match table.put(self.db(), partition(tenant.as_ref()), &pk, None, &row, &data) {
                Err(MirrorError::Sqlite(error))
                    if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) =>
                {
                    Err(Refusal::Duplicate.into())
                }
                put => put.map(|()| data.len() as u64).map_err(FoldError::from),
            }
        };
        load().map_err(|error| named_error(table, &key, error))
    }

    /// Records something beside the copy of an entity, as part of the open commit.
    ///
    /// # Errors
    /// The store failed: call [`Writer::rollback`].
    pub fn pend(&mut self, entity: EntityId, xid: u64, bytes: &[u8]) -> Result<(), MirrorError> {
        let number = self.sourced(entity)?.number;
        let sql = "INSERT INTO pending (entity, xid, bytes) VALUES (?1, ?2, ?3)";
        self.db().prepare_cached(sql)?.execute(params![number, xid as i64, bytes])?;
        let standing = self.standing_mut();
        standing.pending_rows += 1;
        standing.pending_bytes += bytes.len() as u64;
        Ok(())
    }

    /// The oldest of what is recorded for an entity: up to `limit` records, and no more once they have some megabytes.
    /// Empty only where nothing is recorded.
    ///
    /// # Errors
    /// The store failed.
    pub fn pending(&self, entity: EntityId, limit: usize) -> Result<Vec<Pending>, MirrorError> {
        let sql = "SELECT number, xid, bytes FROM pending WHERE entity = ?1 ORDER BY number";
        let mut statement = self.db().prepare_cached(sql)?;
        let mut rows = statement.query([self.table(entity).number])?;
        let (mut found, mut bytes) = (Vec::new(), 0);
        while found.len() < limit.max(1)
            && bytes < PENDING_READ_BYTES
            && let Some(row) = rows.next()?
        {
            let pending = Pending { number: row.get(0)?, xid: row.get::<_, i64>(1)? as u64, bytes: row.get(2)? };
            bytes += pending.bytes.len();
            found.push(pending);
        }
        Ok(found)
    }

    /// Removes what is recorded for an entity up to a number, which goes with them. Part of the open commit.
    ///
    /// # Errors
    /// The store failed: call [`Writer::rollback`].
    pub fn unpend(&mut self, entity: EntityId, upto: i64) -> Result<(), MirrorError> {
        let number = self.sourced(entity)?.number;
        let count = "SELECT count(*), coalesce(sum(length(bytes)), 0) FROM pending WHERE entity = ?1 AND number <= ?2";
        let (rows, bytes): (i64, i64) =
            self.db().prepare_cached(count)?.query_row([number, upto], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let delete = "DELETE FROM pending WHERE entity = ?1 AND number <= ?2";
        self.db().prepare_cached(delete)?.execute([number, upto])?;
        let standing = self.standing_mut();
        standing.pending_rows = standing.pending_rows.saturating_sub(rows as u64);
        standing.pending_bytes = standing.pending_bytes.saturating_sub(bytes as u64);
        Ok(())
    }

    /// From now on reads of the entity answer [`tidegate_model::ScanError::Unavailable`] with the reason; `None` undoes
    /// it. It is of this process, not of the store.
    pub fn unavailable(&self, entity: EntityId, reason: Option<Arc<str>>) {
        self.table(entity).set_unavailable(reason);
    }
}
