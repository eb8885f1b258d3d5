//! The least speed of what has begun to arrive: a frame, a message, a body. Time comes in as an argument.
//!
//! A deadline for the whole would have to be minutes for the slowest honest client, and so would let anybody hold a buffer
//! for minutes with a byte; a deadline between two bytes lets a byte now and then hold it for ever.

use std::time::Duration;

use tokio::time::Instant;

/// So many bytes a second, behind which it may be by its grace and no more. To be made when something begins, and made anew
/// when reading goes on after a pause that was not the sender's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    deadline: Instant,
    grace: Duration,
    bytes_per_second: u32,
}

impl Pace {
    pub(crate) fn new(now: Instant, grace: Duration, bytes_per_second: u32) -> Self {
        Self { deadline: now + grace, grace, bytes_per_second: bytes_per_second.max(1) }
    }

    /// So many bytes more have arrived.
    pub(crate) fn take(&mut self, bytes: usize, now: Instant) {
        let bought = Duration::from_secs_f64(bytes as f64 / f64::from(self.bytes_per_second));
        // No more than the grace: a burst buys no time for a long silence.
        self.deadline = self.deadline.checked_add(bought).unwrap_or(self.deadline).min(now + self.grace);
    }

    /// When it is too slow if nothing more arrives.
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    /// When a sender of `bytes` each `every` is cut, if within an hour.
    fn cut_after(bytes: usize, every: Duration) -> Option<Duration> {
        let start = Instant::now();
        let (mut pace, mut now) = (Pace::new(start, GRACE, 256), start);
        while now - start < Duration::from_secs(3_600) {
            if pace.deadline() < now + every {
                return Some(pace.deadline() - start);
            }
            now += every;
            pace.take(bytes, now);
        }
        None
    }

    #[test]
    fn a_byte_a_second_is_cut_soon_after_the_grace_and_the_least_rate_never() {
        let second = Duration::from_secs(1);
        assert!(cut_after(1, second).unwrap() < Duration::from_millis(10_100));
        assert!(cut_after(128, second).unwrap() < 2 * GRACE + second);
        assert_eq!(cut_after(256, second), None);
        assert_eq!(cut_after(5 * 256, 5 * second), None, "in bursts as well");
    }

    #[test]
    fn a_burst_buys_no_long_silence() {
        let start = Instant::now();
        let mut pace = Pace::new(start, GRACE, 256);
        pace.take(65_535, start);
        assert_eq!(pace.deadline(), start + GRACE);
        pace.take(usize::MAX, start);
        assert_eq!(pace.deadline(), start + GRACE);
    }

    proptest! {
        #[test]
        fn nobody_is_further_behind_than_the_grace_or_cut_while_fast_enough(
            rate in 0u32..2_000,
            reads in prop::collection::vec((0u64..3_000, 0usize..5_000), 1..50),
        ) {
            let start = Instant::now();
            let (mut pace, mut now) = (Pace::new(start, GRACE, rate), start);
            let per_second = f64::from(rate.max(1));
            // The same, told as a store of seconds that fills up to the grace.
            let mut store = GRACE.as_secs_f64();
            for (ms, bytes) in reads {
                now += Duration::from_millis(ms);
                store -= ms as f64 / 1e3;
                if store < -1e-6 {
                    prop_assert!(pace.deadline() < now);
                    return Ok(());
                }
                prop_assert!(pace.deadline() + Duration::from_micros(1) >= now);
                pace.take(bytes, now);
                store = (store + bytes as f64 / per_second).min(GRACE.as_secs_f64());
                let left = (pace.deadline() - now).as_secs_f64();
                prop_assert!((left - store).abs() < 1e-5, "{left} {store}");
            }
        }
    }
}
