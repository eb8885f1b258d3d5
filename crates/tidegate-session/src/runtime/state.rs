//! All durable sessions and all jobs, as one pure machine: a command or a saying goes in with the time, an [`Outcome`] comes out.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate_jobs::credentials::{Credential, ProvisionError, Provisioner};
use tidegate_jobs::store::{Stored, StoredSegment, StoredSession, Write};
use tidegate_jobs::{
    Allowed, CredentialId, Delegation, Fault, Inventory, JobId, Jobs, Limits, Owner, Record, Rights, Said, SessionId,
    Spoken, TraceId,
};

use super::metrics::RuntimeMetrics;
use super::numbering::Numbering;
use super::outcome::Outcome;
use super::pace::Reading;
use super::{Command, Link, Reply, SessionLimits, Submission, Wants};
use crate::durable::{Change, Resumption, Seen, Segment, Sequence};

/// Where random numbers come from.
pub(crate) type Random = fn() -> u128;

/// See the module.
pub(crate) struct State {
    pub(super) jobs: Jobs,
    pub(super) limits: SessionLimits,
    pub(super) inventory: Arc<Inventory>,
    pub(super) provisioner: Option<Arc<dyn Provisioner>>,
    pub(super) metrics: Arc<RuntimeMetrics>,
    pub(super) sessions: HashMap<SessionId, Durable>,
    pub(super) links: HashMap<Link, SessionId>,
    /// Who is told what happens to a job that has not ended.
    pub(super) watchers: HashMap<JobId, Vec<SessionId>>,
    /// What whoever submitted a job may do, as long as the job lives.
    pub(super) rights: HashMap<JobId, Arc<dyn Rights>>,
    /// Sessions that wait for a job's credentials.
    pub(super) awaited: HashMap<JobId, Vec<SessionId>>,
    /// The numbers that a job's events have in the session that submitted it.
    pub(super) numbering: HashMap<JobId, Numbering>,
    /// Sessions that have numbers for entries of a job.
    pub(super) holders: HashMap<JobId, Vec<SessionId>>,
    /// What this turn has let go, to be stored at its end.
    pub(super) floors: HashMap<SessionId, u64>,
    /// Sessions by the hash of a token that is good.
    pub(super) tokens: HashMap<[u8; 32], SessionId>,
    /// Sessions by owner.
    pub(super) owned: HashMap<Owner, usize>,
    /// Sessions that jobs are held back for, by when that is over unless they go on reading.
    pub(super) holding: BTreeSet<(u64, SessionId)>,
    /// When sessions without a connection end.
    pub(super) ends: BTreeSet<(u64, SessionId)>,
    pub(super) random: Random,
    hasher: RandomState,
    /// Scratch.
    pub(super) changes: Vec<Change>,
}

/// One session, whatever its connection.
pub(crate) struct Durable {
    pub(super) owner: Owner,
    /// Of whoever was connected last; `None` until somebody is, after a restart.
    pub(super) rights: Option<Arc<dyn Rights>>,
    pub(super) link: Option<Link>,
    pub(super) sequence: Sequence,
    pub(super) resumption: Resumption,
    /// Whether its client acknowledges.
    pub(super) acks: bool,
    /// It was told to slow down.
    pub(super) pressed: bool,
    /// How its connection reads.
    pub(super) reading: Reading,
    seen: Seen,
    pub(super) created_ms: u64,
    /// Jobs that have not ended and that it is told of, its own included.
    pub(super) watching: HashSet<JobId>,
    /// Those of other sessions that it submitted again with their key: it may cancel them too.
    pub(super) again: HashSet<JobId>,
    /// The submit that waits for its credentials.
    pub(super) awaiting: Option<(JobId, Arc<str>, Option<TraceId>)>,
    /// Those behind it, which have to be answered after it.
    pub(super) later: VecDeque<(Arc<str>, Meant)>,
}

/// A submit, or why it is none.
pub(crate) type Meant = Result<Box<Submission>, (Fault, Option<TraceId>)>;

/// What a state is made of.
pub(crate) struct Parts {
    pub(crate) jobs: Limits,
    pub(crate) limits: SessionLimits,
    pub(crate) provisioner: Option<Arc<dyn Provisioner>>,
    pub(crate) stored: Stored,
    /// The agents of this process.
    pub(crate) inventory: Arc<Inventory>,
    pub(crate) metrics: Arc<RuntimeMetrics>,
    pub(crate) random: fn() -> u128,
}

