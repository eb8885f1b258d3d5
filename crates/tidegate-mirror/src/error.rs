//! What can go wrong, and what to do about it.

use std::path::PathBuf;

/// The store could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum MirrorError {
    /// Another process has the data directory open.
    #[error("{} is in use by another process; stop it, or choose another data directory", .0.display())]
    Locked(PathBuf),
    /// A file or directory could not be used.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Written by a later version of Tidegate.
    #[error("the store has format {found}, and this version reads formats up to {known}; use a newer Tidegate")]
    NewerFormat {
        /// The store's format.
        found: i64,
        /// The newest that this version reads.
        known: i64,
    },
    /// The configuration asks for a change of an entity that its rows do not allow. Nothing was changed.
    #[error("entity {entity:?} cannot be changed as configured: {reason}; its rows are untouched")]
    Migration {
        /// The entity.
        entity: String,
        /// What stands in the way, naming row and column.
        reason: String,
    },
    /// Something in the store is not as it was written.
    #[error("the store is damaged: {0}; restore a backup")]
    Damaged(String),
    /// The target of a backup exists already.
    #[error("{} exists already; name a new file", .0.display())]
    BackupExists(PathBuf),
    /// Misuse of the writer: positions only grow.
    #[error("position {next} does not follow {last}")]
    PositionOrder {
        /// Of the last transaction applied.
        last: u64,
        /// The one given.
        next: u64,
    },
    /// Misuse of the writer: a call that has no place where it was made.
    #[error("the writer was misused: {0}")]
    Misuse(&'static str),
    /// A note is larger than allowed.
    #[error("the note {name:?} has {bytes} bytes; at most {} are allowed", crate::NOTE_BYTES_MAX)]
    NoteSize {
        /// Which.
        name: String,
        /// Its size.
        bytes: usize,
    },
    /// SQLite failed.
    #[error("the store failed: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

impl From<postcard::Error> for MirrorError {
    fn from(error: postcard::Error) -> Self {
        Self::Damaged(format!("a row cannot be read: {error}"))
    }
}

/// Why one write of a batch was refused. With it the whole batch is: nothing of it is applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The row is not at the version that the write demands; 0 stands for a row that does not exist.
    #[error("if_version is {expected}, but the row is at version {actual} (0: it does not exist)")]
    Version {
        /// Demanded.
        expected: u64,
        /// Found.
        actual: u64,
    },
    /// A key or tenant column is null or missing.
    #[error("may not be null: it is part of the row's identity")]
    Null {
        /// Index of the column.
        column: u16,
    },
    /// A cell is not of its column's type.
    #[error("expected a value of type {expected}")]
    Type {
        /// Index of the column.
        column: u16,
        /// The column's type.
        expected: tidegate_model::Type,
    },
    /// The row is larger than allowed.
    #[error("the row has {bytes} bytes; at most {max} are allowed")]
    RowSize {
        /// Encoded size.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The key is larger than allowed.
    #[error("the key has {bytes} bytes; at most {} are allowed", crate::KEY_BYTES_MAX)]
    KeySize {
        /// Encoded size.
        bytes: usize,
    },
    /// A cell was to stay as it was, and there is no row that it could be taken from.
    #[error("the value of the unchanged column is not known, because the row is not there")]
    Unknown {
        /// Index of the column.
        column: u16,
    },
    /// The guard does not permit the change.
    #[error("you may not make this change")]
    Forbidden,
    /// Another row of the copy has the key.
    #[error("another row has this key")]
    Duplicate,
    /// A row of a source, named by its key for whoever has to mend it.
    #[error("row {key}: {refusal}")]
    Row {
        /// The key columns and their values, cut short if they are long.
        key: String,
        /// What is wrong with it.
        refusal: Box<Refusal>,
    },
}

impl Refusal {
    /// The column at fault, where it is one.
    #[must_use]
    pub fn column(&self) -> Option<u16> {
        match self {
            Refusal::Null { column } | Refusal::Type { column, .. } | Refusal::Unknown { column } => Some(*column),
            Refusal::Row { refusal, .. } => refusal.column(),
            _ => None,
        }
    }
}

/// A batch that was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The batch breaks a rule. Other batches of the same commit are not affected.
    #[error("write {index}: {refusal}")]
    Refused {
        /// Which write of the batch.
        index: usize,
        /// Why.
        refusal: Refusal,
    },
    /// The store failed: roll the commit back.
    #[error(transparent)]
    Store(#[from] MirrorError),
}

impl From<rusqlite::Error> for ApplyError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}
