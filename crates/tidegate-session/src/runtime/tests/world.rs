//! A world around the machine: a disk, agents that say what they are told to, connections that are cut, and clients that hold only what
//! the wire gave them. What anybody is told is held against what is true at every step.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use serde_json::value::RawValue;
use tidegate_jobs::credentials::{Credential, ProvisionError, Provisioner, Provisioning, Purpose};
use tidegate_jobs::lease::{Constraints, Lease};
use tidegate_jobs::store::Write;
use tidegate_jobs::{
    AgentRef, Asked, Code, CredentialId, Delegation, Entry, Fault, Inventory, JobId, Kind, Limits, Owner, Rights, Said,
    SessionId, Spoken, Told,
};
use tidegate_live::ClientId;

use super::disk::Disk;
use super::truth::Truth;
use crate::durable::Caps;
use crate::runtime::outcome::{Outcome, Read};
use crate::runtime::state::{Parts, State};
use crate::runtime::{
    Command, Hello, Link, List, Reply, Request, Resume, SessionLimits, Submission, Wants, Welcome, token_hash,
};

pub(super) const START_MS: u64 = 1_700_000_000_000;
pub(super) const HOUR_MS: u64 = 3_600_000;
/// Agents of this process; one with credentials; a worker's, which is not offered right after a restart.
pub(super) const AGENTS: [&str; 3] = ["echo", "keyed", "remote"];

thread_local! {
    static RANDOM: Cell<u128> = const { Cell::new(0) };
}

/// Different each time, and the same in each run.
fn random() -> u128 {
    RANDOM.set(RANDOM.get() + 1);
    let mixed = RANDOM.get().wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
    mixed ^ (mixed >> 61)
}

/// Jobs of `keyed` get two credentials.
struct Keys;

impl Provisioner for Keys {
    fn count(&self, purpose: &Purpose) -> usize {
        if &*purpose.agent.name == "keyed" { 2 } else { 0 }
    }

    fn issue(&self, _: CredentialId, _: Arc<Purpose>) -> Provisioning<Credential> {
        unreachable!("the driver's to call")
    }

    fn revoke(&self, _: CredentialId) -> Provisioning<()> {
        unreachable!("the driver's to call")
    }
}

/// Whoever a client is.
#[derive(Clone)]
pub(super) struct Role {
    pub(super) owner: Owner,
    pub(super) observes: bool,
}

impl Rights for Role {
    fn may_submit(&self, _: &str) -> bool {
        true
    }

    fn may_observe(&self, _: &str) -> bool {
        self.observes
    }
}

pub(super) fn role(tenant: &str, name: &str, observes: bool) -> Role {
    Role { owner: Owner { tenant: tenant.into(), name: name.into() }, observes }
}

/// What runs a job.
#[derive(Default)]
pub(super) struct Agent {
    pub(super) said: u64,
    pub(super) stopped: bool,
    pub(super) held: bool,
}

/// One connection, on the gateway's side a cursor, and what is on its way to the client.
pub(super) struct Conn {
    pub(super) role: Role,
    /// The next event's number, and the newest that is known of.
    next: u64,
    head: u64,
    asks: bool,
    pub(super) wire: VecDeque<Reply>,
    is_over: bool,
    /// The gateway has closed it.
    is_closed: bool,
}

/// What a world is made with.
#[derive(Debug, Clone, Default)]
pub(super) struct Setup {
    pub(super) jobs: Limits,
    pub(super) limits: SessionLimits,
    /// One live event in so many finds no room at the connection; 0 is none.
    pub(super) drops: u64,
}

impl Setup {
    pub(super) fn caps(events: usize) -> Self {
        let caps = Caps { events, bytes: 16 << 20 };
        Self { limits: SessionLimits { caps, ..SessionLimits::default() }, ..Self::default() }
    }
}

/// See the module.
pub(super) struct World {
    pub(super) setup: Setup,
    pub(super) state: State,
    pub(super) now: u64,
    /// Of the turn that is going on.
    out: Outcome,
    looked: (usize, usize),
    pub(super) disk: Disk,
    pub(super) truth: Truth,
    /// As it was at the last commit.
    committed: Truth,
    pub(super) conns: BTreeMap<u64, Conn>,
    links: u64,
    live_events: u64,
    pub(super) reads: VecDeque<Read>,
    pub(super) issuing: Vec<(JobId, CredentialId)>,
    pub(super) revoking: BTreeSet<CredentialId>,
    pub(super) agents: BTreeMap<JobId, Agent>,
    pub(super) envelopes: u64,
    /// Jobs whose submitter was told so.
    accepted: BTreeSet<JobId>,
}

