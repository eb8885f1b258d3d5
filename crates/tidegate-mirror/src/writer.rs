//! The one writer: what is written between `begin` and `commit` becomes durable and readable at once.

use std::fs::{self, File};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rusqlite::Connection;
use tidegate_model::{Change, EntityId, Position};

use crate::copy::{self, State};
use crate::fold::Fold;
use crate::source::Open;
use crate::table::Table;
use crate::{Metrics, MirrorError, Options, store};

/// The writing end of the store. `begin`, any number of [`Writer::apply`] or of source transactions (`open`, `write`,
/// `close`), `commit`: what was applied is durable and readable after the commit, all of it at once.
#[derive(Debug)]
pub struct Writer {
    db: Connection,
    tables: Arc<[Table]>,
    options: Options,
    metrics: Arc<Metrics>,
    data_dir: PathBuf,
    now: Standing,
    /// What a rollback goes back to.
    durable: Standing,
    pub(crate) open: Option<Open>,
    /// The log's size when it could last not be emptied.
    wal_stuck: u64,
    _lock: Arc<File>,
}

/// What the writer remembers of the store, so as not to ask.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) position: Position,
    /// By entity.
    pub(crate) states: Box<[State]>,
    pub(crate) pending_rows: u64,
    pub(crate) pending_bytes: u64,
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
        let now = copy::standing(&db, &tables)?;
        let durable = now.clone();
        let (open, wal_stuck) = (None, 0);
        let writer = Self { db, tables, options, metrics, data_dir, now, durable, open, wal_stuck, _lock: lock };
        writer.show_pending();
        Ok(writer)
    }

    pub(crate) fn db(&self) -> &Connection {
        &self.db
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn tables(&self) -> &[Table] {
        &self.tables
    }

    pub(crate) fn table(&self, entity: EntityId) -> &Table {
        &self.tables[entity.0 as usize]
    }

    pub(crate) fn standing(&self) -> &Standing {
        &self.now
    }

    pub(crate) fn standing_mut(&mut self) -> &mut Standing {
        &mut self.now
    }

    /// Position of the last transaction applied, committed or not.
    #[must_use]
    pub fn position(&self) -> Position {
        self.now.position
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

    /// Moves the position without a row, as part of the open commit. To where it is already is nothing.
    ///
    /// # Errors
    /// A position before the last, or a source transaction that is open.
    pub fn advance(&mut self, position: Position) -> Result<(), MirrorError> {
        if position != self.now.position {
            self.follows(position)?;
            self.move_to(position);
        }
        Ok(())
    }

    /// Whether a transaction may be applied at `position`.
    pub(crate) fn follows(&self, position: Position) -> Result<(), MirrorError> {
        if self.open.is_some() {
            return Err(MirrorError::Misuse("a source transaction is still open"));
        }
        let last = self.now.position;
        if position <= last {
            return Err(MirrorError::PositionOrder { last: last.0, next: position.0 });
        }
        Ok(())
    }

    pub(crate) fn move_to(&mut self, position: Position) {
        self.now.position = position;
    }

    /// Makes everything applied since `begin` durable and readable.
    ///
    /// # Errors
    /// The store failed, or a source transaction is still open; everything since `begin` is undone, the position with
    /// it.
    pub fn commit(&mut self) -> Result<(), MirrorError> {
        let began = Instant::now();
        let done = match self.open {
            Some(_) => Err(MirrorError::Misuse("a source transaction is still open")),
            None => store::set_position(&self.db, self.now.position)
                .and_then(|()| self.db.execute_batch("COMMIT").map_err(MirrorError::from)),
        };
        Metrics::add(&self.metrics.commit_micros, began.elapsed().as_micros() as u64);
        if let Err(error) = done {
            Metrics::add(&self.metrics.commits_failed, 1);
            self.rollback();
            return Err(error);
        }
        Metrics::add(&self.metrics.commits, 1);
        self.durable.clone_from(&self.now);
        self.show_pending();
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
        self.open = None;
        self.now.clone_from(&self.durable);
    }

    fn show_pending(&self) {
        self.metrics.pending_rows.store(self.now.pending_rows, Ordering::Relaxed);
        self.metrics.pending_bytes.store(self.now.pending_bytes, Ordering::Relaxed);
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

    /// Writes what was folded; returns its changes.
    pub(crate) fn write_fold(&self, fold: Fold) -> Result<Vec<Change>, MirrorError> {
        let written = fold.write(&self.db, &self.tables)?;
        Metrics::add(&self.metrics.rows_written, written.rows);
        Ok(written.changes)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.rollback();
        // A clean end leaves a short log; a failure here loses nothing.
        let _ = store::empty_wal(&self.db);
    }
}
