//! Random histories of sessions, connections and what happens to Redis, against what was truly written there.
//!
//! Two sentences have to hold after every step. No connection lives on whose session ended: a second after the entry could be
//! read, or one wait and a second after the place in the stream was lost. And no connection ends whose session did not, but
//! with `unverified` while Redis was out of reach or the place was lost.
//!
//! `HISTORIES` says how many (4), `HISTORY` from which seed on.

mod steps;

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use redis::pipe;

use crate::device::{BLOCK, House, Sessions};
use crate::seat::{Refused, Seat, Way};

const STEPS: usize = 60;
const USERS: [&str; 4] = ["ann", "bob", "cleo", "dan"];
const SEATS_MAX: usize = 60;
/// Until the gateway is back at a Redis that is back.
const RETURN: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_outlives_their_session_and_nobody_else_goes() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let first = number("HISTORY").unwrap_or(1);
    for seed in first..first + number("HISTORIES").unwrap_or(4) {
        let Some(house) = House::open("lookup_timeout_ms = 1000\n") else { return };
        World::new(house, seed).live().await;
    }
}

/// What a session truly is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Truth {
    Active,
    Revoked,
    /// Its hash is gone or malformed.
    Lost,
}

struct Session {
    id: String,
    user: &'static str,
    truth: Truth,
    /// Since it is not active: when the last connection has to have ended.
    gone_by: Option<Instant>,
}

struct World {
    house: House,
    random: StdRng,
    seed: u64,
    sessions: Vec<Session>,
    /// By the index of their session.
    seats: Vec<(usize, Seat)>,
    /// What was done, for whoever has to find out.
    trail: Vec<String>,
    began: Instant,
    /// From when on the gateway is at Redis, for all one may expect.
    reached_at: Instant,
    /// Until when `unverified` is a fair answer.
    unsure_until: Instant,
    /// Ends that were seen: for good, and unverified.
    ends: [usize; 2],
    /// What was left of the time that one had, at the least.
    least_left: Duration,
}

impl World {
    fn new(house: House, seed: u64) -> Self {
        let now = Instant::now();
        Self {
            house,
            random: StdRng::seed_from_u64(seed),
            seed,
            sessions: Vec::new(),
            seats: Vec::new(),
            trail: Vec::new(),
            began: now,
            reached_at: now,
            unsure_until: now,
            ends: [0; 2],
            least_left: Duration::MAX,
        }
    }

    async fn live(mut self) {
        for _ in 0..6 {
            self.create().await;
        }
        for _ in 0..10 {
            self.connect().await;
        }
        for _ in 0..STEPS {
            self.step().await;
            self.look();
            if self.random.random_bool(0.3) {
                self.all_gone().await;
            }
        }
        self.all_gone().await;
        let seats: Vec<Seat> = self.seats.drain(..).map(|(_, seat)| seat).collect();
        self.house.stay(&seats).await;
        eprintln!(
            "history {}: {} sessions, {} ended for good, {} unverified, {:?} left at the least, {} stay, lateness {:?}",
            self.seed,
            self.sessions.len(),
            self.ends[0],
            self.ends[1],
            self.least_left,
            seats.len(),
            self.house.lateness.a_second() - Duration::from_secs(1),
        );
        assert!(self.ends[0] > 0, "nobody was ended");
    }

    fn note(&mut self, what: impl Into<String>) {
        self.trail.push(format!("{:>6} ms: {}", self.began.elapsed().as_millis(), what.into()));
    }

    fn fail(&self, what: &str) -> ! {
        let from = self.trail.len().saturating_sub(40);
        panic!("history {}: {what}\n{}", self.seed, self.trail[from..].join("\n"));
    }

    /// Compares who is there with who may be.
    fn look(&mut self) {
        let now = Instant::now();
        let mut seats = std::mem::take(&mut self.seats);
        seats.retain(|(session, seat)| {
            let (session, end) = (&self.sessions[*session], seat.end());
            let name = || format!("{:?} of {} ({:?})", seat.way, session.id, session.truth);
            match (end, session.gone_by) {
                (None, None) => return true,
                (None, Some(by)) => {
                    // What ends while this looks is not late.
                    if now > by + self.house.lateness.a_second() - Duration::from_secs(1) {
                        self.fail(&format!("{} lives {:?} too long", name(), now - by));
                    }
                    return true;
                }
                (Some(end), _) if end.is("unverified") || end.is("identity_unavailable") => {
                    if end.at > self.unsure_until {
                        self.fail(&format!("{} was closed as unverified, while Redis was there: {end:?}", name()));
                    }
                    self.ends[1] += 1;
                }
                (Some(end), Some(by)) => {
                    if !end.is("revoked") && !end.is("unauthenticated") {
                        self.fail(&format!("{} ended for another reason: {end:?}", name()));
                    }
                    if end.at > by + self.house.lateness.a_second() - Duration::from_secs(1) {
                        self.fail(&format!("{} ended {:?} too late", name(), end.at - by));
                    }
                    // Of the time that it had.
                    let left = by.saturating_duration_since(end.at);
                    self.least_left = self.least_left.min(left);
                    self.ends[0] += 1;
                }
                (Some(end), None) => self.fail(&format!("{} ended without cause: {end:?}", name())),
            }
            false
        });
        self.seats = seats;
    }

