//! Random histories: submits, whatever agents say, cancels, delegations, time, crashes. A naive ledger says where all money is.

use proptest::prelude::*;

use super::*;
use crate::Chunk;
use crate::credentials::{Credential, ProvisionError};

#[derive(Debug, Clone)]
enum Step {
    Submit { cents: Option<u8>, key: Option<u8>, input: u8, expires_s: Option<u8>, runs_s: Option<u8>, secret: bool },
    Issued { which: usize, is_made: bool },
    Started(usize),
    Event(usize),
    Cost { which: usize, cents: i8 },
    Chunk { which: usize, is_last: bool },
    Authorize(usize),
    Delegate { which: usize, cents: Option<u8>, secret: bool },
    Done(usize),
    Failed(usize),
    Again(usize),
    Cancel(usize),
    Lost(usize),
    Hold(usize),
    Release(usize),
    Wait(u32),
    Commit,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    use Step::*;
    let which = || 0..40_usize;
    let cents = || prop::option::weighted(0.8, 1..60_u8);
    let seconds = || prop::option::weighted(0.2, 1..=255_u8);
    prop_oneof![
        6 => (cents(), prop::option::of(0..3_u8), 0..2_u8, seconds(), seconds(), prop::bool::weighted(0.2)).prop_map(
            |(cents, key, input, expires_s, runs_s, secret)| Submit { cents, key, input, expires_s, runs_s, secret }
        ),
        4 => (which(), prop::bool::weighted(0.7)).prop_map(|(which, is_made)| Issued { which, is_made }),
        3 => which().prop_map(Started),
        3 => which().prop_map(Event),
        6 => (which(), -5..30_i8).prop_map(|(which, cents)| Cost { which, cents }),
        2 => (which(), any::<bool>()).prop_map(|(which, is_last)| Chunk { which, is_last }),
        2 => which().prop_map(Authorize),
        8 => (which(), cents(), prop::bool::weighted(0.2)).prop_map(|(which, cents, secret)| Delegate { which, cents, secret }),
        3 => which().prop_map(Done),
        1 => which().prop_map(Failed),
        1 => which().prop_map(Again),
        2 => which().prop_map(Cancel),
        1 => which().prop_map(Lost),
        1 => which().prop_map(Hold),
        1 => which().prop_map(Release),
        2 => (0..400_000_u32).prop_map(Wait),
        1 => Just(Wait(24 * 3_600_000)),
        4 => Just(Commit),
        1 => Just(Crash),
    ]
}

/// What is known of jobs without the machine.
#[derive(Debug, Default, Clone)]
struct Ledger {
    /// In the order in which they were seen.
    jobs: Vec<JobId>,
    /// What each began with.
    cents: HashMap<JobId, i64>,
    parents: HashMap<JobId, JobId>,
    /// What was spent by it and by those below that have no budget.
    spent: HashMap<JobId, i64>,
    /// What was taken off another's budget for it.
    reserved: HashMap<JobId, i64>,
    /// How many cents each had left at its end.
    ended: HashMap<JobId, i64>,
    /// What went back to the nearest budget above, when it ended.
    returned: HashMap<JobId, i64>,
}

impl Ledger {
    fn above(&self, id: JobId) -> impl Iterator<Item = JobId> {
        std::iter::successors(self.parents.get(&id), |id| self.parents.get(id)).copied()
    }

    /// The nearest job above that lives and has a budget.
    fn holder(&self, id: JobId) -> Option<JobId> {
        self.above(id).find(|id| !self.ended.contains_key(id) && self.cents.contains_key(id))
    }
}

struct History {
    world: World,
    now: Ledger,
    /// As of the last commit.
    stored: Ledger,
    /// How many effects of this turn are booked.
    booked: usize,
    holds: Vec<JobId>,
    ends: HashMap<JobId, usize>,
}

fn cents_of(budget: Option<&crate::lease::Budget>) -> Option<i64> {
    let (_, left) = budget?.iter().next()?;
    Some((left * rust_decimal::Decimal::from(100)).to_string().parse::<f64>().unwrap() as i64)
}

fn limits() -> Limits {
    Limits { log_entries: 12, live_of_owner: 20, depth: 4, children: 3, worker_grace_ms: 60_000, ..Limits::default() }
}

impl History {
    fn new() -> Self {
        let world = World::new(limits());
        let (now, stored) = (Ledger::default(), Ledger::default());
        Self { world, now, stored, booked: 0, holds: Vec::new(), ends: HashMap::new() }
    }

    fn pick(&self, which: usize) -> Option<JobId> {
        let jobs = &self.now.jobs;
        // The newer ones more often: they live.
        Some(jobs[jobs.len().checked_sub(1 + which % jobs.len().max(1))?])
    }

