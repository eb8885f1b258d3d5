//! The jobs that there are: what becomes of each. A pure machine.
//!
//! ```text
//! submit ─► (waits for credentials) ─► pending ─started─► running ─► success, error, cancelled, timed_out
//!                                                            ▲ hear: what its agent says
//! ```
//! # Rules
//! - **Effects are in the order of storage.** Those of one turn of the driver are stored in one commit, which
//!   [`keep`](Jobs::keep) completes; then the rest is carried out.
//! - **A job ends once**, and what its agent says afterwards is not heard. A refused submit leaves nothing, also no key.
//! - **A job ends what it delegated**: if it ends otherwise than with success, its children are cancelled before it. After a success
//!   they go on under whoever delegated the parent, but for those that hold credentials, which must not outlive it, and those whose
//!   costs it bore, as there is nobody left to bear them.
//! - **Money is in one place.** What a child may spend is taken off its parent's budget, and what it has not spent returns when it
//!   ends. Costs in a currency that a child has no budget of are borne by the nearest above it that has.

mod agenda;
mod authority;
mod counts;
mod delegate;
mod encode;
mod end;
mod hear;
mod idempotency;
mod job;
mod limits;
mod list;
mod log;
mod restore;
mod stored;
mod submit;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::credentials::Credential;
use crate::{Caller, Effect, Entry, Inventory, JobId, Kind, Owner, Told, What};
use agenda::Agenda;
use job::Job;
use list::Tenant;
use submit::Waiting;

pub use counts::Counts;
pub use delegate::Allowed;
pub use hear::RESULT_BYTES_MAX;
pub use limits::{Limits, WORKER_GRACE_MS};
pub use list::{Filter, LIST_MAX, Page};
pub use log::Log;
pub use stored::StoredJob;
pub use submit::Submitted;

/// All jobs of this process.
pub struct Jobs {
    limits: Limits,
    random: Box<dyn FnMut() -> u128 + Send>,
    inventory: Arc<Inventory>,
    jobs: HashMap<JobId, Job>,
    /// Those whose credentials are being made: not yet accepted.
    waiting: HashMap<JobId, Waiting>,
    keys: HashMap<Owner, HashMap<Arc<str>, JobId>>,
    tenants: HashMap<Arc<str>, Tenant>,
    /// Live jobs by owner, with those that wait.
    live: HashMap<Owner, usize>,
    live_all: usize,
    running: usize,
    /// Those that have ended, by when.
    ended: BTreeSet<(u64, JobId)>,
    agenda: Agenda,
    /// The name that was given last.
    last: JobId,
    /// Those that a restart has ended, until that is said.
    orphans: Vec<JobId>,
    /// Those of which something has to be [kept](Self::keep).
    changed: Vec<JobId>,
    log_bytes: usize,
    counts: counts::Counters,
}

impl Jobs {
    /// None. Names are made of what `random` gives, which has to be unpredictable.
    #[must_use]
    pub fn new(limits: Limits, random: Box<dyn FnMut() -> u128 + Send>) -> Self {
        Self {
            limits,
            random,
            inventory: Arc::default(),
            jobs: HashMap::new(),
            waiting: HashMap::new(),
            keys: HashMap::new(),
            tenants: HashMap::new(),
            live: HashMap::new(),
            live_all: 0,
            running: 0,
            ended: BTreeSet::new(),
            agenda: Agenda::default(),
            last: JobId::NONE,
            orphans: Vec::new(),
            changed: Vec::new(),
            log_bytes: 0,
            counts: BTreeMap::new(),
        }
    }

    /// What there is to submit to from now on. Jobs that run go on.
    pub fn offer(&mut self, inventory: Arc<Inventory>) {
        self.inventory = inventory;
    }

    /// What a job's agent and its submitter were given; nothing once it has ended.
    #[must_use]
    pub fn credentials(&self, job: JobId) -> &[Credential] {
        self.jobs.get(&job).map_or(&[], |job| &job.credentials)
    }

    /// What is kept of a job's log.
    #[must_use]
    pub fn log(&self, job: JobId) -> Option<&Log> {
        self.jobs.get(&job).map(|job| &job.log)
    }

