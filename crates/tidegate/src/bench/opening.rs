//! Which connection a thread begins next, and when. Pure: time comes in as nanoseconds.

/// Before a connection comes back that was not told when.
pub(super) const BACK_NANOS: u64 = 1_000_000_000;

/// Connections have numbers; each is at any time open or under way, to come back later, dropped, or not begun yet.
pub(super) struct Opening {
    /// Dropped, and not to come back by themselves.
    dropped: Vec<u32>,
    next_number: u32,
    stride: u32,
    to_open: usize,
    at_once: usize,
    per_second: f64,
    next_open: f64,
    /// When to come back, and as what.
    later: Vec<(u64, u32)>,
    /// Begun and not ready.
    pub(super) under_way: usize,
}

impl Opening {
    /// Numbers are `first`, `first + stride` and so on.
    pub(super) fn new(first: u32, stride: u32) -> Self {
        Self {
            dropped: Vec::new(),
            next_number: first,
            stride,
            to_open: 0,
            at_once: 0,
            per_second: 0.0,
            next_open: 0.0,
            later: Vec::new(),
            under_way: 0,
        }
    }

    /// So many more, `at_once` of them under way at a time, at most so many a second (0 = no limit).
    pub(super) fn open(&mut self, count: usize, at_once: usize, per_second: f64, now: u64) {
        self.to_open += count;
        (self.at_once, self.per_second, self.next_open) = (at_once.max(1), per_second, now as f64);
    }

    /// No more of those that were to be opened.
    pub(super) fn hold(&mut self) {
        self.to_open = 0;
    }

    /// At most so many of those that were dropped come back now.
    pub(super) fn bring_back(&mut self, count: usize, now: u64) {
        let left = self.dropped.len().saturating_sub(count);
        self.later.extend(self.dropped.drain(left..).map(|number| (now, number)));
    }

    pub(super) fn comes_back(&mut self, number: u32, at: u64) {
        self.later.push((at, number));
    }

    pub(super) fn stays_away(&mut self, number: u32) {
        self.dropped.push(number);
    }

    /// Whether there is anything to do by the clock.
    pub(super) fn is_busy(&self) -> bool {
        self.to_open > 0 || !self.later.is_empty()
    }

    /// Whose turn it is to come back, all of them.
    pub(super) fn returning(&mut self, now: u64) -> Vec<u32> {
        let mut due = Vec::new();
        self.later.retain(|(at, number)| {
            let is_due = *at <= now;
            due.extend(is_due.then_some(*number));
            !is_due
        });
        due
    }

    /// The next new one, if one may begin.
    pub(super) fn next(&mut self, now: u64) -> Option<u32> {
        if self.to_open == 0 || self.under_way >= self.at_once || self.next_open > now as f64 {
            return None;
        }
        self.to_open -= 1;
        if self.per_second > 0.0 {
            self.next_open += 1e9 / self.per_second;
        }
        self.next_number += self.stride;
        Some(self.next_number - self.stride)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_ones_begin_by_the_clock_and_a_few_at_a_time() {
        let mut opening = Opening::new(1, 2);
        opening.open(3, 2, 1e9, 10);
        assert_eq!((opening.next(9), opening.next(10), opening.next(10)), (None, Some(1), None));
        opening.under_way = 2;
        assert_eq!(opening.next(11), None);
        opening.under_way = 1;
        assert_eq!((opening.next(11), opening.next(12), opening.is_busy()), (Some(3), Some(5), false));
        opening.open(5, 2, 0.0, 20);
        opening.hold();
        assert_eq!(opening.next(21), None);
    }

    #[test]
    fn who_was_dropped_comes_back_as_told() {
        let mut opening = Opening::new(0, 1);
        opening.comes_back(7, 100);
        opening.stays_away(8);
        opening.stays_away(9);
        assert!(opening.returning(99).is_empty());
        assert_eq!(opening.returning(100), [7]);
        opening.bring_back(1, 200);
        assert_eq!(opening.returning(200), [9]);
        opening.bring_back(5, 300);
        assert_eq!((opening.returning(300), opening.is_busy()), (vec![8], false));
    }
}