    /// Waits until everybody has gone who has to.
    async fn all_gone(&mut self) {
        loop {
            self.look();
            if !self.seats.iter().any(|(session, _)| self.sessions[*session].gone_by.is_some()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// An entry about these can be read from now on: they have a second.
    fn end(&mut self, sessions: &[usize], truth: Truth) {
        self.end_within(sessions, truth, Duration::ZERO);
    }

    /// The place in the stream is lost with word of these: a wait of the gateway and a second.
    fn end_unheard(&mut self, sessions: &[usize], truth: Truth) {
        self.end_within(sessions, truth, BLOCK);
        self.unsure(Instant::now().max(self.reached_at) + BLOCK + Duration::from_secs(3));
    }

    fn end_within(&mut self, sessions: &[usize], truth: Truth, wait: Duration) {
        let by = Instant::now().max(self.reached_at) + wait + Duration::from_secs(1);
        for session in sessions {
            let session = &mut self.sessions[*session];
            session.truth = truth;
            // It has to go for what came first.
            session.gone_by.get_or_insert(by);
        }
    }

    fn unsure(&mut self, until: Instant) {
        self.unsure_until = self.unsure_until.max(until);
    }

    /// Redis is back, or the gateway's connections were cut. What was not due when it went may not have been read by then.
    fn back(&mut self, gone_at: Instant) {
        self.reached_at = Instant::now() + RETURN;
        self.unsure(self.reached_at + Duration::from_secs(2));
        let by = self.reached_at + Duration::from_secs(1);
        for due in self.sessions.iter_mut().filter_map(|session| session.gone_by.as_mut()) {
            *due = if *due > gone_at { by.max(*due) } else { *due };
        }
    }

    fn pick(&mut self, is_meant: impl Fn(&Session) -> bool) -> Option<usize> {
        let meant: Vec<usize> = (0..self.sessions.len()).filter(|at| is_meant(&self.sessions[*at])).collect();
        meant.choose(&mut self.random).copied()
    }

    fn way(&mut self) -> Way {
        *Way::ALL.choose(&mut self.random).unwrap()
    }

    /// A new session, with its entry or without.
    async fn create(&mut self) -> usize {
        let (id, user) = (format!("s{}", self.sessions.len()), *USERS.choose(&mut self.random).unwrap());
        let mut writes = pipe();
        writes.atomic().hash(user, &id, "active");
        if self.random.random_bool(0.7) {
            writes.entry(user, &id, "active");
        }
        let () = self.house.writer.run(&writes).await;
        self.note(format!("{id} of {user} is new"));
        self.sessions.push(Session { id, user, truth: Truth::Active, gone_by: None });
        self.sessions.len() - 1
    }

    /// Somebody comes with any session.
    async fn connect(&mut self) {
        if self.seats.len() >= SEATS_MAX {
            return;
        }
        // Most that come may.
        let only_active = self.random.random_bool(0.8);
        let Some(session) = self.pick(|session| !only_active || session.truth == Truth::Active) else { return };
        let (way, began) = (self.way(), Instant::now());
        let (user, id) = (self.sessions[session].user, self.sessions[session].id.clone());
        let outcome = self.house.seat(way, user, &id).await;
        self.arrived(session, way, began, outcome);
    }

    /// What became of somebody who came.
    fn arrived(&mut self, session: usize, way: Way, began: Instant, outcome: Result<Seat, Refused>) {
        let Session { id, truth, gone_by, .. } = &self.sessions[session];
        let (id, truth, gone_by) = (id.clone(), *truth, *gone_by);
        match outcome {
            Ok(seat) => {
                if gone_by.is_some_and(|by| by < began) {
                    self.fail(&format!("{way:?} was let in with {id} ({truth:?})"));
                }
                self.note(format!("{way:?} came with {id} ({truth:?})"));
                self.seats.push((session, seat));
            }
            Err(refused) => {
                let is_fair = match truth {
                    Truth::Active => false,
                    Truth::Revoked => refused.is(401, "revoked") || refused.is(401, "unauthenticated"),
                    Truth::Lost => refused.is(401, "unauthenticated") || refused.is(401, "revoked"),
                };
                let is_unsure = refused.is(503, "identity_unavailable") && began < self.unsure_until;
                if !is_fair && !is_unsure {
                    self.fail(&format!("{way:?} was refused with {id} ({truth:?}): {refused:?}"));
                }
                self.note(format!("{way:?} was refused with {id} ({truth:?}): {refused:?}"));
            }
        }
    }
}
