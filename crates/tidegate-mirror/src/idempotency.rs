//! Answers to writes that may be asked again: kept in the same transaction as the rows that they answer for.

use rusqlite::OptionalExtension as _;
use tidegate_model::Position;

use crate::{MirrorError, Writer};

/// The answer that was given under an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// SHA-256 of the body that was answered.
    pub hash: [u8; 32],
    /// Position of the transaction.
    pub position: Position,
    /// The versions answered.
    pub versions: Vec<Option<u64>>,
}

impl Writer {
    /// What was answered under `key` in `scope`, durable or within the open commit.
    ///
    /// # Errors
    /// The store failed.
    pub fn recall(&self, scope: &str, key: &str) -> Result<Option<Remembered>, MirrorError> {
        let sql = "SELECT hash, position, versions FROM idempotency WHERE scope = ?1 AND key = ?2";
        let mut statement = self.db().prepare_cached(sql)?;
        let found: Option<([u8; 32], i64, Vec<u8>)> =
            statement.query_row((scope, key), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).optional()?;
        let Some((hash, position, versions)) = found else { return Ok(None) };
        Ok(Some(Remembered { hash, position: Position(position as u64), versions: postcard::from_bytes(&versions)? }))
    }

    /// Keeps an answer, as part of the open commit. `at_ms` is the time in milliseconds since 1970.
    ///
    /// # Errors
    /// The store failed.
    pub fn remember(&mut self, scope: &str, key: &str, answer: &Remembered, at_ms: i64) -> Result<(), MirrorError> {
        let sql = "INSERT OR REPLACE INTO idempotency (scope, key, hash, position, versions, at_ms)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let versions = postcard::to_stdvec(&answer.versions)?;
        let position = answer.position.0 as i64;
        self.db().prepare_cached(sql)?.execute((scope, key, answer.hash, position, versions, at_ms))?;
        Ok(())
    }

    /// Forgets the oldest answers: those from before `before_ms`, and those past the newest `keep`. At most `step` at a
    /// time, so that no commit is held up; oldest by their order of arrival. Part of the open commit.
    ///
    /// # Errors
    /// The store failed.
    pub fn forget(&mut self, before_ms: i64, keep: u64, step: u64) -> Result<(), MirrorError> {
        let sql = "DELETE FROM idempotency WHERE number IN (SELECT number FROM idempotency ORDER BY number LIMIT ?3)
                   AND (at_ms < ?1 OR number <= (SELECT max(number) FROM idempotency) - ?2)";
        self.db().prepare_cached(sql)?.execute((before_ms, keep as i64, step as i64))?;
        Ok(())
    }
}
