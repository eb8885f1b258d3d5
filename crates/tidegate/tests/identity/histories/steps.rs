//! What may happen.

use std::time::{Duration, Instant};

use rand::Rng as _;
use rand::seq::SliceRandom as _;
use redis::pipe;
use serde_json::json;
use tokio::task::{JoinSet, block_in_place};

use super::{Truth, World};
use crate::device::{BLOCK, Sessions};
use crate::fixture::token;
use crate::seat::Seat;

impl World {
    pub(super) async fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..30 => self.connect().await,
            30..35 => self.disconnect(),
            35..43 => drop(self.create().await),
            43..55 => self.revoke().await,
            55..60 => self.activate().await,
            60..66 => self.say_nonsense().await,
            66..71 => self.lose_one().await,
            71..76 => self.race().await,
            76..79 => self.trim().await,
            79..82 => self.trim_unread().await,
            82..85 => self.delete_stream().await,
            85..87 => self.flush().await,
            87..89 => self.crash().await,
            89..91 => self.crash_empty().await,
            91..93 => self.freeze().await,
            93..98 => self.cut().await,
            _ => self.restart(),
        }
    }

    fn disconnect(&mut self) {
        if !self.seats.is_empty() {
            let at = self.random.random_range(0..self.seats.len());
            let (session, seat) = self.seats.swap_remove(at);
            self.note(format!("{:?} of {} left", seat.way, self.sessions[session].id));
        }
    }

    /// One or some end, perhaps among more entries than are read at once.
    async fn revoke(&mut self) {
        let mut active: Vec<usize> =
            (0..self.sessions.len()).filter(|at| self.sessions[*at].truth == Truth::Active).collect();
        active.shuffle(&mut self.random);
        active.truncate(self.random.random_range(1..4));
        let noise = if self.random.random_bool(0.2) { 300 } else { 0 };
        let mut writes = pipe();
        writes.atomic();
        for index in 0..noise {
            writes.entry("nobody", &format!("noise{index}"), "active");
        }
        for at in &active {
            let (user, id) = (self.sessions[*at].user, &self.sessions[*at].id);
            writes.hash(user, id, "revoked").entry(user, id, "revoked");
        }
        for index in 0..noise {
            writes.entry("nobody", &format!("noise{index}"), "revoked");
        }
        self.note(format!("{} are revoked, among {noise}", self.names(&active)));
        let () = self.house.writer.run(&writes).await;
        self.end(&active, Truth::Revoked);
    }

    fn names(&self, sessions: &[usize]) -> String {
        sessions.iter().map(|at| &*self.sessions[*at].id).collect::<Vec<_>>().join(", ")
    }

    /// An active entry, for one that is active or for one whose connections are all gone.
    async fn activate(&mut self) {
        let now = Instant::now();
        let is_gone = |at: usize| !self.seats.iter().any(|(session, _)| *session == at);
        let free: Vec<bool> = (0..self.sessions.len()).map(is_gone).collect();
        let Some(at) = self.pick(|session| {
            let at = session.id[1..].parse::<usize>().unwrap_or(0);
            session.truth == Truth::Active || (free[at] && session.gone_by.is_some_and(|by| by < now))
        }) else {
            return;
        };
        let session = &mut self.sessions[at];
        (session.truth, session.gone_by) = (Truth::Active, None);
        let (user, id) = (session.user, session.id.clone());
        self.note(format!("{id} is active"));
        let () = self
            .house
            .writer
            .run(
                pipe()
                    .atomic()
                    .del(format!("session:{id}"))
                    .ignore()
                    .hash(user, &id, "active")
                    .entry(user, &id, "active"),
            )
            .await;
        self.settle().await;
    }

    /// Entries that are malformed: nameless ones, and about sessions that live.
    async fn say_nonsense(&mut self) {
        let Some(at) = self.pick(|session| session.truth == Truth::Active) else { return };
        let id = self.sessions[at].id.clone();
        self.note(format!("nonsense about {id}"));
        let nameless = [("status", "revoked"), ("user_id", "ann")];
        let mut writes = pipe();
        writes.cmd("XADD").arg("session_events").arg("*").arg(&nameless[..]).ignore();
        // With one field too many it is not what it seems.
        let more = [
            ("device_session_id", &*id),
            ("user_id", "ann"),
            ("client_public_key", "k"),
            ("status", "revoked"),
            ("x", "y"),
        ];
        writes.cmd("XADD").arg("session_events").arg("*").arg(&more[..]).ignore().malformed(&id);
        let () = self.house.writer.run(&writes).await;
    }

    /// A hash goes or is spoilt, and a malformed entry has it looked at.
    async fn lose_one(&mut self) {
        let Some(at) = self.pick(|session| session.truth == Truth::Active) else { return };
        let id = self.sessions[at].id.clone();
        let mut writes = pipe();
        writes.atomic();
        match self.random.random_bool(0.5) {
            true => writes.del(format!("session:{id}")).ignore(),
            false => writes.hset(format!("session:{id}"), "role", "admin").ignore(),
        };
        let () = self.house.writer.run(writes.malformed(&id)).await;
        self.note(format!("{id} is lost"));
        self.end(&[at], Truth::Lost);
    }

    /// Many come while the session ends.
    async fn race(&mut self) {
        let at = self.create().await;
        let (user, id, address) = (self.sessions[at].user, self.sessions[at].id.clone(), self.house.at());
        let token = token(user, json!({ "sid": id }));
        let mut coming = JoinSet::new();
        for _ in 0..12 {
            let (way, token, began) = (self.way(), token.clone(), Instant::now());
            coming.spawn(async move { (way, began, Seat::take(address, way, &token).await) });
        }
        let before = self.random.random_range(0..8);
        for _ in 0..before {
            let (way, began, outcome) = coming.join_next().await.unwrap().unwrap();
            self.arrived(at, way, began, outcome);
        }
        self.note(format!("{id} is revoked in the midst of it"));
        self.house.writer.session(user, &id, "revoked").await;
        self.end(&[at], Truth::Revoked);
        while let Some(outcome) = coming.join_next().await {
            let (way, began, outcome) = outcome.unwrap();
            self.arrived(at, way, began, outcome);
        }
    }

    /// Waits until the gateway has read all that was written: then it has counted it.
    async fn settle(&mut self) {
        let id = format!("settled{}", self.trail.len());
        self.house.writer.session("ann", &id, "active").await;
        let token = token("ann", json!({ "sid": id }));
        let by = Instant::now() + Duration::from_secs(30);
        let seat = loop {
            let way = self.way();
            match Seat::take(self.house.at(), way, &token).await {
                Ok(seat) => break seat,
                Err(refused) if Instant::now() > by => self.fail(&format!("nobody comes in: {refused:?}")),
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        let since = Instant::now().max(self.reached_at);
        self.house.writer.session("ann", &id, "revoked").await;
        let end = seat.ended().await;
        let took = end.at.saturating_duration_since(since);
        if took > self.house.lateness.a_second() {
            self.fail(&format!("the gateway took {took:?} to read"));
        }
        self.note("settled");
    }

    /// What was read is trimmed: no gap.
    async fn trim(&mut self) {
        self.settle().await;
        self.note("trimmed");
        let _: i64 = self.house.writer.ask("XTRIM session_events MAXLEN 0").await;
    }

    /// One ends, and its entry is trimmed before anybody can read it.
    async fn trim_unread(&mut self) {
        self.unheard("trimmed", "XTRIM session_events MAXLEN 0").await;
    }

    /// One ends, and the stream goes with its entry.
    async fn delete_stream(&mut self) {
        self.unheard("deleted", "DEL session_events").await;
    }

    async fn unheard(&mut self, what: &str, command: &str) {
        self.settle().await;
        if self.random.random_bool(0.4) {
            self.cut().await;
        }
        let ended = self.pick(|session| session.truth == Truth::Active);
        let mut writes = pipe();
        writes.atomic();
        if let Some(at) = ended {
            let (user, id) = (self.sessions[at].user, &self.sessions[at].id);
            writes.hash(user, id, "revoked").entry(user, id, "revoked");
        }
        let mut words = command.split(' ');
        writes.cmd(words.next().unwrap());
        for word in words {
            writes.arg(word);
        }
        let ended = Vec::from_iter(ended);
        self.note(format!("{} ended, and the stream was {what}", self.names(&ended)));
        self.unsure(Instant::now() + Duration::from_secs(30));
        let _: redis::Value = self.house.writer.run(&writes).await;
        self.unsure_until = Instant::now();
        self.end_unheard(&ended, Truth::Revoked);
        // Whatever is added now must not hide it: two numbers cannot tell everything.
        self.all_gone().await;
        self.settle().await;
    }

    fn active(&self) -> Vec<usize> {
        (0..self.sessions.len()).filter(|at| self.sessions[*at].truth == Truth::Active).collect()
    }

    /// Everything is gone.
    async fn flush(&mut self) {
        self.settle().await;
        self.note("flushed");
        self.unsure(Instant::now() + Duration::from_secs(30));
        let _: String = self.house.writer.ask("FLUSHALL").await;
        self.unsure_until = Instant::now();
        self.end_unheard(&self.active(), Truth::Lost);
        self.all_gone().await;
        self.start_anew().await;
    }

    async fn start_anew(&mut self) {
        self.settle().await;
        for _ in 0..4 {
            self.create().await;
            self.connect().await;
        }
    }

    /// Redis is killed and comes back with what it had; perhaps one ends at once.
    async fn crash(&mut self) {
        self.note("Redis is killed");
        let gone_at = Instant::now();
        self.unsure(Instant::now() + Duration::from_secs(30));
        block_in_place(|| self.house.redis.kill());
        if self.random.random_bool(0.5) {
            self.connect().await;
        }
        block_in_place(|| self.house.redis.resume());
        self.note("Redis is back");
        self.unsure_until = Instant::now();
        self.back(gone_at);
        self.revoke().await;
    }

    /// Redis is killed, and what comes back knows nothing.
    async fn crash_empty(&mut self) {
        self.settle().await;
        self.note("Redis is killed");
        let gone_at = Instant::now();
        self.unsure(Instant::now() + Duration::from_secs(30));
        block_in_place(|| self.house.redis.kill());
        block_in_place(|| self.house.redis.resume_empty());
        self.note("Redis is back, empty");
        self.unsure_until = Instant::now();
        self.back(gone_at);
        self.end_unheard(&self.active(), Truth::Lost);
        self.all_gone().await;
        self.start_anew().await;
    }

    /// Redis hangs for longer than the gateway waits; what is written meanwhile counts from when it goes on.
    async fn freeze(&mut self) {
        self.note("Redis hangs");
        let gone_at = Instant::now();
        self.unsure(Instant::now() + Duration::from_secs(30));
        block_in_place(|| self.house.redis.freeze());
        tokio::time::sleep(BLOCK + Duration::from_millis(1_200)).await;
        block_in_place(|| self.house.redis.thaw());
        self.note("Redis goes on");
        self.unsure_until = Instant::now();
        self.back(gone_at);
        self.revoke().await;
    }

    /// The gateway's connections are cut; perhaps one ends at once.
    async fn cut(&mut self) {
        self.note("the gateway's connections are cut");
        let gone_at = Instant::now();
        let _: i64 = self.house.writer.ask("CLIENT KILL TYPE normal SKIPME yes").await;
        self.back(gone_at);
        if self.random.random_bool(0.5) {
            self.revoke().await;
        }
    }

    /// The gateway is killed and started again: it knows nothing but what Redis says.
    fn restart(&mut self) {
        self.note("the gateway is killed");
        block_in_place(|| self.house.gateway.restart());
        self.seats.clear();
        let now = Instant::now();
        for session in &mut self.sessions {
            // Nobody has to be ended; nobody may come.
            session.gone_by = session.gone_by.map(|_| now);
        }
        self.note("the gateway is back");
    }
}
