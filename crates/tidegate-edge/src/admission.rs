//! Who is let in: how many sockets and live connections, how many new ones a second, and up to which size of the process.
//!
//! A refusal costs what it takes to find out: an atomic or two, or a short lock. Nothing is allocated, and what was taken on
//! the way is given back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::cap::{Cap, Place};
use crate::rate::Bucket;
use crate::{EdgeConfig, Refused};

/// Seconds that whoever is refused is told to wait at least, and at most beyond those. Long enough that refusing costs little
/// beside what is let in: 100,000 who are kept out come with some 13,000 requests a second, a quarter of a core if one takes
/// 20 microseconds. Short enough for a person.
const RETRY_AFTER: u64 = 5;

/// The counts that all workers share.
#[derive(Debug)]
pub(crate) struct Admission {
    sockets: Arc<Cap>,
    connections: Arc<Cap>,
    rate: Option<Mutex<Bucket>>,
    /// Of new connections that are left to those who resume.
    reserve: u32,
    /// 0 = off.
    max_memory_bytes: u64,
    memory: AtomicU64,
}

impl Admission {
    /// Nobody is in, and the rate has its whole burst.
    pub(crate) fn new(config: &EdgeConfig, now: Instant) -> Arc<Self> {
        let rate = config.connections_per_second;
        // Strangers have sockets of their own beside all others: a flood of them never fills the sum, so the next one always
        // gets in and the oldest of them is cut for it.
        let sockets = [config.max_connections, config.max_other_sockets, config.max_unauthenticated];
        Arc::new(Self {
            sockets: Cap::new(sockets.into_iter().fold(0, usize::saturating_add)),
            connections: Cap::new(config.max_connections),
            rate: (rate > 0).then(|| Mutex::new(Bucket::new(rate, rate, now))),
            reserve: rate / 4,
            max_memory_bytes: config.max_memory_bytes,
            memory: AtomicU64::new(0),
        })
    }

    /// A place for a socket, whatever will be on it.
    ///
    /// # Errors
    /// [`Refused::Sockets`].
    pub(crate) fn socket(&self) -> Result<Place, Refused> {
        self.sockets.take().ok_or(Refused::Sockets)
    }

    /// A place for a live connection. `resumes`: it says that it comes back. To believe it is no risk: whoever lies gets what
    /// all have who come back, and nobody gets more than the rate and the caps.
    ///
    /// # Errors
    /// [`Refused::Memory`], [`Refused::Capacity`], [`Refused::Rate`], in this order: only who has a place uses up the rate.
    pub(crate) fn connection(&self, resumes: bool, now: Instant) -> Result<Place, Refused> {
        if self.is_too_large(resumes) {
            return Err(Refused::Memory);
        }
        let place = self.connections.take().ok_or(Refused::Capacity)?;
        if let Some(rate) = &self.rate {
            let reserve = if resumes { 0 } else { self.reserve };
            let mut rate = rate.lock().unwrap_or_else(PoisonError::into_inner);
            rate.take_but(reserve, now).map_err(|_| Refused::Rate)?;
        }
        Ok(place)
    }

