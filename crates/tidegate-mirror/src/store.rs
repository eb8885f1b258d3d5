//! The file: opening it, its lock, its settings, its format, and the one row that says where it is.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use tidegate_model::Position;
use uuid::Uuid;

use crate::MirrorError;

/// The store's file within the data directory.
pub(crate) const FILE: &str = "tidegate.db";
const LOCK: &str = "tidegate.lock";

/// What turns format n (counted from 1) into n + 1. The current format is one past the last.
const UPGRADES: &[fn(&Connection) -> rusqlite::Result<()>] = &[sources];
/// The format that this version writes; a new store is made in format 1 and upgraded.
pub(crate) const FORMAT: i64 = UPGRADES.len() as i64 + 1;

/// Prepared statements that a connection keeps.
const STATEMENTS_MAX: usize = 256;
/// How long a connection waits for SQLite's own short locks (a log being recovered or reset).
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// Bounds of the store.
#[derive(Debug, Clone)]
pub struct Options {
    /// Reader threads, each with its own connection. Default 2.
    pub readers: usize,
    /// Reads that may wait for a reader; more are refused as busy. Default 4,096.
    pub queue: usize,
    /// Rows that one scan looks at where an index serves its order; it then ends its page. Default 2,048.
    pub scan_rows_max: usize,
    /// Size at which a page ends early, in bytes of its rows. Default 8 MiB.
    pub page_bytes_max: usize,
    /// Size of the write-ahead log from which on it is emptied as soon as no reader needs it, in bytes. Default 64 MiB.
    pub wal_bytes_max: u64,
    /// Largest row in its stored form, in bytes. Default 1 MiB.
    pub row_bytes_max: usize,
    /// Rows that one source transaction may touch before it is written straight through. Default 50,000.
    pub fold_rows_max: usize,
    /// Bytes in memory of those rows, before and after, from which on the same happens. Default 64 MiB.
    pub fold_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            readers: 2,
            queue: 4_096,
            scan_rows_max: 2_048,
            page_bytes_max: 8 << 20,
            wal_bytes_max: 64 << 20,
            row_bytes_max: 1 << 20,
            fold_rows_max: 50_000,
            fold_bytes_max: 64 << 20,
        }
    }
}

/// Takes the directory for this process; it is free again when the file is dropped.
pub(crate) fn lock(data_dir: &Path) -> Result<File, MirrorError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| MirrorError::Io { path, source }
    };
    fs::create_dir_all(data_dir).map_err(io(data_dir))?;
    let path = data_dir.join(LOCK);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(MirrorError::Locked(data_dir.to_owned())),
        Err(TryLockError::Error(source)) => Err(MirrorError::Io { path, source }),
    }
}

/// Opens the writing connection, making the file where there is none.
pub(crate) fn open_writer(data_dir: &Path, options: &Options) -> Result<Connection, MirrorError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = connect(&data_dir.join(FILE), flags)?;
    db.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "cache_size", -32_768)?;
    db.pragma_update_and_check(None, "wal_autocheckpoint", 4_000, |_| Ok(()))?;
    db.pragma_update_and_check(None, "journal_size_limit", options.wal_bytes_max as i64, |_| Ok(()))?;
    prepare_format(&db)?;
    // A file is durable when its directory's entry is.
    let synced = File::open(data_dir).and_then(|dir| dir.sync_all());
    synced.map_err(|source| MirrorError::Io { path: data_dir.to_owned(), source })?;
    Ok(db)
}

/// Opens a connection that only reads.
pub(crate) fn open_reader(data_dir: &Path) -> Result<Connection, MirrorError> {
    let db = connect(&data_dir.join(FILE), OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.pragma_update(None, "query_only", true)?;
    db.pragma_update(None, "cache_size", -8_192)?;
    Ok(db)
}

fn connect(path: &Path, flags: OpenFlags) -> Result<Connection, MirrorError> {
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(LOCK_WAIT)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
    Ok(db)
}

fn prepare_format(db: &Connection) -> Result<(), MirrorError> {
    let tx = db.unchecked_transaction()?;
    let there =
        tx.query_row("SELECT count(*) FROM sqlite_schema WHERE name = 'store'", [], |row| row.get::<_, i64>(0))?;
    if there == 0 {
        tx.execute_batch(
            "CREATE TABLE store (one INTEGER PRIMARY KEY CHECK (one = 1), format INTEGER NOT NULL, id BLOB NOT NULL,
                                 position INTEGER NOT NULL);
             CREATE TABLE entity (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, definition TEXT NOT NULL);
             CREATE TABLE idempotency (number INTEGER PRIMARY KEY, scope TEXT NOT NULL, key TEXT NOT NULL,
                                       hash BLOB NOT NULL, position INTEGER NOT NULL, versions BLOB NOT NULL,
                                       at_ms INTEGER NOT NULL, UNIQUE (scope, key));",
        )?;
        let id = Uuid::now_v7().into_bytes();
        tx.execute("INSERT INTO store (one, format, id, position) VALUES (1, 1, ?1, 0)", [id])?;
    }
    let found: i64 = tx.query_row("SELECT format FROM store", [], |row| row.get(0))?;
    if found > FORMAT {
        return Err(MirrorError::NewerFormat { found, known: FORMAT });
    }
    let done = usize::try_from(found - 1).map_err(|_| MirrorError::Damaged(format!("its format is {found}")))?;
    for upgrade in UPGRADES.get(done..).unwrap_or_default() {
        upgrade(&tx)?;
    }
    tx.execute("UPDATE store SET format = ?1", [FORMAT])?;
    tx.commit()?;
    Ok(())
}

/// Format 2: what following a source takes. A `state` is that of [`crate::State`]; every entity so far is ready.
fn sources(db: &Connection) -> rusqlite::Result<()> {
    db.execute_batch(
        "ALTER TABLE entity ADD COLUMN state INTEGER NOT NULL DEFAULT 0;
         CREATE TABLE note (name TEXT PRIMARY KEY, bytes BLOB NOT NULL);
         CREATE TABLE pending (number INTEGER PRIMARY KEY, entity INTEGER NOT NULL, xid INTEGER NOT NULL,
                               bytes BLOB NOT NULL);
         CREATE INDEX pending_entity ON pending (entity);",
    )
}

/// The id that the store was given when it was made.
pub(crate) fn store_id(db: &Connection) -> Result<Uuid, MirrorError> {
    let id: [u8; 16] = db.query_row("SELECT id FROM store", [], |row| row.get(0))?;
    Ok(Uuid::from_bytes(id))
}

/// Where the store is, in the connection's snapshot.
pub(crate) fn position(db: &Connection) -> Result<Position, MirrorError> {
    let position: i64 = db.prepare_cached("SELECT position FROM store")?.query_row([], |row| row.get(0))?;
    Ok(Position(position as u64))
}

/// Moves the store within the open transaction.
pub(crate) fn set_position(db: &Connection, position: Position) -> Result<(), MirrorError> {
    db.prepare_cached("UPDATE store SET position = ?1")?.execute([position.0 as i64])?;
    Ok(())
}

/// Copies the log into the file and empties it, unless a reader needs it: that is not waited for. Whether it is empty.
pub(crate) fn empty_wal(db: &Connection) -> Result<bool, MirrorError> {
    db.busy_timeout(Duration::ZERO)?;
    let busy = db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
    db.busy_timeout(LOCK_WAIT)?;
    Ok(busy? == 0)
}

/// The path of the write-ahead log.
pub(crate) fn wal_path(data_dir: &Path) -> PathBuf {
    data_dir.join(format!("{FILE}-wal"))
}
