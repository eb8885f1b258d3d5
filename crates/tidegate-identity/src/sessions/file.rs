//! The file of the embedded store: its format, and what is read and written in it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params};
use tidegate_model::Tenant;

use super::marks::{Mark, Marks};
use super::snapshot::Snapshot;

/// "TGSE", in the file's head.
const APPLICATION: i32 = 0x5447_5345;
/// The format that this version writes.
const FORMAT: i32 = 1;

/// The file could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// Another process has it.
    #[error("{} is in use by another process; stop it, or name another file", .0.display())]
    Locked(PathBuf),
    /// It was written by a later version of Tidegate.
    #[error("{} has format {found}, and this version reads formats up to {FORMAT}; use a newer Tidegate", path.display())]
    NewerFormat {
        /// Which.
        path: PathBuf,
        /// Its format.
        found: i32,
    },
    /// It is a database, of something else.
    #[error("{} holds something else than device sessions; name another file", .0.display())]
    Foreign(PathBuf),
    /// It is not as it was written.
    #[error(
        "{} is damaged: {reason}; restore a backup. Without one move it away and have tokens signed with a new key: what was \
         revoked is not known any more", path.display()
    )]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What SQLite says.
        reason: String,
    },
    /// It, or its directory, could not be used.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// SQLite failed.
    #[error("{}: {source}", path.display())]
    Sqlite {
        /// Which.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
}

/// What is asked of the file.
#[derive(Debug)]
pub(super) enum Ask {
    Get(Box<str>),
    Put(Snapshot),
    Revoke(Box<str>, i64),
    Mark(Mark, u64),
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Done {
    Found(Option<Snapshot>),
    Written,
    /// Refused: it is revoked for good.
    IsRevoked,
}

/// The open file. Nobody else can open it meanwhile.
pub(super) struct File {
    db: Connection,
}

impl File {
    /// Opens it, making it where there is none.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: path.to_owned(), source };
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(dir).map_err(io)?;
        let db = prepared(path).map_err(|error| match error {
            Prepare::Foreign => OpenError::Foreign(path.to_owned()),
            Prepare::Newer(found) => OpenError::NewerFormat { path: path.to_owned(), found },
            Prepare::Damaged(reason) => OpenError::Damaged { path: path.to_owned(), reason },
            Prepare::Sqlite(source) => refused(path, source),
        })?;
        // A file is durable when its directory's entry is.
        fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(io)?;
        Ok(Self { db })
    }

    /// All the marks.
    pub(super) fn marks(&self, max: usize) -> rusqlite::Result<Marks> {
        let mut marks = Marks::new(max);
        let mut rows = self.db.prepare("SELECT kind, tenant, user, at_ms FROM mark")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let tenant = || row.get::<_, String>(1).map(Tenant::new);
            let user = |tenant| Ok::<_, rusqlite::Error>(Mark::User { user: row.get::<_, Arc<str>>(2)?, tenant });
            let mark = match row.get(0)? {
                0 => Mark::Everybody,
                1 => Mark::Tenant(tenant()?),
                2 => user(None)?,
                3 => user(Some(tenant()?))?,
                kind => return Err(rusqlite::Error::IntegralValueOutOfRange(0, kind)),
            };
            marks.insert(mark, row.get::<_, i64>(3)?.unsigned_abs());
        }
        Ok(marks)
    }

    /// Does all or nothing, in this order; it is durable when this returns.
    pub(super) fn commit<'a>(&self, asks: impl Iterator<Item = &'a Ask>) -> rusqlite::Result<Vec<Done>> {
        let transaction = self.db.unchecked_transaction()?;
        let done = asks.map(|ask| self.run(ask)).collect::<rusqlite::Result<_>>()?;
        transaction.commit()?;
        Ok(done)
    }

    /// What [`Marks::fold`] did.
    pub(super) fn fold(&self, until_ms: u64) -> rusqlite::Result<()> {
        let transaction = self.db.unchecked_transaction()?;
        self.db.execute("DELETE FROM mark WHERE at_ms <= ?1", [stored(until_ms)])?;
        self.mark(&Mark::Everybody, until_ms)?;
        transaction.commit()
    }

    fn run(&self, ask: &Ask) -> rusqlite::Result<Done> {
        match ask {
            Ask::Get(id) => {
                let mut found = self.db.prepare_cached(
                    "SELECT id, user, public_key, is_revoked, revoked_at_ms FROM session WHERE id = ?1",
                )?;
                found.query_row([id], snapshot).optional().map(Done::Found)
            }
            Ask::Put(snapshot) => self.put(snapshot),
            Ask::Revoke(id, at_ms) => {
                let mut revoked = self.db.prepare_cached(
                    "INSERT INTO session VALUES (?1, '', '', TRUE, ?2)
                     ON CONFLICT DO UPDATE SET is_revoked = TRUE, revoked_at_ms = excluded.revoked_at_ms
                     WHERE NOT is_revoked",
                )?;
                revoked.execute(params![id, at_ms]).map(|_| Done::Written)
            }
            Ask::Mark(mark, at_ms) => self.mark(mark, *at_ms).map(|()| Done::Written),
        }
    }

    fn put(&self, snapshot: &Snapshot) -> rusqlite::Result<Done> {
        let Snapshot { id, user, public_key, is_revoked, revoked_at_ms } = snapshot;
        let mut put = self.db.prepare_cached(
            "INSERT INTO session VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO UPDATE SET user = excluded.user, public_key = excluded.public_key,
                                       is_revoked = excluded.is_revoked, revoked_at_ms = excluded.revoked_at_ms
             WHERE NOT is_revoked OR excluded.is_revoked",
        )?;
        let written = put.execute(params![id, user, public_key, is_revoked, revoked_at_ms])?;
        Ok(if written == 0 { Done::IsRevoked } else { Done::Written })
    }

    fn mark(&self, mark: &Mark, at_ms: u64) -> rusqlite::Result<()> {
        let (kind, tenant, user) = match mark {
            Mark::Everybody => (0, "", ""),
            Mark::Tenant(tenant) => (1, tenant.name(), ""),
            Mark::User { user, tenant: None } => (2, "", &**user),
            Mark::User { user, tenant: Some(tenant) } => (3, tenant.name(), &**user),
        };
        let mut put = self.db.prepare_cached(
            "INSERT INTO mark VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO UPDATE SET at_ms = max(at_ms, excluded.at_ms)",
        )?;
        put.execute(params![kind, tenant, user, stored(at_ms)]).map(drop)
    }
}