impl State {
    /// What was stored, and nobody connected.
    pub(crate) fn new(parts: Parts, now_ms: u64, out: &mut Outcome) -> Self {
        let Parts { jobs, limits, provisioner, stored, inventory, metrics, random } = parts;
        let mut jobs = Jobs::new(jobs, Box::new(random));
        jobs.offer(inventory.clone());
        let mut effects = Vec::new();
        let mut own = HashMap::<SessionId, Vec<Arc<Record>>>::new();
        stored.jobs.iter().for_each(|job| own.entry(job.record.session).or_default().push(job.record.clone()));
        jobs.restore(stored.jobs, &stored.credentials, now_ms, &mut effects);
        let mut state = Self {
            jobs,
            limits,
            inventory,
            provisioner,
            metrics,
            sessions: HashMap::new(),
            links: HashMap::new(),
            watchers: HashMap::new(),
            rights: HashMap::new(),
            awaited: HashMap::new(),
            numbering: HashMap::new(),
            holders: HashMap::new(),
            floors: HashMap::new(),
            tokens: HashMap::new(),
            owned: HashMap::new(),
            holding: BTreeSet::new(),
            ends: BTreeSet::new(),
            random,
            hasher: RandomState::new(),
            changes: Vec::new(),
        };
        for session in stored.sessions {
            let own = own.remove(&session.record.id).unwrap_or_default();
            state.restore(session, &own, now_ms);
        }
        state.jobs.recover(now_ms, &mut effects);
        state.carry(effects, now_ms, out);
        state.keep(now_ms, out);
        state
    }

    /// A session, with the jobs that were submitted on it.
    fn restore(&mut self, stored: StoredSession, own: &[Arc<Record>], now_ms: u64) {
        let StoredSession { record, floor, segments, watches } = stored;
        let segments: Vec<Segment> =
            segments.iter().map(|&StoredSegment { seq, job, n }| Segment { seq, job, n }).collect();
        let sizes = |job| self.jobs.log(job).map(|log| (log.first(), log.sizes().collect()));
        let sequence = Sequence::restored(self.limits.caps, floor, &segments, sizes);
        let resumption = Resumption::restored(record.token, record.previous, self.limits.window_ms, now_ms);
        for job in sequence.jobs() {
            self.jobs.hold(job);
            self.holders.entry(job).or_default().push(record.id);
        }
        if sequence.floor() != floor {
            self.floors.insert(record.id, sequence.floor());
        }
        for (at, &Segment { seq, job, n }) in segments.iter().enumerate() {
            if self.jobs.record(job).is_some_and(|job| job.session == record.id) {
                let end = segments.get(at + 1).map_or(sequence.head() + 1, |next| next.seq);
                self.numbering.entry(job).or_default().extend(n, seq, end.saturating_sub(seq));
            }
        }
        let mut durable =
            Durable::new(record.owner.clone(), sequence, resumption, record.created_ms, Seen::new(self.hasher.clone()));
        // What it submitted is not submitted again, though it be resumed.
        own.iter().filter_map(|job| job.request_id.as_ref()).for_each(|id| {
            durable.seen.first(id);
        });
        let own = own.iter().map(|job| job.accepted.job);
        durable.watching = own.chain(watches).filter(|job| self.jobs.is_live(*job)).collect();
        for job in &durable.watching {
            self.watchers.entry(*job).or_default().push(record.id);
        }
        self.enter(record.id, durable);
    }

    pub(super) fn seen(&self) -> Seen {
        Seen::new(self.hasher.clone())
    }

    /// Another session.
    pub(super) fn enter(&mut self, id: SessionId, durable: Durable) {
        *self.owned.entry(durable.owner.clone()).or_default() += 1;
        if let Some(at) = durable.resumption.ends_at() {
            self.ends.insert((at, id));
        }
        let (token, previous) = durable.resumption.tokens();
        self.tokens.extend([Some(token), previous].into_iter().flatten().map(|token| (*token, id)));
        self.sessions.insert(id, durable);
    }

    /// Takes what a connection wants.
    pub(crate) fn take(&mut self, command: Command, now_ms: u64, out: &mut Outcome) {
        let Command { from, wants } = command;
        if let Wants::Session(hello) = wants {
            return self.hello(from, &hello, now_ms, out);
        }
        // Whoever has no session any more is on its way out.
        let Some(&id) = self.links.get(&from) else { return };
        // What a connection asks for itself does not say that its client has the welcome.
        if !matches!(wants, Wants::Events { .. } | Wants::Took { .. }) {
            self.heard(id, out);
        }
        match wants {
            Wants::Session(_) | Wants::Heard => {}
            Wants::Request(envelope, request) => {
                let is_new = self.sessions.get_mut(&id).is_some_and(|session| session.seen.first(&envelope));
                if is_new {
                    self.request(from, id, envelope, request, now_ms, out);
                }
            }
            Wants::Ack { id: envelope, seq } => self.ack(from, id, envelope, seq, out),
            Wants::Took { seq, bytes } => self.took(id, seq, bytes, now_ms, out),
            Wants::Events { after } => self.read(from, id, after, now_ms, out),
        }
    }

