//! The history of one topic: its last publications, by offset without a gap.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::Record;

/// What is kept of one epoch: the records up to `top`, none missing between the oldest kept and it.
#[derive(Default)]
pub(super) struct Log {
    kept: VecDeque<Arc<Record>>,
    top: u64,
    bytes: usize,
}

impl Log {
    /// The offset of the last one, whether or not it is still kept; 0 before the first.
    pub(super) fn top(&self) -> u64 {
        self.top
    }

    /// Of the records that are kept.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Of the oldest that is kept.
    pub(super) fn oldest_offset(&self) -> Option<u64> {
        self.kept.front().map(|record| record.offset)
    }

    /// When the oldest was published.
    pub(super) fn oldest_ms(&self) -> Option<u64> {
        self.kept.front().map(|record| record.time_ms)
    }

    /// The record has the offset after `top`.
    pub(super) fn push(&mut self, record: Arc<Record>) {
        debug_assert_eq!(record.offset, self.top + 1);
        self.top = record.offset;
        self.bytes += record.size();
        self.kept.push_back(record);
    }

    /// Keeps at most `size`, and none that was published at `until_ms` or before.
    pub(super) fn trim(&mut self, size: usize, until_ms: Option<u64>) {
        while let Some(oldest) = self.kept.front() {
            if self.kept.len() <= size && until_ms.is_none_or(|until| oldest.time_ms > until) {
                break;
            }
            self.pop();
        }
        // What many left behind is not held for few.
        if self.kept.capacity() > 64 && self.kept.len() < self.kept.capacity() / 4 {
            self.kept.shrink_to(self.kept.len() * 2);
        }
    }

    /// Lets the oldest go; whether there was one.
    pub(super) fn pop(&mut self) -> bool {
        let Some(oldest) = self.kept.pop_front() else { return false };
        self.bytes -= oldest.size();
        true
    }

    /// Everything after an offset, if all of that is kept and is not more than so many records and bytes.
    pub(super) fn missed(&self, after: u64, records_max: usize, bytes_max: usize) -> Option<Vec<Arc<Record>>> {
        let missed = usize::try_from(self.top.checked_sub(after)?).ok()?;
        let first = self.kept.len().checked_sub(missed)?;
        if missed > records_max {
            return None;
        }
        let records = self.kept.range(first..);
        let bytes: usize = records.clone().map(|record| record.size()).sum();
        (bytes <= bytes_max).then(|| records.cloned().collect())
    }

    /// What is kept after an offset, in order; or from before it backwards. At most so many records and bytes.
    pub(super) fn read(&self, since: Option<u64>, reverse: bool, limit: usize, bytes_max: usize) -> Vec<Arc<Record>> {
        // What is kept before the place of an offset.
        let place = |offset: u64| {
            let newer = usize::try_from(self.top.saturating_sub(offset)).unwrap_or(usize::MAX);
            self.kept.len().saturating_sub(newer)
        };
        let mut bytes_left = bytes_max;
        let fits = |record: &&Arc<Record>| match bytes_left.checked_sub(record.size()) {
            Some(left) => {
                bytes_left = left;
                true
            }
            None => false,
        };
        if reverse {
            let end = since.map_or(self.kept.len(), |offset| place(offset.saturating_sub(1)));
            self.kept.range(..end).rev().take(limit).take_while(fits).cloned().collect()
        } else {
            let start = since.map_or(0, place);
            self.kept.range(start..).take(limit).take_while(fits).cloned().collect()
        }
    }

    /// Forgets everything; offsets begin anew.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
