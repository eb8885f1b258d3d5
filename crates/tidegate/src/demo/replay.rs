//! The replay as a pure state machine: what time it is in the data, and which rows must change for that.
//!
//! At every instant of the simulated clock each event has a stage that follows from the clock alone; [`Replay::due`]
//! is the difference between that and what was written. So a jump of the clock, at the end of the data or after a
//! pause, needs no case of its own: the difference is larger for a while and leaves in batches.

/// Where an event is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// Not yet known, or past the retention.
    Absent,
    /// As first reported.
    Preliminary,
    /// As last revised.
    Final,
}

/// The times of one event, microseconds since 1970 in the data's own time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) reported: i64,
    pub(crate) revised: i64,
}

/// How long a row stays after it was reported.
const RETENTION_MICROS: i64 = 3 * 24 * 3_600_000_000;
/// Seconds of the data in one of ours; faster than this one tick would be days.
pub(crate) const SPEED_MAX: u32 = 604_800;

/// The machine. Times of ours are milliseconds on any monotonic clock, given by the caller.
#[derive(Debug)]
pub(crate) struct Replay {
    events: Vec<Times>,
    written: Vec<Stage>,
    clock: i64,
    /// When `clock` was right.
    at_ms: u64,
    speed: u32,
}

impl Replay {
    /// Begins where the first retention window is full, so that the first paint has rows.
    pub(crate) fn new(events: Vec<Times>, speed: u32, now_ms: u64) -> Self {
        let written = vec![Stage::Absent; events.len()];
        let mut replay = Self { events, written, clock: 0, at_ms: now_ms, speed: speed.min(SPEED_MAX) };
        replay.clock = replay.begin();
        replay
    }

    fn begin(&self) -> i64 {
        self.events.iter().map(|event| event.reported).min().unwrap_or_default() + RETENTION_MICROS
    }

    fn end(&self) -> i64 {
        self.events.iter().map(|event| event.reported).max().unwrap_or_default().max(self.begin())
    }

    /// Seconds of the data in one of ours; 0 is a pause.
    pub(crate) fn speed(&self) -> u32 {
        self.speed
    }

    /// Another speed from now on.
    pub(crate) fn set_speed(&mut self, speed: u32, now_ms: u64) {
        self.advance(now_ms);
        self.speed = speed.min(SPEED_MAX);
    }

    /// The time in the data, microseconds.
    pub(crate) fn clock(&self) -> i64 {
        self.clock
    }

    /// Events that are written now.
    pub(crate) fn rows(&self) -> usize {
        self.written.iter().filter(|stage| **stage != Stage::Absent).count()
    }

    /// Moves the clock to `now_ms`; past the end of the data it starts over.
    pub(crate) fn advance(&mut self, now_ms: u64) {
        let passed_ms = i64::try_from(now_ms.saturating_sub(self.at_ms)).unwrap_or(i64::MAX);
        self.at_ms = now_ms.max(self.at_ms);
        self.clock = self.clock.saturating_add(passed_ms.saturating_mul(i64::from(self.speed) * 1_000));
        if self.clock > self.end() {
            self.clock = self.begin();
        }
    }

    /// At most `max` changes that are due, oldest event first: which event, and the stage it goes to.
    pub(crate) fn due(&self, max: usize) -> Vec<(usize, Stage)> {
        let stages = self.events.iter().map(|event| self.stage(event));
        let differing = stages.enumerate().zip(&self.written).filter(|((_, now), written)| now != *written);
        differing.map(|(change, _)| change).take(max).collect()
    }

    /// Changes were written.
    pub(crate) fn wrote(&mut self, changes: &[(usize, Stage)]) {
        for (event, stage) in changes {
            self.written[*event] = *stage;
        }
    }

    fn stage(&self, event: &Times) -> Stage {
        match self.clock {
            clock if clock < event.reported || clock - event.reported > RETENTION_MICROS => Stage::Absent,
            clock if clock < event.revised => Stage::Preliminary,
            _ => Stage::Final,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: i64 = 3_600_000_000;

    /// An event an hour for a week, each revised 90 minutes later.
    fn week() -> Vec<Times> {
        (0..168).map(|hour| Times { reported: hour * HOUR, revised: hour * HOUR + HOUR * 3 / 2 }).collect()
    }

    fn settle(replay: &mut Replay) -> Vec<(usize, Stage)> {
        let mut all = Vec::new();
        loop {
            let due = replay.due(10);
            if due.is_empty() {
                return all;
            }
            replay.wrote(&due);
            all.extend(due);
        }
    }

    #[test]
    fn the_first_paint_has_the_rows_of_a_retention() {
        let mut replay = Replay::new(week(), 3_600, 0);
        settle(&mut replay);
        assert_eq!((replay.clock(), replay.rows()), (72 * HOUR, 73));
    }

    #[test]
    fn an_event_enters_is_revised_and_leaves() {
        let mut replay = Replay::new(week(), 3_600, 0);
        settle(&mut replay);
        // One second of ours is one hour of the data.
        replay.advance(1_000);
        assert_eq!(settle(&mut replay), [(0, Stage::Absent), (71, Stage::Final), (73, Stage::Preliminary)]);
    }

    #[test]
    fn a_pause_holds_the_clock_and_a_new_speed_counts_from_now() {
        let mut replay = Replay::new(week(), 3_600, 0);
        replay.set_speed(0, 1_000);
        let paused = replay.clock();
        replay.advance(60_000);
        assert_eq!(replay.clock(), paused);
        replay.set_speed(7_200, 61_000);
        replay.advance(61_500);
        assert_eq!(replay.clock(), paused + HOUR);
        replay.set_speed(u32::MAX, 61_500);
        assert_eq!(replay.speed(), SPEED_MAX);
    }

    #[test]
    fn at_the_end_it_starts_over_in_batches() {
        let mut replay = Replay::new(week(), 3_600, 0);
        for tick in 1..=95 {
            replay.advance(tick * 1_000);
            settle(&mut replay);
        }
        assert_eq!(replay.clock(), 167 * HOUR);
        replay.advance(96_001);
        assert_eq!(replay.clock(), 72 * HOUR);
        assert_eq!(replay.due(10).len(), 10);
        let all = settle(&mut replay);
        assert!(all.contains(&(167, Stage::Absent)) && all.contains(&(0, Stage::Final)));
        assert_eq!(replay.rows(), 73);
    }

    proptest! {
        #[test]
        fn what_is_written_always_becomes_what_the_clock_says(
            steps in prop::collection::vec((0u64..20_000, prop::option::of(0u32..100_000), 0usize..50), 1..40)
        ) {
            let mut replay = Replay::new(week(), 3_600, 0);
            let mut now_ms = 0;
            for (passed_ms, speed, batch) in steps {
                now_ms += passed_ms;
                replay.advance(now_ms);
                if let Some(speed) = speed {
                    replay.set_speed(speed, now_ms);
                }
                let due = replay.due(batch);
                prop_assert!(due.len() <= batch);
                replay.wrote(&due);
                prop_assert!((72 * HOUR..=167 * HOUR).contains(&replay.clock()));
            }
            settle(&mut replay);
            let expected = week().iter().filter(|event| replay.stage(event) != Stage::Absent).count();
            prop_assert_eq!(replay.rows(), expected);
        }

        #[test]
        fn no_time_overflows(now_ms: u64, speed: u32, reported: i32) {
            let times = Times { reported: i64::from(reported), revised: i64::from(reported) };
            let mut replay = Replay::new(vec![times], speed, 0);
            replay.advance(now_ms);
            replay.due(1);
        }
    }
}