    /// A connection is gone. Its session stays for its window.
    pub(crate) fn gone(&mut self, link: Link, now_ms: u64) {
        if let Some(&id) = self.links.get(&link) {
            self.detach(link, id, now_ms);
        }
    }

    /// Takes what an agent says.
    pub(crate) fn hear(&mut self, spoken: Spoken, now_ms: u64, out: &mut Outcome) {
        let mut effects = Vec::new();
        let allowed = match &spoken.said {
            Said::Delegate { delegation, .. } => self.allowed(spoken.job, delegation),
            _ => Allowed::default(),
        };
        self.jobs.hear(spoken, allowed, now_ms, &mut effects);
        self.carry(effects, now_ms, out);
    }

    /// What a client may not have done itself it may not have done by another.
    fn allowed(&self, job: JobId, delegation: &Delegation) -> Allowed {
        let Delegation { agent, lease, constraints, .. } = delegation;
        let may = self.rights.get(&job).is_some_and(|rights| rights.may_submit(&agent.name));
        Allowed { may, provisioned: self.provisioned(agent, lease, constraints) }
    }

    /// A credential was made, or could not be.
    pub(crate) fn issued(
        &mut self,
        job: JobId,
        id: CredentialId,
        made: Result<Credential, ProvisionError>,
        now_ms: u64,
        out: &mut Outcome,
    ) {
        let mut effects = Vec::new();
        self.jobs.issued(job, id, made, now_ms, &mut effects);
        self.carry(effects, now_ms, out);
    }

    /// The agents are others now.
    pub(crate) fn offer(&mut self, inventory: Arc<Inventory>) {
        self.inventory = inventory.clone();
        self.jobs.offer(inventory);
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now_ms: u64, out: &mut Outcome) {
        let mut effects = Vec::new();
        self.jobs.tick(now_ms, &mut effects);
        self.carry(effects, now_ms, out);
        self.let_go_of_the_slow(now_ms, out);
        while let Some(&(at, id)) = self.ends.first()
            && at <= now_ms
        {
            self.ends.pop_first();
            self.end(id, out);
        }
    }

    /// At the end of a turn: what has to be kept of jobs beside their logs.
    pub(crate) fn keep(&mut self, now_ms: u64, out: &mut Outcome) {
        let mut effects = Vec::new();
        self.jobs.keep(&mut effects);
        self.carry(effects, now_ms, out);
        out.writes.extend(self.floors.drain().map(|(session, seq)| Write::Floor { session, seq }));
    }

    /// Has the gauges say how it is.
    pub(crate) fn gauge(&self) {
        let set = |gauge: &AtomicU64, value: usize| gauge.store(value as u64, Ordering::Relaxed);
        let metrics = &self.metrics;
        set(&metrics.sessions, self.sessions.len());
        set(&metrics.attached, self.links.len());
        set(&metrics.live, self.jobs.live_len());
        set(&metrics.kept, self.jobs.len());
    }

    /// When [`State::tick`] is to be called, in milliseconds since 1970.
    pub(crate) fn due(&self) -> Option<u64> {
        let ends = self.ends.first().map(|(at, _)| *at);
        let slow = self.holding.first().map(|(at, _)| *at);
        [ends, slow, self.jobs.due()].into_iter().flatten().min()
    }

    /// What a client has processed is let go.
    fn ack(&mut self, from: Link, id: SessionId, envelope: Arc<str>, seq: u64, out: &mut Outcome) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let mut changes = std::mem::take(&mut self.changes);
        let acked = session.sequence.ack(seq, &mut changes);
        session.pressed &= session.sequence.lag() > self.limits.lag / 2;
        self.change(id, &mut changes, out);
        self.changes = changes;
        if acked.is_err() {
            let fault = Fault::invalid("payload.last_processed_seq is higher than any event of the session");
            out.letters.push((from, Reply::Failed { request_id: envelope, job: None, fault }));
        }
    }
}

impl Durable {
    pub(super) fn new(owner: Owner, sequence: Sequence, resumption: Resumption, created_ms: u64, seen: Seen) -> Self {
        Self {
            owner,
            rights: None,
            link: None,
            sequence,
            resumption,
            acks: false,
            pressed: false,
            reading: Reading::default(),
            seen,
            created_ms,
            watching: HashSet::new(),
            again: HashSet::new(),
            awaiting: None,
            later: VecDeque::new(),
        }
    }
}