    fn lease(cents: Option<u8>) -> Lease {
        let mut grants = json!({"agent.delegate": ["*"], "tool.call": ["x"]});
        if let Some(cents) = cents {
            grants["cost.budget"] = json!([format!("USD:0.{cents:02}")]);
        }
        lease(grants)
    }

    fn take(&mut self, step: &Step) {
        self.apply(step);
        self.enter();
        self.check();
    }

    fn apply(&mut self, step: &Step) {
        let is_live = |history: &Self, id| history.now.jobs.contains(&id) && !history.now.ended.contains_key(&id);
        let which = match step {
            Step::Started(which) | Step::Event(which) | Step::Authorize(which) | Step::Done(which) => *which,
            Step::Failed(which) | Step::Again(which) | Step::Cancel(which) | Step::Lost(which) => *which,
            Step::Hold(which) | Step::Cost { which, .. } | Step::Chunk { which, .. } => *which,
            Step::Delegate { which, .. } => *which,
            Step::Submit { .. }
            | Step::Issued { .. }
            | Step::Release(_)
            | Step::Wait(_)
            | Step::Commit
            | Step::Crash => {
                return self.apply_other(step);
            }
        };
        let Some(id) = self.pick(which) else { return };
        let (world, now) = (&mut self.world, &mut self.now);
        match step {
            Step::Started(_) => world.jobs.started(id, world.now, &mut world.effects),
            Step::Event(_) => world.event(id, "thought", json!({"text": "x"})),
            Step::Cost { cents, .. } => {
                let bearer = if now.cents.contains_key(&id) { Some(id) } else { now.holder(id) };
                if *cents >= 0
                    && !now.ended.contains_key(&id)
                    && let Some(bearer) = bearer
                {
                    *now.spent.entry(bearer).or_default() += i64::from(*cents);
                }
                world.cost(id, "USD", &format!("{cents}e-2"));
            }
            Step::Chunk { is_last, .. } => {
                world.say(id, Said::Chunk { data: Chunk::Text("abc".into()), is_last: *is_last });
            }
            Step::Authorize(_) => {
                world.say(id, Said::Authorize { call: 1, op: Namespace::ToolCall, target: "x".into() });
            }
            Step::Delegate { cents, secret, .. } => {
                let delegation = delegation("other", Self::lease(*cents)).into();
                let allowed = Allowed { may: true, provisioned: usize::from(*secret) };
                world.say_with(id, Said::Delegate { call: 9, delegation }, allowed);
            }
            Step::Done(_) => world.done(id),
            Step::Failed(_) => world.say(id, Said::Failed(Fault::invalid("no"))),
            Step::Again(_) => {
                if let Some(n) = world.said.get(&id).copied() {
                    let before = world.effects.len();
                    let said = Said::Failed(Fault::invalid("said before"));
                    world.jobs.hear(Spoken { job: id, n, said }, Allowed::default(), world.now, &mut world.effects);
                    assert_eq!(world.effects.len(), before);
                }
            }
            Step::Cancel(_) => {
                let is_live = is_live(self, id);
                assert_eq!(self.world.cancel(id).is_ok(), is_live);
            }
            Step::Lost(_) => world.jobs.lost(id, world.now, &mut world.effects),
            Step::Hold(_) => {
                world.jobs.hold(id);
                self.holds.push(id);
            }
            _ => unreachable!(),
        }
    }

    fn apply_other(&mut self, step: &Step) {
        match step {
            Step::Submit { cents, key, input, expires_s, runs_s, secret } => {
                let expires_at_ms = expires_s.map(|s| self.world.now + 1_000 * u64::from(s));
                let submit = Submit {
                    lease: Self::lease(*cents),
                    // With a key nothing else may differ.
                    constraints: Constraints { expires_at_ms: expires_at_ms.filter(|_| key.is_none()) },
                    max_runtime_sec: runs_s.map(u64::from).filter(|_| key.is_none()),
                    input: raw(&json!(input)).into(),
                    idempotency_key: key.map(|key| key.to_string().into()),
                    ..submit()
                };
                self.submit(submit, usize::from(*secret));
            }
            Step::Issued { which, is_made } => {
                let jobs = &self.world.jobs;
                let open: BTreeSet<_> = self.world.store.credentials.iter().copied().collect();
                let open: Vec<_> = open.into_iter().filter(|(job, _)| jobs.waiting.contains_key(job)).collect();
                if !open.is_empty() {
                    let (job, id) = open[which % open.len()];
                    self.issue(job, id, *is_made);
                }
            }
            Step::Release(which) => {
                if !self.holds.is_empty() {
                    let id = self.holds.remove(which % self.holds.len());
                    self.world.jobs.release(id);
                }
            }
            Step::Wait(ms) => {
                self.world.tick(u64::from(*ms));
                assert!(self.world.jobs.due().is_none_or(|due_ms| due_ms > self.world.now));
            }
            Step::Commit => self.commit(),
            Step::Crash => self.crash(),
            _ => unreachable!(),
        }
    }

