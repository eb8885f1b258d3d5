//! Whatever happens, in whatever order: connections that are cut, tokens that are stolen or old, crashes before and after a commit, slow
//! and repeated wishes, agents that go on after they were stopped, time that passes. [`World`] holds everything that anybody is told
//! against what is true; at the end all is brought to rest, everybody has all of it, and when all time has passed nothing is left.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use tidegate_jobs::{Code, JobId, Limits, Said, SessionId};

use super::world::*;
use crate::durable::Caps;
use crate::runtime::{Reply, Request, Resume, SessionLimits, Submission, Wants, token_hash};

/// Two connections of one owner, one of another who may observe, and a namesake in another tenant.
const CLIENTS: usize = 4;

fn roles() -> [Role; CLIENTS] {
    [role("t", "ann", false), role("t", "ann", false), role("t", "bob", true), role("u", "ann", true)]
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// A client connects, or goes on; with an event fewer than it has; anew although it has a connection that nobody knows is gone.
    Connect(usize, u64),
    /// It has read so much of what was on its way, and is cut; whether the gateway knows.
    Cut(usize, usize, bool),
    Read(usize, usize),
    Submit(usize, usize, Option<u8>),
    Reject(usize),
    /// The envelope before, again.
    Repeat(usize),
    Cancel(usize, usize),
    Subscribe(usize, usize, Option<u64>),
    Unsubscribe(usize, usize),
    List(usize),
    Ack(usize, u64),
    Close(usize),
    /// Shows the token of another.
    Steal(usize, usize),
    Say(usize, usize, u8),
    Issued(usize, bool),
    Revoked,
    Fetch(usize),
    Turn,
    /// Before the commit, or after it and so many letters.
    Crash(Option<usize>),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = || 0..CLIENTS;
    let job = || 0..12_usize;
    let step = prop_oneof![
        6 => (who(), 0..3_u64).prop_map(|(who, back)| Step::Connect(who, back)),
        3 => (who(), 0..9_usize, any::<bool>()).prop_map(|(who, read, known)| Step::Cut(who, read, known)),
        8 => (who(), 1..20_usize).prop_map(|(who, count)| Step::Read(who, count)),
        8 => (who(), 0..AGENTS.len(), prop::option::of(0..3_u8)).prop_map(|(who, agent, key)| Step::Submit(who, agent, key)),
        1 => who().prop_map(Step::Reject),
        2 => who().prop_map(Step::Repeat),
        2 => (who(), job()).prop_map(|(who, job)| Step::Cancel(who, job)),
        5 => (who(), job(), prop::option::of(0..12_u64)).prop_map(|(who, job, since)| Step::Subscribe(who, job, since)),
        3 => (who(), job()).prop_map(|(who, job)| Step::Unsubscribe(who, job)),
        1 => who().prop_map(Step::List),
        3 => (who(), 0..4_u64).prop_map(|(who, back)| Step::Ack(who, back)),
        1 => who().prop_map(Step::Close),
        1 => (who(), who()).prop_map(|(who, whose)| Step::Steal(who, whose)),
        24 => (job(), 1..5_usize, 0..12_u8).prop_map(|(job, times, what)| Step::Say(job, times, what)),
        6 => (any::<usize>(), prop::bool::weighted(0.8)).prop_map(|(at, is_made)| Step::Issued(at, is_made)),
        1 => Just(Step::Revoked),
        10 => any::<usize>().prop_map(Step::Fetch),
        16 => Just(Step::Turn),
        2 => prop::option::of(0..6_usize).prop_map(Step::Crash),
        3 => prop_oneof![8 => 1..5_000_u64, 1 => 1..700_000_u64].prop_map(Step::Pass),
    ];
    vec(step, 1..140)
}

/// A session as its client knows it.
#[derive(Clone)]
struct Known {
    session: SessionId,
    token: Box<str>,
    last: u64,
    acked: u64,
}

struct Client {
    role: Role,
    conn: Option<u64>,
    /// The welcome of this connection has arrived.
    is_in: bool,
    known: Option<Known>,
    envelope: Option<Arc<str>>,
}

struct History {
    world: World,
    clients: Vec<Client>,
    /// Every resume in time succeeds.
    is_roomy: bool,
}

impl History {
    fn new(setup: Setup, is_roomy: bool) -> Self {
        let client = |role| Client { role, conn: None, is_in: false, known: None, envelope: None };
        Self { world: World::new(setup), clients: roles().into_iter().map(client).collect(), is_roomy }
    }

