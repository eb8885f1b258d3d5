//! What was published under an idempotency key, for as long as that is remembered.

use std::collections::VecDeque;

use hashbrown::HashMap;

use crate::Published;

/// Of one topic.
#[derive(Default)]
pub(super) struct Once {
    answers: HashMap<Box<str>, Published>,
    /// Oldest first, with the time from which on a key is forgotten.
    ends: VecDeque<(u64, Box<str>)>,
}

impl Once {
    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// What was answered.
    pub(super) fn get(&self, key: &str) -> Option<&Published> {
        self.answers.get(key)
    }

    /// The key is not known. At most `keys_max` are; the oldest is forgotten.
    pub(super) fn remember(&mut self, key: Box<str>, answer: Published, end_ms: u64, keys_max: usize) {
        self.answers.insert(key.clone(), answer);
        self.ends.push_back((end_ms, key));
        while self.ends.len() > keys_max {
            self.forget_oldest();
        }
    }

    /// Forgets those whose time is over.
    pub(super) fn expire(&mut self, now_ms: u64) {
        while self.ends.front().is_some_and(|(end_ms, _)| *end_ms <= now_ms) {
            self.forget_oldest();
        }
        if self.ends.is_empty() && self.ends.capacity() > 0 {
            *self = Self::default();
        }
    }

    /// When the next one is forgotten.
    pub(super) fn next_end_ms(&self) -> Option<u64> {
        self.ends.front().map(|(end_ms, _)| *end_ms)
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.ends.pop_front() {
            self.answers.remove(&key);
        }
    }
}
