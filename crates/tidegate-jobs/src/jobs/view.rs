//! What whoever drives the jobs may look at.

use std::sync::Arc;

use super::job::Job;
use super::{Filter, Jobs, LIST_MAX, Page};
use crate::{Descriptor, Fault, JobId, Record};

impl Jobs {
    /// What is stored of a job beside its log.
    #[must_use]
    pub fn record(&self, job: JobId) -> Option<&Arc<Record>> {
        self.jobs.get(&job).map(|job| &job.record)
    }

    /// Whether there is such a job, which has not ended.
    #[must_use]
    pub fn is_live(&self, job: JobId) -> bool {
        self.jobs.get(&job).is_some_and(Job::is_live)
    }

    /// How many have not ended.
    #[must_use]
    pub fn live_len(&self) -> usize {
        self.jobs.len() - self.ended.len()
    }

    /// How many are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// A job as it is, for whoever runs the gateway.
    #[must_use]
    pub fn describe(&self, job: JobId) -> Option<Descriptor> {
        self.jobs.get(&job).map(Job::descriptor)
    }

    /// All jobs of a tenant, or of all tenants (`None`), for whoever runs the gateway: as [`Jobs::list`].
    ///
    /// # Errors
    /// `INVALID_REQUEST`: that is no cursor.
    pub fn list_all(
        &self,
        tenant: Option<&str>,
        filter: &Filter,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Page, Fault> {
        let cursor: Option<JobId> =
            cursor.map(str::parse).transpose().map_err(|_| Fault::invalid("cursor: not one of a list"))?;
        let is_wanted = |job: &&Job| {
            !job.is_put_away
                && tenant.is_none_or(|tenant| *job.record.owner.tenant == *tenant)
                && cursor.is_none_or(|cursor| job.id() < cursor)
                && filter.takes(job)
        };
        let mut jobs: Vec<&Job> = self.jobs.values().filter(is_wanted).collect();
        jobs.sort_unstable_by_key(|job| std::cmp::Reverse(job.id()));
        let limit = limit.clamp(1, LIST_MAX);
        let next_cursor = (jobs.len() > limit).then(|| jobs[limit - 1].id().to_string().into());
        Ok(Page { jobs: jobs.into_iter().take(limit).map(Job::descriptor).collect(), next_cursor })
    }
}
