//! Letting go of many connections without a stampede. Time comes in as an argument.

use std::time::Duration;

use tokio::time::Instant;

/// Between two looks at what is due.
pub(crate) const TICK: Duration = Duration::from_millis(50);
/// Closed at each look at least.
const CLOSES_MIN: usize = 16;

/// A plan for closing the connections of one worker.
#[derive(Debug)]
pub(crate) struct Drain {
    begin: Instant,
    window: Duration,
    connections: usize,
}

impl Drain {
    pub(crate) fn new(now: Instant, window: Duration, connections: usize) -> Self {
        Self { begin: now, window, connections }
    }

    /// How many of the `left` ones to close now; all from the end of the window on.
    pub(crate) fn due(&mut self, now: Instant, left: usize) -> usize {
        let elapsed = now.saturating_duration_since(self.begin) + TICK;
        if elapsed >= self.window {
            return left;
        }
        let share = elapsed.as_secs_f64() / self.window.as_secs_f64();
        let gone = (self.connections as f64 * share).ceil() as usize;
        left.saturating_sub(self.connections.saturating_sub(gone)).max(CLOSES_MIN).min(left)
    }
}

/// How long a client is to wait before it comes back, evenly over the window by `random`, which is in `0.0..1.0`.
pub(crate) fn reconnect_after(window: Duration, random: f64) -> Duration {
    window.mul_f64(random.clamp(0.0, 1.0))
}
