//! What the application said, for as long as it holds. Pure: time comes in.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use super::question::Key;

/// At most so many answers; past it that which ends first makes room.
pub(super) struct Answers<V> {
    cap: usize,
    kept: HashMap<Key, (Range<u64>, V)>,
    by_end: BTreeSet<(u64, Key)>,
}

impl<V> Answers<V> {
    pub(super) fn new(cap: usize) -> Self {
        Self { cap, kept: HashMap::new(), by_end: BTreeSet::new() }
    }

    /// The answer that holds at `now`, in milliseconds since 1970.
    pub(super) fn get(&self, key: &Key, now: u64) -> Option<&V> {
        // A clock that was put back makes nothing hold for longer.
        self.kept.get(key).filter(|(holds, _)| holds.contains(&now)).map(|(_, value)| value)
    }

    /// Keeps an answer for the time in which it holds, in milliseconds since 1970, and forgets those that ended before it.
    pub(super) fn keep(&mut self, key: Key, value: V, holds: Range<u64>) {
        if let Some((before, _)) = self.kept.remove(&key) {
            self.by_end.remove(&(before.end, key));
        }
        if holds.is_empty() || self.cap == 0 {
            return;
        }
        while let Some(&(end, first)) = self.by_end.first() {
            if end > holds.start && self.kept.len() < self.cap {
                break;
            }
            self.by_end.remove(&(end, first));
            self.kept.remove(&first);
        }
        self.by_end.insert((holds.end, key));
        self.kept.insert(key, (holds, value));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_answer_is_the_last_one_and_holds_only_in_its_time(
            cap in 0usize..6,
            steps in prop::collection::vec((0u8..8, 0u64..40, 0u64..30), 1..80),
        ) {
            let mut answers = Answers::new(cap);
            let mut last: HashMap<Key, (Range<u64>, usize)> = HashMap::new();
            let mut now = 0;
            for (number, (name, wait, length)) in steps.into_iter().enumerate() {
                now += wait;
                let key = [name; 32];
                answers.keep(key, number, now..now + length);
                last.insert(key, (now..now + length, number));
                prop_assert!(answers.kept.len() <= cap);
                prop_assert_eq!(answers.kept.len(), answers.by_end.len());
                // What was just said is there, cap or not; of the rest nothing but the truth.
                prop_assert_eq!(answers.get(&key, now), (cap > 0 && length > 0).then_some(&number));
                for (key, (holds, number)) in &last {
                    for at in [now.saturating_sub(20), now, now + 20] {
                        if let Some(found) = answers.get(key, at) {
                            prop_assert!(holds.contains(&at) && found == number);
                        } else if last.len() <= cap && at == now {
                            prop_assert!(!holds.contains(&at));
                        }
                    }
                }
            }
        }
    }
}