/// Why a file is not taken.
enum Prepare {
    Foreign,
    Newer(i32),
    Damaged(String),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Prepare {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Nothing is written into a file before it is known to be ours.
fn prepared(path: &Path) -> Result<Connection, Prepare> {
    let db = Connection::open(path)?;
    db.busy_timeout(Duration::ZERO)?;
    db.pragma_update_and_check(None, "locking_mode", "exclusive", |_| Ok(()))?;
    let number = |pragma| db.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0));
    let is_new = db.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get::<_, bool>(0))?;
    match (number("application_id")?, number("user_version")?) {
        (0, 0) if is_new => {}
        (APPLICATION, FORMAT) => {}
        (APPLICATION, found) if found > FORMAT => return Err(Prepare::Newer(found)),
        (APPLICATION, found) => return Err(Prepare::Damaged(format!("its format is {found}"))),
        _ => return Err(Prepare::Foreign),
    }
    let checked: String = db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if checked != "ok" {
        return Err(Prepare::Damaged(checked));
    }
    db.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(()))?;
    db.pragma_update(None, "synchronous", "full")?;
    if is_new {
        db.execute_batch(&format!(
            "BEGIN;
             CREATE TABLE session (id TEXT PRIMARY KEY, user TEXT NOT NULL, public_key TEXT NOT NULL,
                                   is_revoked INTEGER NOT NULL, revoked_at_ms INTEGER) STRICT, WITHOUT ROWID;
             CREATE TABLE mark (kind INTEGER NOT NULL, tenant TEXT NOT NULL, user TEXT NOT NULL, at_ms INTEGER NOT NULL,
                                PRIMARY KEY (kind, tenant, user)) STRICT, WITHOUT ROWID;
             PRAGMA application_id = {APPLICATION};
             PRAGMA user_version = {FORMAT};
             COMMIT;"
        ))?;
    }
    Ok(db)
}

/// What an error of SQLite means to whoever named the file.
pub(super) fn refused(path: &Path, source: rusqlite::Error) -> OpenError {
    let path = path.to_owned();
    match source.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => OpenError::Locked(path),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            OpenError::Damaged { path, reason: source.to_string() }
        }
        _ => OpenError::Sqlite { path, source },
    }
}

fn snapshot(row: &Row<'_>) -> rusqlite::Result<Snapshot> {
    Ok(Snapshot {
        id: row.get(0)?,
        user: row.get(1)?,
        public_key: row.get(2)?,
        is_revoked: row.get(3)?,
        revoked_at_ms: row.get(4)?,
    })
}

fn stored(at_ms: u64) -> i64 {
    i64::try_from(at_ms).unwrap_or(i64::MAX)
}
