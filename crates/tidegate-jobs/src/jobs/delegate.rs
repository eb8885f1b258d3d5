//! Jobs that jobs delegate.

use super::submit::{Delegated, Draft};
use super::{Jobs, encode};
use crate::lease::Namespace;
use crate::{BODY_BYTES_MAX, Code, Delegation, Effect, Fault, JobId, Told};

/// What is not for the jobs to know of a delegation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Whether the owner of the job may submit to that agent.
    pub may: bool,
    /// How many credentials are to be made for the child.
    pub provisioned: usize,
}

impl Jobs {
    /// A job's agent has another do a part.
    pub(super) fn delegate(
        &mut self,
        id: JobId,
        call: u64,
        delegation: &Delegation,
        allowed: Allowed,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) {
        // A pattern may name a version: it is the one that would run that counts.
        let target = match self.inventory.resolve(&delegation.agent) {
            Ok(agent) => agent.to_string(),
            Err(_) => delegation.agent.name.to_string(),
        };
        let Some(permit) = self.permit(id, Namespace::AgentDelegate, &target, now_ms, effects) else { return };
        let child = self.name(now_ms);
        let drawn = permit.and_then(|()| self.draft_child(id, call, child, delegation, allowed.may, now_ms));
        let (draft, holder) = match drawn {
            Ok(drawn) => drawn,
            Err(fault) => {
                effects.push(Effect::Tell { job: id, told: Told::Delegated { call, child: Err(fault) } });
                return;
            }
        };
        if let Some(job) = self.jobs.get_mut(&id) {
            job.children.insert(child);
        }
        let budget = draft.lease.budget();
        let promises = holder.filter(|_| allowed.provisioned > 0).and_then(|holder| self.jobs.get_mut(&holder));
        if let Some(holder) = promises {
            holder.promised.insert(child);
        }
        self.draw_up(child, draft, allowed.provisioned, now_ms, effects);
        if let (Some(holder), Some(budget)) = (holder, budget) {
            let units = budget.iter().map(|(unit, _)| unit.clone()).collect();
            self.gauge(holder, &units, now_ms, effects);
        }
    }

    /// A child within what its parent has, and the job whose budget it was taken off.
    fn draft_child(
        &mut self,
        id: JobId,
        call: u64,
        child: JobId,
        delegation: &Delegation,
        may: bool,
        now_ms: u64,
    ) -> Result<(Draft, Option<JobId>), Fault> {
        if !may {
            let message = format!("the job's owner may not submit to {}", delegation.agent.name);
            return Err(Fault::new(Code::PermissionDenied, message));
        }
        let job = self.jobs.get(&id).ok_or_else(super::end::not_found)?;
        let record = job.record.clone();
        if record.depth >= self.limits.depth {
            return Err(Fault::invalid(format!("jobs are delegated on at most {} times", self.limits.depth)));
        }
        if job.children.len() >= self.limits.children {
            return Err(Fault::new(Code::InternalError, "too many of the jobs that this one delegated are running"));
        }
        self.has_room(&record.owner)?;
        let agent = self.inventory.resolve(&delegation.agent)?;
        let lease = delegation.lease.clone().under(&record.accepted.lease);
        record.accepted.lease.covers(&lease)?;
        let constraints = delegation.constraints.within(&record.accepted.constraints)?;
        constraints.check(now_ms)?;
        let body = encode::delegation(delegation, &agent, child);
        if body.len() > BODY_BYTES_MAX {
            return Err(Fault::invalid(format!("a delegation has at most {BODY_BYTES_MAX} bytes")));
        }
        let holder = match delegation.lease.budget() {
            Some(budget) => self.reserve(id, &budget)?,
            None => None,
        };
        let draft = Draft {
            owner: record.owner.clone(),
            session: record.session,
            request_id: None,
            agent,
            input: delegation.input.clone(),
            lease,
            constraints,
            key: None,
            max_runtime_sec: None,
            trace: record.accepted.trace,
            delegated: Some(Delegated { by: id, name: delegation.id.clone(), call, body, holder }),
            depth: record.depth + 1,
        };
        Ok((draft, holder))
    }
}
