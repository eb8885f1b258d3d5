//! The file: its lock, its settings, its format.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::{Reason, StoreError, WAL_BYTES_MAX};

/// Within the data directory.
pub(super) const FILE: &str = "jobs.db";
const LOCK: &str = "jobs.lock";

/// What turns format n (counted from 1) into n + 1. The current format is one past the last.
const UPGRADES: &[fn(&Connection) -> rusqlite::Result<()>] = &[];
/// The format that this version writes; a new file is made in format 1 and upgraded.
pub(super) const FORMAT: i64 = UPGRADES.len() as i64 + 1;

/// How long a connection waits for SQLite's own short locks (a log being recovered or reset).
pub(super) const LOCK_WAIT: Duration = Duration::from_secs(5);
/// Prepared statements that a connection keeps: more than there are.
const STATEMENTS_MAX: usize = 64;

/// Format 1. `garbage` says up to which n entries of a job are to be deleted; `state.trimmed` up to which they are out of sight. A job's
/// number is never used again (`AUTOINCREMENT`), so that what is left of a forgotten job is nobody else's.
const TABLES: &str = "
    CREATE TABLE store (one INTEGER PRIMARY KEY CHECK (one = 1), format INTEGER NOT NULL);
    INSERT INTO store (one, format) VALUES (1, 1);
    CREATE TABLE job (number INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE, trace TEXT NOT NULL,
                      record BLOB NOT NULL);
    CREATE TABLE state (job INTEGER PRIMARY KEY, trimmed INTEGER NOT NULL, kept BLOB);
    CREATE TABLE entry (job INTEGER, n INTEGER, what BLOB NOT NULL, PRIMARY KEY (job, n)) WITHOUT ROWID;
    CREATE TABLE ending (job INTEGER PRIMARY KEY, n INTEGER NOT NULL, what BLOB NOT NULL);
    CREATE TABLE garbage (job INTEGER PRIMARY KEY, through INTEGER NOT NULL);
    CREATE TABLE credential (id BLOB PRIMARY KEY, job BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE session (number INTEGER PRIMARY KEY AUTOINCREMENT, id BLOB NOT NULL UNIQUE, owner BLOB NOT NULL,
                          token BLOB NOT NULL, previous BLOB, created_ms INTEGER NOT NULL, floor INTEGER NOT NULL);
    CREATE TABLE segment (session INTEGER, seq INTEGER, job BLOB NOT NULL, n INTEGER NOT NULL,
                          PRIMARY KEY (session, seq)) WITHOUT ROWID;
    CREATE TABLE watch (session INTEGER, job BLOB, PRIMARY KEY (session, job)) WITHOUT ROWID;";

/// Takes the jobs of the directory for this process; they are free again when the file is dropped.
pub(super) fn lock(dir: &Path) -> Result<File, StoreError> {
    fs::create_dir_all(dir).map_err(|error| Reason::Io(error).at(dir))?;
    let path = dir.join(LOCK);
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = opened.map_err(|error| Reason::Io(error).at(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Reason::Locked.at(dir)),
        Err(TryLockError::Error(error)) => Err(Reason::Io(error).at(&path)),
    }
}

/// Opens the writing connection, making the file where there is none.
pub(super) fn open(dir: &Path, path: &Path) -> Result<Connection, Reason> {
    let db = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
    // Of a file that is there already it is settled.
    db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    let mode: String = db.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        let cause = format!("the file system does not allow a write-ahead log (the journal's mode is {mode:?})");
        return Err(Reason::Io(std::io::Error::other(cause)));
    }
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "cache_size", -32_768)?;
    db.pragma_update_and_check(None, "wal_autocheckpoint", 4_000, |_| Ok(()))?;
    db.pragma_update_and_check(None, "journal_size_limit", WAL_BYTES_MAX as i64, |_| Ok(()))?;
    prepare_format(&db)?;
    // A file is durable when its directory's entry is.
    File::open(dir)?.sync_all()?;
    Ok(db)
}

/// Opens a connection that only reads.
pub(super) fn open_reader(path: &Path) -> Result<Connection, Reason> {
    let db = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
    db.pragma_update(None, "query_only", true)?;
    db.pragma_update(None, "cache_size", -8_192)?;
    Ok(db)
}

/// The path of the write-ahead log.
pub(super) fn wal(path: &Path) -> PathBuf {
    path.with_extension("db-wal")
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, Reason> {
    let db = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(LOCK_WAIT)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(db)
}

fn prepare_format(db: &Connection) -> Result<(), Reason> {
    let tx = db.unchecked_transaction()?;
    let is_new = tx.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))?;
    if is_new {
        tx.execute_batch(TABLES)?;
    }
    let found: i64 = tx.query_row("SELECT format FROM store", [], |row| row.get(0))?;
    if found > FORMAT {
        return Err(Reason::NewerFormat { found, known: FORMAT });
    }
    let done = usize::try_from(found - 1).map_err(|_| Reason::Damaged(format!("its format is {found}")))?;
    for upgrade in UPGRADES.get(done..).unwrap_or_default() {
        upgrade(&tx)?;
    }
    if found < FORMAT {
        tx.execute("UPDATE store SET format = ?1", [FORMAT])?;
    }
    tx.commit()?;
    Ok(())
}
