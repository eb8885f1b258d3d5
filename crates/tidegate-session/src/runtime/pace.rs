//! Agents are held back for a client that reads as fast as it can, and for no other.
//!
//! What a session keeps is bounded, and an agent may well be faster than any client. One that reads would be outrun, and lose its
//! connection, though it does nothing wrong. So an agent waits while the connection that submitted its job has much to read,
//! and goes on as soon as that has read, or has read nothing for a second: whoever is stalled holds up nobody, and whoever only
//! subscribed has no say at all.

use std::collections::HashSet;

use tidegate_jobs::{JobId, SessionId, Told};

use super::outcome::Outcome;
use super::state::State;

/// How long a connection that reads nothing is waited for, in milliseconds.
const PATIENCE_MS: u64 = 1_000;

/// How a session's connection reads.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// Bytes of events that were told, or will be when they are asked for, and are not known to have been taken.
    bytes: u64,
    /// The last event that is known to have been taken, and when something was.
    taken: u64,
    at_ms: u64,
    /// Jobs that wait for it.
    held: HashSet<JobId>,
}

impl Reading {
    /// Events up to this number that are not known to have been read, and their bytes as far as they are known.
    pub(super) fn unread(&self, head: u64) -> (u64, usize) {
        (head.saturating_sub(self.taken), usize::try_from(self.bytes).unwrap_or(usize::MAX))
    }

    /// A job has ended: nobody holds it any more.
    pub(super) fn forget(&mut self, job: JobId) {
        self.held.remove(&job);
    }
}

impl State {
    /// A connection begins to read after this number.
    pub(super) fn begin_reading(&mut self, id: SessionId, after: u64, now_ms: u64, out: &mut Outcome) {
        self.release(id, out);
        if let Some(session) = self.sessions.get_mut(&id) {
            session.reading = Reading { bytes: 0, taken: after, at_ms: now_ms, held: HashSet::new() };
        }
    }

    /// A job has logged so many bytes that the session which submitted it is told: it waits if that one is far behind.
    pub(super) fn pace(&mut self, id: SessionId, job: JobId, bytes: u32, now_ms: u64, out: &mut Outcome) {
        let caps = self.limits.caps;
        let Some(session) = self.sessions.get_mut(&id).filter(|session| session.link.is_some()) else { return };
        let unread = session.sequence.head().saturating_sub(session.reading.taken);
        let reading = &mut session.reading;
        reading.bytes += u64::from(bytes);
        let is_far_behind = unread > caps.events as u64 / 4 || reading.bytes > caps.bytes as u64 / 4;
        if !is_far_behind {
            // Patience begins to count where there is much to read.
            if reading.held.is_empty() {
                reading.at_ms = now_ms;
            }
            return;
        }
        let is_reading = now_ms < reading.at_ms + PATIENCE_MS;
        if is_reading && reading.held.insert(job) {
            self.holding.insert((reading.at_ms + PATIENCE_MS, id));
            out.told.push((job, Told::Hold(true)));
        }
    }

    /// A connection has read.
    pub(super) fn took(&mut self, id: SessionId, seq: u64, bytes: u64, now_ms: u64, out: &mut Outcome) {
        let caps = self.limits.caps;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let head = session.sequence.head();
        let reading = &mut session.reading;
        let was = reading.at_ms + PATIENCE_MS;
        reading.taken = seq.clamp(reading.taken, head.max(reading.taken));
        reading.bytes = if reading.taken == head { 0 } else { reading.bytes.saturating_sub(bytes) };
        reading.at_ms = now_ms;
        let is_near = head - reading.taken <= caps.events as u64 / 8 && reading.bytes <= caps.bytes as u64 / 8;
        let is_held = self.holding.remove(&(was, id));
        if is_near || !is_held {
            self.release(id, out);
        } else {
            self.holding.insert((now_ms + PATIENCE_MS, id));
        }
    }

    /// Nobody waits for a session any more.
    pub(super) fn release(&mut self, id: SessionId, out: &mut Outcome) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        self.holding.remove(&(session.reading.at_ms + PATIENCE_MS, id));
        out.told.extend(session.reading.held.drain().map(|job| (job, Told::Hold(false))));
    }

    /// Those for whom jobs have waited long enough.
    pub(super) fn let_go_of_the_slow(&mut self, now_ms: u64, out: &mut Outcome) {
        while let Some(&(at, id)) = self.holding.first()
            && at <= now_ms
        {
            self.holding.pop_first();
            self.release(id, out);
        }
    }
}
