//! What is known of a job's log without reading it: which entries are kept, and how long they are.

use std::collections::VecDeque;

/// Which entries of a job's log are kept, and their sizes: enough to bound it and to tell what a reader may ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    first: u64,
    sizes: VecDeque<u32>,
    bytes: usize,
}

/// Of a job that has just begun: the first entry will be number 1.
impl Default for Log {
    fn default() -> Self {
        Self::of(1, [])
    }
}

impl Log {
    /// As it was stored: the number of the first entry that is kept (of the next, if none is), and the
    /// [sizes](crate::Entry::bytes) of all from there on.
    #[must_use]
    pub fn of(first: u64, sizes: impl IntoIterator<Item = u32>) -> Self {
        let sizes: VecDeque<u32> = sizes.into_iter().collect();
        let bytes = sizes.iter().map(|size| *size as usize).sum();
        Self { first, sizes, bytes }
    }

    /// The number of the first entry that is kept; the next one's if none is.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// The number that the next entry will have.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.first + self.sizes.len() as u64
    }

    /// The number of the newest entry; 0 before there was any.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.next() - 1
    }

    /// Bytes that entry `n` counts for; `None` if it is not kept.
    #[must_use]
    pub fn size(&self, n: u64) -> Option<u32> {
        let at = usize::try_from(n.checked_sub(self.first)?).ok()?;
        self.sizes.get(at).copied()
    }

    /// Sizes of all that is kept, oldest first.
    pub fn sizes(&self) -> impl ExactSizeIterator<Item = u32> {
        self.sizes.iter().copied()
    }

    /// How many are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sizes.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    /// Bytes of all that is kept.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// One more, of that many bytes.
    pub(super) fn push(&mut self, bytes: usize) {
        let size = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.sizes.push_back(size);
        self.bytes += size as usize;
    }

    /// Past one of the bounds it loses its oldest, an eighth of the bound at once so that this is rare; the newest always stays.
    /// The last number that is gone.
    pub(super) fn trim(&mut self, entries_max: usize, bytes_max: usize) -> Option<u64> {
        if self.sizes.len() <= entries_max && self.bytes <= bytes_max {
            return None;
        }
        self.shorten(entries_max - entries_max / 8, bytes_max - bytes_max / 8)
    }

    /// Loses all but the newest. The last number that is gone.
    pub(super) fn keep_last(&mut self) -> Option<u64> {
        let through = self.shorten(1, usize::MAX);
        self.sizes.shrink_to_fit();
        through
    }

    fn shorten(&mut self, entries: usize, bytes: usize) -> Option<u64> {
        let before = self.first;
        while self.sizes.len() > 1 && (self.sizes.len() > entries || self.bytes > bytes) {
            self.bytes -= self.sizes.pop_front().unwrap_or_default() as usize;
            self.first += 1;
        }
        (self.first > before).then(|| self.first - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_past_its_bounds_loses_an_eighth_and_never_its_newest() {
        let mut log = Log::default();
        assert_eq!((log.first(), log.next(), log.last(), log.size(1)), (1, 1, 0, None));
        for size in 1..=16 {
            log.push(size);
            assert_eq!(log.trim(16, 1_000), None);
        }
        log.push(17);
        assert_eq!(log.trim(16, 1_000), Some(3));
        assert_eq!((log.first(), log.len(), log.next(), log.size(3), log.size(4)), (4, 14, 18, None, Some(4)));
        assert_eq!(log.bytes(), (4..=17).sum::<usize>());
        log.push(2_000);
        assert_eq!(log.trim(16, 1_000), Some(17));
        assert_eq!((log.first(), log.len(), log.bytes()), (18, 1, 2_000));
        assert_eq!(log.trim(16, 1_000), None, "the newest stays, whatever its size");
    }

    #[test]
    fn a_log_is_read_back_as_it_was() {
        let mut log = Log::default();
        log.push(5);
        log.push(7);
        assert_eq!(Log::of(1, log.sizes()), log);
        assert_eq!(log.keep_last(), Some(1));
        assert_eq!(Log::of(2, [7]), log);
        assert_eq!(log.keep_last(), None);
    }
}