    fn issue(&mut self, job: JobId, id: CredentialId, is_made: bool) {
        let made = if is_made {
            let (scheme, value, endpoint) = ("bearer".into(), "s".into(), "https://x".into());
            Ok(Credential { id, scheme, value, endpoint, profile: None, constraints: None })
        } else {
            Err(ProvisionError("down".into()))
        };
        self.world.jobs.issued(job, id, made, self.world.now, &mut self.world.effects);
    }

    /// Compares with what the store knows of the key.
    fn submit(&mut self, submit: Submit, provisioned: usize) {
        self.commit();
        let world = &mut self.world;
        let parameters = crate::jobs::idempotency::parameters(&submit);
        let key = submit.idempotency_key.clone();
        let is_keys =
            |with: &Option<crate::Idempotency>| with.as_ref().is_some_and(|with| Some(&with.key) == key.as_ref());
        let records = world.store.records.values().filter(|record| is_keys(&record.key));
        let known = records.max_by_key(|record| record.accepted.job).filter(|record| {
            let is_live = !self.now.ended.contains_key(&record.accepted.job);
            is_live || record.accepted.accepted_at_ms + 24 * 3_600_000 > world.now
        });
        let known = known.cloned();
        let waiting = world.jobs.waiting.iter().find(|(_, waiting)| is_keys(&waiting.draft.key));
        let waiting = waiting.map(|(id, waiting)| (*id, waiting.draft.key.as_ref().unwrap().parameters));
        let submitted = world.jobs.submit(submit, None, provisioned, world.now, &mut world.effects);
        match (submitted, waiting, known) {
            (Submitted::Waits(id), Some((waits, same)), _) => assert!(id == waits && same == parameters),
            (Submitted::Refused(fault), Some((_, other)), _) => {
                assert!(fault.code == Code::DuplicateKey && other != parameters);
            }
            (Submitted::Again { accepted, ending }, None, Some(known)) => {
                assert_eq!((accepted.job, known.key.as_ref().unwrap().parameters), (known.accepted.job, parameters));
                assert_eq!(ending.is_some(), self.now.ended.contains_key(&accepted.job));
            }
            (Submitted::Refused(fault), None, Some(known)) => {
                assert!(fault.code == Code::DuplicateKey && known.key.as_ref().unwrap().parameters != parameters);
            }
            (Submitted::Refused(fault), None, None) => {
                assert!(fault.code == Code::InternalError && world.jobs.live_all >= 20);
            }
            (Submitted::Accepted(_), None, None) => assert_eq!(provisioned, 0),
            (Submitted::Waits(_), None, None) => assert_eq!(provisioned, 1),
            other => panic!("{other:?}"),
        }
    }

    fn commit(&mut self) {
        self.enter();
        self.booked = 0;
        let effects = self.world.turn();
        for effect in &effects {
            if let Effect::Log(entry) = effect
                && let What::End(_) = entry.what
            {
                *self.ends.entry(entry.job).or_default() += 1;
            }
        }
        self.stored = self.now.clone();
        self.check_store();
    }

    fn crash(&mut self) {
        self.now = self.stored.clone();
        self.booked = 0;
        self.world.restart(limits());
        // Jobs for this one are a worker's.
        let mut inventory = Inventory::default();
        inventory.offer(&AgentRef { name: "worker".into(), version: "2".into() }, true);
        self.world.jobs.offer(inventory.into());
        self.world.restore();
        let mut inventory = Inventory::default();
        for name in ["worker", "other"] {
            inventory.offer(&AgentRef { name: name.into(), version: "2".into() }, true);
        }
        self.world.jobs.offer(inventory.into());
        self.holds.retain(|id| self.world.store.records.contains_key(id));
        self.holds.iter().for_each(|id| self.world.jobs.hold(*id));
        // Nobody knows any more who was above one that is forgotten.
        self.now.parents.retain(|_, parent| self.world.store.records.contains_key(parent));
        self.commit();
    }

