//! A token bucket. Time comes in as an argument.

use std::time::Duration;

use tokio::time::Instant;

const NANOS_PER_SECOND: u32 = 1_000_000_000;

/// So many a second, and so many at once.
#[derive(Debug)]
pub(crate) struct Bucket {
    /// At most a second. Every connection has a few buckets, so they are kept small.
    every_nanos: u32,
    burst: u32,
    /// When the bucket will be (or was) full.
    full_at: Instant,
}

impl Bucket {
    pub(crate) fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        Self { every_nanos: NANOS_PER_SECOND / per_second.max(1), burst: burst.max(1), full_at: now }
    }

    /// The time in which there are so many.
    fn time(&self, count: u32) -> Duration {
        Duration::from_nanos(u64::from(self.every_nanos) * u64::from(count))
    }

    /// Takes one, or says when there will be one.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        self.take_but(0, now)
    }

    /// Takes so many at once, whether there are so many or not; until when nothing more is to be taken, if there were not.
    pub(crate) fn charge(&mut self, count: u32, now: Instant) -> Option<Instant> {
        self.full_at = self.full_at.max(now) + self.time(count);
        let free_at = self.full_at - self.time(self.burst);
        (free_at > now).then_some(free_at)
    }

    /// The same, but leaves the last `reserve` for others.
    pub(crate) fn take_but(&mut self, reserve: u32, now: Instant) -> Result<(), Instant> {
        let full_at = self.full_at.max(now) + self.time(1);
        let free_at = full_at - self.time(self.burst.saturating_sub(reserve).max(1));
        if free_at > now {
            return Err(free_at);
        }
        self.full_at = full_at;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, 3, start);
        for _ in 0..3 {
            assert_eq!(bucket.take(start), Ok(()));
        }
        let next = start + Duration::from_millis(100);
        assert_eq!(bucket.take(start), Err(next));
        assert_eq!(bucket.take(next), Ok(()));
        assert_eq!(bucket.take(next), Err(next + Duration::from_millis(100)));
    }
    #[test]
    fn a_reserve_is_left_to_those_who_may_have_it() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10, 3, start);
        assert_eq!(bucket.take_but(2, start), Ok(()));
        assert_eq!(bucket.take_but(2, start), Err(start + Duration::from_millis(100)));
        assert_eq!([bucket.take(start), bucket.take(start)], [Ok(()), Ok(())]);
        assert_eq!(bucket.take(start), Err(start + Duration::from_millis(100)));
        assert_eq!(bucket.take_but(2, start), Err(start + Duration::from_millis(300)));
    }
}
