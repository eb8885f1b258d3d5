//! Letting go of many connections without a stampede, here or wherever they come back to. Time comes in as an argument.
//!
//! Closes go evenly over the window, so that the other processes meet their share of newcomers a second and no more. Few
//! connections are not worth the wait: they go at once.

use std::time::Duration;

use tokio::time::Instant;

/// Between two looks at what is due: short beside any window, and long beside the time that some closes take.
pub(crate) const TICK: Duration = Duration::from_millis(50);
/// So many of one worker are few.
const FEW: usize = 16;
/// Clients are told to come back within no less than this: about what a restart takes.
const RETURN_MIN: Duration = Duration::from_secs(1);

/// A plan for closing one worker's connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drain {
    begin: Instant,
    window: Duration,
    connections: usize,
}

impl Drain {
    /// So many connections are to be gone by the end of the window, which begins now.
    pub(crate) fn new(now: Instant, window: Duration, connections: usize) -> Self {
        Self { begin: now, window, connections }
    }

    /// How many of the `left` ones to close now, to be asked each [`TICK`]; who asks late closes what was due before, too.
    pub(crate) fn due(&self, now: Instant, left: usize) -> usize {
        // With the tick that begins now: the first closes go at once, the last before the end.
        let elapsed = now.saturating_duration_since(self.begin) + TICK;
        if elapsed >= self.window || self.connections <= FEW {
            return left;
        }
        let share = elapsed.div_duration_f64(self.window);
        let gone = (self.connections as f64 * share).round() as usize;
        left.saturating_sub(self.connections.saturating_sub(gone))
    }

    /// How long a client that is closed is told to stay away, evenly by `random`, which is in `0.0..1.0`, over the time that
    /// all closes take: closes a second and returns a second are then never more than one window's share.
    pub(crate) fn reconnect_after(&self, random: f64) -> Duration {
        let spread = if self.connections <= FEW { RETURN_MIN } else { self.window.max(RETURN_MIN) };
        spread.mul_f64(random.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(10);

    /// How many go at each tick.
    fn closes(window: Duration, connections: usize) -> Vec<usize> {
        let start = Instant::now();
        let drain = Drain::new(start, window, connections);
        let (mut left, mut closes) = (connections, Vec::new());
        while left > 0 {
            let due = drain.due(start + TICK * closes.len() as u32, left);
            left -= due;
            closes.push(due);
        }
        closes
    }

    #[test]
    fn few_go_at_once_and_many_evenly() {
        assert_eq!(closes(WINDOW, 3), [3]);
        assert_eq!(closes(WINDOW, 400), [2; 200]);
        assert_eq!(closes(WINDOW, 10_000), [50; 200]);
        assert_eq!(closes(Duration::ZERO, 10_000), [10_000]);
    }

    #[test]
    fn those_who_leave_by_themselves_are_not_made_up_for() {
        let start = Instant::now();
        let drain = Drain::new(start, WINDOW, 10_000);
        assert_eq!(drain.due(start + WINDOW / 2, 4_950), 0);
        assert_eq!(drain.due(start + WINDOW / 2, 5_000), 50);
    }

    #[test]
    fn returns_are_spread_evenly_over_the_time_that_the_closes_take() {
        let spread = |window, connections| {
            let drain = Drain::new(Instant::now(), window, connections);
            let times: Vec<_> = (0..1_000).map(|step| drain.reconnect_after(f64::from(step) / 1_000.0)).collect();
            (times[0], times[250], times[500], times[999].as_millis())
        };
        let second = Duration::from_secs(1);
        assert_eq!(spread(WINDOW, 10_000), (Duration::ZERO, WINDOW / 4, WINDOW / 2, 9_990));
        assert_eq!(spread(WINDOW, 3), (Duration::ZERO, second / 4, second / 2, 999));
        assert_eq!(spread(Duration::ZERO, 10_000), (Duration::ZERO, second / 4, second / 2, 999));
    }

    proptest! {
        #[test]
        fn all_are_gone_at_the_end_and_none_too_early_whatever_the_ticks_do(
            (window_ms, connections) in (0u64..20_000, 0usize..20_000),
            waits in prop::collection::vec((0u64..400, 0usize..5), 0..200),
        ) {
            let start = Instant::now();
            let window = Duration::from_millis(window_ms);
            let drain = Drain::new(start, window, connections);
            let (mut now, mut left, mut closed) = (start, connections, 0);
            for (ms, left_by_themselves) in waits {
                let due = drain.due(now, left);
                prop_assert!(due <= left);
                left -= due;
                closed += due;
                let elapsed = now - start + TICK;
                if elapsed >= window {
                    prop_assert_eq!(left, 0);
                } else {
                    let evenly = connections as f64 * elapsed.div_duration_f64(window);
                    prop_assert!(closed as f64 <= evenly.max(FEW as f64) + 1.0);
                }
                left = left.saturating_sub(left_by_themselves);
                now += Duration::from_millis(ms);
            }
            prop_assert_eq!(drain.due(start + window, left), left);
        }
    }
}