    /// Books what has happened since.
    fn enter(&mut self) {
        for effect in &self.world.effects[self.booked..] {
            match effect {
                Effect::New(record) => {
                    let accepted = &record.accepted;
                    self.now.jobs.push(accepted.job);
                    self.now.cents.extend(cents_of(accepted.budget.as_ref()).map(|cents| (accepted.job, cents)));
                    if let Some((parent, _)) = &accepted.parent {
                        assert!(!self.now.ended.contains_key(parent));
                        let parents = &self.now.jobs.contains(parent);
                        assert!(parents);
                        let above = &self.world.jobs.jobs[parent].record.accepted;
                        above.lease.covers(&accepted.lease).unwrap();
                        let until = |accepted: &Accepted| accepted.constraints.expires_at_ms.unwrap_or(u64::MAX);
                        assert!(until(accepted) <= until(above));
                        self.now.parents.insert(accepted.job, *parent);
                        if let (Some(_), Some(cents)) =
                            (self.now.holder(accepted.job), self.now.cents.get(&accepted.job))
                        {
                            self.now.reserved.insert(accepted.job, *cents);
                        }
                    }
                }
                Effect::Log(entry) => {
                    if let What::End(_) = entry.what
                        && !self.now.ended.contains_key(&entry.job)
                    {
                        let id = entry.job;
                        let left = cents_of(self.world.jobs.jobs[&id].kept.budget.as_ref()).unwrap_or_default();
                        if self.now.holder(id).is_some() {
                            self.now.returned.insert(id, left.max(0));
                        }
                        self.now.ended.insert(id, left);
                    }
                }
                _ => {}
            }
        }
        self.booked = self.world.effects.len();
    }

    /// All money of each root is somewhere.
    fn check(&self) {
        let left = |id: &JobId| match self.now.ended.get(id) {
            Some(left) => *left,
            None => cents_of(self.world.jobs.jobs[id].kept.budget.as_ref()).unwrap(),
        };
        // A job's money: what it began with, less what was reserved of it, is spent, given back or left.
        let mut reserved: i64 = self.now.reserved.values().sum();
        for waiting in self.world.jobs.waiting.values().filter(|waiting| !waiting.is_unwanted) {
            let by = waiting.draft.delegated.as_ref().map(|delegated| delegated.by);
            let holder =
                by.and_then(|by| if self.now.cents.contains_key(&by) { Some(by) } else { self.now.holder(by) });
            let cents = cents_of(waiting.draft.lease.budget().as_ref()).unwrap_or_default();
            reserved += holder.map_or(0, |_| cents);
        }
        let all = self.now.cents.values().sum::<i64>() - reserved;
        let spent: i64 = self.now.spent.values().sum();
        let kept: i64 = self.now.cents.keys().map(left).sum();
        let returned: i64 = self.now.returned.values().sum();
        assert_eq!(all, spent + kept - returned);
    }

    /// Memory is what is stored, and what is counted is what there is.
    fn check_store(&self) {
        let (world, jobs) = (&self.world, &self.world.jobs);
        assert_eq!(world.store.records.len(), jobs.jobs.len());
        let mut live = 0;
        for stored in world.store.stored() {
            let job = &jobs.jobs[&stored.record.accepted.job];
            assert_eq!((&job.log, job.kept.said), (&stored.log, stored.kept.said));
            assert!(job.kept == stored.kept || !job.promised.is_empty());
            assert_eq!(job.is_live(), stored.ending.is_none());
            assert!(!stored.kept.is_running || job.status() != Status::Pending);
            live += usize::from(job.is_live());
        }
        assert_eq!(jobs.live_all, live + jobs.waiting.len());
        assert_eq!(jobs.live.values().sum::<usize>(), jobs.live_all);
        assert_eq!(jobs.log_bytes, jobs.jobs.values().map(|job| job.log.bytes()).sum::<usize>());
        let counts = jobs.counts();
        assert_eq!((counts.pending + counts.running, counts.kept), (live, jobs.jobs.len() - live));
        for (job, _) in &world.store.credentials {
            assert!(jobs.waiting.contains_key(job) || jobs.jobs.get(job).is_some_and(Job::is_live));
        }
        assert!(self.ends.values().all(|ends| *ends == 1));
    }

    /// Everything comes to its end, and then nothing is left.
    fn finish(mut self) {
        self.commit();
        for (job, id) in self.world.store.credentials.clone() {
            self.issue(job, id, true);
        }
        self.commit();
        for id in self.now.jobs.clone() {
            let _ended = self.world.jobs.cancel(id, None, None, self.world.now, &mut self.world.effects);
        }
        for id in std::mem::take(&mut self.holds) {
            self.world.jobs.release(id);
        }
        self.commit();
        self.check();
        assert!(self.now.jobs.iter().all(|id| self.ends[id] == 1), "one end each");
        self.world.tick(25 * 3_600_000);
        self.world.tick(0);
        self.world.turn();
        assert_nothing_is_left(&self.world);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_each_job_ends_once_all_money_is_somewhere_and_nothing_is_left(
        steps in prop::collection::vec(step(), 1..120)
    ) {
        let mut history = History::new();
        for step in &steps {
            history.take(step);
        }
        history.finish();
    }
}
