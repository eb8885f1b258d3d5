//! Looks a session up: one read for all who ask at once, thrown away if the stream was faster.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::watch;

use super::connect::Trouble;
use super::{Begin, Core, Flight, Known, Record};
use crate::Refusal;
use crate::sessions::cache::Finished;
use crate::sessions::snapshot::Snapshot;

/// Reads of a session that the stream overtakes each time; after that whoever asked is to come again.
const READS_MAX: usize = 3;
const BUSY: &str = "too many sessions are being looked up";

/// What a look-up comes to; `None`: there is no such session.
pub(super) type Outcome = Result<Option<Record>, Refusal>;
/// Says it, once.
pub(super) type Outcomes = watch::Receiver<Option<Outcome>>;

/// What to do about a session that is asked for.
pub(super) enum Asked {
    /// Nothing: it is held.
    Known(Record),
    /// Wait: it is being looked up.
    Joined(Outcomes),
    /// Run this, whatever becomes of the one who asked, and wait.
    Started(Lookup, Outcomes),
    /// It cannot be found out now.
    Refused(&'static str),
}

/// Why a read found no session.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unread {
    #[error(transparent)]
    Trouble(#[from] Trouble),
    #[error("{0}")]
    Malformed(&'static str),
}

/// A look-up that others may join.
pub(super) struct Lookup {
    id: Arc<str>,
    flight: Flight,
    outcome: watch::Sender<Option<Outcome>>,
}

/// What follows from a read.
enum Next {
    Say(Outcome),
    Again,
    /// Somebody else's look-up began after this one was overtaken.
    Follow(Outcomes),
}

/// Waits for the outcome of a look-up.
pub(super) async fn outcome(mut outcomes: Outcomes) -> Outcome {
    match outcomes.wait_for(Option::is_some).await.as_deref() {
        Ok(Some(outcome)) => outcome.clone(),
        _ => Err(Refusal::unavailable("the look-up of the session was given up")),
    }
}

impl Core {
    /// What `of` makes of a session that is held; `None` where nothing is, or it cannot be believed.
    pub(super) fn believed<T>(&self, id: &str, of: impl FnOnce(Known<'_>) -> T) -> Option<T> {
        let held = self.held();
        let known = held.cache.get(id)?;
        // What ended does not come back, whatever was missed.
        (known.is_revoked || self.trouble().is_none()).then(|| of(known))
    }

    /// Somebody asks for a session.
    pub(super) fn ask(&self, id: &Arc<str>) -> Asked {
        if let Some(record) = self.believed(id, |known| known.into()) {
            return Asked::Known(record);
        }
        if let Some(trouble) = self.trouble() {
            return Asked::Refused(trouble);
        }
        let mut held = self.held_mut();
        match held.cache.begin(id) {
            Begin::Known => held.cache.get(id).map_or(Asked::Refused(BUSY), |known| Asked::Known(known.into())),
            Begin::Joined(flight) => held.waiting.get(&flight).cloned().map_or(Asked::Refused(BUSY), Asked::Joined),
            Begin::Busy => Asked::Refused(BUSY),
            Begin::Started(flight) => {
                let (outcome, outcomes) = watch::channel(None);
                held.waiting.insert(flight, outcomes.clone());
                Asked::Started(Lookup { id: Arc::clone(id), flight, outcome }, outcomes)
            }
        }
    }
}

impl Lookup {
    /// Reads until what was read is not out of date, and tells all who wait. `read` is bounded in time.
    pub(super) async fn run<R>(mut self, core: &Core, read: impl Fn(Arc<str>) -> R)
    where
        R: Future<Output = Result<Option<Snapshot>, Unread>>,
    {
        for reads in 1..=READS_MAX {
            core.metrics.lookups.fetch_add(1, Relaxed);
            let found = read(Arc::clone(&self.id)).await;
            let said = match self.finish(core, found, reads < READS_MAX) {
                Next::Again => continue,
                Next::Say(said) => said,
                Next::Follow(other) => outcome(other).await,
            };
            self.outcome.send_replace(Some(said));
            return;
        }
    }

    /// Hands in what was read. If the stream was faster, what it said counts, or it is read again.
    fn finish(&mut self, core: &Core, found: Result<Option<Snapshot>, Unread>, may_repeat: bool) -> Next {
        let mut held = core.held_mut();
        held.waiting.remove(&self.flight);
        let finished = held.cache.finish(&self.id, self.flight, found.as_ref().ok().and_then(Option::as_ref));
        if finished == Finished::Overtaken {
            core.metrics.overtaken.fetch_add(1, Relaxed);
        }
        if let Some(known) = held.cache.get(&self.id) {
            return Next::Say(Ok(Some(known.into())));
        }
        if finished == Finished::Overtaken && !matches!(found, Err(Unread::Trouble(_))) {
            if may_repeat {
                match held.cache.begin(&self.id) {
                    Begin::Started(flight) => {
                        self.flight = flight;
                        held.waiting.insert(flight, self.outcome.subscribe());
                        return Next::Again;
                    }
                    Begin::Joined(other) => {
                        if let Some(other) = held.waiting.get(&other) {
                            return Next::Follow(other.clone());
                        }
                    }
                    Begin::Known | Begin::Busy => {}
                }
            }
            return Next::Say(Err(Refusal::unavailable("the session changes faster than it can be looked up")));
        }
        drop(held);
        Next::Say(core.without_session(&self.id, found))
    }
}

impl Core {
    /// A read that is not out of date found no session, or none that could be stored.
    fn without_session(&self, id: &str, found: Result<Option<Snapshot>, Unread>) -> Outcome {
        match found {
            Ok(None) => Ok(None),
            Ok(Some(_)) => {
                self.metrics.store_failures.fetch_add(1, Relaxed);
                tracing::error!(session = ?id, reason = "store_failure", "no room for a session");
                Err(Refusal::unavailable("the session could not be stored"))
            }
            Err(Unread::Malformed(rule)) => {
                self.metrics.malformed_hashes.fetch_add(1, Relaxed);
                tracing::warn!(session = ?id, rule, "the hash of a session is malformed");
                Err(Refusal::unauthenticated("the session is not valid"))
            }
            Err(Unread::Trouble(trouble)) => {
                self.metrics.lookup_failures.fetch_add(1, Relaxed);
                tracing::debug!(session = ?id, %trouble, "a session could not be looked up");
                Err(Refusal::unavailable("the session could not be looked up"))
            }
        }
    }
}
