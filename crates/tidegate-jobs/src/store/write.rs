//! What can be written, and how.

use std::collections::HashMap;
use std::collections::hash_map;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

use super::Reason;
use super::sweep::Added;
use crate::{CredentialId, Entry, JobId, Kept, Owner, Record, SessionId, What};

/// Something to be stored.
#[derive(Debug, Clone)]
pub enum Write {
    /// A new job.
    Job(Arc<Record>),
    /// The next entry of a job's log.
    Entry(Arc<Entry>),
    /// What a job needs beside its log, in place of what there was.
    Keep {
        /// Which.
        job: JobId,
        /// What.
        kept: Arc<Kept>,
    },
    /// Events of a job up to this one go. Its end stays. Nothing where there is no such job.
    Trim {
        /// Which.
        job: JobId,
        /// The last of them.
        through: u64,
    },
    /// A job goes, with all but its credentials. Nothing where there is no such job.
    Forget(JobId),
    /// A credential is about to be made.
    CredentialIssued {
        /// For which job.
        job: JobId,
        /// Its name.
        id: CredentialId,
    },
    /// A credential was revoked. Nothing where it is not there.
    CredentialRevoked(CredentialId),
    /// A new session, or what is new of one.
    Session(SessionRecord),
    /// From this number on, a session's numbers are of this job's entries from `n` on. Takes the place of one at the same number.
    Segment {
        /// Whose.
        session: SessionId,
        /// The first number.
        seq: u64,
        /// Whose entries.
        job: JobId,
        /// The first of them.
        n: u64,
    },
    /// A session is told what happens to a job of another.
    Watch {
        /// Which session.
        session: SessionId,
        /// Which job.
        job: JobId,
    },
    /// It is no more.
    Unwatch {
        /// Which session.
        session: SessionId,
        /// Which job.
        job: JobId,
    },
    /// A session's numbers up to this one are let go. What tells about them alone goes.
    Floor {
        /// Whose.
        session: SessionId,
        /// The last of them.
        seq: u64,
    },
    /// A session goes. Nothing where there is none.
    SessionEnded(SessionId),
}

/// What is stored of a session, beside its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// Its name.
    pub id: SessionId,
    /// Whose it is: nobody else resumes it.
    pub owner: Owner,
    /// SHA-256 of the token that it is resumed with.
    pub token: [u8; 32],
    /// The same of the one before, while that is good.
    pub previous: Option<[u8; 32]>,
    /// In milliseconds since 1970.
    pub created_ms: u64,
}

/// Writes all, in order, into the open transaction.
pub(super) fn write(db: &Connection, writes: &[Write]) -> Result<Added, Reason> {
    let mut writer = Writer { db, jobs: HashMap::new(), added: Added::default() };
    for write in writes {
        writer.write(write)?;
    }
    Ok(writer.added)
}

struct Writer<'a> {
    db: &'a Connection,
    /// The jobs that this commit is about.
    jobs: HashMap<JobId, Job>,
    added: Added,
}

#[derive(Clone, Copy)]
struct Job {
    number: i64,
    log: Option<Log>,
}

/// Where a log is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Log {
    /// The next entry has this number.
    Next(i64),
    /// It is complete: this is its last.
    Ended(i64),
}