    fn connect(&mut self, who: usize, back: u64) {
        let (world, client) = (&mut self.world, &mut self.clients[who]);
        let resume = client.known.as_mut().map(|known| {
            known.last = known.last.saturating_sub(back).max(known.acked);
            let session = (back != 1).then_some(known.session);
            Resume { session, token: token_hash(&known.token), last_event_seq: known.last }
        });
        let number = world.connect(&client.role, true, resume);
        client.conn = Some(number);
        client.is_in = false;
    }

    /// What arrives at a client: in order, once, and true.
    fn read(&mut self, who: usize, count: usize) {
        let Some(number) = self.clients[who].conn else { return };
        for _ in 0..count {
            let Some(reply) = self.world.conns.get_mut(&number).and_then(|conn| conn.wire.pop_front()) else { return };
            self.arrives(who, reply);
        }
    }

    fn arrives(&mut self, who: usize, reply: Reply) {
        let (world, client) = (&self.world, &mut self.clients[who]);
        match reply {
            Reply::Welcome(welcome) => {
                let known = client.known.take().filter(|_| welcome.resumed);
                let (last, acked) = known.map_or((0, 0), |known| (known.last, known.acked));
                assert_eq!(welcome.after, last);
                client.known = Some(Known { session: welcome.session, token: welcome.token.clone(), last, acked });
                client.is_in = true;
            }
            Reply::Event { seq, entry } => {
                let known = client.known.as_mut().unwrap();
                assert_eq!(seq, known.last + 1, "a gap, or out of order");
                known.last = seq;
                let given = &world.truth.sessions[&known.session].given;
                assert_eq!(given[seq as usize - 1], (entry.job, entry.n), "another event at {seq}");
                let stored = &world.truth.jobs[&entry.job].log[entry.n as usize - 1];
                assert!(Arc::ptr_eq(stored, &entry), "not as it was stored");
            }
            Reply::Refused(fault) => {
                if client.is_in || !self.is_roomy {
                    assert!(!self.is_roomy, "{fault}");
                    assert_eq!(fault.code, Code::ResumeWindowExpired);
                } else {
                    // Only a session that is not there any more.
                    let known = client.known.as_ref().unwrap();
                    assert!(
                        world.truth.sessions.get(&known.session).is_none_or(|session| session.has_ended),
                        "{fault}"
                    );
                }
                (client.conn, client.known, client.is_in) = (None, None, false);
            }
            Reply::Fenced => panic!("a client has one connection that it reads"),
            Reply::Closed => {
                client.conn = None;
                client.is_in = false;
            }
            _ => {}
        }
    }

    /// A client's connection, if it may ask for something.
    fn open(&mut self, who: usize) -> Option<u64> {
        self.clients[who].conn.filter(|_| self.clients[who].is_in)
    }

    fn job(&self, at: usize) -> Option<JobId> {
        let jobs = &self.world.truth.jobs;
        jobs.keys().rev().nth(at % jobs.len().max(1)).copied()
    }

