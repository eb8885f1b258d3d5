//! Pages of logs.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, Transaction};
use serde::de::IgnoredAny;

use super::{Reason, StoreError, file};
use crate::{Ending, Entry, JobId, TraceId, What};

/// A connection that reads beside the writer. What was committed before a call is seen by it.
#[derive(Debug)]
pub struct Reader {
    db: Connection,
    path: PathBuf,
}

impl Reader {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let db = file::open_reader(path).map_err(|reason| reason.at(path))?;
        Ok(Self { db, path: path.to_owned() })
    }

    /// A job's entries from `from` through `through`, in order: as many as fit into `bytes_max` ([`Entry::bytes`]), but one if there is
    /// any. What is no longer kept is left out at the beginning; of a job that is not there nothing is.
    ///
    /// # Errors
    /// The file is damaged or cannot be read.
    pub fn entries(&mut self, job: JobId, from: u64, through: u64, bytes_max: usize) -> Result<Vec<Entry>, StoreError> {
        let page = self.db.transaction().map_err(Reason::from);
        let page =
            page.and_then(|snapshot| Page { job, bytes_max, entries: Vec::new() }.read(&snapshot, from, through));
        page.map_err(|reason| reason.at(&self.path))
    }
}

struct Page {
    job: JobId,
    /// What is left of it.
    bytes_max: usize,
    entries: Vec<Entry>,
}

impl Page {
    fn read(mut self, db: &Transaction<'_>, from: u64, through: u64) -> Result<Vec<Entry>, Reason> {
        let mut job = db.prepare_cached(
            "SELECT number, trace, trimmed, n FROM job JOIN state ON state.job = number
             LEFT JOIN ending ON ending.job = number WHERE id = ?1",
        )?;
        let found = job.query_row([self.job.number().to_be_bytes()], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?, row.get::<_, Option<i64>>(3)?))
        });
        let Some((number, trace, trimmed, end)) = found.optional()? else { return Ok(self.entries) };
        let trace: TraceId = trace.parse().map_err(|error| Reason::damaged(self.job, error))?;
        // Larger numbers than SQLite has are of no entry.
        let [from, through] = [from, through].map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        let is_whole = self.events(db, number, trace, (from.max(trimmed.saturating_add(1)), through))?;
        if is_whole && let Some(end) = end.filter(|end| (from..=through).contains(end)) {
            let mut ending = db.prepare_cached("SELECT what FROM ending WHERE job = ?1")?;
            let ending: Vec<u8> = ending.query_row([number], |row| row.get(0))?;
            let what = What::End(Arc::new(read_ending(self.job, &ending)?));
            self.take(end, trace, what)?;
        }
        Ok(self.entries)
    }

    /// Whether all were taken.
    fn events(
        &mut self,
        db: &Connection,
        job: i64,
        trace: TraceId,
        (from, through): (i64, i64),
    ) -> Result<bool, Reason> {
        let mut events =
            db.prepare_cached("SELECT n, what FROM entry WHERE job = ?1 AND n BETWEEN ?2 AND ?3 ORDER BY n")?;
        let mut rows = events.query([job, from, through])?;
        while let Some(row) = rows.next()? {
            let n = row.get(0)?;
            let payload = row.get_ref(1)?.as_blob().map_err(|error| Reason::damaged(self.job, error))?;
            // It goes into a frame as it is.
            serde_json::from_slice::<IgnoredAny>(payload)
                .map_err(|error| Reason::damaged(format_args!("entry {n} of {}", self.job), error))?;
            if !self.take(n, trace, What::Event(Bytes::copy_from_slice(payload)))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether there was room for it.
    fn take(&mut self, n: i64, trace: TraceId, what: What) -> Result<bool, Reason> {
        let place = u64::try_from(n).ok();
        let expected = self.entries.last().map(|last| last.n + 1);
        let n = match (place, expected) {
            (Some(n), None) => n,
            (Some(n), Some(expected)) if n == expected => n,
            _ => {
                return Err(Reason::damaged(self.job, format_args!("entry {n} follows {:?}", expected.map(|n| n - 1))));
            }
        };
        let entry = Entry { job: self.job, n, trace: Some(trace), what };
        let is_room = self.entries.is_empty() || entry.bytes() <= self.bytes_max;
        if is_room {
            self.bytes_max = self.bytes_max.saturating_sub(entry.bytes());
            self.entries.push(entry);
        }
        Ok(is_room)
    }
}

pub(super) fn read_ending(job: JobId, json: &[u8]) -> Result<Ending, Reason> {
    serde_json::from_slice(json).map_err(|error| Reason::damaged(format_args!("the end of {job}"), error))
}