pub(super) fn link(number: u64) -> Link {
    Link { port: 1, client: ClientId(number) }
}

fn number(link: Link) -> u64 {
    link.client.0
}

pub(super) fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

pub(super) fn lease() -> Lease {
    Lease::read(&raw(r#"{"agent.delegate":["*"],"cost.budget":["USD:100"]}"#)).unwrap()
}

pub(super) fn submission(agent: &str) -> Submission {
    Submission {
        agent: Asked::parse(agent).unwrap(),
        input: raw("null").into(),
        lease: lease(),
        constraints: Constraints::default(),
        idempotency_key: None,
        max_runtime_sec: None,
        trace: None,
    }
}

fn inventory(agents: &[&str]) -> Arc<Inventory> {
    let mut inventory = Inventory::default();
    for agent in agents {
        inventory.offer(&AgentRef { name: (*agent).into(), version: "1".into() }, true);
    }
    inventory.into()
}

impl World {
    pub(super) fn new(setup: Setup) -> Self {
        RANDOM.set(0);
        let (disk, mut out) = (Disk::default(), Outcome::default());
        let state = Self::state(&setup, &disk, &AGENTS, START_MS, &mut out);
        Self {
            setup,
            state,
            now: START_MS,
            out,
            looked: (0, 0),
            disk,
            truth: Truth::default(),
            committed: Truth::default(),
            conns: BTreeMap::new(),
            links: 0,
            live_events: 0,
            reads: VecDeque::new(),
            issuing: Vec::new(),
            revoking: BTreeSet::new(),
            agents: BTreeMap::new(),
            envelopes: 0,
            accepted: BTreeSet::new(),
        }
    }

    fn state(setup: &Setup, disk: &Disk, agents: &[&str], now: u64, out: &mut Outcome) -> State {
        let parts = Parts {
            jobs: setup.jobs.clone(),
            limits: setup.limits,
            provisioner: Some(Arc::new(Keys)),
            stored: disk.stored(),
            inventory: inventory(agents),
            metrics: Arc::default(),
            random,
        };
        State::new(parts, now, out)
    }

    /// What followed from the last input, held against what is true.
    fn look(&mut self, subscribe: Option<Option<u64>>) {
        let (writes, letters) = std::mem::replace(&mut self.looked, (self.out.writes.len(), self.out.letters.len()));
        let caps = self.setup.limits.caps;
        let replies: Vec<(Link, Reply)> = self.out.letters[letters..].to_vec();
        for (to, reply) in &replies {
            let session = self.state.links.get(to).copied();
            if let Some(session) = session {
                if let Reply::Subscribed(subscribed) = reply {
                    self.truth.subscribed(session, subscribed, subscribe.flatten(), caps);
                }
                self.truth.answered(session, reply);
                self.check_order(session, reply);
            }
        }
        self.truth.look(&self.out.writes[writes..], subscribe.is_some());
        for (to, reply) in &replies {
            self.check_watched(*to, reply);
        }
        self.check();
    }

    /// A job is accepted before its first event.
    fn check_order(&mut self, session: SessionId, reply: &Reply) {
        match reply {
            Reply::Accepted { accepted, .. } => {
                self.accepted.insert(accepted.job);
            }
            Reply::Event { entry, .. } if entry.n == 1 => {
                let is_own = self.state.jobs.record(entry.job).is_some_and(|record| record.session == session);
                assert!(
                    !is_own || self.accepted.contains(&entry.job),
                    "an event of {} before its acceptance",
                    entry.job
                );
            }
            _ => {}
        }
    }

    /// Whoever subscribed to a live job, or submitted it again, watches it.
    fn check_watched(&self, to: Link, reply: &Reply) {
        let Some(session) = self.state.links.get(&to) else { return };
        let job = match reply {
            Reply::Subscribed(subscribed) => subscribed.job.accepted.job,
            Reply::Accepted { accepted, .. } => accepted.job,
            _ => return,
        };
        if !self.truth.jobs[&job].has_ended() {
            assert!(self.truth.sessions[session].watches.contains(&job), "{session} does not see {job}");
        }
    }

    /// What is true at any time.
    fn check(&self) {
        let state = &self.state;
        for (id, session) in &state.sessions {
            let truth = &self.truth.sessions[id];
            assert!(!truth.has_ended);
            let (sequence, given) = (&session.sequence, &truth.given);
            assert_eq!(sequence.head(), given.len() as u64, "{id}");
            let runs = sequence.after(sequence.floor(), usize::MAX, usize::MAX).unwrap();
            let mut expected = given[sequence.floor() as usize..].iter();
            for run in runs {
                assert!(run.count > 0, "an empty run");
                for at in 0..run.count {
                    assert_eq!(expected.next(), Some(&(run.job, run.n + at)), "{id} at {}", run.seq + at);
                }
            }
            assert!(expected.next().is_none());
            let watching: BTreeSet<JobId> = session.watching.iter().copied().collect();
            assert_eq!(watching, truth.watches, "{id}");
            for job in sequence.jobs() {
                let holders = state.holders.get(&job).into_iter().flatten().filter(|holder| *holder == id);
                assert_eq!(holders.count(), 1, "{id} does not hold {job} once");
            }
            for job in &session.watching {
                let watchers = state.watchers.get(job).into_iter().flatten().filter(|watcher| *watcher == id);
                assert_eq!(watchers.count(), 1, "{id} does not watch {job} once");
            }
            let ends = state.ends.iter().filter(|(_, of)| of == id).count();
            assert_eq!(ends, usize::from(session.link.is_none()), "{id} ends, or has a connection");
            if let Some(link) = session.link {
                assert_eq!(state.links.get(&link), Some(id));
            }
        }
        let live = self.truth.sessions.values().filter(|session| !session.has_ended).count();
        assert_eq!((state.sessions.len(), state.owned.values().sum::<usize>()), (live, live));
        assert_eq!(state.links.len(), state.sessions.values().filter(|session| session.link.is_some()).count());
        let tokens = state.sessions.values().map(|session| {
            let (_, previous) = session.resumption.tokens();
            1 + usize::from(previous.is_some())
        });
        assert_eq!(state.tokens.len(), tokens.sum::<usize>());
        let held: usize = state.sessions.values().map(|session| session.sequence.jobs().count()).sum();
        assert_eq!(held, state.holders.values().map(Vec::len).sum::<usize>());
        let watched: usize = state.sessions.values().map(|session| session.watching.len()).sum();
        assert_eq!(watched, state.watchers.values().map(Vec::len).sum::<usize>());
        for job in state.rights.keys() {
            assert!(self.truth.jobs.get(job).is_none_or(|job| !job.has_ended()), "rights of {job}, which has ended");
        }
    }

    pub(super) fn take(&mut self, from: u64, wants: Wants) {
        let asked = match &wants {
            Wants::Request(_, Request::Subscribe { from_event_seq, history, .. }) => {
                Some(history.then_some(*from_event_seq))
            }
            _ => None,
        };
        if let Wants::Request(envelope, Request::Submit(_) | Request::Reject { .. }) = &wants
            && let Some(session) = self.state.links.get(&link(from))
        {
            let submits = &mut self.truth.sessions.get_mut(session).unwrap().submits;
            if !submits.contains(envelope) {
                submits.push(envelope.clone());
            }
        }
        self.state.take(Command { from: link(from), wants }, self.now, &mut self.out);
        self.look(asked);
    }

    /// A connection that asks for a session.
    pub(super) fn connect(&mut self, role: &Role, acks: bool, resume: Option<Resume>) -> u64 {
        self.links += 1;
        let number = self.links;
        let (wire, role) = (VecDeque::new(), role.clone());
        self.conns.insert(
            number,
            Conn { role: role.clone(), next: 0, head: 0, asks: false, wire, is_over: false, is_closed: false },
        );
        let hello = Hello { owner: role.owner.clone(), rights: Arc::new(role), acks, resume };
        self.take(number, Wants::Session(Box::new(hello)));
        number
    }

    /// A client's frame: the connection says first that its client was heard.
    pub(super) fn request(&mut self, from: u64, request: Request) -> Arc<str> {
        self.envelopes += 1;
        let envelope: Arc<str> = format!("msg_{}", self.envelopes).into();
        self.send(from, envelope.clone(), request);
        envelope
    }

    pub(super) fn send(&mut self, from: u64, envelope: Arc<str>, request: Request) {
        self.take(from, Wants::Heard);
        self.take(from, Wants::Request(envelope, request));
    }

    pub(super) fn gone(&mut self, number: u64) {
        self.conns.remove(&number);
        self.state.gone(link(number), self.now);
        self.look(None);
    }

    pub(super) fn say(&mut self, job: JobId, said: Said) {
        let agent = self.agents.entry(job).or_default();
        agent.said += 1;
        let spoken = Spoken { job, n: agent.said, said };
        self.state.hear(spoken, self.now, &mut self.out);
        self.look(None);
    }

    pub(super) fn event(&mut self, job: JobId) {
        self.say(job, Said::Event { kind: Kind::LOG, body: raw(r#"{"level":"info","message":"x"}"#) });
    }

    /// Two entries at once: the metric, and what is left.
    pub(super) fn cost(&mut self, job: JobId) {
        self.say(job, Said::Event { kind: Kind::METRIC, body: raw(r#"{"name":"cost.x","value":0.01,"unit":"USD"}"#) });
    }

    pub(super) fn delegate(&mut self, job: JobId, agent: &str) {
        let delegation = Delegation {
            id: "part".into(),
            agent: Asked::parse(agent).unwrap(),
            input: raw("1").into(),
            lease: Lease::read(&raw(r#"{"cost.budget":["USD:1"]}"#)).unwrap(),
            constraints: Constraints::default(),
        };
        self.say(job, Said::Delegate { call: 1, delegation: Box::new(delegation) });
    }

    pub(super) fn done(&mut self, job: JobId) {
        self.say(job, Said::Done { result: Some(raw("1")), summary: None });
    }

    pub(super) fn failed(&mut self, job: JobId) {
        self.say(job, Said::Failed(Fault::new(Code::InternalError, "no")));
    }

    pub(super) fn issued(&mut self, at: usize, is_made: bool) {
        if self.issuing.is_empty() {
            return;
        }
        let (job, id) = self.issuing.remove(at % self.issuing.len());
        let made = Credential {
            id,
            scheme: "bearer".into(),
            value: "secret".into(),
            endpoint: "https://models".into(),
            profile: None,
            constraints: None,
        };
        let made = if is_made { Ok(made) } else { Err(ProvisionError("down".into())) };
        self.state.issued(job, id, made, self.now, &mut self.out);
        self.look(None);
    }

    pub(super) fn revoked(&mut self) {
        while let Some(id) = self.revoking.pop_first() {
            self.out.writes.push(Write::CredentialRevoked(id));
        }
        self.look(None);
    }

    pub(super) fn offer(&mut self) {
        self.state.offer(inventory(&AGENTS));
    }

    /// The end of a turn: all of it is durable, then the rest is carried out.
    pub(super) fn turn(&mut self) {
        self.close_turn();
        self.commit();
        let letters = self.out.letters.len();
        self.tell(letters);
        self.pump();
    }

    fn close_turn(&mut self) {
        self.state.tick(self.now, &mut self.out);
        self.state.keep(self.now, &mut self.out);
        self.look(None);
    }

    fn commit(&mut self) {
        self.disk.commit(&self.out.writes);
        self.committed = self.truth.clone();
    }

    /// Carries out a turn, as far as those letters.
    fn tell(&mut self, letters: usize) {
        let out = std::mem::take(&mut self.out);
        self.looked = (0, 0);
        for (job, told) in out.told {
            match told {
                Told::Start(_) => drop(self.agents.insert(job, Agent::default())),
                Told::Stop(_) => self.agents.entry(job).or_default().stopped = true,
                Told::Hold(held) => self.agents.entry(job).or_default().held = held,
                Told::Heard(n) => assert!(n <= self.agents[&job].said, "heard what was not said"),
                Told::Permit { .. } | Told::Delegated { .. } | Told::Child { .. } => {}
            }
        }
        self.issuing.extend(out.issues);
        for (_, id) in out.revokes {
            // One that is being made is made or not, and then revoked.
            self.issuing.retain(|(_, issuing)| *issuing != id);
            self.revoking.insert(id);
        }
        for (to, reply) in out.letters.into_iter().take(letters) {
            self.hand(to, reply);
        }
        self.reads.extend(out.reads);
    }

    /// Before the commit, or after it and before all of its letters are out.
    pub(super) fn crash(&mut self, commits: Option<usize>) {
        match commits {
            None => self.truth = self.committed.clone(),
            Some(letters) => {
                self.close_turn();
                self.commit();
                self.tell(letters);
            }
        }
        self.out = Outcome::default();
        self.looked = (0, 0);
        for conn in self.conns.values_mut() {
            conn.is_over = true;
        }
        self.reads.clear();
        self.issuing.clear();
        self.revoking.clear();
        self.truth.has_restarted = true;
        // Submits that waited for credentials are nowhere any more.
        for session in self.truth.sessions.values_mut() {
            session.answered_to = session.submits.len();
        }
        self.state = Self::state(&self.setup, &self.disk, &["echo", "keyed"], self.now, &mut self.out);
        self.look(None);
        self.turn();
        // Only a worker's job goes on.
        let state = &self.state;
        self.agents.retain(|job, _| state.jobs.is_live(*job));
        self.offer();
    }

    /// Gives a letter to its connection.
    fn hand(&mut self, to: Link, reply: Reply) {
        self.check_letter(to, &reply);
        self.live_events += u64::from(matches!(reply, Reply::Event { .. }));
        let is_full = self.setup.drops > 0 && self.live_events.is_multiple_of(self.setup.drops);
        let Some(conn) = self.conns.get_mut(&number(to)) else { return };
        if conn.is_closed {
            return;
        }
        assert!(!conn.is_over, "{reply:?} after the last word");
        match reply {
            Reply::Event { seq, entry } => {
                conn.head = conn.head.max(seq);
                if seq == conn.next && !is_full {
                    conn.next += 1;
                    conn.wire.push_back(Reply::Event { seq, entry });
                }
            }
            Reply::Events { after, events, head } => {
                conn.asks = false;
                conn.head = conn.head.max(head);
                for (seq, entry) in (after + 1..).zip(events) {
                    if seq == conn.next {
                        conn.next += 1;
                        conn.wire.push_back(Reply::Event { seq, entry });
                    }
                }
            }
            reply => {
                match &reply {
                    Reply::Welcome(welcome) => (conn.next, conn.head) = (welcome.after + 1, welcome.head),
                    Reply::Subscribed(subscribed) => conn.head = conn.head.max(subscribed.subscribed_from),
                    Reply::Fenced | Reply::Closed | Reply::Refused(_) => conn.is_over = true,
                    _ => {}
                }
                conn.wire.push_back(reply);
            }
        }
    }

    /// What a connection is told is on the disk, and may be told to it.
    fn check_letter(&self, to: Link, reply: &Reply) {
        let Some(conn) = self.conns.get(&number(to)) else { return };
        let sees = |job: JobId| {
            assert!(self.committed.jobs.contains_key(&job), "{job} is not stored");
            let Role { owner, observes } = &conn.role;
            assert!(self.committed.may_see(owner, *observes, job), "{} is told of {job}", conn.role.owner.name);
            assert_eq!(self.committed.jobs[&job].record.owner.tenant, owner.tenant);
        };
        let shown = |job: JobId, credentials: &[Credential]| {
            sees(job);
            assert!(credentials.is_empty() || self.committed.jobs[&job].record.owner == conn.role.owner, "a secret");
        };
        match reply {
            Reply::Accepted { accepted, credentials, .. } => shown(accepted.job, credentials),
            Reply::Subscribed(subscribed) => shown(subscribed.job.accepted.job, &subscribed.credentials),
            Reply::Cancelled { job, .. } => sees(*job),
            Reply::Jobs { jobs, .. } => jobs.iter().for_each(|listed| sees(listed.job.accepted.job)),
            Reply::Event { entry, .. } => sees(entry.job),
            Reply::Events { events, .. } => events.iter().for_each(|entry| sees(entry.job)),
            Reply::Failed { job: Some(job), fault, .. } => {
                let may_see = self.truth.jobs.get(job).is_some_and(|of| {
                    !of.is_forgotten && self.truth.may_see(&conn.role.owner, conn.role.observes, *job)
                });
                assert!(may_see || fault.code == Code::JobNotFound, "{fault}");
            }
            _ => {}
        }
    }

    /// A read that was asked for is done, in any order.
    pub(super) fn read(&mut self, at: usize) {
        if self.reads.is_empty() {
            return;
        }
        let Read { to, after, runs, head } = self.reads.remove(at % self.reads.len()).unwrap();
        // Fewer than asked for, as a reader that stops at its bytes.
        let wanted: Vec<(JobId, u64)> =
            runs.iter().flat_map(|run| (0..run.count).map(|at| (run.job, run.n + at))).collect();
        let events: Vec<Arc<Entry>> =
            wanted.iter().take(7).map_while(|(job, n)| self.disk.entry(*job, *n).cloned()).collect();
        if self.conns.get(&number(to)).is_none_or(|conn| conn.is_over) {
            return;
        }
        if !events.is_empty() || wanted.is_empty() {
            self.hand(to, Reply::Events { after, events, head });
        } else {
            self.hand(to, Reply::Refused(Fault::new(Code::ResumeWindowExpired, "gone")));
            self.conns.entry(number(to)).and_modify(|conn| conn.is_closed = true);
            self.state.gone(to, self.now);
        }
        self.pump();
    }

    /// Connections that are behind ask for what they miss.
    fn pump(&mut self) {
        let behind: Vec<(u64, u64)> = self
            .conns
            .iter_mut()
            .filter(|(_, conn)| !conn.is_over && conn.next > 0 && conn.next <= conn.head && !conn.asks)
            .map(|(number, conn)| {
                conn.asks = true;
                (*number, conn.next - 1)
            })
            .collect();
        for (number, after) in behind {
            self.take(number, Wants::Events { after });
        }
    }

    /// Turns and reads until nothing more is to be done.
    pub(super) fn rest(&mut self) {
        loop {
            self.turn();
            if self.reads.is_empty() && self.out.reads.is_empty() {
                return;
            }
            while !self.reads.is_empty() {
                self.read(0);
            }
        }
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now += ms;
        self.turn();
    }

    /// All that a connection has been told and has not looked at.
    pub(super) fn inbox(&mut self, number: u64) -> Vec<Reply> {
        self.conns.get_mut(&number).map(|conn| conn.wire.drain(..).collect()).unwrap_or_default()
    }

    /// A session that has just begun: its connection, and the welcome.
    pub(super) fn begin(&mut self, role: &Role, acks: bool) -> (u64, Arc<Welcome>) {
        let number = self.connect(role, acks, None);
        self.turn();
        match &self.inbox(number)[..] {
            [Reply::Welcome(welcome)] => (number, welcome.clone()),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn resume(&mut self, role: &Role, welcome: &Welcome, last: u64) -> u64 {
        let (session, token) = (Some(welcome.session), token_hash(&welcome.token));
        self.connect(role, false, Some(Resume { session, token, last_event_seq: last }))
    }

    /// A job of that connection's, accepted.
    pub(super) fn submit(&mut self, from: u64, submission: Submission) -> JobId {
        self.request(from, Request::Submit(Box::new(submission)));
        self.turn();
        let accepted = self.inbox(from).into_iter().find_map(|reply| match reply {
            Reply::Accepted { accepted, .. } => Some(accepted.job),
            _ => None,
        });
        accepted.expect("it was not accepted")
    }

    pub(super) fn subscribe(&mut self, from: u64, job: JobId, since: Option<u64>) {
        let (from_event_seq, history) = (since.unwrap_or(0), since.is_some());
        self.request(from, Request::Subscribe { job, from_event_seq, history });
    }

    pub(super) fn list(&mut self, from: u64, limit: usize, cursor: Option<Box<str>>) {
        self.request(from, Request::List(Box::new(List { limit: Some(limit), cursor, ..List::default() })));
    }

    /// How much was given to all sessions.
    pub(super) fn given(&self) -> usize {
        self.truth.sessions.values().map(|session| session.given.len()).sum()
    }

    /// Writes and letters of this turn so far.
    pub(super) fn said(&self) -> (usize, usize) {
        (self.out.writes.len(), self.out.letters.len())
    }

    /// The session of a connection.
    pub(super) fn session(&self, number: u64) -> Option<SessionId> {
        self.state.links.get(&link(number)).copied()
    }
}
