//! Where jobs and sessions are kept: one SQLite file, which alone says what is durable.
//!
//! # Place in the flow
//! The runtime's thread owns the [`Store`] and commits what follows from a batch of happenings at once; only then is any of it told.
//! [`Reader`]s, on other threads, give connections the pages of a log that they are behind with. [`open`] gives back what jobs and
//! sessions need to go on after a restart, without reading a single event.
//!
//! [`open`]: Store::open
//!
//! # How it is kept
//! `jobs.db` in write-ahead mode, with `synchronous=FULL`. A job has a number of its own that is never used again; its entries are
//! keyed by (number, n) and lie beside each other in that order. Its record, what is kept beside its log and its end are JSON, so that
//! a field may be added without a new format. An event is the payload as it is sent.
//!
//! # Invariants
//! - **All or nothing.** A commit that fails leaves nothing, and can be tried again.
//! - **Durable means fsynced.** [`Store::commit`] returns when the write-ahead log is on disk.
//! - **No gap.** An entry is taken only as the next of its job; nothing comes after the end. So a gap that is read is damage.
//! - **No long commit of others' making.** What is trimmed or forgotten is out of sight at once, and deleted in bounded pieces, one a
//!   commit; each deletes more than its commit adds, so that the rest shrinks. The room is used again, and when more than a quarter of
//!   the file is free it is given back, in bounded pieces too.
//! - **No secret.** Of tokens there are hashes, of credentials names.
//! - **One process.** A lock beside the file keeps a second one out.

mod error;
mod file;
mod load;
mod reader;
mod sweep;
mod write;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

pub use error::{Reason, StoreError};
pub use load::{Stored, StoredSegment, StoredSession};
pub use reader::Reader;
pub use write::{SessionRecord, Write};

/// Size of the write-ahead log from which on it is emptied as soon as no reader needs it.
const WAL_BYTES_MAX: u64 = 64 << 20;

/// The file, to be written. One a process and directory.
#[derive(Debug)]
pub struct Store {
    db: Connection,
    path: PathBuf,
    /// The log's size when it could last not be emptied.
    wal_stuck: u64,
    _lock: File,
}

impl Store {
    /// Opens `jobs.db` in that directory, making what is not there, and reads what jobs and sessions need to go on.
    ///
    /// # Errors
    /// Another process has it open; it is damaged, or of a later version; it cannot be read or written.
    pub fn open(dir: &Path) -> Result<(Self, Stored), StoreError> {
        let lock = file::lock(dir)?;
        let path = dir.join(file::FILE);
        let (db, stored) = file::open(dir, &path)
            .and_then(|db| {
                let stored = load::load(&db)?;
                Ok((db, stored))
            })
            .map_err(|reason| reason.at(&path))?;
        Ok((Self { db, path, wal_stuck: 0, _lock: lock }, stored))
    }

    /// Makes all of it durable, in order, as one. Also goes on deleting what was trimmed or forgotten, so it may be called with nothing.
    ///
    /// # Errors
    /// The disk is full or failing: nothing of it is there, and the same may be tried again. [`Reason::Refused`]: it breaks a rule of the
    /// store and always will.
    pub fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        self.transact(writes).map_err(|reason| reason.at(&self.path))?;
        self.bound_wal();
        Ok(())
    }

    /// A connection for reading, which may go to another thread.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn reader(&self) -> Result<Reader, StoreError> {
        Reader::open(&self.path)
    }

    fn transact(&mut self, writes: &[Write]) -> Result<(), Reason> {
        let transaction = self.db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let added = write::write(&transaction, writes)?;
        sweep::sweep(&transaction, added)?;
        transaction.commit()?;
        Ok(())
    }

    /// SQLite copies the log into the file as it grows; where readers kept it from starting over, this empties it. Having failed, it
    /// waits until the log has grown by a quarter. What fails here has no consequence: all is durable in the log.
    fn bound_wal(&mut self) {
        let bytes = fs::metadata(file::wal(&self.path)).map_or(0, |meta| meta.len());
        if bytes <= WAL_BYTES_MAX.max(self.wal_stuck) {
            return;
        }
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        let is_emptied = self.db.busy_timeout(Duration::ZERO).is_ok()
            && self.db.query_row(checkpoint, [], |row| row.get::<_, i64>(0)).is_ok_and(|busy| busy == 0);
        self.wal_stuck = if is_emptied { 0 } else { bytes + bytes / 4 };
        let _ = self.db.busy_timeout(file::LOCK_WAIT);
    }
}

#[cfg(test)]
mod tests;
