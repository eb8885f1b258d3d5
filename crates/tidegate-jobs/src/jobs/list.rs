//! Who sees which jobs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::job::Job;
use super::{Jobs, end, may_see};
use crate::{Asked, Caller, Descriptor, Fault, JobId, Owner, Status};

/// Jobs on one page, at most.
pub const LIST_MAX: usize = 1_000;
/// Jobs that are looked at for one page: it is shorter than asked for if few of many fit, and the next one goes on.
const LOOKED_AT_MAX: usize = 10_000;

/// Which jobs are listed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of one of these; empty is any.
    pub status: Vec<Status>,
    /// Of that agent, in that version if one is named.
    pub agent: Option<Asked>,
    /// Accepted later than that, in milliseconds since 1970.
    pub created_after_ms: Option<u64>,
    /// Accepted earlier than that.
    pub created_before_ms: Option<u64>,
}

impl Filter {
    pub(super) fn takes(&self, job: &Job) -> bool {
        let accepted = &job.record.accepted;
        let is_asked = |asked: &Asked| {
            asked.name == accepted.agent.name
                && asked.version.as_ref().is_none_or(|version| *version == accepted.agent.version)
        };
        (self.status.is_empty() || self.status.contains(&job.status()))
            && self.agent.as_ref().is_none_or(is_asked)
            && self.created_after_ms.is_none_or(|after| accepted.accepted_at_ms > after)
            && self.created_before_ms.is_none_or(|before| accepted.accepted_at_ms < before)
    }
}

/// Some jobs, newest first.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// The jobs.
    pub jobs: Vec<Descriptor>,
    /// Where the rest begins; `None` if there is none.
    pub next_cursor: Option<Box<str>>,
}

/// The jobs of one tenant. They are in the order of their names, which begin with the time at which they were asked for.
#[derive(Default)]
pub(super) struct Tenant {
    jobs: BTreeSet<JobId>,
    of: HashMap<Owner, BTreeSet<JobId>>,
    /// How many jobs there are by name of the agent.
    agents: BTreeMap<Arc<str>, usize>,
}

impl Jobs {
    /// What whoever asks may see of a job.
    ///
    /// # Errors
    /// `JOB_NOT_FOUND`: there is none, or nothing that may be seen.
    pub fn find(&self, job: JobId, caller: &Caller<'_>) -> Result<Descriptor, Fault> {
        let job = self.jobs.get(&job).filter(|job| may_see(job, caller));
        job.map(Job::descriptor).ok_or_else(end::not_found)
    }

    /// What whoever asks may see of all jobs, newest first: those that live, and those that have ended within the window or that a
    /// session holds. At most `limit` and [`LIST_MAX`] of them, from behind the cursor on. A job that is on no page came or went
    /// meanwhile; none is on two.
    ///
    /// # Errors
    /// `INVALID_REQUEST`: that is no cursor.
    pub fn list(
        &self,
        caller: &Caller<'_>,
        filter: &Filter,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Page, Fault> {
        let cursor = cursor.map(str::parse).transpose();
        let cursor = cursor.map_err(|_| Fault::invalid("payload.cursor: not one of session.jobs"))?;
        let mut page = Page::default();
        let Some(tenant) = self.tenants.get(&caller.owner.tenant) else { return Ok(page) };
        let observes = tenant.agents.keys().any(|agent| caller.rights.may_observe(agent));
        let Some(ids) = (if observes { Some(&tenant.jobs) } else { tenant.of.get(caller.owner) }) else {
            return Ok(page);
        };
        let mut last = None;
        for (looked_at, id) in ids.range(..cursor.unwrap_or(JobId::of(u128::MAX))).rev().enumerate() {
            let takes = |job: &&Job| !job.is_put_away && may_see(job, caller) && filter.takes(job);
            let taken = self.jobs.get(id).filter(takes);
            if looked_at == LOOKED_AT_MAX || (taken.is_some() && page.jobs.len() == limit.clamp(1, LIST_MAX)) {
                page.next_cursor = last.map(|last: JobId| last.to_string().into());
                break;
            }
            page.jobs.extend(taken.map(Job::descriptor));
            last = Some(*id);
        }
        Ok(page)
    }

    /// The newest of some jobs that has not ended.
    pub fn newest_live(&self, of: impl Iterator<Item = JobId>) -> Option<JobId> {
        of.filter(|id| self.jobs.get(id).is_some_and(Job::is_live)).max()
    }

    pub(super) fn list_new(&mut self, job: &Job) {
        let owner = &job.record.owner;
        let tenant = self.tenants.entry(owner.tenant.clone()).or_default();
        tenant.jobs.insert(job.id());
        tenant.of.entry(owner.clone()).or_default().insert(job.id());
        *tenant.agents.entry(job.record.accepted.agent.name.clone()).or_default() += 1;
    }

    pub(super) fn unlist(&mut self, job: &Job) {
        let (owner, agent) = (&job.record.owner, &job.record.accepted.agent.name);
        let Some(tenant) = self.tenants.get_mut(&owner.tenant) else { return };
        tenant.jobs.remove(&job.id());
        if let Some(own) = tenant.of.get_mut(owner) {
            own.remove(&job.id());
            if own.is_empty() {
                tenant.of.remove(owner);
            }
        }
        if let Some(count) = tenant.agents.get_mut(agent) {
            *count -= 1;
            if *count == 0 {
                tenant.agents.remove(agent);
            }
        }
        if tenant.jobs.is_empty() {
            self.tenants.remove(&owner.tenant);
        }
    }
}
