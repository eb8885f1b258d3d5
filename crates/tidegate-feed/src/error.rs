//! Why a write was refused, as the client is told.

/// The kind of a refusal: its name on the wire, its HTTP status, and whether trying again may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WriteErrorCode {
    /// The body is not of the documented form.
    InvalidBody,
    /// More changes than one batch may have.
    TooManyChanges,
    /// A cell, key or row breaks a rule.
    InvalidRow,
    /// The entity has no such column.
    UnknownColumn,
    /// The writer may not make one of the changes.
    Forbidden,
    /// A row is not at the version demanded.
    VersionConflict,
    /// The idempotency key was used for another body.
    IdempotencyConflict,
    /// More writes are waiting than may.
    Overloaded,
    /// The store failed; nothing of the batch was applied, as far as can be known.
    StoreFailed,
}

impl WriteErrorCode {
    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::InvalidBody => "invalid_body",
            Self::TooManyChanges => "too_many_changes",
            Self::InvalidRow => "invalid_row",
            Self::UnknownColumn => "unknown_column",
            Self::Forbidden => "forbidden",
            Self::VersionConflict => "version_conflict",
            Self::IdempotencyConflict => "idempotency_conflict",
            Self::Overloaded => "overloaded",
            Self::StoreFailed => "store_failed",
        }
    }

    /// The fitting HTTP status.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidBody => 400,
            Self::TooManyChanges => 413,
            Self::Forbidden => 403,
            Self::InvalidRow | Self::UnknownColumn => 422,
            Self::VersionConflict | Self::IdempotencyConflict => 409,
            Self::Overloaded => 503,
            Self::StoreFailed => 500,
        }
    }

    /// Whether the same request may succeed later.
    #[must_use]
    pub fn retryable(self) -> bool {
        matches!(self, Self::Overloaded | Self::StoreFailed)
    }
}

/// A write that was refused; nothing of its batch was applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", path.as_deref().unwrap_or(code.name()))]
pub struct WriteError {
    /// The kind.
    pub code: WriteErrorCode,
    /// Entity, column and rule.
    pub message: String,
    /// Where in the body, such as `changes[0].upsert.temp`.
    pub path: Option<String>,
}

impl WriteError {
    pub(crate) fn new(code: WriteErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), path: None }
    }

    pub(crate) fn at(self, path: impl Into<String>) -> Self {
        Self { path: Some(path.into()), ..self }
    }
}
