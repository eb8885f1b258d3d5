//! Jobs with a naive store and a clock that is set by hand.

#![expect(clippy::needless_pass_by_value, reason = "what tests say is made where it is said")]

mod begins;
mod delegated;
mod ends;
mod heard;
mod kept;
mod model;
mod restored;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::*;
use crate::lease::{Constraints, Lease, Namespace};
use crate::{
    Accepted, AgentRef, Asked, Code, CredentialId, Delegation, Ending, Fault, FinalStatus, Kept, Outcome, Record,
    Rights, Said, SessionId, Spoken, Status, Stop, Submit,
};

/// Of `user:ann`'s, on which jobs are submitted unless another is named.
pub(super) const SESSION: u128 = 1;
pub(super) const START_MS: u64 = 1_700_000_000_000;

/// What a store would have.
#[derive(Default)]
pub(super) struct Store {
    pub(super) records: BTreeMap<JobId, Arc<Record>>,
    pub(super) kept: BTreeMap<JobId, Kept>,
    pub(super) logs: BTreeMap<JobId, BTreeMap<u64, Arc<Entry>>>,
    pub(super) credentials: BTreeSet<(JobId, CredentialId)>,
    pub(super) revoked: Vec<CredentialId>,
}

impl Store {
    fn apply(&mut self, effect: &Effect) {
        match effect {
            Effect::New(record) => {
                assert!(self.records.insert(record.accepted.job, record.clone()).is_none(), "a job is new once");
            }
            Effect::Log(entry) => {
                assert!(self.records.contains_key(&entry.job), "an entry of no job");
                let log = self.logs.entry(entry.job).or_default();
                let last = log.last_key_value();
                assert_eq!(entry.n, last.map_or(0, |(n, _)| *n) + 1, "a gap");
                assert!(last.is_none_or(|(_, last)| matches!(last.what, What::Event(_))), "an entry after the end");
                log.insert(entry.n, entry.clone());
            }
            Effect::Keep { job, kept } => {
                assert!(self.records.contains_key(job), "something kept of no job");
                self.kept.insert(*job, Kept::clone(kept));
            }
            Effect::Issue { job, id } => assert!(self.credentials.insert((*job, *id))),
            Effect::Revoke { job, id } => {
                assert!(self.credentials.remove(&(*job, *id)), "revoked what is none");
                self.revoked.push(*id);
            }
            Effect::Trim { job, through } => {
                self.logs.get_mut(job).unwrap().retain(|n, _| n > through);
            }
            Effect::Forget { job } => {
                assert!(self.records.remove(job).is_some());
                self.kept.remove(job);
                self.logs.remove(job);
            }
            Effect::Settled { .. } | Effect::Tell { .. } => {}
        }
    }

    pub(super) fn stored(&self) -> Vec<StoredJob> {
        let stored = |(id, record): (&JobId, &Arc<Record>)| {
            let log = self.logs.get(id);
            let first = log.and_then(|log| log.keys().next()).copied().unwrap_or(1);
            let sizes = log.into_iter().flat_map(BTreeMap::values).map(|entry| entry.bytes() as u32);
            let last = log.and_then(|log| log.values().last());
            StoredJob {
                record: record.clone(),
                kept: self.kept.get(id).cloned().unwrap_or_default(),
                log: Log::of(first, sizes),
                ending: last.filter(|entry| matches!(entry.what, What::End(_))).cloned(),
            }
        };
        self.records.iter().map(stored).collect()
    }
}

/// Someone with no rights but to what is its own.
pub(super) struct Plain;

impl Rights for Plain {
    fn may_submit(&self, _: &str) -> bool {
        true
    }

    fn may_observe(&self, _: &str) -> bool {
        false
    }
}

/// Someone who sees all jobs of its tenant.
pub(super) struct Observer;

impl Rights for Observer {
    fn may_submit(&self, _: &str) -> bool {
        false
    }

    fn may_observe(&self, _: &str) -> bool {
        true
    }
}

pub(super) struct World {
    pub(super) jobs: Jobs,
    pub(super) now: u64,
    pub(super) effects: Vec<Effect>,
    pub(super) store: Store,
    said: HashMap<JobId, u64>,
    restarts: u128,
}

pub(super) fn owner(name: &str) -> Owner {
    Owner { tenant: "acme".into(), name: name.into() }
}

pub(super) fn raw(json: &Value) -> Box<RawValue> {
    serde_json::value::to_raw_value(json).unwrap()
}