    /// A session has entries of a job in its sequence: the job stays listed and its log is kept after its window, but for what the
    /// bounds of all logs take.
    pub fn hold(&mut self, job: JobId) {
        if let Some(job) = self.jobs.get_mut(&job) {
            job.holds += 1;
            self.agenda.arm(job, &self.limits);
        }
    }

    /// It has none any more. The job may be [due](Self::due) now.
    pub fn release(&mut self, job: JobId) {
        if let Some(job) = self.jobs.get_mut(&job) {
            job.holds = job.holds.saturating_sub(1);
            self.agenda.arm(job, &self.limits);
        }
    }

    /// An event of the runtime's own in the log of a live job.
    pub fn note(&mut self, job: JobId, kind: &Kind, body: &RawValue, now_ms: u64, effects: &mut Vec<Effect>) {
        if self.jobs.get(&job).is_some_and(Job::is_live) {
            self.append(job, What::Event(encode::event(kind, body.get(), now_ms)), effects);
        }
    }

    /// To be called at the end of each turn, before its effects are stored: says once what has to be kept of each job that
    /// changed, and to agents how much of what they said is stored then.
    pub fn keep(&mut self, effects: &mut Vec<Effect>) {
        self.make_room(effects);
        for id in std::mem::take(&mut self.changed) {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            job.is_changed = false;
            let mut kept = job.kept.clone();
            for waiting in job.promised.iter().filter_map(|child| self.waiting.get(child)) {
                if let (Some(budget), Some(reserved)) = (&mut kept.budget, waiting.draft.lease.budget()) {
                    budget.give_back(&reserved);
                }
            }
            effects.push(Effect::Keep { job: id, kept: Arc::new(kept) });
            if job.kept.said > job.told_heard && job.is_live() {
                job.told_heard = job.kept.said;
                effects.push(Effect::Tell { job: id, told: Told::Heard(job.kept.said) });
            }
        }
    }

    /// Something about a job has changed that has to be kept.
    fn change(&mut self, id: JobId) -> Option<&mut Job> {
        let job = self.jobs.get_mut(&id)?;
        if !job.is_changed {
            job.is_changed = true;
            self.changed.push(id);
        }
        Some(job)
    }

    /// Puts something at the end of a job's log.
    fn append(&mut self, id: JobId, what: What, effects: &mut Vec<Effect>) -> Option<Arc<Entry>> {
        let job = self.jobs.get_mut(&id)?;
        let entry = Arc::new(Entry { job: id, n: job.log.next(), trace: Some(job.record.accepted.trace), what });
        effects.push(Effect::Log(entry.clone()));
        self.log_bytes -= job.log.bytes();
        job.log.push(entry.bytes());
        if let Some(through) = job.log.trim(self.limits.log_entries, self.limits.log_bytes) {
            effects.push(Effect::Trim { job: id, through });
        }
        self.log_bytes += job.log.bytes();
        Some(entry)
    }

    /// What came before is kept no longer than there is room for it.
    fn make_room(&mut self, effects: &mut Vec<Effect>) {
        while self.jobs.len() > self.limits.kept || self.log_bytes > self.limits.kept_bytes {
            let Some((_, oldest)) = self.ended.first().copied() else { return };
            self.forget(oldest, effects);
        }
    }

    /// Nothing is left of a job that has ended.
    fn forget(&mut self, id: JobId, effects: &mut Vec<Effect>) {
        let Some(mut job) = self.jobs.remove(&id) else { return };
        self.agenda.remove(&mut job);
        self.log_bytes -= job.log.bytes();
        self.ended.remove(&(job.ended_at_ms().unwrap_or_default(), id));
        self.unlist(&job);
        if let Some(key) = &job.record.key {
            self.free_key(&job.record.owner, &key.key, id);
        }
        effects.push(Effect::Forget { job: id });
    }

    /// A name that no job has, and behind all that were given: jobs are listed by their names.
    fn name(&mut self, now_ms: u64) -> JobId {
        let next = self.last.number().saturating_add(1);
        self.last = JobId::of(JobId::new(now_ms, (self.random)()).number().max(next));
        self.last
    }
}

/// Whether somebody may see a job.
fn may_see(job: &Job, caller: &Caller<'_>) -> bool {
    let owner = &job.record.owner;
    owner == caller.owner
        || (owner.tenant == caller.owner.tenant && caller.rights.may_observe(&job.record.accepted.agent.name))
}
