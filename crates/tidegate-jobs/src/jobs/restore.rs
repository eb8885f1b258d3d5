//! Jobs after a restart.

use std::collections::HashMap;

use super::job::Job;
use super::{Jobs, StoredJob};
use crate::{Asked, Code, CredentialId, Effect, Fault, FinalStatus, JobId, Outcome, Stop};

impl Jobs {
    /// Takes what was stored, once, before anything else but [`offer`](Self::offer), which has to name the agents of this process: their
    /// jobs have ended with it, and fail, retryable. An agent that is not there is a worker's: its jobs wait for
    /// [`started`](Self::started), or [`Limits::worker_grace_ms`](super::Limits). Credentials of what has ended, or never began, are
    /// revoked.
    pub fn restore(
        &mut self,
        stored: Vec<StoredJob>,
        credentials: &[(JobId, CredentialId)],
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) {
        let mut lives: Vec<JobId> = Vec::new();
        for StoredJob { record, kept, log, ending } in stored {
            let (told_heard, is_live) = (kept.said, ending.is_none());
            let job = Job { kept, log, ending, told_heard, ..Job::new(record) };
            lives.extend(is_live.then(|| job.id()));
            self.take_back(job);
        }
        lives.sort_unstable();
        self.relate(&lives);
        for (job, credential) in credentials {
            match self.jobs.get_mut(job).filter(|job| job.is_live()) {
                Some(job) => job.credential_ids.push(*credential),
                None => effects.push(Effect::Revoke { job: *job, id: *credential }),
            }
        }
        for id in lives {
            let Some(job) = self.jobs.get_mut(&id).filter(|job| job.is_live()) else { continue };
            let agent = &job.record.accepted.agent;
            let asked = Asked { name: agent.name.clone(), version: Some(agent.version.clone()) };
            if self.limits.worker_grace_ms > 0 && self.inventory.resolve(&asked).is_err() {
                job.awaited_until_ms = Some(now_ms.saturating_add(self.limits.worker_grace_ms));
                self.agenda.arm(job, &self.limits);
                continue;
            }
            self.orphans.push(id);
        }
    }

    /// Ends what a restart has ended. Apart from [`restore`](Self::restore), so that whoever watched is there to be told.
    pub fn recover(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        for id in std::mem::take(&mut self.orphans) {
            let fault = Fault::new(Code::InternalError, "the gateway was restarted");
            self.end(id, FinalStatus::Error, Outcome::Fault(fault), Stop::Failed, now_ms, effects);
        }
    }

    fn take_back(&mut self, mut job: Job) {
        let id = job.id();
        let record = job.record.clone();
        self.log_bytes += job.log.bytes();
        match job.ended_at_ms() {
            Some(at_ms) => {
                self.ended.insert((at_ms, id));
            }
            None => {
                *self.live.entry(record.owner.clone()).or_default() += 1;
                self.live_all += 1;
                self.running += usize::from(job.kept.is_running);
            }
        }
        if let Some(key) = &record.key {
            // Of two the later one has it: the earlier one's time was over.
            let holder = self.keys.get(&record.owner).and_then(|keys| keys.get(&key.key)).copied();
            if holder.is_none_or(|holder| holder < id) {
                self.take_key(&record.owner, &key.key, id);
            }
        }
        self.list_new(&job);
        self.agenda.arm(&mut job, &self.limits);
        self.jobs.insert(id, job);
    }

    /// Finds for each live job who is above it: the nearest of those who delegated it that lives.
    fn relate(&mut self, lives: &[JobId]) {
        let above: HashMap<JobId, JobId> =
            self.jobs.values().filter_map(|job| Some((job.id(), job.record.accepted.parent.as_ref()?.0))).collect();
        for id in lives {
            let mut parent = above.get(id).copied();
            while let Some(id) = parent.filter(|id| self.jobs.get(id).is_none_or(|job| !job.is_live())) {
                parent = above.get(&id).copied();
            }
            if let Some(parent) = parent.and_then(|parent| self.jobs.get_mut(&parent)) {
                parent.children.insert(*id);
            }
            if let Some(job) = self.jobs.get_mut(id) {
                job.parent = parent;
            }
        }
    }
}
