//! What clients ask for.

use std::sync::Arc;

use tidegate_jobs::credentials::Purpose;
use tidegate_jobs::lease::{Constraints, Lease};
use tidegate_jobs::store::Write;
use tidegate_jobs::{
    Accepted, Asked, Caller, Code, Descriptor, Effect, Fault, Filter, JobId, Owner, SessionId, Submit, Submitted,
    TraceId,
};

use super::metrics::count;
use super::outcome::{Audit, Outcome};
use super::state::{Meant, State};
use super::{Link, List, Listed, Reply, Request, Submission, Subscribed};
use crate::durable::Caps;

/// Jobs of a list, unless said otherwise, and at most.
const LISTED: usize = 100;
const LISTED_MAX: usize = 1_000;
/// Of submits that wait so many times as many are named, though refused. Past it the connection has to go.
const REFUSED: usize = 16;

impl State {
    pub(super) fn request(
        &mut self,
        from: Link,
        id: SessionId,
        envelope: Arc<str>,
        request: Request,
        now_ms: u64,
        out: &mut Outcome,
    ) {
        let (done, job) = match request {
            Request::Submit(submission) => return self.submit(from, id, envelope, Ok(submission), now_ms, out),
            Request::Reject { fault, trace } => {
                return self.submit(from, id, envelope, Err((fault, trace)), now_ms, out);
            }
            Request::Close => {
                self.detach(from, id, now_ms);
                return out.letters.push((from, Reply::Closed));
            }
            Request::Unsubscribe { job } => return self.unsubscribe(id, job, out),
            Request::Cancel { job, reason } => (self.cancel(from, id, &envelope, job, reason, now_ms, out), Some(job)),
            Request::Subscribe { job, from_event_seq, history } => {
                let since = history.then_some(from_event_seq);
                (self.subscribe(from, id, &envelope, job, since, out), Some(job))
            }
            Request::List(list) => (self.list(from, id, &envelope, *list, out), None),
        };
        if let Err(fault) = done {
            out.letters.push((from, Reply::Failed { request_id: envelope, job, fault }));
        }
    }

    /// Answers in the order in which jobs are submitted: while one waits for its credentials, so do those behind it.
    fn submit(&mut self, from: Link, id: SessionId, envelope: Arc<str>, meant: Meant, now_ms: u64, out: &mut Outcome) {
        let most = self.limits.waiting;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        if session.awaiting.is_none() {
            let mut effects = Vec::new();
            self.submit_now(id, envelope, meant, now_ms, &mut effects, out);
            return self.carry(effects, now_ms, out);
        }
        if session.later.len() < most {
            return session.later.push_back((envelope, meant));
        }
        let message = "too many submits wait for credentials of an earlier one; try again";
        let fault = Fault::new(Code::InternalError, message);
        if session.later.len() < most.saturating_mul(REFUSED) {
            // Refused in its turn: of it only the name is kept.
            let trace = meant.map_or_else(|(_, trace)| trace, |submission| submission.trace);
            return session.later.push_back((envelope, Err((fault, trace))));
        }
        self.detach(from, id, now_ms);
        out.letters.push((from, Reply::Refused(fault)));
    }

