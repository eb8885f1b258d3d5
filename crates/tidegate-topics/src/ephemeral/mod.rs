//! Ephemeral state: entries of topics that die with their owners or when their time is over, and what is told of it.
//!
//! ```text
//! set, clear, disown ─► Entries ─► events ─► outlet
//!                          ▲
//!        timer thread ─────┘ at the next deadline
//! ```
//!
//! One lock is held from a change until its event is passed on, so a topic's events are in the order of what happened. The
//! outlet is asked under that lock whether anybody listens: who subscribes first and lists then misses nothing.
//!
//! The timer is exact to the scheduling of its thread. It sleeps until the next deadline and is woken only by a set that ends
//! earlier; where very many expire at once it lets others at the lock between [`EXPIRED_AT_ONCE`] of them.

mod entries;
mod events;
#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::metrics::count;
use crate::{Cleared, Clock, Entry, Limits, Metrics, Outlet, Owner, Set, Topic, TopicError};
use entries::{Entries, Gone};
use events::Events;

/// Between looks at the clock.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// Timers looked at while the lock is held.
const EXPIRED_AT_ONCE: usize = 256;

/// All ephemeral state of this process. Dropping it ends its timer.
pub(crate) struct Ephemera {
    shared: Arc<Shared>,
    timer: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    /// There is something to do for the timer before the time it sleeps until.
    earlier: Condvar,
    events: Events,
    clock: Clock,
    outlet: Arc<dyn Outlet>,
    metrics: Arc<Metrics>,
}

struct State {
    entries: Entries,
    /// 0 while the timer is awake.
    sleeps_until_ms: u64,
    is_over: bool,
}

impl Ephemera {
    /// Without entries. Events have their name in the field `discriminator`.
    ///
    /// # Errors
    /// If there can be no thread for the timer.
    pub(crate) fn new(
        limits: Limits,
        discriminator: &str,
        clock: Clock,
        outlet: Arc<dyn Outlet>,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::new(limits, discriminator, clock, outlet, metrics));
        let timed = shared.clone();
        let timer = std::thread::Builder::new().name("ephemeral".to_owned()).spawn(move || timed.time())?;
        Ok(Self { shared, timer: Some(timer) })
    }

    /// See [`Broker::set`](crate::Broker::set).
    pub(crate) fn set(&self, set: &Set) -> Result<(), TopicError> {
        self.shared.set(set)
    }

    /// See [`Broker::clear`](crate::Broker::clear).
    pub(crate) fn clear(&self, topic: &Topic, key: &str, owner: &Owner) -> Result<(), TopicError> {
        self.shared.clear(topic, key, owner)
    }

    /// See [`Broker::list`](crate::Broker::list).
    pub(crate) fn list(&self, topic: &Topic, bytes_max: usize) -> Result<Vec<Entry>, TopicError> {
        self.shared.list(topic, bytes_max)
    }

    /// See [`Broker::disown`](crate::Broker::disown).
    pub(crate) fn disown(&self, owner: &Owner, reason: Cleared) {
        self.shared.disown(owner, reason);
    }
}

impl Drop for Ephemera {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.earlier.notify_one();
        if let Some(timer) = self.timer.take() {
            // It says nothing at its end, and nothing is left to be done if it panicked.
            let _ = timer.join();
        }
    }
}

impl Shared {
    fn new(limits: Limits, discriminator: &str, clock: Clock, outlet: Arc<dyn Outlet>, metrics: Arc<Metrics>) -> Self {
        let state = State { entries: Entries::new(limits), sleeps_until_ms: 0, is_over: false };
        let (state, events) = (Mutex::new(state), Events::new(discriminator));
        Self { state, earlier: Condvar::new(), events, clock, outlet, metrics }
    }

    fn set(&self, set: &Set) -> Result<(), TopicError> {
        let mut state = self.lock();
        let now_ms = (self.clock)();
        if let Err(refused) = state.entries.set(set, now_ms) {
            if let TopicError::TooLarge(_) | TopicError::TooManyKeys(_) | TopicError::Full(_) = refused {
                count(&self.metrics.sets_refused);
            }
            return Err(refused);
        }
        count(&self.metrics.sets);
        self.gauge(&state);
        if self.outlet.has_subscribers(&set.topic) {
            self.outlet.pass(&self.events.set(set, now_ms));
        }
        if state.entries.next_deadline().is_some_and(|deadline_ms| deadline_ms < state.sleeps_until_ms) {
            // Once is enough until it has slept again.
            state.sleeps_until_ms = 0;
            self.earlier.notify_one();
        }
        Ok(())
    }

    fn clear(&self, topic: &Topic, key: &str, owner: &Owner) -> Result<(), TopicError> {
        let mut state = self.lock();
        let now_ms = (self.clock)();
        let gone = state.entries.clear(topic, key, owner, now_ms)?;
        self.tell(&state, gone, Cleared::Explicit, now_ms);
        Ok(())
    }

    fn list(&self, topic: &Topic, bytes_max: usize) -> Result<Vec<Entry>, TopicError> {
        let state = self.lock();
        state.entries.list(topic, (self.clock)(), bytes_max)
    }

    fn disown(&self, owner: &Owner, reason: Cleared) {
        let mut state = self.lock();
        let gone = state.entries.disown(owner);
        self.tell(&state, gone, reason, (self.clock)());
    }

    /// Clears all whose time is over.
    #[cfg(test)]
    fn expire_due(&self) {
        while self.expire_some(&mut self.lock()) {}
    }

    /// Clears some of them; whether there may be more.
    fn expire_some(&self, state: &mut State) -> bool {
        let now_ms = (self.clock)();
        let gone = state.entries.expire(now_ms, EXPIRED_AT_ONCE);
        self.tell(state, gone, Cleared::Expired, now_ms);
        state.entries.next_deadline().is_some_and(|deadline_ms| deadline_ms <= now_ms)
    }

    /// What the timer's thread does.
    fn time(&self) {
        let mut state = self.lock();
        while !state.is_over {
            state.sleeps_until_ms = 0;
            if self.expire_some(&mut state) {
                drop(state);
                std::thread::yield_now();
                state = self.lock();
                continue;
            }
            state = self.sleep(state);
        }
    }

    fn sleep<'a>(&self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        let Some(deadline_ms) = state.entries.next_deadline() else {
            state.sleeps_until_ms = u64::MAX;
            return self.earlier.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        state.sleeps_until_ms = deadline_ms;
        // The clock may be set forward meanwhile.
        let length = SLEEP_MAX.min(Duration::from_millis(deadline_ms.saturating_sub((self.clock)())));
        self.earlier.wait_timeout(state, length).unwrap_or_else(PoisonError::into_inner).0
    }

    /// Says that entries are gone: `reason`, unless their time was over before.
    fn tell(&self, state: &State, gone: impl IntoIterator<Item = Gone>, reason: Cleared, now_ms: u64) {
        self.gauge(state);
        for gone in gone {
            let reason = if gone.deadline_ms <= now_ms { Cleared::Expired } else { reason };
            count(&self.metrics.cleared[reason as usize]);
            if self.outlet.has_subscribers(&gone.topic) {
                self.outlet.pass(&self.events.cleared(gone, reason, now_ms));
            }
        }
    }

    fn gauge(&self, state: &State) {
        self.metrics.entries.store(state.entries.len() as u64, Ordering::Relaxed);
    }

    /// What is behind the lock is whole whoever panicked: entries call nothing that is not theirs.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