pub(super) fn lease(json: Value) -> Lease {
    Lease::read(&raw(&json)).unwrap()
}

pub(super) fn submit() -> Submit {
    Submit {
        owner: owner("user:ann"),
        session: SessionId::of(SESSION),
        agent: Asked::parse("worker").unwrap(),
        input: raw(&json!({"x": 1})).into(),
        lease: Lease::default(),
        constraints: Constraints::default(),
        idempotency_key: None,
        max_runtime_sec: None,
        trace: None,
    }
}

pub(super) fn leased(json: Value) -> Submit {
    Submit { lease: lease(json), ..submit() }
}

pub(super) fn delegation(agent: &str, lease: Lease) -> Delegation {
    Delegation {
        id: "part".into(),
        agent: Asked::parse(agent).unwrap(),
        input: raw(&json!("in")).into(),
        lease,
        constraints: Constraints::default(),
    }
}

fn machine(limits: Limits, seed: u128) -> Jobs {
    let mut number = seed;
    let random = move || {
        number = number.wrapping_mul(0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645).wrapping_add(0x5851_F42D_4C95_7F2D);
        number
    };
    let mut jobs = Jobs::new(limits, Box::new(random));
    let mut inventory = Inventory::default();
    for version in ["1", "2"] {
        inventory.offer(&AgentRef { name: "worker".into(), version: version.into() }, true);
        inventory.offer(&AgentRef { name: "other".into(), version: version.into() }, true);
    }
    jobs.offer(inventory.into());
    jobs
}

impl World {
    pub(super) fn new(limits: Limits) -> Self {
        let jobs = machine(limits, 1);
        Self { jobs, now: START_MS, effects: Vec::new(), store: Store::default(), said: HashMap::new(), restarts: 1 }
    }

    /// The end of a turn: what it has come to.
    pub(super) fn turn(&mut self) -> Vec<Effect> {
        self.jobs.keep(&mut self.effects);
        self.effects.iter().for_each(|effect| self.store.apply(effect));
        std::mem::take(&mut self.effects)
    }

    pub(super) fn try_submit(&mut self, submit: Submit) -> Submitted {
        self.jobs.submit(submit, Some("msg_1".into()), 0, self.now, &mut self.effects)
    }

    /// A job that is accepted.
    pub(super) fn submit(&mut self, submit: Submit) -> Arc<Accepted> {
        match self.try_submit(submit) {
            Submitted::Accepted(accepted) => accepted,
            other => panic!("not accepted: {other:?}"),
        }
    }

    /// A job that runs.
    pub(super) fn run(&mut self, submit: Submit) -> JobId {
        let job = self.submit(submit).job;
        self.turn();
        self.jobs.started(job, self.now, &mut self.effects);
        self.turn();
        job
    }

    pub(super) fn say(&mut self, job: JobId, said: Said) {
        self.say_with(job, said, Allowed { may: true, provisioned: 0 });
    }

    pub(super) fn say_with(&mut self, job: JobId, said: Said, allowed: Allowed) {
        let n = self.said.entry(job).or_default();
        *n += 1;
        self.jobs.hear(Spoken { job, n: *n, said }, allowed, self.now, &mut self.effects);
    }

    pub(super) fn event(&mut self, job: JobId, kind: &str, body: Value) {
        self.say(job, Said::Event { kind: Kind::named(kind).unwrap(), body: raw(&body) });
    }

