//! The public keys of an issuer: a JWK set (RFC 7517), fetched.
//!
//! # How it stays fresh
//! Keys are fetched when the first token asks for them, in the background when they are older than `max_age`, and when a token
//! names a key that is not there. No two fetches begin within `floor`, so that tokens with invented names of keys cause no
//! more than that, and all who wait share one. A fetch that fails keeps the keys that are there; a set that says less takes
//! keys away, all of them if need be.
//!
//! # Which keys count
//! Those that can verify the issuer's one algorithm and are meant for it; the others are passed over and counted, one by one:
//! a set may hold keys for other purposes, and one that is broken must not take the rest with it. A key whose private part is
//! published with it verifies nothing.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use http::Uri;
use jsonwebtoken::DecodingKey;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use self::key::Key;
use crate::fetch::{Bounds, Fetch};
use crate::{Algorithm, Clock, Later, Refusal};

mod key;

/// Of one set: about 500 RSA keys.
const BYTES_MAX: usize = 256 << 10;
/// That are tried for one token.
const TRIED_MAX: usize = 16;

/// Counts of all issuers' fetches.
#[derive(Debug, Default)]
pub struct JwksMetrics {
    /// Fetches that were begun.
    pub fetches: AtomicU64,
    /// Of these, such as brought no set.
    pub failures: AtomicU64,
    /// Keys in the sets that came which cannot be used here.
    pub passed_over: AtomicU64,
}

/// The keys of one issuer.
pub(crate) struct Jwks {
    url: Uri,
    algorithm: Algorithm,
    fetch: Fetch,
    floor: Duration,
    max_age: Duration,
    timeout: Duration,
    runtime: Handle,
    clock: Clock,
    metrics: Arc<JwksMetrics>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    keys: Arc<[Key]>,
    /// When the last fetch began, and when the one that brought `keys` did; in milliseconds since 1970.
    asked_ms: Option<u64>,
    fetched_ms: Option<u64>,
    /// The last fetch that ended brought nothing.
    failed: bool,
    flight: Option<Flight>,
}

struct Flight {
    /// Closed when it has ended.
    landed: watch::Receiver<()>,
    task: AbortOnDropHandle<()>,
}

impl Jwks {
    /// Nothing is fetched before somebody asks.
    #[expect(clippy::too_many_arguments, reason = "each is of another kind, and there is one caller")]
    pub(crate) fn new(
        url: Uri,
        algorithm: Algorithm,
        fetch: Fetch,
        floor: Duration,
        max_age: Duration,
        timeout: Duration,
        runtime: Handle,
        clock: Clock,
        metrics: Arc<JwksMetrics>,
    ) -> Arc<Self> {
        let state = Mutex::default();
        Arc::new(Self { url, algorithm, fetch, floor, max_age, timeout, runtime, clock, metrics, state })
    }

    /// The keys of that name; without one those that come first. At most 16. Where they are old a fetch begins.
    pub(crate) fn cached(self: &Arc<Self>, kid: Option<&str>) -> Vec<Arc<DecodingKey>> {
        let now = (self.clock)();
        let mut state = self.state();
        if has_passed(state.fetched_ms, self.max_age, now) {
            self.take_off(&mut state, now);
        }
        let keys = state.keys.clone();
        drop(state);
        let named = keys.iter().filter(|key| kid.is_none_or(|kid| key.kid.as_deref() == Some(kid)));
        named.take(TRIED_MAX).map(|key| key.key.clone()).collect()
    }

    /// Waits for keys that are fresher than those that [`Jwks::cached`] gave: for the fetch that is under way, or for one that
    /// begins now. Fails where that brings none. `None`: the last one is less than `floor` ago, so what is cached is all.
    pub(crate) fn refresh(self: &Arc<Self>) -> Option<Later<()>> {
        let mut state = self.state();
        let Some(mut landed) = self.take_off(&mut state, (self.clock)()) else {
            return state.failed.then(|| -> Later<()> { Box::pin(std::future::ready(Err(unavailable()))) });
        };
        drop(state);
        let this = self.clone();
        Some(Box::pin(async move {
            // Nothing is ever sent: this is the end of it.
            let _ = landed.changed().await;
            if this.state().failed { Err(unavailable()) } else { Ok(()) }
        }))
    }

    /// The fetch that is under way, or a new one, if there may be one again.
    fn take_off(self: &Arc<Self>, state: &mut State, now: u64) -> Option<watch::Receiver<()>> {
        if let Some(flight) = state.flight.as_ref().filter(|flight| !flight.task.is_finished()) {
            return Some(flight.landed.clone());
        }
        if !has_passed(state.asked_ms, self.floor, now) {
            return None;
        }
        let (ended, landed) = watch::channel(());
        let task =
            self.runtime.spawn(fly(Arc::downgrade(self), self.fetch.clone(), self.url.clone(), self.timeout, ended));
        self.metrics.fetches.fetch_add(1, Relaxed);
        // Until it has ended it counts as failed: it may be cut off.
        state.failed = true;
        state.asked_ms = Some(now);
        state.flight = Some(Flight { landed: landed.clone(), task: AbortOnDropHandle::new(task) });
        Some(landed)
    }

    fn land(&self, answer: Result<key::Set, String>) {
        let host = self.url.host().unwrap_or_default();
        let mut state = self.state();
        state.flight = None;
        match answer {
            Ok(set) => {
                if set.keys.is_empty() {
                    tracing::warn!(issuer_host = host, "the issuer's set has no key for its algorithm");
                }
                self.metrics.passed_over.fetch_add(set.passed_over, Relaxed);
                (state.keys, state.fetched_ms, state.failed) = (set.keys.into(), state.asked_ms, false);
            }
            Err(reason) => {
                self.metrics.failures.fetch_add(1, Relaxed);
                tracing::warn!(issuer_host = host, reason, "an issuer's keys were not fetched");
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fetches once. Does not hold on to the keys' owner, whose end is its end.
async fn fly(jwks: Weak<Jwks>, fetch: Fetch, url: Uri, timeout: Duration, ended: watch::Sender<()>) {
    let answer = fetch.get(&url, Bounds { timeout, bytes_max: BYTES_MAX }).await;
    if let Some(jwks) = jwks.upgrade() {
        jwks.land(answer.map_err(|error| error.to_string()).and_then(|body| key::read(&body, jwks.algorithm)));
    }
    // Only now do those who wait look.
    drop(ended);
}

/// Whether `span` has gone by since then. A clock that was put back is no reason to wait.
fn has_passed(since_ms: Option<u64>, span: Duration, now: u64) -> bool {
    since_ms.and_then(|since| now.checked_sub(since)).is_none_or(|age| u128::from(age) >= span.as_millis())
}

fn unavailable() -> Refusal {
    Refusal::unavailable("the issuer's keys cannot be fetched now")
}

#[cfg(test)]
mod tests;