    /// How large the process is now; 0 if nobody knows.
    pub(crate) fn set_memory(&self, resident_bytes: u64) {
        self.memory.store(resident_bytes, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn connections(&self) -> usize {
        self.connections.taken()
    }

    /// Whether anything depends on [`Admission::set_memory`].
    pub(crate) fn limits_memory(&self) -> bool {
        self.max_memory_bytes > 0
    }

    fn is_too_large(&self, resumes: bool) -> bool {
        let max = self.max_memory_bytes;
        let max = if resumes { max.saturating_add(max / 10) } else { max };
        self.limits_memory() && self.memory.load(Ordering::Relaxed) >= max
    }
}

/// Seconds for `Retry-After`, evenly from 5 to 10 by `random`, which is in `0.0..1.0`: so that those who are refused
/// together do not come again together.
pub(crate) fn retry_after(random: f64) -> u64 {
    RETRY_AFTER + (random * (RETRY_AFTER + 1) as f64) as u64
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn config(max_connections: usize, connections_per_second: u32) -> EdgeConfig {
        EdgeConfig {
            max_connections,
            max_other_sockets: 2,
            max_unauthenticated: 4,
            connections_per_second,
            ..EdgeConfig::default()
        }
    }

    /// How many are let in now, one after the other, that all stay.
    fn admitted(admission: &Admission, resumes: bool, now: Instant) -> Vec<Place> {
        std::iter::from_fn(|| admission.connection(resumes, now).ok()).collect()
    }

    #[test]
    fn sockets_are_connections_others_and_strangers() {
        let admission = Admission::new(&config(3, 0), Instant::now());
        let mut sockets: Vec<_> = (0..9).map(|_| admission.socket().unwrap()).collect();
        assert_eq!(admission.socket().unwrap_err(), Refused::Sockets);
        sockets.pop();
        assert!(admission.socket().is_ok());
    }

    #[test]
    fn the_last_quarter_of_the_rate_is_for_those_who_resume() {
        let now = Instant::now();
        let admission = Admission::new(&config(1_000, 100), now);
        let strangers = admitted(&admission, false, now);
        assert_eq!(admission.connection(false, now).unwrap_err(), Refused::Rate);
        assert_eq!((strangers.len(), admitted(&admission, true, now).len()), (75, 25));
        // A quarter of a second fills the reserve alone, and what is beyond it is anybody's.
        let later = now + Duration::from_millis(250);
        assert_eq!(admitted(&admission, false, later).len(), 0);
        let later = now + Duration::from_millis(350);
        assert_eq!((admitted(&admission, false, later).len(), admitted(&admission, true, later).len()), (10, 25));
    }

    #[test]
    fn a_flood_of_new_ones_does_not_keep_out_those_who_resume() {
        let start = Instant::now();
        let admission = Admission::new(&config(10_000, 100), start);
        let mut resumed = 0;
        for ms in 0..2_000u32 {
            let now = start + Duration::from_millis(ms.into());
            drop(admitted(&admission, false, now));
            // Fifty a second come back.
            resumed += usize::from(ms % 20 == 0 && admission.connection(true, now).is_ok());
        }
        assert_eq!(resumed, 100);
    }

    #[test]
    fn whoever_finds_no_place_uses_up_no_rate_and_whoever_is_too_fast_no_place() {
        let now = Instant::now();
        let admission = Admission::new(&config(1, 4), now);
        let place = admission.connection(false, now).unwrap();
        for _ in 0..100 {
            assert_eq!(admission.connection(true, now).unwrap_err(), Refused::Capacity);
        }
        drop(place);
        let rest = (0..10).filter(|_| admission.connection(true, now).is_ok()).count();
        assert_eq!((rest, admission.connections()), (3, 0));
    }

    #[test]
    fn a_process_too_large_takes_back_old_ones_for_a_while_longer() {
        let now = Instant::now();
        let config = EdgeConfig { max_memory_bytes: 1_000, ..config(10, 0) };
        let admission = Admission::new(&config, now);
        let outcome = |bytes, resumes| {
            admission.set_memory(bytes);
            admission.connection(resumes, now).map(drop)
        };
        assert_eq!([999, 1_000].map(|bytes| outcome(bytes, false)), [Ok(()), Err(Refused::Memory)]);
        assert_eq!([1_099, 1_100].map(|bytes| outcome(bytes, true)), [Ok(()), Err(Refused::Memory)]);
        assert_eq!(outcome(0, false), Ok(()), "nobody knows how large it is");
        assert_eq!(Admission::new(&EdgeConfig::default(), now).connection(false, now).map(drop), Ok(()));
    }

    #[test]
    fn who_is_refused_comes_again_at_another_time() {
        let mut counts = [0; 6];
        for step in 0..600 {
            counts[(retry_after(f64::from(step) / 600.0) - 5) as usize] += 1;
        }
        assert_eq!(counts, [100; 6]);
    }

    proptest! {
        #[test]
        fn caps_and_rate_hold_whatever_comes(
            (cap, rate) in (1usize..20, 1u32..40),
            steps in prop::collection::vec((0u64..120, any::<bool>(), 0usize..3), 1..300),
        ) {
            let start = Instant::now();
            let admission = Admission::new(&config(cap, rate), start);
            let (mut now, mut inside, mut times) = (start, Vec::new(), Vec::new());
            for (ms, resumes, leave) in steps {
                now += Duration::from_millis(ms);
                let full = inside.len() == cap;
                match admission.connection(resumes, now) {
                    Ok(place) => {
                        prop_assert!(!full);
                        inside.push(place);
                        times.push(now);
                    }
                    Err(reason) => prop_assert_eq!(reason == Refused::Capacity, full),
                }
                inside.truncate(inside.len().saturating_sub(leave));
                prop_assert_eq!(admission.connections(), inside.len());
                // In the last second no more than a burst and what one second brings.
                let recent = times.iter().filter(|time| now - **time <= Duration::from_secs(1)).count();
                prop_assert!(recent <= 2 * rate as usize);
            }
            drop(inside);
            prop_assert_eq!(admission.connections(), 0);
        }
    }
}
