//! What is read at a start.

use std::sync::Arc;

use rusqlite::Connection;

use super::reader::read_ending;
use super::{Reason, SessionRecord};
use crate::event::AROUND;
use crate::{CredentialId, Entry, JobId, Log, Record, SessionId, StoredJob, What};

/// All that jobs and sessions need to go on.
#[derive(Debug, Default)]
pub struct Stored {
    /// In the order in which they began.
    pub jobs: Vec<StoredJob>,
    /// In the order in which they began.
    pub sessions: Vec<StoredSession>,
    /// What was made, or was to be made, and is not revoked; also of jobs that are forgotten.
    pub credentials: Vec<(JobId, CredentialId)>,
}

/// A session as the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSession {
    /// Itself.
    pub record: SessionRecord,
    /// The last of its numbers that is let go; 0 before there was any.
    pub floor: u64,
    /// By their numbers. The first may begin at or below the floor.
    pub segments: Vec<StoredSegment>,
    /// Jobs of other sessions that it is told of.
    pub watches: Vec<JobId>,
}

/// From a number on, a session's numbers are of a job's entries from `n` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredSegment {
    /// The first number.
    pub seq: u64,
    /// Whose entries.
    pub job: JobId,
    /// The first of them.
    pub n: u64,
}

/// Reads everything but events.
pub(super) fn load(db: &Connection) -> Result<Stored, Reason> {
    let snapshot = db.unchecked_transaction()?;
    Ok(Stored { jobs: jobs(&snapshot)?, sessions: sessions(&snapshot)?, credentials: credentials(&snapshot)? })
}

fn jobs(db: &Connection) -> Result<Vec<StoredJob>, Reason> {
    let mut found = db.prepare(
        "SELECT number, id, record, trimmed, kept, ending.n, ending.what FROM job
         LEFT JOIN state ON state.job = number LEFT JOIN ending ON ending.job = number ORDER BY number",
    )?;
    let mut sizes = db.prepare("SELECT n, length(what) FROM entry WHERE job = ?1 AND n > ?2 ORDER BY n")?;
    let mut rows = found.query([])?;
    let mut jobs = Vec::new();
    while let Some(row) = rows.next()? {
        let id = JobId::of(number(row.get(1)?));
        let record: Record = json(id, &row.get::<_, Vec<u8>>(2)?)?;
        if record.accepted.job != id {
            return Err(Reason::damaged(id, "its record is of another job"));
        }
        let trimmed: i64 = row.get(3)?;
        let kept = row.get::<_, Option<Vec<u8>>>(4)?.map(|kept| json(id, &kept)).transpose()?;
        let ending = match row.get::<_, Option<i64>>(5)? {
            None => None,
            Some(n) => {
                let what = What::End(Arc::new(read_ending(id, &row.get::<_, Vec<u8>>(6)?)?));
                Some(Arc::new(Entry { job: id, n: count(n)?, trace: Some(record.accepted.trace), what }))
            }
        };
        let log = log(id, sizes.query([row.get(0)?, trimmed])?, count(trimmed)?, ending.as_deref())?;
        jobs.push(StoredJob { record: Arc::new(record), kept: kept.unwrap_or_default(), log, ending });
    }
    Ok(jobs)
}

/// A log without a gap, from what follows `trimmed` to its end.
fn log(job: JobId, mut rows: rusqlite::Rows<'_>, trimmed: u64, ending: Option<&Entry>) -> Result<Log, Reason> {
    let first = trimmed + 1;
    let mut sizes: Vec<u32> = Vec::new();
    let gap = |n: u64| Err(Reason::damaged(job, format_args!("entry {n} of its log is missing")));
    while let Some(row) = rows.next()? {
        let expected = first + sizes.len() as u64;
        if count(row.get(0)?)? != expected {
            return gap(expected);
        }
        sizes.push(size(AROUND.saturating_add(row.get::<_, u32>(1)? as usize)));
    }
    if let Some(ending) = ending {
        let expected = first + sizes.len() as u64;
        if ending.n != expected {
            return gap(expected);
        }
        sizes.push(size(ending.bytes()));
    }
    Ok(Log::of(first, sizes))
}

fn sessions(db: &Connection) -> Result<Vec<StoredSession>, Reason> {
    let mut found =
        db.prepare("SELECT number, id, owner, token, previous, created_ms, floor FROM session ORDER BY number")?;
    let mut segments = db.prepare("SELECT seq, job, n FROM segment WHERE session = ?1 ORDER BY seq")?;
    let mut watched = db.prepare("SELECT job FROM watch WHERE session = ?1 ORDER BY job")?;
    let mut rows = found.query([])?;
    let mut sessions = Vec::new();
    while let Some(row) = rows.next()? {
        let id = SessionId::of(number(row.get(1)?));
        let record = SessionRecord {
            id,
            owner: json(id, &row.get::<_, Vec<u8>>(2)?)?,
            token: row.get(3)?,
            previous: row.get(4)?,
            created_ms: count(row.get(5)?)?,
        };
        let floor = count(row.get(6)?)?;
        let number_of: i64 = row.get(0)?;
        let mut of_session = segments.query([number_of])?;
        let mut segments = Vec::new();
        while let Some(row) = of_session.next()? {
            let (seq, n) = (count(row.get(0)?)?, count(row.get(2)?)?);
            segments.push(StoredSegment { seq, job: JobId::of(number(row.get(1)?)), n });
        }
        let watches = watched.query_map([number_of], |row| Ok(JobId::of(number(row.get(0)?))))?;
        let watches = watches.collect::<rusqlite::Result<_>>()?;
        sessions.push(StoredSession { record, floor, segments, watches });
    }
    Ok(sessions)
}

fn credentials(db: &Connection) -> Result<Vec<(JobId, CredentialId)>, Reason> {
    let mut found = db.prepare("SELECT job, id FROM credential ORDER BY id")?;
    let pairs =
        found.query_map([], |row| Ok((JobId::of(number(row.get(0)?)), CredentialId::of(number(row.get(1)?)))))?;
    Ok(pairs.collect::<rusqlite::Result<_>>()?)
}

fn number(bytes: [u8; 16]) -> u128 {
    u128::from_be_bytes(bytes)
}

/// A number that is not negative.
fn count(n: i64) -> Result<u64, Reason> {
    u64::try_from(n).map_err(|_| Reason::Damaged(format!("{n} cannot be a number or a time")))
}

fn size(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn json<T: serde::de::DeserializeOwned>(what: impl std::fmt::Display, json: &[u8]) -> Result<T, Reason> {
    serde_json::from_slice(json).map_err(|error| Reason::damaged(what, error))
}
