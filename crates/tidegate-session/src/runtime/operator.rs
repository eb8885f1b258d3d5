//! What whoever runs the gateway may see and do.

use tidegate_jobs::{Code, Descriptor, Fault, Filter, JobId, Owner};

use super::Listed;
use super::handle::Listing;
use super::outcome::{Audit, Outcome};
use super::state::State;

impl State {
    pub(crate) fn list_all(
        &self,
        tenant: Option<&str>,
        filter: &Filter,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<Listing, Fault> {
        let page = self.jobs.list_all(tenant, filter, limit, cursor)?;
        let owned = page.jobs.into_iter().filter_map(|job| {
            let owner = self.jobs.record(job.accepted.job)?.owner.clone();
            Some((self.listed(job), owner))
        });
        Ok(Listing { jobs: owned.collect(), next_cursor: page.next_cursor })
    }

    pub(crate) fn find_any(&self, tenant: Option<&str>, job: JobId) -> Result<(Listed, Owner), Fault> {
        let record = self.jobs.record(job).filter(|record| tenant.is_none_or(|tenant| *record.owner.tenant == *tenant));
        let descriptor = self.jobs.describe(job).zip(record);
        let (descriptor, record) = descriptor.ok_or_else(|| Fault::new(Code::JobNotFound, "there is no such job"))?;
        Ok((self.listed(descriptor), record.owner.clone()))
    }

    pub(crate) fn cancel_any(
        &mut self,
        tenant: Option<&str>,
        job: JobId,
        reason: Option<&str>,
        now_ms: u64,
        out: &mut Outcome,
    ) -> Result<Descriptor, Fault> {
        let (_, owner) = self.find_any(tenant, job)?;
        let mut effects = Vec::new();
        let cancelled = self.jobs.cancel(job, None, reason, now_ms, &mut effects);
        let by = Owner { tenant: tenant.unwrap_or_default().into(), name: "operator".into() };
        let decision = if cancelled.is_ok() { "allowed" } else { "refused" };
        out.audits.push(Audit { what: "job.cancel", by, job: Some(job), of: Some(owner), decision });
        cancelled?;
        self.carry(effects, now_ms, out);
        Ok(self.find_any(tenant, job)?.0.job)
    }
}
