//! Sessions that begin, go on, and end.

use std::sync::Arc;

use tidegate_jobs::store::{SessionRecord, Write};
use tidegate_jobs::{Caller, Code, Fault, SessionId};

use super::metrics::count;
use super::outcome::{Outcome, Read};
use super::state::{Durable, State};
use super::{Hello, Link, Reply, Resume, Welcome, token_hash};
use crate::durable::{Resumption, Sequence};

/// Events of one answer to [`Wants::Events`](super::Wants::Events), and their bytes.
const PAGE_EVENTS: usize = 512;
const PAGE_BYTES: usize = 256 << 10;

impl State {
    pub(super) fn hello(&mut self, from: Link, hello: &Hello, now_ms: u64, out: &mut Outcome) {
        // A connection has one session at most.
        self.gone(from, now_ms);
        let answer = match &hello.resume {
            None => self.begin(from, hello, now_ms, out),
            Some(resume) => self.go_on(from, hello, resume, now_ms, out),
        };
        match &answer {
            Ok(welcome) if welcome.resumed => count(&self.metrics.resumed),
            Ok(_) => count(&self.metrics.begun),
            Err(_) => count(&self.metrics.refused),
        }
        let reply = match answer {
            Ok(welcome) => Reply::Welcome(Arc::new(welcome)),
            Err(fault) => Reply::Refused(fault),
        };
        out.letters.push((from, reply));
    }

    fn begin(&mut self, from: Link, hello: &Hello, now_ms: u64, out: &mut Outcome) -> Result<Welcome, Fault> {
        let owned = self.owned.get(&hello.owner).copied().unwrap_or_default();
        if self.sessions.len() >= self.limits.sessions || owned >= self.limits.sessions_per_owner {
            let message = "as many sessions as may be are kept; close some, or come back when their window is over";
            return Err(Fault::new(Code::InternalError, message));
        }
        let id = SessionId::new(now_ms, (self.random)());
        let (token, hash) = self.token();
        let sequence = Sequence::new(self.limits.caps);
        let resumption = Resumption::new(hash, self.limits.window_ms);
        let durable = Durable::new(hello.owner.clone(), sequence, resumption, now_ms, self.seen());
        self.enter(id, durable);
        self.attach(from, id, hello);
        self.store(id, out);
        Ok(self.welcome(id, token, None, now_ms))
    }

    fn go_on(
        &mut self,
        from: Link,
        hello: &Hello,
        resume: &Resume,
        now_ms: u64,
        out: &mut Outcome,
    ) -> Result<Welcome, Fault> {
        let Resume { session, token: shown, last_event_seq } = resume;
        let id = &session.or_else(|| self.tokens.get(shown).copied()).unwrap_or(SessionId::NONE);
        let expired = |message: &str| Err(Fault::new(Code::ResumeWindowExpired, message));
        let Some(session) = self.sessions.get(id).filter(|session| session.resumption.show(shown)) else {
            return expired("this session is not kept any more, or the token is not its last one; begin a new session");
        };
        if session.owner != hello.owner {
            return Err(Fault::new(Code::PermissionDenied, "the session is somebody else's"));
        }
        if session.sequence.after(*last_event_seq, 1, PAGE_BYTES).is_err() {
            return expired("what came after that event is not kept any more; begin a new session");
        }
        // Nothing can fail from here on: only now anything of the session changes.
        if let Some(former) = session.link {
            self.links.remove(&former);
            out.letters.push((former, Reply::Fenced));
        }
        let (token, hash) = self.token();
        if let Some(session) = self.sessions.get_mut(id) {
            let (current, previous) = session.resumption.tokens();
            for token in [Some(current), previous].into_iter().flatten().filter(|token| *token != shown) {
                self.tokens.remove(token);
            }
            session.resumption.rotate(hash, shown);
            self.tokens.insert(hash, *id);
        }
        self.attach(from, *id, hello);
        self.begin_reading(*id, *last_event_seq, now_ms, out);
        self.entitle(*id, hello, out);
        self.store(*id, out);
        Ok(self.welcome(*id, token, Some(*last_event_seq), now_ms))
    }

