//! Which of many intervals hold a point: for views filed under a range.
//!
//! A logarithmic structure: an unsorted buffer, and runs of sorted intervals, each an implicit balanced tree over an
//! array (the middle of a range is its root) that knows the greatest end below every node. A full buffer is merged with
//! the runs that are not much larger, so an insert costs O(log² n) amortised and a lookup O(log² n + found). A removed
//! interval leaves a dead entry until its run is rebuilt.

/// Intervals that wait unsorted.
const BUFFER_MAX: usize = 64;

/// `low <= point <= high` concerns `slot`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Interval {
    pub(crate) low: u64,
    pub(crate) high: u64,
    pub(crate) slot: u32,
}

#[derive(Debug, Default)]
struct Run {
    /// Sorted, by `low` first; of those with one `low` (all that have no lower bound) each is found as fast.
    intervals: Vec<Interval>,
    /// Which of them have been removed.
    is_dead: Vec<bool>,
    /// The greatest `high` in the subtree whose root is here.
    highest: Vec<u64>,
    dead: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Intervals {
    buffer: Vec<Interval>,
    /// Longest first.
    runs: Vec<Run>,
}

impl Intervals {
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.runs.is_empty()
    }

    pub(crate) fn insert(&mut self, interval: Interval) {
        self.buffer.push(interval);
        if self.buffer.len() < BUFFER_MAX {
            return;
        }
        let mut all = std::mem::take(&mut self.buffer);
        while let Some(run) = self.runs.pop_if(|run| run.intervals.len() <= 2 * all.len()) {
            all.extend(run.live());
        }
        self.runs.push(Run::new(all));
    }

    pub(crate) fn remove(&mut self, interval: Interval) {
        if let Some(at) = self.buffer.iter().position(|other| *other == interval) {
            self.buffer.swap_remove(at);
            return;
        }
        for index in 0..self.runs.len() {
            if self.runs[index].kill(interval) {
                let run = &self.runs[index];
                if 2 * run.dead > run.intervals.len() {
                    self.runs[index] = Run::new(run.live().collect());
                    self.runs.retain(|run| !run.intervals.is_empty());
                    self.runs.sort_by_key(|run| std::cmp::Reverse(run.intervals.len()));
                }
                return;
            }
        }
    }

    pub(crate) fn find(&self, point: u64, found: &mut impl FnMut(u32)) {
        for interval in &self.buffer {
            if interval.low <= point && point <= interval.high {
                found(interval.slot);
            }
        }
        for run in &self.runs {
            run.find(point, 0, run.intervals.len(), found);
        }
    }
}

impl Run {
    fn new(mut intervals: Vec<Interval>) -> Self {
        intervals.sort_unstable();
        let len = intervals.len();
        let mut run = Self { highest: vec![0; len], is_dead: vec![false; len], intervals, dead: 0 };
        run.raise(0, run.intervals.len());
        run
    }

    fn raise(&mut self, from: usize, to: usize) -> u64 {
        if from >= to {
            return 0;
        }
        let middle = from + (to - from) / 2;
        let below = self.raise(from, middle).max(self.raise(middle + 1, to));
        self.highest[middle] = below.max(self.intervals[middle].high);
        self.highest[middle]
    }

    fn live(&self) -> impl Iterator<Item = Interval> {
        self.intervals.iter().zip(&self.is_dead).filter(|(_, is_dead)| !**is_dead).map(|(interval, _)| *interval)
    }

    fn kill(&mut self, interval: Interval) -> bool {
        let from = self.intervals.partition_point(|other| *other < interval);
        // A view may be filed under the same interval twice, and an `or` has at most a few branches.
        let same = self.intervals[from..].iter().take_while(|other| **other == interval).count();
        let at = (from..from + same).find(|at| !self.is_dead[*at]);
        if let Some(at) = at {
            self.is_dead[at] = true;
            self.dead += 1;
        }
        at.is_some()
    }

    /// Recursion is as deep as the logarithm of the run's length.
    fn find(&self, point: u64, from: usize, to: usize, found: &mut impl FnMut(u32)) {
        if from >= to {
            return;
        }
        let middle = from + (to - from) / 2;
        if self.highest[middle] < point {
            return;
        }
        self.find(point, from, middle, found);
        let interval = self.intervals[middle];
        if interval.low <= point {
            if point <= interval.high && !self.is_dead[middle] {
                found(interval.slot);
            }
            self.find(point, middle + 1, to, found);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn finds_what_a_list_finds(
            steps in proptest::collection::vec((any::<bool>(), 0..40u64, 0..12u64), 1..600),
            points in proptest::collection::vec(0..60u64, 8),
        ) {
            let mut intervals = Intervals::default();
            let mut model: Vec<Interval> = Vec::new();
            for (slot, (insert, low, width)) in (0u32..).zip(steps) {
                if insert || model.is_empty() {
                    let interval = Interval { low, high: low + width, slot };
                    intervals.insert(interval);
                    model.push(interval);
                } else {
                    intervals.remove(model.swap_remove(low as usize % model.len()));
                }
            }
            for point in points {
                let mut found = Vec::new();
                intervals.find(point, &mut |slot| found.push(slot));
                found.sort_unstable();
                let mut expected: Vec<u32> = model.iter().filter(|i| i.low <= point && point <= i.high).map(|i| i.slot).collect();
                expected.sort_unstable();
                prop_assert_eq!(found, expected);
            }
            for interval in model {
                intervals.remove(interval);
            }
            prop_assert!(intervals.is_empty());
        }
    }
}
