//! A naive store: maps that take the writes of a turn, and refuse what the real one refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tidegate_jobs::store::{SessionRecord, Stored, StoredSegment, StoredSession, Write};
use tidegate_jobs::{CredentialId, Entry, JobId, Kept, Log, Record, SessionId, StoredJob, What};

#[derive(Clone)]
struct Job {
    record: Arc<Record>,
    kept: Kept,
    /// The last that is gone.
    trimmed: u64,
    log: BTreeMap<u64, Arc<Entry>>,
}

impl Job {
    fn next(&self) -> u64 {
        self.log.keys().last().copied().unwrap_or_default().max(self.trimmed) + 1
    }

    fn ending(&self) -> Option<&Arc<Entry>> {
        self.log.values().last().filter(|entry| matches!(entry.what, What::End(_)))
    }
}

#[derive(Clone)]
struct Session {
    record: SessionRecord,
    floor: u64,
    segments: BTreeMap<u64, (JobId, u64)>,
    watches: BTreeSet<JobId>,
}

/// See the module. By the order in which they began, as the real one.
#[derive(Default, Clone)]
pub(super) struct Disk {
    jobs: Vec<Job>,
    sessions: Vec<Session>,
    credentials: BTreeMap<CredentialId, JobId>,
}

impl Disk {
    fn job(&mut self, id: JobId) -> Option<&mut Job> {
        self.jobs.iter_mut().find(|job| job.record.accepted.job == id)
    }

    fn session(&mut self, id: SessionId) -> &mut Session {
        self.sessions.iter_mut().find(|session| session.record.id == id).expect("a write about no session")
    }

    /// All of a turn.
    pub(super) fn commit(&mut self, writes: &[Write]) {
        writes.iter().for_each(|write| self.write(write));
    }

    fn write(&mut self, write: &Write) {
        match write {
            Write::Job(record) => {
                assert!(self.job(record.accepted.job).is_none(), "a job is new once");
                let (record, kept, log) = (record.clone(), Kept::default(), BTreeMap::new());
                self.jobs.push(Job { record, kept, trimmed: 0, log });
            }
            Write::Entry(entry) => {
                let job = self.job(entry.job).expect("an entry of no job");
                assert!(job.ending().is_none(), "an entry after the end");
                assert_eq!(entry.n, job.next(), "an entry that is not the next of its log");
                job.log.insert(entry.n, entry.clone());
            }
            Write::Keep { job, kept } => {
                self.job(*job).expect("something kept of no job").kept = Kept::clone(kept);
            }
            Write::Trim { job, through } => {
                if let Some(job) = self.job(*job) {
                    let last = job.ending().map_or(job.next(), |end| end.n) - 1;
                    job.trimmed = job.trimmed.max(last.min(*through));
                    job.log = job.log.split_off(&(job.trimmed + 1));
                }
            }
            Write::Forget(id) => self.jobs.retain(|job| job.record.accepted.job != *id),
            Write::CredentialIssued { job, id } => drop(self.credentials.insert(*id, *job)),
            Write::CredentialRevoked(id) => drop(self.credentials.remove(id)),
            Write::Session(record) => match self.sessions.iter_mut().find(|session| session.record.id == record.id) {
                Some(session) => session.record = record.clone(),
                None => {
                    let (segments, watches) = (BTreeMap::new(), BTreeSet::new());
                    self.sessions.push(Session { record: record.clone(), floor: 0, segments, watches });
                }
            },
            Write::Segment { session, seq, job, n } => {
                self.session(*session).segments.insert(*seq, (*job, *n));
            }
            Write::Watch { session, job } => drop(self.session(*session).watches.insert(*job)),
            Write::Unwatch { session, job } => {
                if let Some(session) = self.sessions.iter_mut().find(|of| of.record.id == *session) {
                    session.watches.remove(job);
                }
            }
            Write::Floor { session, seq } => {
                let session = self.session(*session);
                session.floor = session.floor.max(*seq);
                if let Some((&first, _)) = session.segments.range(..=seq + 1).next_back() {
                    session.segments = session.segments.split_off(&first);
                }
            }
            Write::SessionEnded(id) => self.sessions.retain(|session| session.record.id != *id),
        }
    }

    /// What is there after a crash.
    pub(super) fn stored(&self) -> Stored {
        let job = |job: &Job| StoredJob {
            record: job.record.clone(),
            kept: job.kept.clone(),
            log: Log::of(job.trimmed + 1, job.log.values().map(|entry| entry.bytes() as u32)),
            ending: job.ending().cloned(),
        };
        let session = |session: &Session| StoredSession {
            record: session.record.clone(),
            floor: session.floor,
            segments: session.segments.iter().map(|(&seq, &(job, n))| StoredSegment { seq, job, n }).collect(),
            watches: session.watches.iter().copied().collect(),
        };
        Stored {
            jobs: self.jobs.iter().map(job).collect(),
            sessions: self.sessions.iter().map(session).collect(),
            credentials: self.credentials.iter().map(|(id, job)| (*job, *id)).collect(),
        }
    }

    pub(super) fn entry(&self, id: JobId, n: u64) -> Option<&Arc<Entry>> {
        self.jobs.iter().find(|job| job.record.accepted.job == id)?.log.get(&n)
    }

    /// Names of all that is there.
    pub(super) fn names(&self) -> Vec<String> {
        let jobs = self.jobs.iter().map(|job| job.record.accepted.job.to_string());
        let sessions = self.sessions.iter().map(|session| session.record.id.to_string());
        let watches = self.sessions.iter().flat_map(|session| session.watches.iter().map(|job| format!("watch {job}")));
        jobs.chain(sessions).chain(watches).chain(self.credentials.keys().map(ToString::to_string)).collect()
    }
}