    pub(super) fn cost(&mut self, job: JobId, unit: &str, value: &str) {
        let body = format!(r#"{{"name":"cost.x","value":{value},"unit":"{unit}"}}"#);
        self.say(job, Said::Event { kind: Kind::METRIC, body: RawValue::from_string(body).unwrap() });
    }

    pub(super) fn done(&mut self, job: JobId) {
        self.say(job, Said::Done { result: Some(raw(&json!({"ok": true}))), summary: None });
    }

    /// The answer to a question whether an agent may do something.
    pub(super) fn asks(&mut self, job: JobId, op: Namespace, target: &str) -> Option<Result<(), Fault>> {
        self.say(job, Said::Authorize { call: 7, op, target: target.into() });
        self.turn().into_iter().find_map(|effect| match effect {
            Effect::Tell { told: Told::Permit { call: 7, permit }, .. } => Some(permit),
            _ => None,
        })
    }

    /// The child of a delegation, or why there is none.
    pub(super) fn delegates(&mut self, job: JobId, delegation: Delegation) -> Result<JobId, Fault> {
        self.say(job, Said::Delegate { call: 9, delegation: delegation.into() });
        let answer = self.turn().into_iter().find_map(|effect| match effect {
            Effect::Tell { job: told, told: Told::Delegated { call: 9, child } } if told == job => Some(child),
            _ => None,
        });
        answer.expect("it is answered")
    }

    pub(super) fn cancel(&mut self, job: JobId) -> Result<(), Fault> {
        let owner = owner("user:ann");
        let caller = Caller { owner: &owner, session: Some(SessionId::of(SESSION)), rights: &Plain };
        self.jobs.cancel(job, Some(&caller), None, self.now, &mut self.effects)
    }

    pub(super) fn tick(&mut self, ms: u64) {
        self.now += ms;
        self.jobs.tick(self.now, &mut self.effects);
    }

    pub(super) fn status(&self, job: JobId) -> Option<Status> {
        let owner = Owner { tenant: "acme".into(), name: "x".into() };
        let caller = Caller { owner: &owner, session: None, rights: &Observer };
        self.jobs.find(job, &caller).ok().map(|found| found.status)
    }

    /// Kinds and bodies of what is stored of a job's log, but its end.
    pub(super) fn events(&self, job: JobId) -> Vec<(String, Value)> {
        let event = |entry: &Arc<Entry>| match &entry.what {
            What::Event(payload) => {
                let payload: Value = serde_json::from_slice(payload).unwrap();
                Some((payload["kind"].as_str().unwrap().to_owned(), payload["body"].clone()))
            }
            What::End(_) => None,
        };
        self.store.logs.get(&job).into_iter().flat_map(BTreeMap::values).filter_map(event).collect()
    }

    pub(super) fn ending(&self, job: JobId) -> Option<Arc<Ending>> {
        match &self.store.logs.get(&job)?.values().last()?.what {
            What::End(ending) => Some(ending.clone()),
            What::Event(_) => None,
        }
    }

    /// With which code it failed.
    pub(super) fn failed(&self, job: JobId) -> Option<(FinalStatus, Code)> {
        let ending = self.ending(job)?;
        match &ending.outcome {
            Outcome::Fault(fault) => Some((ending.status, fault.code)),
            _ => None,
        }
    }

    /// What is left of a job's budget in dollars.
    pub(super) fn dollars(&self, job: JobId) -> String {
        let budget = self.jobs.jobs[&job].kept.budget.as_ref().unwrap();
        budget.iter().find(|(unit, _)| &***unit == "USD").unwrap().1.normalize().to_string()
    }

    /// As after `kill -9`: what was not stored is gone.
    pub(super) fn restart(&mut self, limits: Limits) {
        self.effects.clear();
        self.restarts += 1;
        self.jobs = machine(limits, self.restarts);
        self.said = self.store.kept.iter().map(|(job, kept)| (*job, kept.said)).collect();
    }

    pub(super) fn restore(&mut self) {
        let credentials: Vec<_> = self.store.credentials.iter().copied().collect();
        self.jobs.restore(self.store.stored(), &credentials, self.now, &mut self.effects);
        self.jobs.recover(self.now, &mut self.effects);
    }
}

pub(super) fn assert_nothing_is_left(world: &World) {
    let jobs = &world.jobs;
    assert!(jobs.jobs.is_empty() && jobs.waiting.is_empty() && jobs.keys.is_empty() && jobs.tenants.is_empty());
    assert!(jobs.live.is_empty() && jobs.ended.is_empty() && jobs.changed.is_empty() && jobs.due().is_none());
    assert_eq!((jobs.live_all, jobs.running, jobs.log_bytes), (0, 0, 0));
    let store = &world.store;
    assert!(store.records.is_empty() && store.logs.is_empty() && store.kept.is_empty() && store.credentials.is_empty());
}

/// What an agent is told, but what was heard.
pub(super) fn told(effects: &[Effect], of: JobId) -> Vec<&Told> {
    let told = |effect| match effect {
        &Effect::Tell { job, ref told } if job == of && !matches!(told, Told::Heard(_)) => Some(told),
        _ => None,
    };
    effects.iter().filter_map(told).collect()
}

pub(super) fn is_stopped(effects: &[Effect], job: JobId, with: Stop) -> bool {
    told(effects, job).iter().any(|told| matches!(told, Told::Stop(stop) if *stop == with))
}
