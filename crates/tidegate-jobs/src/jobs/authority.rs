//! What agents may do, and what it costs.

use std::collections::BTreeSet;
use std::sync::Arc;

use rust_decimal::Decimal;

use super::{Jobs, encode};
use crate::lease::{Budget, Namespace};
use crate::{Code, Effect, Fault, FinalStatus, JobId, Kind, Outcome, Stop, What};

impl Jobs {
    /// Whether a job's agent may do something now: the lease's time, then its budgets, then its patterns. `None`: it was told once
    /// that the time is over and tries again, which has ended the job.
    pub(super) fn permit(
        &mut self,
        id: JobId,
        op: Namespace,
        target: &str,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) -> Option<Result<(), Fault>> {
        let job = self.jobs.get_mut(&id)?;
        if let Err(fault) = job.record.accepted.constraints.check(now_ms) {
            if job.knows_expiry {
                let outcome = Outcome::Fault(fault);
                self.end(id, FinalStatus::Error, outcome, Stop::LeaseExpired, now_ms, effects);
                return None;
            }
            job.knows_expiry = true;
            return Some(Err(fault));
        }
        let lease = &self.jobs.get(&id)?.record.accepted.lease;
        let is_free =
            op == Namespace::ModelUse && !self.limits.require_model_use && !lease.names(Namespace::ModelUse.name());
        let permit = self.is_solvent(id);
        Some(permit.and_then(|()| if is_free { Ok(()) } else { lease.permits(op, target) }))
    }

    /// Whether something is left in each currency that the costs of a job are counted in.
    fn is_solvent(&self, id: JobId) -> Result<(), Fault> {
        let mut seen = BTreeSet::new();
        for (_, budget) in self.budgets(Some(id)) {
            for (unit, left) in budget.iter() {
                if seen.insert(unit) && *left <= Decimal::ZERO {
                    let message = format!("nothing is left of the budget in {unit}");
                    return Err(Fault::new(Code::BudgetExhausted, message));
                }
            }
        }
        Ok(())
    }

    /// The budgets of a job and of those above it, nearest first.
    fn budgets(&self, from: Option<JobId>) -> impl Iterator<Item = (JobId, &Budget)> {
        let jobs = std::iter::successors(from.and_then(|id| self.jobs.get(&id)), |job| self.jobs.get(&job.parent?));
        let budgets = jobs.filter_map(|job| Some((job.id(), job.kept.budget.as_ref()?)));
        budgets.filter(|(_, budget)| budget.iter().next().is_some())
    }

    /// The nearest job, from that one up, that counts costs in a currency.
    pub(super) fn bearer(&self, id: JobId, unit: &str) -> Option<JobId> {
        self.budgets(Some(id)).find(|(_, budget)| budget.iter().any(|(own, _)| &**own == unit)).map(|(id, _)| id)
    }

    /// A job's costs. Which job bore them, if any counts them.
    ///
    /// # Errors
    /// `INVALID_REQUEST`: this is not an amount, or a negative one.
    pub(super) fn spend(&mut self, id: JobId, unit: &str, value: &str) -> Result<Option<JobId>, Fault> {
        let Some(bearer) = self.bearer(id, unit) else {
            Budget::default().spend(unit, value)?;
            return Ok(None);
        };
        if let Some(budget) = self.change(bearer).and_then(|job| job.kept.budget.as_mut()) {
            budget.spend(unit, value)?;
        }
        Ok(Some(bearer))
    }

    /// Takes what a child may spend off the nearest budget; without one above it a child's is its own.
    pub(super) fn reserve(&mut self, parent: JobId, child: &Budget) -> Result<Option<JobId>, Fault> {
        let Some(holder) = self.budgets(Some(parent)).next().map(|(id, _)| id) else { return Ok(None) };
        if let Some(budget) = self.change(holder).and_then(|job| job.kept.budget.as_mut()) {
            budget.reserve(child)?;
        }
        Ok(Some(holder))
    }

    /// Gives what a child has left to the nearest budget above it.
    pub(super) fn give_back(
        &mut self,
        parent: Option<JobId>,
        left: Option<&Budget>,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) {
        let Some(left) = left else { return };
        let Some(holder) = self.budgets(parent).next().map(|(id, _)| id) else { return };
        if let Some(budget) = self.change(holder).and_then(|job| job.kept.budget.as_mut()) {
            budget.give_back(left);
        }
        let units = left.iter().filter(|(_, left)| **left > Decimal::ZERO).map(|(unit, _)| unit.clone());
        self.gauge(holder, &units.collect(), now_ms, effects);
    }

    /// Says what is left of a job's budget in some currencies.
    pub(super) fn gauge(&mut self, id: JobId, units: &BTreeSet<Arc<str>>, now_ms: u64, effects: &mut Vec<Effect>) {
        let Some(budget) = self.jobs.get(&id).and_then(|job| job.kept.budget.as_ref()) else { return };
        let left = budget.iter().filter(|(unit, _)| units.contains(*unit));
        let bodies: Vec<String> = left.map(|(unit, left)| encode::remaining(unit, left)).collect();
        for body in bodies {
            self.append(id, What::Event(encode::event(&Kind::METRIC, &body, now_ms)), effects);
        }
    }
}
