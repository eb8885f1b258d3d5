//! The numbers that a job's events have in the session that submitted it: what `from_event_seq` and `last_event_seq` mean.

use std::collections::VecDeque;

/// Runs of events whose two numbers grow together.
#[derive(Debug, Default)]
pub(crate) struct Numbering {
    /// The first of each run: its place in the job's log, and its number in the session. Both grow.
    runs: VecDeque<(u64, u64)>,
    /// One past the last place that is known.
    next: u64,
}

impl Numbering {
    /// The next event has this place and this number. One that is told again keeps the number that it had first.
    pub(crate) fn push(&mut self, n: u64, seq: u64) {
        if n < self.next {
            return;
        }
        self.next = n + 1;
        let goes_on = self.runs.back().is_some_and(|&(first, number)| seq - number == n - first);
        if !goes_on {
            self.runs.push_back((n, seq));
        }
    }

    /// The events from this place on, so many, have these numbers.
    pub(crate) fn extend(&mut self, n: u64, seq: u64, count: u64) {
        let known = self.next.saturating_sub(n);
        if known < count {
            self.push(n + known, seq + known);
            self.next = n + count;
        }
    }

    /// The number of the event at this place. Those from before what is known (a restart forgets what was acknowledged) count
    /// as if they had come without others between.
    pub(crate) fn seq(&self, n: u64) -> u64 {
        let at = self.runs.partition_point(|&(first, _)| first <= n);
        match at.checked_sub(1).and_then(|at| self.runs.get(at)).or(self.runs.front()) {
            Some(&(first, seq)) if first <= n => seq + (n - first),
            Some(&(first, seq)) => seq.saturating_sub(first - n),
            None => n,
        }
    }

    /// The first place whose number is higher than this one. Not more than one past the last that is known, `next`.
    pub(crate) fn first_after(&self, seq: u64, next: u64) -> u64 {
        let (mut low, mut high) = (1, next);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.seq(middle) > seq { high = middle } else { low = middle + 1 }
        }
        low
    }

    /// Events up to this place are kept no longer.
    pub(crate) fn trim(&mut self, through: u64) {
        while self.runs.get(1).is_some_and(|&(first, _)| first <= through + 1) {
            self.runs.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_numbers_are_found_from_each_other() {
        let mut numbering = Numbering::default();
        assert_eq!((numbering.seq(7), numbering.first_after(7, 9)), (7, 8));
        // Of another job are 3, 4 and 7.
        for (n, seq) in [(1, 1), (2, 2), (3, 5), (4, 6), (5, 8)] {
            numbering.push(n, seq);
        }
        assert_eq!((1..=5).map(|n| numbering.seq(n)).collect::<Vec<_>>(), [1, 2, 5, 6, 8]);
        let after = (0..=9).map(|seq| numbering.first_after(seq, 6)).collect::<Vec<_>>();
        assert_eq!(after, [1, 2, 3, 3, 3, 4, 5, 5, 6, 6]);
        // As after a restart: what was told again keeps its first number.
        let mut restored = Numbering::default();
        for (n, seq, count) in [(1, 1, 2), (3, 5, 2), (2, 9, 2), (3, 20, 3)] {
            restored.extend(n, seq, count);
        }
        assert_eq!((1..=5).map(|n| restored.seq(n)).collect::<Vec<_>>(), [1, 2, 5, 6, 22]);
        numbering.trim(3);
        assert_eq!((3..=5).map(|n| numbering.seq(n)).collect::<Vec<_>>(), [5, 6, 8]);
        assert_eq!(numbering.seq(1), 3);
    }
}
