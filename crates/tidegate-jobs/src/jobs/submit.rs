//! Jobs begin.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::idempotency::parameters;
use super::job::Job;
use super::{Jobs, encode};
use crate::credentials::{Credential, ProvisionError, Purpose};
use crate::lease::{Constraints, Lease};
use crate::{
    Accepted, AgentRef, Code, CredentialId, Effect, Entry, Fault, Idempotency, JobId, Kind, Owner, Record, SessionId,
    Start, Submit, Told, TraceId, What,
};

/// Credentials that one job has, at most.
const CREDENTIALS_MAX: usize = 16;

/// What became of a submit.
#[derive(Debug, Clone)]
pub enum Submitted {
    /// It is a job now.
    Accepted(Arc<Accepted>),
    /// It was one before: the same is told again.
    Again {
        /// As it was then.
        accepted: Arc<Accepted>,
        /// Its end, if it has ended.
        ending: Option<Arc<Entry>>,
    },
    /// Credentials are being made for it: [`Effect::Settled`] follows. Also for each submit with the same key meanwhile.
    Waits(JobId),
    /// It is none, and nothing is left of it.
    Refused(Fault),
}

/// A job before it has begun.
pub(super) struct Draft {
    pub(super) owner: Owner,
    pub(super) session: SessionId,
    pub(super) request_id: Option<Arc<str>>,
    pub(super) agent: AgentRef,
    pub(super) input: Arc<RawValue>,
    pub(super) lease: Lease,
    pub(super) constraints: Constraints,
    pub(super) key: Option<Idempotency>,
    pub(super) max_runtime_sec: Option<u64>,
    pub(super) trace: TraceId,
    /// Who delegated it.
    pub(super) delegated: Option<Delegated>,
    pub(super) depth: u8,
}

/// How a job came to be delegated.
pub(super) struct Delegated {
    pub(super) by: JobId,
    /// What that calls it.
    pub(super) name: Arc<str>,
    /// Its question.
    pub(super) call: u64,
    /// The body of the event in its log.
    pub(super) body: String,
    /// Whose budget its own was taken off.
    pub(super) holder: Option<JobId>,
}

/// A job whose credentials are being made.
pub(super) struct Waiting {
    pub(super) draft: Draft,
    /// All of them.
    ids: Vec<CredentialId>,
    /// Those that are still being made.
    unmade: BTreeSet<CredentialId>,
    made: Vec<Credential>,
    failed: Option<Fault>,
    /// Whoever delegated it has ended meanwhile.
    pub(super) is_unwanted: bool,
}

impl Jobs {
    /// A client wants a job, and may have jobs of that agent. `provisioned` is how many credentials are to be made for it.
    pub fn submit(
        &mut self,
        submit: Submit,
        request_id: Option<Arc<str>>,
        provisioned: usize,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) -> Submitted {
        let parameters = submit.idempotency_key.as_ref().map(|_| parameters(&submit));
        let key = submit.idempotency_key.zip(parameters).map(|(key, parameters)| Idempotency { key, parameters });
        if let Some(known) = key.as_ref().and_then(|key| self.known(&submit.owner, key, now_ms)) {
            return known;
        }
        let agent = self.has_room(&submit.owner).and_then(|()| self.inventory.resolve(&submit.agent));
        let agent = match agent {
            Ok(agent) => agent,
            Err(fault) => return Submitted::Refused(fault),
        };
        let trace = submit.trace.unwrap_or_else(|| TraceId::new((self.random)()));
        let draft = Draft {
            owner: submit.owner,
            session: submit.session,
            request_id,
            agent,
            input: submit.input,
            lease: submit.lease,
            constraints: submit.constraints,
            key,
            max_runtime_sec: submit.max_runtime_sec,
            trace,
            delegated: None,
            depth: 0,
        };
        let id = self.name(now_ms);
        match self.draw_up(id, draft, provisioned, now_ms, effects) {
            Some(accepted) => Submitted::Accepted(accepted),
            None => Submitted::Waits(id),
        }
    }

