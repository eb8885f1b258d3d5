//! What a client has asked already: the same envelope again, as after a connection that broke, asks for nothing.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};

/// Names kept of a session.
const NAMES_MAX: usize = 4096;

/// The last 4,096 names of a session's envelopes: at most 128 KiB, however long the names are.
///
/// Of each a keyed hash is kept, so no client can make another's name, or its own, look like one that was there.
pub struct Seen {
    key: RandomState,
    hashes: HashSet<u64, RandomState>,
    in_order: VecDeque<u64>,
}

impl Seen {
    /// None yet.
    #[must_use]
    pub fn new(key: RandomState) -> Self {
        Self { hashes: HashSet::with_hasher(key.clone()), key, in_order: VecDeque::new() }
    }

    /// Whether this name is there for the first time, as far as is remembered. From now on it is not.
    pub fn first(&mut self, id: &str) -> bool {
        let hash = self.key.hash_one(id);
        if self.hashes.contains(&hash) {
            return false;
        }
        if self.in_order.len() == NAMES_MAX
            && let Some(oldest) = self.in_order.pop_front()
        {
            self.hashes.remove(&oldest);
        }
        self.in_order.push_back(hash);
        self.hashes.insert(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_names_are_known_and_the_one_before_them_is_new_again() {
        let mut seen = Seen::new(RandomState::new());
        let name = |number: usize| format!("msg_{number}");
        for round in 0..3 {
            for number in round * NAMES_MAX..(round + 1) * NAMES_MAX {
                assert!(seen.first(&name(number)));
                assert!(!seen.first(&name(number)));
            }
        }
        // Being there again makes none of them younger.
        assert!(!seen.first(&name(2 * NAMES_MAX)));
        assert!(seen.first(&name(3 * NAMES_MAX)));
        assert!(seen.first(&name(2 * NAMES_MAX)));
        assert!(!seen.first(&name(2 * NAMES_MAX + 2)));
        assert_eq!((seen.hashes.len(), seen.in_order.len()), (NAMES_MAX, NAMES_MAX));
    }
}