    fn submission(agent: usize, key: Option<u8>) -> Submission {
        let mut submission = submission(AGENTS[agent]);
        submission.idempotency_key = key.map(|key| format!("key{key}").into());
        submission.max_runtime_sec = key.filter(|key| *key == 2).map(|_| 60);
        submission
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Connect(who, back) => {
                // What the former had not read is lost.
                self.connect(who, back);
            }
            Step::Cut(who, read, is_known) => {
                self.read(who, read);
                if let Some(number) = self.clients[who].conn.take() {
                    self.clients[who].is_in = false;
                    if is_known {
                        self.world.gone(number);
                    }
                }
            }
            Step::Read(who, count) => self.read(who, count),
            Step::Submit(who, agent, key) => {
                if let Some(conn) = self.open(who) {
                    let request = Request::Submit(Box::new(Self::submission(agent, key)));
                    self.clients[who].envelope = Some(self.world.request(conn, request));
                }
            }
            Step::Reject(who) => {
                if let Some(conn) = self.open(who) {
                    let fault = tidegate_jobs::Fault::invalid("no");
                    self.clients[who].envelope = Some(self.world.request(conn, Request::Reject { fault, trace: None }));
                }
            }
            Step::Repeat(who) => {
                if let Some(conn) = self.open(who)
                    && let Some(envelope) = self.clients[who].envelope.clone()
                    && !self.world.truth.has_restarted
                    && self.clients[who]
                        .known
                        .as_ref()
                        .is_some_and(|known| self.world.truth.sessions[&known.session].submits.contains(&envelope))
                {
                    self.world.take(conn, Wants::Heard);
                    let before = self.world.said();
                    self.world.send(conn, envelope, Request::Submit(Box::new(submission("echo"))));
                    assert_eq!(self.world.said(), before, "a repeated envelope is answered");
                }
            }
            Step::Cancel(who, job) => self.cancel(who, job),
            Step::Subscribe(who, job, since) => {
                if let Some((conn, job)) = self.open(who).zip(self.job(job)) {
                    self.world.subscribe(conn, job, since);
                }
            }
            Step::Unsubscribe(who, job) => {
                let watches =
                    self.clients[who].known.as_ref().map(|known| &self.world.truth.sessions[&known.session].watches);
                let watched = watches.and_then(|watches| watches.iter().nth(job % watches.len().max(1)).copied());
                if let Some((conn, job)) = self.open(who).zip(watched.or(self.job(job))) {
                    self.world.request(conn, Request::Unsubscribe { job });
                }
            }
            Step::List(who) => self.list(who),
            Step::Ack(who, back) => {
                if let Some(conn) = self.open(who) {
                    let known = self.clients[who].known.as_mut().unwrap();
                    known.acked = known.acked.max(known.last.saturating_sub(back));
                    let seq = known.acked;
                    self.world.take(conn, Wants::Heard);
                    self.world.take(conn, Wants::Ack { id: "ack".into(), seq });
                }
            }
            Step::Close(who) => {
                if let Some(conn) = self.open(who) {
                    self.world.request(conn, Request::Close);
                    // It waits for the answer and sends nothing more.
                    self.clients[who].is_in = false;
                }
            }
            Step::Steal(who, whose) => self.steal(who, whose),
            Step::Say(job, times, what) => {
                let Some(job) = self.world.agents.keys().rev().nth(job).copied() else { return };
                (0..times).for_each(|_| self.say(job, what));
            }
            Step::Issued(at, is_made) => self.world.issued(at, is_made),
            Step::Revoked => self.world.revoked(),
            Step::Fetch(at) => self.world.read(at),
            Step::Turn => self.world.turn(),
            Step::Crash(commits) => {
                self.world.crash(commits);
                for client in &mut self.clients {
                    // Of what it was told some has arrived, some not.
                    (client.conn, client.is_in) = (None, false);
                }
            }
            Step::Pass(ms) => self.world.pass(ms),
        }
    }

    fn say(&mut self, job: JobId, what: u8) {
        let world = &mut self.world;
        match what {
            0..=4 => world.event(job),
            5 | 6 => world.cost(job),
            7 => world.say(job, Said::Chunk { data: tidegate_jobs::Chunk::Text("part".into()), is_last: false }),
            8 => world.delegate(job, "echo"),
            9 => world.delegate(job, "keyed"),
            10 => world.done(job),
            _ => world.failed(job),
        }
    }

    /// Refused, it reaches nobody.
    fn cancel(&mut self, who: usize, job: usize) {
        let Some((conn, job)) = self.open(who).zip(self.job(job)) else { return };
        self.world.take(conn, Wants::Heard);
        let (given, said) = (self.world.given(), self.world.said());
        let session = self.world.session(conn);
        self.world.request(conn, Request::Cancel { job, reason: None });
        let of = &self.world.truth.jobs[&job];
        if session.is_some_and(|session| {
            of.record.owner != self.clients[who].role.owner
                || (of.record.session != session
                    && !self.world.state.sessions[&session].again.contains(&job)
                    && !of.has_ended())
        }) {
            assert_eq!(
                (self.world.given(), self.world.said().0),
                (given, said.0),
                "a refused cancel is told to others"
            );
            assert_eq!(self.world.said().1, said.1 + 1);
        }
    }

    /// Page by page, newest first, each once, none of anybody else's.
    fn list(&mut self, who: usize) {
        if self.open(who).is_none() {
            return;
        }
        self.world.rest();
        self.read(who, usize::MAX);
        let Some(conn) = self.open(who).filter(|conn| self.world.session(*conn).is_some()) else { return };
        let (mut cursor, mut all) = (None, Vec::new());
        loop {
            self.world.list(conn, 2, cursor.take());
            self.world.turn();
            let page = self.world.inbox(conn).into_iter().find_map(|reply| match reply {
                Reply::Jobs { jobs, next_cursor, .. } => Some((jobs, next_cursor)),
                reply => {
                    self.arrives(who, reply);
                    None
                }
            });
            let (jobs, next) = page.expect("a page");
            all.extend(jobs.iter().map(|listed| listed.job.accepted.job));
            if next.is_none() {
                break;
            }
            cursor = next;
        }
        assert!(all.windows(2).all(|two| two[0] > two[1]));
        let Role { owner, observes } = self.clients[who].role.clone();
        for (id, job) in &self.world.truth.jobs {
            if self.world.truth.may_see(&owner, observes, *id) && !job.has_ended() {
                assert!(all.contains(id), "{id} is live and not listed");
            }
        }
    }

    fn steal(&mut self, who: usize, whose: usize) {
        let Some(known) = self.clients[whose].known.clone() else { return };
        let (thief, owner) = (self.clients[who].role.clone(), self.clients[whose].role.owner.clone());
        if thief.owner == owner {
            return;
        }
        self.world.turn();
        let resume =
            Resume { session: Some(known.session), token: token_hash(&known.token), last_event_seq: known.last };
        let number = self.world.connect(&thief, false, Some(resume));
        self.world.turn();
        let replies = self.world.inbox(number);
        assert!(matches!(replies[..], [Reply::Refused(_)]), "{replies:?}");
        self.world.gone(number);
    }

    /// Everybody is back and reads all; every job ends; then all time passes.
    fn finish(mut self) {
        let world = &mut self.world;
        world.turn();
        while !world.issuing.is_empty() {
            world.issued(0, true);
            world.turn();
        }
        loop {
            let live = world.truth.jobs.iter().find(|(_, job)| !job.has_ended()).map(|(id, _)| *id);
            let Some(job) = live else { break };
            world.done(job);
            world.turn();
            while !world.issuing.is_empty() {
                world.issued(0, false);
                world.turn();
            }
        }
        for who in 0..CLIENTS {
            // A first try may find that the session is gone, or that it was outrun.
            for _ in 0..3 {
                if self.clients[who].conn.is_none() || !self.clients[who].is_in {
                    self.connect(who, 0);
                }
                self.world.rest();
                self.read(who, usize::MAX);
            }
            let known = self.clients[who].known.as_ref().unwrap();
            assert_eq!(known.last, self.world.truth.sessions[&known.session].given.len() as u64, "it has not all");
        }
        self.check_own();
        let world = &mut self.world;
        let conns: Vec<u64> = world.conns.keys().copied().collect();
        conns.into_iter().for_each(|number| world.gone(number));
        world.revoked();
        // Windows, then what is kept of jobs, then keys.
        for _ in 0..4 {
            world.pass(700_000);
        }
        world.revoked();
        world.turn();
        assert!(world.state.sessions.is_empty() && world.state.holders.is_empty());
        world.pass(25 * HOUR_MS);
        world.turn();
        assert_eq!(world.disk.names(), Vec::<String>::new());
        let state = &world.state;
        assert!(
            state.jobs.is_empty() && state.links.is_empty() && state.watchers.is_empty() && state.rights.is_empty()
        );
        assert!(state.awaited.is_empty() && state.numbering.is_empty() && state.floors.is_empty());
        assert!(state.tokens.is_empty() && state.owned.is_empty() && state.ends.is_empty());
        assert_eq!(state.due(), None);
    }

    /// A session has all of each job that was submitted on it, and one end of it; what it asked to see again is beside that.
    fn check_own(&self) {
        let truth = &self.world.truth;
        for (id, job) in &truth.jobs {
            let Some(session) = truth.sessions.get(&job.record.session).filter(|session| !session.has_ended) else {
                continue;
            };
            let mut next = 1;
            for (_, n) in session.given.iter().filter(|(of, _)| of == id) {
                assert!(*n <= next, "a gap");
                next = next.max(n + 1);
            }
            assert_eq!(next - 1, job.log.len() as u64, "{id} is not all there");
        }
    }
}