    /// What the credentials of a job that waits for them are for.
    #[must_use]
    pub fn purpose(&self, job: JobId) -> Option<Purpose> {
        let draft = &self.waiting.get(&job)?.draft;
        Some(Purpose {
            job,
            agent: draft.agent.clone(),
            lease: draft.lease.clone(),
            constraints: draft.constraints.clone(),
            budget: draft.lease.budget(),
        })
    }

    /// A credential of a job that waits was made, or could not be.
    pub fn issued(
        &mut self,
        job: JobId,
        id: CredentialId,
        made: Result<Credential, ProvisionError>,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) {
        let Some(waiting) = self.waiting.get_mut(&job) else { return };
        if !waiting.unmade.remove(&id) {
            return;
        }
        match made {
            Ok(credential) => waiting.made.push(Credential { id, ..credential }),
            Err(error) => {
                waiting.failed = Some(Fault::new(Code::InternalError, format!("no credential could be made: {error}")));
            }
        }
        if waiting.unmade.is_empty()
            && let Some(waiting) = self.waiting.remove(&job)
        {
            self.settle(job, waiting, now_ms, effects);
        }
    }

    /// Whether one more job of that owner may live.
    pub(super) fn has_room(&self, owner: &Owner) -> Result<(), Fault> {
        let of_owner = self.live.get(owner).copied().unwrap_or_default();
        if of_owner >= self.limits.live_of_owner {
            return Err(Fault::new(Code::InternalError, "too many of your jobs are running"));
        }
        if self.live_all >= self.limits.live {
            return Err(Fault::new(Code::InternalError, "too many jobs are running"));
        }
        Ok(())
    }

    /// Begins a job, or has its credentials made first.
    pub(super) fn draw_up(
        &mut self,
        id: JobId,
        draft: Draft,
        provisioned: usize,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) -> Option<Arc<Accepted>> {
        *self.live.entry(draft.owner.clone()).or_default() += 1;
        self.live_all += 1;
        if let Some(key) = &draft.key {
            self.take_key(&draft.owner, &key.key, id);
        }
        if provisioned == 0 {
            return Some(self.begin(id, draft, Vec::new(), Vec::new(), now_ms, effects));
        }
        let ids: Vec<CredentialId> = (0..provisioned.min(CREDENTIALS_MAX))
            .map(|_| CredentialId::new(now_ms, (self.random)()))
            .inspect(|credential| effects.push(Effect::Issue { job: id, id: *credential }))
            .collect();
        let unmade = ids.iter().copied().collect();
        let waiting = Waiting { draft, ids, unmade, made: Vec::new(), failed: None, is_unwanted: false };
        self.waiting.insert(id, waiting);
        None
    }

    /// All credentials of a job are there, or one never will be.
    fn settle(&mut self, id: JobId, waiting: Waiting, now_ms: u64, effects: &mut Vec<Effect>) {
        let Waiting { draft, ids, made, failed, is_unwanted, .. } = waiting;
        if let Some(holder) = draft.delegated.as_ref().and_then(|delegated| delegated.holder)
            && let Some(holder) = self.change(holder)
        {
            holder.promised.remove(&id);
        }
        let delegated = draft.delegated.is_some();
        if !is_unwanted && failed.is_none() {
            let accepted = self.begin(id, draft, ids, made, now_ms, effects);
            if !delegated {
                effects.push(Effect::Settled { job: id, settled: Ok(accepted) });
            }
            return;
        }
        effects.extend(ids.into_iter().map(|credential| Effect::Revoke { job: id, id: credential }));
        self.leave(&draft.owner);
        if let Some(key) = &draft.key {
            self.free_key(&draft.owner, &key.key, id);
        }
        let fault = failed.unwrap_or_else(|| Fault::new(Code::Cancelled, "what delegated it has ended"));
        match draft.delegated {
            None => effects.push(Effect::Settled { job: id, settled: Err(fault) }),
            Some(_) if is_unwanted => {}
            Some(delegated) => {
                self.disown(delegated.by, id);
                self.give_back(Some(delegated.by), draft.lease.budget().as_ref(), now_ms, effects);
                let told = Told::Delegated { call: delegated.call, child: Err(fault) };
                effects.push(Effect::Tell { job: delegated.by, told });
            }
        }
    }