impl Writer<'_> {
    fn write(&mut self, write: &Write) -> Result<(), Reason> {
        match write {
            Write::Job(record) => self.job(record),
            Write::Entry(entry) => self.entry(entry),
            Write::Keep { job, kept } => {
                let number = self.known(*job)?.number;
                self.execute("UPDATE state SET kept = ?2 WHERE job = ?1", params![number, json(kept)?])
            }
            Write::Trim { job, through } => self.trim(*job, *through),
            Write::Forget(job) => self.forget(*job),
            Write::CredentialIssued { job, id } => {
                let sql = "INSERT INTO credential (id, job) VALUES (?1, ?2) ON CONFLICT (id) DO NOTHING";
                self.execute(sql, params![id.number().to_be_bytes(), job.number().to_be_bytes()])
            }
            Write::CredentialRevoked(id) => {
                self.execute("DELETE FROM credential WHERE id = ?1", params![id.number().to_be_bytes()])
            }
            Write::Session(record) => self.session(record),
            Write::Segment { session, seq, job, n } => {
                let values = params![self.session_number(*session)?, number(*seq)?, bytes(*job), number(*n)?];
                self.execute("INSERT OR REPLACE INTO segment (session, seq, job, n) VALUES (?1, ?2, ?3, ?4)", values)
            }
            Write::Watch { session, job } => {
                let values = params![self.session_number(*session)?, bytes(*job)];
                self.execute("INSERT INTO watch (session, job) VALUES (?1, ?2) ON CONFLICT DO NOTHING", values)
            }
            Write::Unwatch { session, job } => {
                let Some(session) = self.find_session(*session)? else { return Ok(()) };
                self.execute("DELETE FROM watch WHERE session = ?1 AND job = ?2", params![session, bytes(*job)])
            }
            Write::Floor { session, seq } => self.floor(*session, *seq),
            Write::SessionEnded(session) => self.session_ended(*session),
        }
    }

    fn execute(&self, sql: &str, values: impl rusqlite::Params) -> Result<(), Reason> {
        self.db.prepare_cached(sql)?.execute(values)?;
        Ok(())
    }

    fn job(&mut self, record: &Record) -> Result<(), Reason> {
        let (id, trace) = (record.accepted.job, record.accepted.trace.to_string());
        self.execute(
            "INSERT INTO job (id, trace, record) VALUES (?1, ?2, ?3)",
            params![bytes(id), trace, json(record)?],
        )?;
        let number = self.db.last_insert_rowid();
        self.execute("INSERT INTO state (job, trimmed) VALUES (?1, 0)", [number])?;
        self.jobs.insert(id, Job { number, log: Some(Log::Next(1)) });
        Ok(())
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), Reason> {
        let job = self.known(entry.job)?;
        let log = match job.log {
            Some(log) => log,
            None => self.log(job.number)?,
        };
        let n = number(entry.n)?;
        if log != Log::Next(n) {
            return Err(Reason::Refused(format!("entry {n} of {} is not the next of its log", entry.job)));
        }
        let next = match &entry.what {
            What::Event(payload) => {
                self.execute(
                    "INSERT INTO entry (job, n, what) VALUES (?1, ?2, ?3)",
                    params![job.number, n, &payload[..]],
                )?;
                Log::Next(n.saturating_add(1))
            }
            What::End(ending) => {
                self.execute(
                    "INSERT INTO ending (job, n, what) VALUES (?1, ?2, ?3)",
                    params![job.number, n, json(ending)?],
                )?;
                Log::Ended(n)
            }
        };
        self.jobs.insert(entry.job, Job { number: job.number, log: Some(next) });
        self.added.rows += 1;
        self.added.bytes += entry.bytes();
        Ok(())
    }

    fn trim(&mut self, id: JobId, through: u64) -> Result<(), Reason> {
        let Some(job) = self.find(id)? else { return Ok(()) };
        // Neither what is not there yet nor the end.
        let (Log::Next(end) | Log::Ended(end)) = self.log(job.number)?;
        let last = end.saturating_sub(1);
        let through = i64::try_from(through).unwrap_or(i64::MAX).min(last);
        self.execute("UPDATE state SET trimmed = max(trimmed, ?2) WHERE job = ?1", [job.number, through])?;
        self.discard(job.number, through)
    }

    fn forget(&mut self, id: JobId) -> Result<(), Reason> {
        let Some(job) = self.find(id)? else { return Ok(()) };
        self.jobs.remove(&id);
        self.execute("DELETE FROM job WHERE number = ?1", [job.number])?;
        self.execute("DELETE FROM state WHERE job = ?1", [job.number])?;
        self.execute("DELETE FROM ending WHERE job = ?1", [job.number])?;
        self.discard(job.number, i64::MAX)
    }

    /// Entries up to that one are to be deleted, when their turn comes.
    fn discard(&self, job: i64, through: i64) -> Result<(), Reason> {
        let sql = "INSERT INTO garbage (job, through) VALUES (?1, ?2)
                   ON CONFLICT (job) DO UPDATE SET through = max(through, excluded.through)";
        self.execute(sql, [job, through])
    }

    fn known(&mut self, id: JobId) -> Result<Job, Reason> {
        self.find(id)?.ok_or_else(|| Reason::Refused(format!("there is no job {id}")))
    }

    fn find(&mut self, id: JobId) -> Result<Option<Job>, Reason> {
        let vacant = match self.jobs.entry(id) {
            hash_map::Entry::Occupied(known) => return Ok(Some(*known.get())),
            hash_map::Entry::Vacant(vacant) => vacant,
        };
        let mut number = self.db.prepare_cached("SELECT number FROM job WHERE id = ?1")?;
        let number = number.query_row([bytes(id)], |row| row.get(0)).optional()?;
        Ok(number.map(|number| *vacant.insert(Job { number, log: None })))
    }

    /// Where a job's log is, of which this commit has not written yet.
    fn log(&self, job: i64) -> Result<Log, Reason> {
        let mut last = self.db.prepare_cached(
            "SELECT max((SELECT trimmed FROM state WHERE job = ?1),
                        ifnull((SELECT n FROM entry WHERE job = ?1 ORDER BY n DESC LIMIT 1), 0)),
                    (SELECT n FROM ending WHERE job = ?1)",
        )?;
        let (last, end): (i64, Option<i64>) = last.query_row([job], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(end.map_or_else(|| Log::Next(last.saturating_add(1)), Log::Ended))
    }

    fn session(&self, record: &SessionRecord) -> Result<(), Reason> {
        let sql = "INSERT INTO session (id, owner, token, previous, created_ms, floor) VALUES (?1, ?2, ?3, ?4, ?5, 0)
                   ON CONFLICT (id) DO UPDATE SET owner = excluded.owner, token = excluded.token,
                                                  previous = excluded.previous, created_ms = excluded.created_ms";
        let id = record.id.number().to_be_bytes();
        let owner = json(&record.owner)?;
        self.execute(sql, params![id, owner, record.token, record.previous, number(record.created_ms)?])
    }

    fn session_number(&self, id: SessionId) -> Result<i64, Reason> {
        self.find_session(id)?.ok_or_else(|| Reason::Refused(format!("there is no session {id}")))
    }

    fn find_session(&self, id: SessionId) -> Result<Option<i64>, Reason> {
        let mut number = self.db.prepare_cached("SELECT number FROM session WHERE id = ?1")?;
        Ok(number.query_row([id.number().to_be_bytes()], |row| row.get(0)).optional()?)
    }

    /// The segment that the next number after the floor is in stays, and so does the last.
    fn floor(&self, session: SessionId, seq: u64) -> Result<(), Reason> {
        let (session, seq) = (self.session_number(session)?, number(seq)?);
        self.execute("UPDATE session SET floor = max(floor, ?2) WHERE number = ?1", [session, seq])?;
        let sql = "DELETE FROM segment WHERE session = ?1
                   AND seq < (SELECT max(seq) FROM segment WHERE session = ?1 AND seq <= ?2)";
        self.execute(sql, [session, seq.saturating_add(1)])
    }

    fn session_ended(&self, session: SessionId) -> Result<(), Reason> {
        let Some(session) = self.find_session(session)? else { return Ok(()) };
        self.execute("DELETE FROM segment WHERE session = ?1", [session])?;
        self.execute("DELETE FROM watch WHERE session = ?1", [session])?;
        self.execute("DELETE FROM session WHERE number = ?1", [session])
    }
}

fn bytes(job: JobId) -> [u8; 16] {
    job.number().to_be_bytes()
}

/// A number as SQLite has them.
pub(super) fn number(n: u64) -> Result<i64, Reason> {
    i64::try_from(n).map_err(|_| Reason::Refused(format!("{n} is too large a number")))
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, Reason> {
    serde_json::to_vec(value).map_err(|error| Reason::Refused(error.to_string()))
}
