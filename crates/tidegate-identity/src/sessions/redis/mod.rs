//! Device sessions that are announced on a stream in Redis and held in a hash each.
//!
//! ```text
//!  stream ── subscriber ──► cache ◄── look-ups ── hashes
//!                │            ▲
//!                ▼            │
//!          revocations     check
//! ```
//!
//! # Invariants
//! - **The place comes first.** Nothing is looked up before the place in the stream is known, and after a gap the new place
//!   is taken before the cache is emptied: whatever a look-up misses is still to be read.
//! - **Continuity is proven, not assumed**: [`continuity`] says how. A gap empties the cache and has every live session
//!   checked again.
//! - **What is held is believed for a limited time** after nothing was last proven to be missing.
//! - Whoever writes a session writes its hash before its entry, or both at once.

mod connect;
mod continuity;
mod hashes;
mod lookup;
mod reply;
mod subscriber;

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{broadcast, watch};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use self::connect::{Address, Shared};
use self::hashes::Hashes;
use self::lookup::{Asked, Outcomes};
use self::reply::Entry;
use self::subscriber::Subscriber;
use super::cache::{Applied, Begin, Cache, Flight, Known};
use super::snapshot::{Malformed, Snapshot, decode};
use super::{Record, SessionMetrics};
use crate::{Answer, Clock, RedisSettings, Refusal, Revocation, SessionsError, SessionsSettings};

/// Look-ups under way at once: what a server answers well within the time limit of one.
const LOOKUPS_MAX: usize = 10_000;

/// The sessions of one Redis, followed for as long as this lives.
pub(super) struct RedisSessions {
    core: Arc<Core>,
    hashes: Arc<Hashes>,
    lookups: TaskTracker,
    runtime: Handle,
    _following: [AbortOnDropHandle<()>; 2],
}

/// What following, looking up and checking share.
struct Core {
    held: RwLock<Held>,
    /// When it was last proven that nothing is missing, in milliseconds since 1970; `None` before the first time.
    proven: watch::Sender<Option<u64>>,
    revocations: broadcast::Sender<Revocation>,
    metrics: Arc<SessionMetrics>,
    clock: Clock,
    max_stale: Duration,
}

struct Held {
    cache: Cache,
    /// Of each look-up that is under way what it will say.
    waiting: HashMap<Flight, Outcomes>,
}

impl RedisSessions {
    /// Begins to follow the stream, and waits until its place is known, but no longer than a look-up may take.
    pub(super) async fn start(
        settings: &SessionsSettings,
        redis: &RedisSettings,
        runtime: Handle,
        clock: Clock,
        revocations: broadcast::Sender<Revocation>,
        metrics: Arc<SessionMetrics>,
    ) -> Result<Self, SessionsError> {
        if redis.stream.is_empty() {
            return Err(SessionsError::Stream);
        }
        if redis.read_block.is_zero() {
            return Err(SessionsError::Zero("read_block_ms"));
        }
        let core = Arc::new(Core::new(settings.cache_max, settings.max_stale, revocations, metrics, clock));
        let subscriber = Subscriber {
            core: Arc::clone(&core),
            address: Address::new(redis, settings.lookup_timeout)?,
            stream: redis.stream.clone(),
            // Idle waits prove that nothing is missing: often enough that what is held never goes stale by itself.
            block: redis.read_block.min(settings.max_stale / 2),
            answer_timeout: settings.lookup_timeout,
            place: None,
        };
        let hashes = Hashes {
            redis: Shared::new(Address::new(redis, settings.lookup_timeout)?),
            key_prefix: redis.key_prefix.clone(),
            stream: redis.stream.clone(),
            timeout: settings.lookup_timeout,
        };
        let following = [
            AbortOnDropHandle::new(runtime.spawn(subscriber.run())),
            AbortOnDropHandle::new(runtime.spawn(staleness(Arc::clone(&core), settings.close_when_stale))),
        ];
        let mut proven = core.proven.subscribe();
        let _ = tokio::time::timeout(settings.lookup_timeout, proven.wait_for(Option::is_some)).await;
        Ok(Self { core, hashes: Arc::new(hashes), lookups: TaskTracker::new(), runtime, _following: following })
    }

    /// What `of` makes of a session that is held, if what is held can be believed. The sessions are locked meanwhile.
    pub(super) fn held<T>(&self, id: &str, of: impl FnOnce(Known<'_>) -> T) -> Option<T> {
        self.core.believed(id, of)
    }

    /// What is known about a session, asked for where need be; `None` if there is no such session.
    pub(super) fn ask(&self, id: &Arc<str>) -> Answer<Option<Record>> {
        match self.core.ask(id) {
            Asked::Known(record) => Answer::Now(Ok(Some(record))),
            Asked::Refused(why) => Answer::Now(Err(Refusal::unavailable(why))),
            Asked::Joined(outcomes) => Answer::Later(Box::pin(lookup::outcome(outcomes))),
            Asked::Started(lookup, outcomes) => {
                let (core, hashes) = (Arc::clone(&self.core), Arc::clone(&self.hashes));
                let read = move |id: Arc<str>| {
                    let hashes = Arc::clone(&hashes);
                    async move { hashes.read(&id).await }
                };
                self.lookups.spawn_on(async move { lookup.run(&core, read).await }, &self.runtime);
                Answer::Later(Box::pin(lookup::outcome(outcomes)))
            }
        }
    }

    /// Revokes a session; `false` if there is none of that id. Who follows the stream hears of it there.
    pub(super) async fn revoke(&self, id: &Arc<str>) -> Result<bool, SessionsError> {
        let (hashes, asked, now_ms) = (Arc::clone(&self.hashes), Arc::clone(id), (self.core.clock)());
        // On the runtime of the connection, whoever asks.
        let revoking = self.runtime.spawn(async move { hashes.revoke(&asked, now_ms).await });
        let revoked =
            AbortOnDropHandle::new(revoking).await.map_err(|error| SessionsError::Unavailable(error.to_string()))?;
        let is_there = revoked.map_err(|trouble| SessionsError::Unavailable(format!("Redis: {trouble}")))?;
        if !is_there {
            // What is held of it here came from a hash that is no more.
            self.core.held_mut().cache.drop_session(id);
            let _ = self.core.revocations.send(Revocation::Recheck(Arc::clone(id)));
        }
        Ok(is_there)
    }

    pub(super) fn trouble(&self) -> Option<&'static str> {
        self.core.trouble()
    }
}