    /// A job is there.
    fn begin(
        &mut self,
        id: JobId,
        draft: Draft,
        credential_ids: Vec<CredentialId>,
        credentials: Vec<Credential>,
        now_ms: u64,
        effects: &mut Vec<Effect>,
    ) -> Arc<Accepted> {
        let budget = draft.lease.budget();
        let parent = draft.delegated.as_ref().map(|delegated| (delegated.by, delegated.name.clone()));
        let accepted = Arc::new(Accepted {
            job: id,
            agent: draft.agent,
            lease: draft.lease,
            constraints: draft.constraints,
            budget,
            accepted_at_ms: now_ms,
            trace: draft.trace,
            parent,
        });
        let ends_at_ms = draft.max_runtime_sec.map(|sec| now_ms.saturating_add(sec.saturating_mul(1_000)));
        let record = Arc::new(Record {
            accepted: accepted.clone(),
            owner: draft.owner,
            session: draft.session,
            request_id: draft.request_id,
            key: draft.key,
            ends_at_ms,
            depth: draft.depth,
        });
        if let Some(delegated) = &draft.delegated {
            let event = encode::event(&Kind::DELEGATE, &delegated.body, now_ms);
            self.append(delegated.by, What::Event(event), effects);
        }
        effects.push(Effect::New(record.clone()));
        if let Some(delegated) = draft.delegated {
            let told = Told::Delegated { call: delegated.call, child: Ok(id) };
            effects.push(Effect::Tell { job: delegated.by, told });
        }
        let ends_at_ms = [ends_at_ms, accepted.constraints.expires_at_ms].into_iter().flatten().min();
        let start =
            Start { accepted: accepted.clone(), input: draft.input, credentials: credentials.clone(), ends_at_ms };
        effects.push(Effect::Tell { job: id, told: Told::Start(Arc::new(start)) });
        let mut job = Job::new(record);
        job.credentials = credentials;
        job.credential_ids = credential_ids;
        self.list_new(&job);
        self.agenda.arm(&mut job, &self.limits);
        self.jobs.insert(id, job);
        self.change(id);
        accepted
    }

    /// One job of an owner lives no more.
    pub(super) fn leave(&mut self, owner: &Owner) {
        self.live_all -= 1;
        if let Some(live) = self.live.get_mut(owner) {
            *live -= 1;
            if *live == 0 {
                self.live.remove(owner);
            }
        }
    }

    /// A job's agent has it: it runs. To be said as soon as [`Told::Start`] was handed over, and when a worker that had it comes back,
    /// which is told what was heard of it; or that there is no such job any more.
    pub fn started(&mut self, id: JobId, now_ms: u64, effects: &mut Vec<Effect>) {
        let Some(job) = self.jobs.get_mut(&id).filter(|job| job.is_live()) else {
            effects.push(Effect::Tell { job: id, told: Told::Stop(crate::Stop::Ended) });
            return;
        };
        if job.awaited_until_ms.take().is_some() {
            job.told_heard = job.kept.said;
            effects.push(Effect::Tell { job: id, told: Told::Heard(job.kept.said) });
            self.agenda.arm(job, &self.limits);
        }
        if job.kept.is_running {
            return;
        }
        if let Some(job) = self.change(id) {
            job.kept.is_running = true;
            self.running += 1;
            self.append(id, What::Event(encode::event(&Kind::STATUS, encode::RUNNING, now_ms)), effects);
        }
    }
}