    fn submit_now(
        &mut self,
        id: SessionId,
        envelope: Arc<str>,
        meant: Meant,
        now_ms: u64,
        effects: &mut Vec<Effect>,
        out: &mut Outcome,
    ) {
        let submission = match meant {
            Ok(submission) => *submission,
            Err((fault, trace)) => return self.reject(id, envelope, fault, trace, out),
        };
        let Some(session) = self.sessions.get(&id) else { return };
        let (owner, rights) = (session.owner.clone(), session.rights.clone());
        let trace = submission.trace;
        let Some(rights) = rights.filter(|rights| rights.may_submit(&submission.agent.name)) else {
            let fault = Fault::new(Code::PermissionDenied, "you may not submit jobs to this agent");
            return self.reject(id, envelope, fault, trace, out);
        };
        let provisioned = self.provisioned(&submission.agent, &submission.lease, &submission.constraints);
        let Submission { agent, input, lease, constraints, idempotency_key, max_runtime_sec, trace } = submission;
        let submit =
            Submit { owner, session: id, agent, input, lease, constraints, idempotency_key, max_runtime_sec, trace };
        let submitted = self.jobs.submit(submit, Some(envelope.clone()), provisioned, now_ms, effects);
        match submitted {
            Submitted::Refused(fault) => self.reject(id, envelope, fault, trace, out),
            Submitted::Waits(job) => {
                self.rights.entry(job).or_insert(rights);
                self.awaited.entry(job).or_default().push(id);
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.awaiting = Some((job, envelope, trace));
                }
            }
            Submitted::Accepted(accepted) => {
                self.rights.insert(accepted.job, rights);
                self.accept(id, Some(envelope), accepted, out);
            }
            Submitted::Again { accepted, ending } => {
                let job = accepted.job;
                self.accept(id, Some(envelope), accepted, out);
                match ending {
                    Some(ending) => self.number(id, &ending, out),
                    None => self.join(id, job, out),
                }
            }
        }
    }

    /// How many credentials a job would get.
    pub(super) fn provisioned(&self, agent: &Asked, lease: &Lease, constraints: &Constraints) -> usize {
        let Some(provisioner) = &self.provisioner else { return 0 };
        let Ok(agent) = self.inventory.resolve(agent) else { return 0 };
        let budget = lease.budget();
        // It has no name yet; how many there are does not depend on it.
        let (job, lease, constraints) = (JobId::of(0), lease.clone(), constraints.clone());
        provisioner.count(&Purpose { job, agent, lease, constraints, budget })
    }

    /// What became of a job that waited for its credentials; then those behind it have their turn.
    pub(super) fn settle(
        &mut self,
        job: JobId,
        settled: &Result<Arc<Accepted>, Fault>,
        now_ms: u64,
        more: &mut Vec<Effect>,
        out: &mut Outcome,
    ) {
        for id in self.awaited.remove(&job).unwrap_or_default() {
            let Some(session) = self.sessions.get_mut(&id) else { continue };
            let awaiting = session.awaiting.take_if(|(awaited, ..)| *awaited == job);
            let Some((_, envelope, trace)) = awaiting else { continue };
            match settled {
                Ok(accepted) => {
                    self.accept(id, Some(envelope), accepted.clone(), out);
                    self.join(id, job, out);
                }
                Err(fault) => self.reject(id, envelope, fault.clone(), trace, out),
            }
            self.submit_later(id, now_ms, more, out);
        }
        if settled.is_err() {
            self.rights.remove(&job);
        }
    }

    fn submit_later(&mut self, id: SessionId, now_ms: u64, more: &mut Vec<Effect>, out: &mut Outcome) {
        while let Some(session) = self.sessions.get_mut(&id)
            && session.awaiting.is_none()
            && let Some((envelope, meant)) = session.later.pop_front()
        {
            self.submit_now(id, envelope, meant, now_ms, more, out);
        }
    }

    pub(super) fn accept(
        &mut self,
        id: SessionId,
        request_id: Option<Arc<str>>,
        accepted: Arc<Accepted>,
        out: &mut Outcome,
    ) {
        let credentials = self.jobs.credentials(accepted.job).into();
        if let Some(link) = self.sessions.get(&id).and_then(|session| session.link) {
            out.letters.push((link, Reply::Accepted { request_id, accepted, credentials }));
        }
    }

    fn reject(&mut self, id: SessionId, request_id: Arc<str>, fault: Fault, trace: Option<TraceId>, out: &mut Outcome) {
        count(&self.metrics.rejected);
        if let Some(link) = self.sessions.get(&id).and_then(|session| session.link) {
            out.letters.push((link, Reply::Rejected { request_id, fault, trace }));
        }
    }

    #[expect(clippy::too_many_arguments, reason = "each is its own")]
    fn cancel(
        &mut self,
        from: Link,
        id: SessionId,
        envelope: &Arc<str>,
        job: JobId,
        reason: Option<Arc<str>>,
        now_ms: u64,
        out: &mut Outcome,
    ) -> Result<(), Fault> {
        let Some(session) = self.sessions.get(&id) else { return Ok(()) };
        let trace = self.jobs.record(job).map(|record| record.accepted.trace);
        // Who submitted it again with its key is its submitter too.
        let on = match self.jobs.record(job) {
            Some(record) if session.again.contains(&job) => record.session,
            _ => id,
        };
        let (owner, rights) = (session.owner.clone(), session.rights.clone());
        let Some(rights) = rights else { return Ok(()) };
        let caller = Caller { owner: &owner, session: Some(on), rights: &*rights };
        let mut effects = Vec::new();
        let cancelled = self.jobs.cancel(job, Some(&caller), reason.as_deref(), now_ms, &mut effects);
        let decision = if cancelled.is_ok() { "allowed" } else { "refused" };
        self.audit("job.cancel", &owner, job, decision, out);
        cancelled?;
        if let Some(trace) = trace {
            out.letters.push((from, Reply::Cancelled { request_id: envelope.clone(), job, reason, trace }));
        }
        self.carry(effects, now_ms, out);
        Ok(())
    }

    fn subscribe(
        &mut self,
        from: Link,
        id: SessionId,
        envelope: &Arc<str>,
        job: JobId,
        since: Option<u64>,
        out: &mut Outcome,
    ) -> Result<(), Fault> {
        let Some(session) = self.sessions.get(&id) else { return Ok(()) };
        let (owner, rights) = (session.owner.clone(), session.rights.clone());
        let Some(rights) = rights else { return Ok(()) };
        let is_others = |job: &&JobId| self.jobs.record(**job).is_none_or(|record| record.session != id);
        let is_new = !session.watching.contains(&job);
        let is_full = is_new && session.watching.iter().filter(is_others).count() >= self.limits.subscriptions;
        let caller = Caller { owner: &owner, session: Some(id), rights: &*rights };
        let found = self.jobs.find(job, &caller);
        self.audit("job.subscribe", &owner, job, if found.is_ok() { "allowed" } else { "refused" }, out);
        let descriptor = found?;
        if is_full {
            return Err(Fault::invalid(format!(
                "a session sees at most {} jobs of others at once; unsubscribe from some first",
                self.limits.subscriptions
            )));
        }
        let is_submitter = self.jobs.record(job).is_some_and(|record| record.owner == owner);
        let credentials = if is_submitter { self.jobs.credentials(job).into() } else { Arc::default() };
        let places = self.kept_after(id, job, since);
        let replayed = places.end - places.start;
        let head = session.sequence.head();
        let subscribed = Subscribed {
            request_id: envelope.clone(),
            job: descriptor,
            subscribed_from: head + replayed,
            replayed,
            credentials,
        };
        out.letters.push((from, Reply::Subscribed(Box::new(subscribed))));
        for n in places {
            let bytes = self.jobs.log(job).and_then(|log| log.size(n)).unwrap_or_default();
            self.number_at(id, job, n, bytes, out);
        }
        self.watch(id, job, out);
        Ok(())
    }

    /// The places of a job's log to be shown: those kept whose numbers, where the job was submitted, are higher than this; the newest
    /// of them, if they are more than a session has room for.
    fn kept_after(&self, id: SessionId, job: JobId, since: Option<u64>) -> std::ops::Range<u64> {
        let Some((log, since)) = self.jobs.log(job).zip(since) else { return 0..0 };
        let start = match self.numbering.get(&job) {
            Some(numbering) if since > 0 => numbering.first_after(since, log.next()),
            _ => since.saturating_add(1),
        };
        let start = start.clamp(log.first(), log.next());
        // Live events go on while it is read, and must not push it out of what a session keeps. An end is the last of its job: there
        // only what the client has yet to read is in the way.
        let Caps { events, bytes: of } = self.limits.caps;
        let (mut events_max, mut bytes_max) = (events as u64 / 2, of / 2);
        if let Some(session) = self.sessions.get(&id).filter(|_| !self.jobs.is_live(job)) {
            let (unread, unread_bytes) = session.reading.unread(session.sequence.head());
            events_max = events_max.max((events as u64).saturating_sub(unread));
            bytes_max = bytes_max.max(of.saturating_sub(unread_bytes));
        }
        let mut bytes = 0;
        let fits = |n: &u64| {
            bytes += log.size(*n).unwrap_or_default() as usize;
            log.last() - n < events_max.max(1) && (bytes <= bytes_max || *n == log.last())
        };
        let count = (start..log.next()).rev().take_while(fits).count() as u64;
        log.next() - count..log.next()
    }

    /// Whoever submits a job again with its key is its submitter too.
    fn join(&mut self, id: SessionId, job: JobId, out: &mut Outcome) {
        if self.jobs.record(job).is_none_or(|record| record.session == id) {
            return;
        }
        if let Some(session) = self.sessions.get_mut(&id) {
            session.again.insert(job);
        }
        self.watch(id, job, out);
    }

    /// A session is told what happens to a job from here on, if anything can.
    fn watch(&mut self, id: SessionId, job: JobId, out: &mut Outcome) {
        if !self.jobs.is_live(job) {
            return;
        }
        let watchers = self.watchers.entry(job).or_default();
        if watchers.contains(&id) {
            return;
        }
        watchers.push(id);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.watching.insert(job);
        }
        out.writes.push(Write::Watch { session: id, job });
    }

    fn unsubscribe(&mut self, id: SessionId, job: JobId, out: &mut Outcome) {
        let Some(session) = self.sessions.get(&id) else { return };
        // A session's own jobs, and those that it submitted again, it goes on seeing.
        let is_own = self.jobs.record(job).is_some_and(|record| record.session == id) || session.again.contains(&job);
        if !is_own && session.watching.contains(&job) {
            self.unwatch(id, job, out);
        }
    }

    /// A session is not told any more what happens to a job of another.
    pub(super) fn unwatch(&mut self, id: SessionId, job: JobId, out: &mut Outcome) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.watching.remove(&job);
        // What the job does from here on is not the session's, though its last number was the job's.
        let mut changes = std::mem::take(&mut self.changes);
        session.sequence.close(job, &mut changes);
        if let Some(watchers) = self.watchers.get_mut(&job) {
            watchers.retain(|watcher| *watcher != id);
        }
        self.change(id, &mut changes, out);
        self.changes = changes;
        out.writes.push(Write::Unwatch { session: id, job });
    }

    fn list(
        &mut self,
        from: Link,
        id: SessionId,
        envelope: &Arc<str>,
        list: List,
        out: &mut Outcome,
    ) -> Result<(), Fault> {
        let Some(session) = self.sessions.get(&id) else { return Ok(()) };
        let Some(rights) = &session.rights else { return Ok(()) };
        let caller = Caller { owner: &session.owner, session: Some(id), rights: &**rights };
        let List { status, agent, created_after_ms, created_before_ms, limit, cursor } = list;
        let filter = Filter { status, agent, created_after_ms, created_before_ms };
        let limit = limit.unwrap_or(LISTED).clamp(1, LISTED_MAX);
        let page = self.jobs.list(&caller, &filter, limit, cursor.as_deref())?;
        let jobs = page.jobs.into_iter().map(|job| self.listed(job)).collect();
        let (request_id, next_cursor) = (envelope.clone(), page.next_cursor);
        out.letters.push((from, Reply::Jobs { request_id, jobs, next_cursor }));
        Ok(())
    }

    pub(super) fn listed(&self, job: Descriptor) -> Listed {
        let id = job.accepted.job;
        let last = self.jobs.log(id).map_or(0, |log| log.next() - 1);
        let last_event_seq = match (last, self.numbering.get(&id)) {
            (1.., Some(numbering)) => numbering.seq(last),
            _ => last,
        };
        Listed { job, last_event_seq }
    }

    fn audit(&self, what: &'static str, by: &Owner, job: JobId, decision: &'static str, out: &mut Outcome) {
        let of = self.jobs.record(job).map(|record| record.owner.clone());
        out.audits.push(Audit { what, by: by.clone(), job: Some(job), of, decision });
    }
}