fn run(setup: Setup, is_roomy: bool, steps: Vec<Step>) {
    let mut history = History::new(setup, is_roomy);
    steps.into_iter().for_each(|step| history.step(step));
    history.finish();
}

fn limits(caps: Caps, lag: u64) -> SessionLimits {
    SessionLimits { caps, lag, waiting: 3, subscriptions: 4, ..SessionLimits::default() }
}

/// `TIDEGATE_HISTORIES` of each kind, 400 without it. What fails is told with its seed.
fn config() -> ProptestConfig {
    let cases = std::env::var("TIDEGATE_HISTORIES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases.unwrap_or(400)) }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn nothing_is_lost_where_there_is_room(steps in steps(), lag in 3..40_u64, drops in 0..6_u64) {
        let limits = limits(Caps::default(), lag);
        run(Setup { limits, drops, jobs: Limits::default() }, true, steps);
    }

    #[test]
    fn where_there_is_none_it_is_told_and_never_a_gap(
        steps in steps(),
        events in 1..40_usize,
        log_entries in 8..40_usize,
        kept in 2..30_usize,
        drops in 0..6_u64,
    ) {
        let limits = limits(Caps { events, bytes: 8_000 }, 20);
        run(Setup { limits, drops, jobs: Limits { log_entries, kept, ..Limits::default() } }, false, steps);
    }
}
