//! Time: what happens to jobs when it passes.

use std::collections::BTreeSet;

use super::job::Job;
use super::{Jobs, Limits};
use crate::{Code, Effect, Fault, FinalStatus, JobId, Outcome, Stop};

/// How long a job goes on after its lease has ended, in milliseconds: time for its agent to say what it has, as nothing else is
/// permitted to it any more.
pub(super) const EXPIRY_GRACE_MS: u64 = 1_000;

/// Jobs by the time at which something is to be done about them. Any time: a job that expires in 300 years waits for 300 years.
#[derive(Default)]
pub(super) struct Agenda {
    times: BTreeSet<(u64, JobId)>,
}

impl Agenda {
    /// Puts a job where it belongs now.
    pub(super) fn arm(&mut self, job: &mut Job, limits: &Limits) {
        let due_ms = due(job, limits);
        if due_ms == job.due_ms {
            return;
        }
        self.remove(job);
        self.times.extend(due_ms.map(|due_ms| (due_ms, job.id())));
        job.due_ms = due_ms;
    }

    pub(super) fn remove(&mut self, job: &mut Job) {
        if let Some(due_ms) = job.due_ms.take() {
            self.times.remove(&(due_ms, job.id()));
        }
    }

    fn first(&self) -> Option<(u64, JobId)> {
        self.times.first().copied()
    }
}

/// When something is to be done about a job.
fn due(job: &Job, limits: &Limits) -> Option<u64> {
    if job.is_live() {
        let expires_at_ms = job.record.accepted.constraints.expires_at_ms;
        let expiry = expires_at_ms.map(|at_ms| at_ms.saturating_add(EXPIRY_GRACE_MS));
        return [job.record.ends_at_ms, expiry, job.awaited_until_ms].into_iter().flatten().min();
    }
    if job.holds > 0 {
        return None;
    }
    if job.is_put_away { Some(forgotten_at(job, limits)) } else { Some(put_away_at(job, limits)) }
}

fn put_away_at(job: &Job, limits: &Limits) -> u64 {
    job.ended_at_ms().unwrap_or_default().saturating_add(limits.window_ms)
}

/// When nothing is kept of a job that has ended.
fn forgotten_at(job: &Job, limits: &Limits) -> u64 {
    match job.record.key {
        Some(_) => put_away_at(job, limits).max(key_ends_at(job, limits)),
        None => put_away_at(job, limits),
    }
}

pub(super) fn key_ends_at(job: &Job, limits: &Limits) -> u64 {
    job.record.accepted.accepted_at_ms.saturating_add(limits.key_ms)
}

impl Jobs {
    /// When [`tick`](Self::tick) has something to do, in milliseconds since 1970.
    #[must_use]
    pub fn due(&self) -> Option<u64> {
        self.agenda.first().map(|(due_ms, _)| due_ms)
    }

    /// Does what is due: ends what took too long or whose lease is over, and forgets what is kept no longer.
    pub fn tick(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        while let Some((due_ms, id)) = self.agenda.first()
            && due_ms <= now_ms
        {
            let Some(job) = self.jobs.get_mut(&id) else { return };
            if job.is_live() {
                self.time_out(id, now_ms, effects);
            } else if forgotten_at(job, &self.limits) <= now_ms {
                self.forget(id, effects);
            } else {
                job.is_put_away = true;
                if let Some(through) = job.log.last().checked_sub(1).filter(|through| *through >= job.log.first()) {
                    self.log_bytes -= job.log.bytes();
                    job.log.keep_last();
                    self.log_bytes += job.log.bytes();
                    effects.push(Effect::Trim { job: id, through });
                }
                self.agenda.arm(job, &self.limits);
            }
        }
    }

    fn time_out(&mut self, id: JobId, now_ms: u64, effects: &mut Vec<Effect>) {
        let Some(job) = self.jobs.get(&id) else { return };
        let is_over = |at_ms: Option<u64>| at_ms.is_some_and(|at_ms| at_ms <= now_ms);
        let (status, code, message, stop) = if is_over(job.record.ends_at_ms) {
            (FinalStatus::TimedOut, Code::Timeout, "the job took longer than max_runtime_sec", Stop::TimedOut)
        } else if is_over(job.awaited_until_ms) {
            (FinalStatus::Error, Code::InternalError, "the job's worker did not come back", Stop::Failed)
        } else {
            (FinalStatus::Error, Code::LeaseExpired, "the job's lease has ended", Stop::LeaseExpired)
        };
        self.end(id, status, Outcome::Fault(Fault::new(code, message)), stop, now_ms, effects);
    }
}
