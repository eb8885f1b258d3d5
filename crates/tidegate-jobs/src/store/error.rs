//! What can go wrong with the file.

use std::fmt;
use std::path::{Path, PathBuf};

use rusqlite::{Error as SqliteError, ErrorCode};

/// The store could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct StoreError {
    /// The file or directory.
    pub path: PathBuf,
    /// Why.
    pub reason: Reason,
}

/// Why it could not.
#[derive(Debug, thiserror::Error)]
pub enum Reason {
    /// Another process has the directory open.
    #[error("jobs in this directory are in use by another process; stop it, or choose another data directory")]
    Locked,
    /// Of the operating system.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Written by a later version of Tidegate.
    #[error("jobs are kept in format {found}, and this version reads formats up to {known}; use a newer Tidegate")]
    NewerFormat {
        /// The file's format.
        found: i64,
        /// The newest that this version reads.
        known: i64,
    },
    /// Something in the file is not as it was written.
    #[error("the file is damaged: {0}; restore a backup, or move it away to begin without jobs")]
    Damaged(String),
    /// A write that breaks a rule of the store: a mistake of whoever wrote it. Never taken, however often it is tried.
    #[error("a write was refused: {0}")]
    Refused(String),
    /// SQLite failed.
    #[error(transparent)]
    Sqlite(SqliteError),
}

impl StoreError {
    /// Whether it is a mistake of whoever wrote, so that trying again is of no use.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        matches!(self.reason, Reason::Refused(_))
    }
}

impl Reason {
    pub(super) fn at(self, path: &Path) -> StoreError {
        StoreError { path: path.to_owned(), reason: self }
    }

    pub(super) fn damaged(what: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::Damaged(format!("{what}: {why}"))
    }
}

impl From<SqliteError> for Reason {
    fn from(error: SqliteError) -> Self {
        let is_damage = match &error {
            SqliteError::FromSqlConversionFailure(..)
            | SqliteError::IntegralValueOutOfRange(..)
            | SqliteError::InvalidColumnType(..)
            | SqliteError::QueryReturnedNoRows => true,
            error => error.sqlite_error().is_some_and(|error| match error.code {
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => true,
                // A statement that makes no sense. They are fixed, so it is the tables that are not ours.
                ErrorCode::Unknown => error.extended_code == rusqlite::ffi::SQLITE_ERROR,
                _ => false,
            }),
        };
        if is_damage { Self::Damaged(error.to_string()) } else { Self::Sqlite(error) }
    }
}
