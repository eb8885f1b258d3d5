//! What every session has to be shown, kept as naively as can be: a list of all that it was ever given.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use tidegate_jobs::store::Write;
use tidegate_jobs::{Entry, JobId, Owner, Record, SessionId, What};

use crate::durable::Caps;
use crate::runtime::{Reply, Subscribed};

#[derive(Clone)]
pub(super) struct Job {
    pub(super) record: Arc<Record>,
    pub(super) log: Vec<Arc<Entry>>,
    pub(super) trimmed: u64,
    pub(super) is_forgotten: bool,
}

impl Job {
    pub(super) fn has_ended(&self) -> bool {
        self.log.last().is_some_and(|entry| matches!(entry.what, What::End(_)))
    }
}

#[derive(Clone)]
pub(super) struct Session {
    /// By number, from 1 on.
    pub(super) given: Vec<(JobId, u64)>,
    pub(super) watches: BTreeSet<JobId>,
    pub(super) has_ended: bool,
    /// Submits, in their order, by envelope; those that were answered.
    pub(super) submits: Vec<Arc<str>>,
    pub(super) answered: HashSet<Arc<str>>,
    pub(super) answered_to: usize,
}

/// See the module.
#[derive(Default, Clone)]
pub(super) struct Truth {
    pub(super) jobs: BTreeMap<JobId, Job>,
    pub(super) sessions: BTreeMap<SessionId, Session>,
    /// After a restart what was acknowledged is forgotten, and with it which numbers it had.
    pub(super) has_restarted: bool,
}

impl Truth {
    /// Takes what follows from one input. `is_replay`: a subscribe, whose numbers [`subscribed`](Self::subscribed) has.
    pub(super) fn look(&mut self, writes: &[Write], is_replay: bool) {
        for write in writes {
            match write {
                Write::Session(record) => {
                    self.sessions.entry(record.id).or_insert_with(|| Session {
                        given: Vec::new(),
                        watches: BTreeSet::new(),
                        has_ended: false,
                        submits: Vec::new(),
                        answered: HashSet::new(),
                        answered_to: 0,
                    });
                }
                Write::SessionEnded(id) => {
                    let session = self.sessions.get_mut(id).unwrap();
                    session.has_ended = true;
                    session.watches.clear();
                }
                Write::Job(record) => {
                    let (id, log) = (record.accepted.job, Vec::new());
                    self.jobs.insert(id, Job { record: record.clone(), log, trimmed: 0, is_forgotten: false });
                    if let Some(session) = self.sessions.get_mut(&record.session).filter(|session| !session.has_ended) {
                        session.watches.insert(id);
                    }
                }
                Write::Entry(entry) => {
                    let job = self.jobs.get_mut(&entry.job).unwrap();
                    assert_eq!(entry.n, job.log.len() as u64 + 1, "stored out of order");
                    job.log.push(entry.clone());
                    let is_end = job.has_ended();
                    for session in self.sessions.values_mut().filter(|session| session.watches.contains(&entry.job)) {
                        session.given.push((entry.job, entry.n));
                        if is_end {
                            session.watches.remove(&entry.job);
                        }
                    }
                }
                Write::Watch { session, job } => {
                    self.sessions.get_mut(session).unwrap().watches.insert(*job);
                }
                Write::Unwatch { session, job } => {
                    self.sessions.get_mut(session).unwrap().watches.remove(job);
                }
                Write::Trim { job, through } => {
                    let job = self.jobs.get_mut(job).unwrap();
                    let last = job.log.len() as u64 - u64::from(job.has_ended());
                    job.trimmed = job.trimmed.max(last.min(*through));
                }
                Write::Forget(job) => self.jobs.get_mut(job).unwrap().is_forgotten = true,
                // A job that had ended, submitted again: its end is told again.
                Write::Segment { session, seq, job, n } if !is_replay => {
                    let given = &mut self.sessions.get_mut(session).unwrap().given;
                    let ended = self.jobs.get(job).filter(|job| job.has_ended() && *n == job.log.len() as u64);
                    if ended.is_some() && *seq == given.len() as u64 + 1 {
                        given.push((*job, *n));
                    }
                }
                _ => {}
            }
        }
    }

    /// Takes what is replayed to a session, which asked for what came after `from`.
    pub(super) fn subscribed(&mut self, id: SessionId, subscribed: &Subscribed, asked: Option<u64>, caps: Caps) {
        let job = subscribed.job.accepted.job;
        let log = &self.jobs[&job];
        let last = log.log.len() as u64;
        let head = self.sessions[&id].given.len() as u64;
        assert_eq!(subscribed.subscribed_from, head + subscribed.replayed);
        let kept = last - log.trimmed;
        assert!(subscribed.replayed <= kept);
        match asked {
            None => assert_eq!(subscribed.replayed, 0),
            Some(0) => assert_eq!(subscribed.replayed, shown(log, kept as usize, caps)),
            Some(from) if !self.has_restarted => {
                let numbers = &self.sessions[&log.record.session].given;
                let first = |n| numbers.iter().position(|given| *given == (job, n)).map(|at| at as u64 + 1);
                let all: Option<Vec<u64>> = (log.trimmed + 1..=last).map(first).collect();
                if let Some(all) = all {
                    let expected = all.iter().filter(|seq| **seq > from).count();
                    assert_eq!(subscribed.replayed, shown(log, expected, caps), "after {from} of {all:?}");
                }
            }
            Some(_) => {}
        }
        let session = self.sessions.get_mut(&id).unwrap();
        session.given.extend((last - subscribed.replayed + 1..=last).map(|n| (job, n)));
    }

    /// Answers to submits come in their order.
    pub(super) fn answered(&mut self, id: SessionId, reply: &Reply) {
        let (Reply::Accepted { request_id: Some(request_id), .. } | Reply::Rejected { request_id, .. }) = reply else {
            return;
        };
        let session = self.sessions.get_mut(&id).unwrap();
        let at = session.submits.iter().position(|submit| submit == request_id).expect("an answer to no submit");
        assert!(at >= session.answered_to, "{request_id} is answered out of turn");
        assert!(session.answered.insert(request_id.clone()));
        session.answered_to = at + 1;
    }

    /// Whether it may be told of that job.
    pub(super) fn may_see(&self, owner: &Owner, observes: bool, job: JobId) -> bool {
        let of = &self.jobs[&job].record.owner;
        of == owner || (observes && of.tenant == owner.tenant)
    }
}

/// Of the newest entries of a log, that many, so many as are not more than half of what a session keeps; the newest in any case.
fn shown(job: &Job, wanted: usize, caps: Caps) -> u64 {
    let mut bytes = 0;
    let newest = job.log.iter().rev().take(wanted.min((caps.events / 2).max(1))).enumerate();
    let fitting = newest.take_while(|(at, entry)| {
        bytes += entry.bytes();
        *at == 0 || bytes <= caps.bytes / 2
    });
    fitting.count() as u64
}
