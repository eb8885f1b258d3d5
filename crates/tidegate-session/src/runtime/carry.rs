//! What follows from what happened to jobs: what is stored, who is told, under which number.

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::value::to_raw_value;
use tidegate_jobs::store::Write;
use tidegate_jobs::{Effect, Entry, JobId, Kind, Record, SessionId, Told, What};

use super::Reply;
use super::outcome::Outcome;
use super::state::State;
use crate::durable::{Change, Segment};

impl State {
    pub(super) fn carry(&mut self, effects: Vec<Effect>, now_ms: u64, out: &mut Outcome) {
        let mut effects = VecDeque::from(effects);
        let mut more = Vec::new();
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::New(record) => self.begun(record, out),
                Effect::Log(entry) => self.logged(&entry, now_ms, &mut more, out),
                Effect::Keep { job, kept } => out.writes.push(Write::Keep { job, kept }),
                Effect::Issue { job, id } => {
                    out.writes.push(Write::CredentialIssued { job, id });
                    out.issues.push((job, id));
                }
                Effect::Revoke { job, id } => out.revokes.push((job, id)),
                Effect::Settled { job, settled } => self.settle(job, &settled, now_ms, &mut more, out),
                Effect::Tell { job, told } => {
                    let begins = matches!(told, Told::Start(_));
                    out.told.push((job, told));
                    if begins {
                        self.jobs.started(job, now_ms, &mut more);
                    }
                }
                Effect::Trim { job, through } => {
                    if let Some(numbering) = self.numbering.get_mut(&job) {
                        numbering.trim(through);
                    }
                    self.trimmed(job, through, out);
                    out.writes.push(Write::Trim { job, through });
                }
                Effect::Forget { job } => {
                    self.trimmed(job, u64::MAX, out);
                    self.forget(job);
                    out.writes.push(Write::Forget(job));
                }
            }
            // The jobs are past all effects that wait: what follows from one now comes behind them.
            effects.extend(more.drain(..));
        }
    }

    fn begun(&mut self, record: Arc<Record>, out: &mut Outcome) {
        let (job, session) = (record.accepted.job, record.session);
        if let Some(session) = self.sessions.get_mut(&session) {
            session.watching.insert(job);
            self.watchers.entry(job).or_default().push(record.session);
        }
        let parent = record.accepted.parent.as_ref().map(|(parent, _)| *parent);
        let accepted = record.accepted.clone();
        out.writes.push(Write::Job(record));
        // A job that another delegated was asked for by nobody who waits for an answer, but its events will come.
        if let Some(parent) = parent {
            if let Some(rights) = self.rights.get(&parent).cloned() {
                self.rights.insert(job, rights);
            }
            self.accept(session, None, accepted, out);
        }
    }

    fn logged(&mut self, entry: &Arc<Entry>, now_ms: u64, more: &mut Vec<Effect>, out: &mut Outcome) {
        out.writes.push(Write::Entry(entry.clone()));
        let is_end = matches!(entry.what, What::End(_));
        if is_end {
            self.rights.remove(&entry.job);
        }
        let watchers = match is_end {
            true => self.watchers.remove(&entry.job),
            false => self.watchers.get_mut(&entry.job).map(std::mem::take),
        };
        let Some(watchers) = watchers else { return };
        let submitter = self.jobs.record(entry.job).map(|record| record.session);
        for &id in &watchers {
            self.number(id, entry, out);
            self.press(id, now_ms, more);
            if !is_end && submitter == Some(id) {
                self.pace(id, entry.job, u32::try_from(entry.bytes()).unwrap_or(u32::MAX), now_ms, out);
            }
        }
        if is_end {
            for id in watchers {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.watching.remove(&entry.job);
                    session.again.remove(&entry.job);
                    session.reading.forget(entry.job);
                }
                if submitter.is_some_and(|submitter| submitter != id) {
                    out.writes.push(Write::Unwatch { session: id, job: entry.job });
                }
            }
        } else {
            self.watchers.insert(entry.job, watchers);
        }
    }

    /// Gives an entry its number in a session, and tells its connection.
    pub(super) fn number(&mut self, id: SessionId, entry: &Arc<Entry>, out: &mut Outcome) {
        let bytes = u32::try_from(entry.bytes()).unwrap_or(u32::MAX);
        let Some(seq) = self.number_at(id, entry.job, entry.n, bytes, out) else { return };
        if let Some(link) = self.sessions.get(&id).and_then(|session| session.link) {
            out.letters.push((link, Reply::Event { seq, entry: entry.clone() }));
        }
    }

    /// Gives the entry at a place its number in a session.
    pub(super) fn number_at(
        &mut self,
        id: SessionId,
        job: JobId,
        n: u64,
        bytes: u32,
        out: &mut Outcome,
    ) -> Option<u64> {
        let session = self.sessions.get_mut(&id)?;
        let mut changes = std::mem::take(&mut self.changes);
        let seq = session.sequence.push(job, n, bytes, &mut changes);
        if self.jobs.record(job).is_some_and(|record| record.session == id) {
            self.numbering.entry(job).or_default().push(n, seq);
        }
        self.change(id, &mut changes, out);
        self.changes = changes;
        Some(seq)
    }

    /// Carries out what became of a session's sequence.
    pub(super) fn change(&mut self, id: SessionId, changes: &mut Vec<Change>, out: &mut Outcome) {
        for change in changes.drain(..) {
            match change {
                Change::Opened(Segment { seq, job, n }) => out.writes.push(Write::Segment { session: id, seq, job, n }),
                // Of several in one turn only the last matters.
                Change::Floor(seq) => drop(self.floors.insert(id, seq)),
                Change::Holds(job) => {
                    self.jobs.hold(job);
                    self.holders.entry(job).or_default().push(id);
                }
                Change::LetsGo(job) => {
                    self.jobs.release(job);
                    self.let_go(id, job);
                }
            }
        }
    }

    /// A session has no entries of a job any more.
    pub(super) fn let_go(&mut self, id: SessionId, job: JobId) {
        if let Some(holders) = self.holders.get_mut(&job) {
            holders.retain(|holder| *holder != id);
            if holders.is_empty() {
                self.holders.remove(&job);
            }
        }
    }

    /// Entries of a job are kept no longer, whatever sessions have numbers for them.
    fn trimmed(&mut self, job: JobId, through: u64, out: &mut Outcome) {
        let mut changes = std::mem::take(&mut self.changes);
        for id in self.holders.get(&job).cloned().unwrap_or_default() {
            if let Some(session) = self.sessions.get_mut(&id) {
                session.sequence.trimmed(job, through, &mut changes);
            }
            self.change(id, &mut changes, out);
        }
        self.changes = changes;
    }

    /// Tells a client that acknowledges too little to slow down, once until it has caught up by half: on a job of its own, for
    /// whoever sees that job is told too.
    fn press(&mut self, id: SessionId, now_ms: u64, more: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.acks) else { return };
        let lag = session.sequence.lag();
        if session.pressed {
            session.pressed = lag > self.limits.lag / 2;
            return;
        }
        if lag <= self.limits.lag {
            return;
        }
        let is_own = |job: &JobId| self.jobs.record(*job).is_some_and(|record| record.session == id);
        let Some(job) = self.jobs.newest_live(session.watching.iter().copied().filter(is_own)) else { return };
        session.pressed = true;
        let body =
            serde_json::json!({ "phase": "back_pressure", "message": format!("{lag} events are not acknowledged") });
        if let Ok(body) = to_raw_value(&body) {
            self.jobs.note(job, &Kind::STATUS, &body, now_ms, more);
        }
    }

    fn forget(&mut self, job: JobId) {
        self.numbering.remove(&job);
        self.watchers.remove(&job);
        self.rights.remove(&job);
    }
}