impl Core {
    fn new(
        cache_max: usize,
        max_stale: Duration,
        revocations: broadcast::Sender<Revocation>,
        metrics: Arc<SessionMetrics>,
        clock: Clock,
    ) -> Self {
        let held = RwLock::new(Held { cache: Cache::new(cache_max, LOOKUPS_MAX), waiting: HashMap::new() });
        Self { held, proven: watch::Sender::new(None), revocations, metrics, clock, max_stale }
    }

    fn held(&self) -> RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn held_mut(&self) -> RwLockWriteGuard<'_, Held> {
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why nothing is known for certain now.
    fn trouble(&self) -> Option<&'static str> {
        match *self.proven.borrow() {
            None => Some("the stream of sessions was not reached yet"),
            Some(at) if self.is_past(at) => Some("the stream of sessions has been out of reach for too long"),
            Some(_) => None,
        }
    }

    /// A clock that was put back by more than that tells nothing of how long it is either.
    fn is_past(&self, at_ms: u64) -> bool {
        u128::from((self.clock)().abs_diff(at_ms)) > self.max_stale.as_millis()
    }

    /// Nothing was missed up to now.
    fn prove(&self) {
        self.metrics.in_step.store(1, Relaxed);
        self.proven.send_replace(Some((self.clock)()));
    }

    /// Takes in entries in the stream's order, then tells whom they concern.
    fn apply(&self, entries: &[Entry]) {
        let mut revocations = Vec::new();
        let mut malformed = Vec::new();
        {
            let mut held = self.held_mut();
            for entry in entries {
                let decoded = decode(entry.fields());
                if let Err(broken) = &decoded {
                    malformed.push((entry.id, broken.clone()));
                }
                revocations.extend(moved(&held.cache, &decoded).map(Revocation::Recheck));
                match held.cache.apply(decoded) {
                    Applied::Active => {}
                    Applied::Revoked(id) => {
                        self.metrics.revoked.fetch_add(1, Relaxed);
                        revocations.push(Revocation::Session(id));
                    }
                    Applied::Dropped(id) => revocations.push(Revocation::Recheck(id)),
                    Applied::Unstored(id) => {
                        self.metrics.store_failures.fetch_add(1, Relaxed);
                        tracing::error!(session = ?id, reason = "store_failure", "no room for a session");
                        revocations.push(Revocation::Recheck(id));
                    }
                    Applied::Nameless => {}
                }
            }
            self.metrics.evicted.store(held.cache.evicted(), Relaxed);
            self.metrics.held.store(held.cache.len() as u64, Relaxed);
        }
        self.metrics.entries.fetch_add(entries.len() as u64, Relaxed);
        self.metrics.malformed.fetch_add(malformed.len() as u64, Relaxed);
        if let Some((entry, broken)) = malformed.first() {
            // One line a batch: a writer gone wrong does not fill the disk.
            let (session, rule, count) = (&broken.names, broken.rule, malformed.len());
            tracing::warn!(%entry, ?session, rule, count, reason = "malformed_event", "an entry of the stream is malformed");
        }
        for revocation in revocations {
            // Nobody listens: nobody is connected.
            let _ = self.revocations.send(revocation);
        }
    }

    /// Entries were missed. The new place has been taken.
    fn gap(&self) {
        self.metrics.gaps.fetch_add(1, Relaxed);
        let forgotten = self.held_mut().cache.empty();
        self.metrics.held.store(0, Relaxed);
        // From the new place on nothing is missing. After a long outage those who are checked again would be refused otherwise.
        self.prove();
        let _ = self.revocations.send(Revocation::RecheckAll);
        drop(forgotten);
    }
}

/// The session that is another user's from this entry on, as far as is held.
fn moved(cache: &Cache, decoded: &Result<Snapshot, Malformed>) -> Option<Arc<str>> {
    let snapshot = decoded.as_ref().ok()?;
    let held = cache.get(&snapshot.id)?;
    (held.user != &*snapshot.user).then(|| Arc::clone(&snapshot.id))
}

/// Says once each time that what is held has gone stale, and has live connections end then if that is wanted.
async fn staleness(core: Arc<Core>, close: bool) {
    let mut proven = core.proven.subscribe();
    let started = (core.clock)();
    loop {
        let since = proven.borrow_and_update().unwrap_or(started);
        let age = Duration::from_millis((core.clock)().saturating_sub(since));
        if core.is_past(since) {
            core.metrics.in_step.store(0, Relaxed);
            tracing::error!(age_s = age.as_secs(), "out of step with the stream of sessions for too long");
            if close {
                let _ = core.revocations.send(Revocation::RecheckAll);
            }
            if proven.changed().await.is_err() {
                return;
            }
            continue;
        }
        // A millisecond more: at the limit itself it is not past.
        let left = core.max_stale.saturating_sub(age) + Duration::from_millis(1);
        if let Ok(Err(_)) = tokio::time::timeout(left, proven.changed()).await {
            return;
        }
    }
}

#[cfg(test)]
mod races;