    /// A connection has the session.
    fn attach(&mut self, link: Link, id: SessionId, hello: &Hello) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if let Some(at) = session.resumption.ends_at() {
            self.ends.remove(&(at, id));
        }
        session.resumption.taken();
        session.link = Some(link);
        session.rights = Some(hello.rights.clone());
        session.acks = hello.acks;
        self.links.insert(link, id);
    }

    /// Who is back has the rights that it has now: it sees no job any more that it may not, and its own jobs may what it may, if
    /// a restart has forgotten that.
    fn entitle(&mut self, id: SessionId, hello: &Hello, out: &mut Outcome) {
        let Some(session) = self.sessions.get(&id) else { return };
        let caller = Caller { owner: &hello.owner, session: Some(id), rights: &*hello.rights };
        let (seen, hidden): (Vec<_>, Vec<_>) =
            session.watching.iter().copied().partition(|job| self.jobs.find(*job, &caller).is_ok());
        for job in seen {
            if self.jobs.record(job).is_some_and(|record| record.session == id) {
                self.rights.entry(job).or_insert_with(|| hello.rights.clone());
            }
        }
        hidden.into_iter().for_each(|job| self.unwatch(id, job, out));
    }

    /// Its connection is gone. Its jobs go on.
    pub(super) fn detach(&mut self, link: Link, id: SessionId, now_ms: u64) {
        self.links.remove(&link);
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.link == Some(link)) else { return };
        session.link = None;
        session.resumption.left(now_ms);
        if let Some(at) = session.resumption.ends_at() {
            self.ends.insert((at, id));
        }
    }

    /// All connections over a port are gone.
    pub(crate) fn port_ended(&mut self, port: u64, now_ms: u64) {
        let gone: Vec<_> =
            self.links.iter().filter(|(link, _)| link.port == port).map(|(link, id)| (*link, *id)).collect();
        gone.into_iter().for_each(|(link, id)| self.detach(link, id, now_ms));
    }

    /// Its client has the welcome: the token from before is of no use any more.
    pub(super) fn heard(&mut self, id: SessionId, out: &mut Outcome) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let previous = session.resumption.tokens().1.copied();
        if session.resumption.heard() {
            if let Some(previous) = previous {
                self.tokens.remove(&previous);
            }
            self.store(id, out);
        }
    }

    /// The session's time is over. Its jobs go on; nobody but an operator can cancel them now.
    pub(super) fn end(&mut self, id: SessionId, out: &mut Outcome) {
        let Some(session) = self.sessions.remove(&id) else { return };
        count(&self.metrics.ended);
        let (token, previous) = session.resumption.tokens();
        for token in [Some(token), previous].into_iter().flatten() {
            self.tokens.remove(token);
        }
        if let Some(owned) = self.owned.get_mut(&session.owner) {
            *owned -= 1;
            if *owned == 0 {
                self.owned.remove(&session.owner);
            }
        }
        for job in &session.watching {
            if let Some(watchers) = self.watchers.get_mut(job) {
                watchers.retain(|watcher| *watcher != id);
            }
        }
        self.floors.remove(&id);
        for job in session.sequence.jobs() {
            self.jobs.release(job);
            self.let_go(id, job);
        }
        out.writes.push(Write::SessionEnded(id));
    }

    /// Has events read for a connection.
    pub(super) fn read(&mut self, to: Link, id: SessionId, after: u64, now_ms: u64, out: &mut Outcome) {
        let Some(session) = self.sessions.get(&id) else { return };
        match session.sequence.after(after, PAGE_EVENTS, PAGE_BYTES) {
            Ok(runs) => out.reads.push(Read { to, after, runs, head: session.sequence.head() }),
            // It was slower than what is kept of a session allows: it is told so rather than shown a gap.
            Err(_) => {
                count(&self.metrics.outrun);
                self.detach(to, id, now_ms);
                let message = "the client fell so far behind that events it has not seen are not kept any more";
                out.letters.push((to, Reply::Refused(Fault::new(Code::ResumeWindowExpired, message))));
            }
        }
    }

    fn welcome(&self, id: SessionId, token: Box<str>, resumed: Option<u64>, now_ms: u64) -> Welcome {
        let head = self.sessions.get(&id).map_or(0, |session| session.sequence.head());
        Welcome {
            session: id,
            token,
            resumed: resumed.is_some(),
            after: resumed.unwrap_or(0),
            head,
            window_sec: self.limits.window_ms / 1_000,
            inventory: self.inventory.clone(),
            provisions: self.provisioner.is_some(),
            at_ms: now_ms,
        }
    }

    fn store(&self, id: SessionId, out: &mut Outcome) {
        let Some(session) = self.sessions.get(&id) else { return };
        let (token, previous) = session.resumption.tokens();
        let (owner, created_ms) = (session.owner.clone(), session.created_ms);
        let (token, previous) = (*token, previous.copied());
        out.writes.push(Write::Session(SessionRecord { id, owner, token, previous, created_ms }));
    }

    /// A token, and what is kept of it.
    fn token(&mut self) -> (Box<str>, [u8; 32]) {
        let [high, low] = [(self.random)(), (self.random)()];
        let token = format!("rt_{high:032x}{low:032x}").into_boxed_str();
        let hash = token_hash(&token);
        (token, hash)
    }
}
