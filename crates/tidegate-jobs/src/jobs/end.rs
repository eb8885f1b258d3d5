//! Jobs end, once.

use std::sync::Arc;

use super::{Jobs, encode, may_see};
use crate::{Caller, Code, Effect, Ending, Fault, FinalStatus, JobId, Outcome, Stop, Told, What};

/// Longest reason of a cancel that is kept, in bytes.
const REASON_BYTES_MAX: usize = 1_024;

impl Jobs {
    /// Ends a job because somebody wants it to; `None` is an operator. It has ended when this returns, whatever its agent does.
    ///
    /// # Errors
    /// `JOB_NOT_FOUND`: there is none, or it may not be seen. `PERMISSION_DENIED`: it was submitted on another session.
    /// `INVALID_REQUEST`: it has ended before. Nothing has happened then.
    pub fn cancel(
        &mut self,
        job: JobId,
        by: Option<&Caller<'_>>,
        reason: Option<&str>,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Fault> {
        let found = self.jobs.get(&job).filter(|job| by.is_none_or(|caller| may_see(job, caller)));
        let found = found.ok_or_else(not_found)?;
        if by.is_some_and(|caller| caller.session != Some(found.record.session)) {
            return Err(Fault::new(Code::PermissionDenied, "only the session that submitted a job may cancel it"));
        }
        if !found.is_live() {
            return Err(Fault::invalid("the job has ended"));
        }
        let reason = reason.filter(|reason| !reason.is_empty()).unwrap_or("the job was cancelled");
        let fault = Fault::new(Code::Cancelled, encode::start(reason, REASON_BYTES_MAX));
        let outcome = Outcome::Fault(fault);
        self.end(job, FinalStatus::Cancelled, outcome, Stop::Cancelled, now_ms, effects);
        Ok(())
    }

    /// A job's agent is gone: its process has died, it panicked, its worker did not come back.
    pub fn lost(&mut self, job: JobId, now_ms: u64, effects: &mut Vec<Effect>) {
        self.fail(job, "the job's agent is gone", now_ms, effects);
    }

    /// The end of a job by a fault of the runtime's or the agent's.
    pub(super) fn fail(&mut self, job: JobId, message: &str, now_ms: u64, effects: &mut Vec<Effect>) {
        let fault = Fault::new(Code::InternalError, message);
        self.end(job, FinalStatus::Error, Outcome::Fault(fault), Stop::Failed, now_ms, effects);
    }

    /// The end of a job, if it has not ended.
    pub(super) fn end(
        &mut self,
        id: JobId,
        status: FinalStatus,
        outcome: Outcome,
        stop: Stop,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) {
        let Some(job) = self.jobs.get(&id).filter(|job| job.is_live()) else { return };
        for child in job.children.clone() {
            self.orphan(child, status == FinalStatus::Success, now_ms, effects);
        }
        let ending = Arc::new(Ending { status, at_ms: now_ms, outcome });
        let entry = self.append(id, What::End(ending.clone()), effects);
        let Some(job) = self.change(id) else { return };
        job.ending = entry;
        job.credentials = Vec::new();
        let credentials = std::mem::take(&mut job.credential_ids);
        effects.extend(credentials.into_iter().map(|credential| Effect::Revoke { job: id, id: credential }));
        effects.push(Effect::Tell { job: id, told: Told::Stop(stop) });
        let (record, parent, left) = (job.record.clone(), job.parent.take(), job.kept.budget.clone());
        let was_running = job.kept.is_running;
        if let Some(job) = self.jobs.get_mut(&id) {
            self.agenda.arm(job, &self.limits);
        }
        self.ended.insert((now_ms, id));
        self.running -= usize::from(was_running);
        self.count_end(&record.accepted.agent.name, status);
        self.leave(&record.owner);
        if let Some(parent) = parent {
            self.disown(parent, id);
            self.give_back(Some(parent), left.as_ref(), now_ms, effects);
            effects.push(Effect::Tell { job: parent, told: Told::Child { job: id, ending } });
        }
    }

    /// What becomes of a child when its parent, which is still there, ends.
    fn orphan(&mut self, child: JobId, is_success: bool, now_ms: u64, effects: &mut Vec<Effect>) {
        if let Some(waiting) = self.waiting.get_mut(&child) {
            // Its credentials are being made: they are revoked when that is over.
            waiting.is_unwanted = true;
            let Some(delegated) = &waiting.draft.delegated else { return };
            let (parent, holder, reserved) = (delegated.by, delegated.holder, waiting.draft.lease.budget());
            self.disown(parent, child);
            if let Some(holder) = holder.and_then(|holder| self.change(holder)) {
                holder.promised.remove(&child);
            }
            self.give_back(Some(parent), reserved.as_ref(), now_ms, effects);
            return;
        }
        if is_success && self.stands_alone(child) {
            self.adopt(child);
            return;
        }
        let fault = Fault::new(Code::Cancelled, "the job that delegated this one has ended");
        self.end(child, FinalStatus::Cancelled, Outcome::Fault(fault), Stop::Cancelled, now_ms, effects);
    }

    /// Whether a job can go on without its parent: it has no credentials, and its parent bears none of its costs.
    fn stands_alone(&self, child: JobId) -> bool {
        let Some(job) = self.jobs.get(&child) else { return false };
        let parent = job.parent.and_then(|parent| self.jobs.get(&parent));
        let borne = parent.and_then(|parent| parent.kept.budget.as_ref());
        let bears =
            |unit: &Arc<str>| job.kept.budget.iter().flat_map(crate::lease::Budget::iter).any(|(own, _)| own == unit);
        job.credential_ids.is_empty() && borne.iter().flat_map(|borne| borne.iter()).all(|(unit, _)| bears(unit))
    }

    /// A child goes on under its grandparent, if it has one.
    fn adopt(&mut self, child: JobId) {
        let parent = self.jobs.get(&child).and_then(|job| job.parent);
        let grandparent = parent.and_then(|parent| self.jobs.get(&parent)).and_then(|parent| parent.parent);
        if let Some(parent) = parent {
            self.disown(parent, child);
        }
        if let Some(job) = self.jobs.get_mut(&child) {
            job.parent = grandparent;
        }
        if let Some(grandparent) = grandparent.and_then(|grandparent| self.jobs.get_mut(&grandparent)) {
            grandparent.children.insert(child);
        }
    }

    pub(super) fn disown(&mut self, parent: JobId, child: JobId) {
        if let Some(parent) = self.jobs.get_mut(&parent) {
            parent.children.remove(&child);
        }
    }
}

/// What whoever may not see a job is told, too.
pub(super) fn not_found() -> Fault {
    Fault::new(Code::JobNotFound, "there is no such job")
}
