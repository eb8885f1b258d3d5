//! The least speed of what has begun to arrive: a frame, a message, a body. Time comes in as an argument.

use std::time::Duration;

use tokio::time::Instant;

/// So many bytes a second, behind which it may be by its grace and no more.
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
