//! The values that one topic keeps beside its history: the last, or the last of each key.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::Record;

#[derive(Default)]
pub(super) struct Values {
    /// Of a topic that keeps the last publication; with the time from which on it is no more.
    last: Option<(Arc<Record>, u64)>,
    by_key: BTreeMap<Box<str>, Kept>,
    /// Of those that end: by time, then in the order in which they were set.
    ends: BTreeMap<(u64, u64), Arc<Record>>,
    /// Of those ever set.
    set: u64,
    bytes: usize,
}

struct Kept {
    record: Arc<Record>,
    end: Option<(u64, u64)>,
}

/// When what is set now ends, if it does. `ttl_ms` = 0: it does not.
fn end_ms(now_ms: u64, ttl_ms: u64) -> Option<u64> {
    (ttl_ms > 0).then(|| now_ms.saturating_add(ttl_ms))
}

impl Values {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.last.is_none() && self.by_key.is_empty()
    }

    /// How many keys have a value.
    pub(super) fn keys(&self) -> usize {
        self.by_key.len()
    }

    pub(super) fn last(&self) -> Option<&Arc<Record>> {
        self.last.as_ref().map(|(record, _)| record)
    }

    pub(super) fn get(&self, key: &str) -> Option<&Arc<Record>> {
        self.by_key.get(key).map(|kept| &kept.record)
    }

    pub(super) fn set_last(&mut self, record: Arc<Record>, now_ms: u64, ttl_ms: u64) {
        self.remove_last();
        self.bytes += record.size();
        self.last = Some((record, end_ms(now_ms, ttl_ms).unwrap_or(u64::MAX)));
    }

    /// Lets it go.
    pub(super) fn remove_last(&mut self) {
        if let Some((record, _)) = self.last.take() {
            self.bytes -= record.size();
        }
    }

    /// The value of a key from now on.
    pub(super) fn set(&mut self, key: &str, record: Arc<Record>, now_ms: u64, ttl_ms: u64) {
        self.remove(key);
        self.set += 1;
        self.bytes += record.size();
        let end = end_ms(now_ms, ttl_ms).map(|at_ms| (at_ms, self.set));
        if let Some(end) = end {
            self.ends.insert(end, record.clone());
        }
        self.by_key.insert(key.into(), Kept { record, end });
    }

    /// The key has no value from now on.
    pub(super) fn remove(&mut self, key: &str) -> Option<Arc<Record>> {
        let Kept { record, end } = self.by_key.remove(key)?;
        if let Some(end) = end {
            self.ends.remove(&end);
        }
        self.bytes -= record.size();
        Some(record)
    }

    /// Removes the value of a key whose time is over, the earliest first; the last value of all goes without a word.
    pub(super) fn expire(&mut self, now_ms: u64) -> Option<Arc<Record>> {
        if self.last.as_ref().is_some_and(|(_, end_ms)| *end_ms <= now_ms) {
            self.remove_last();
        }
        let (&(end_ms, _), record) = self.ends.first_key_value()?;
        let key = record.key.clone().filter(|_| end_ms <= now_ms)?;
        self.remove(&key)
    }

    /// When the next one ends.
    pub(super) fn next_end_ms(&self) -> Option<u64> {
        let last = self.last.as_ref().map(|(_, end_ms)| *end_ms).filter(|end_ms| *end_ms < u64::MAX);
        let of_key = self.ends.first_key_value().map(|((end_ms, _), _)| *end_ms);
        last.into_iter().chain(of_key).min()
    }

    /// Values after a key, by key: at most so many, of so many bytes together, or one; and the key to go on after.
    pub(super) fn page(
        &self,
        after: Option<&str>,
        limit: usize,
        bytes_max: usize,
    ) -> (Vec<Arc<Record>>, Option<Box<str>>) {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.by_key.range::<str, _>((from, Bound::Unbounded)).map(|(_, kept)| &kept.record).peekable();
        let (mut records, mut bytes_left) = (Vec::new(), bytes_max);
        while let Some(record) = rest.next_if(|record| {
            let fits = records.is_empty() || record.size() <= bytes_left;
            records.len() < limit && fits
        }) {
            bytes_left = bytes_left.saturating_sub(record.size());
            records.push(record.clone());
        }
        let next = rest.peek().and_then(|_| records.last()).and_then(|record| record.key.clone());
        (records, next)
    }

    /// Forgets all of them without a word.
    pub(super) fn clear(&mut self) {
        *self = Self { set: self.set, ..Self::default() };
    }
}
