//! Sockets and connections that have not said yet who they are, and which of them goes when there are too many.

use slab::Slab;

/// One of [`Strangers`]; stays unequal to all others that ever were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StrangerId {
    slot: usize,
    number: u64,
}

/// At most so many, in the order in which they came. Every call takes the same short time, and the memory is that of the
/// most who were there at once.
#[derive(Debug)]
pub(crate) struct Strangers<T> {
    slots: Slab<Stranger<T>>,
    cap: usize,
    oldest: Option<usize>,
    newest: Option<usize>,
    entered: u64,
}

#[derive(Debug)]
struct Stranger<T> {
    value: T,
    number: u64,
    older: Option<usize>,
    newer: Option<usize>,
}

impl<T> Strangers<T> {
    /// `cap`: this worker's share of `max_unauthenticated`, at least one.
    pub(crate) fn new(cap: usize) -> Self {
        Self { slots: Slab::new(), cap: cap.max(1), oldest: None, newest: None, entered: 0 }
    }

    /// One more; where that is one too many, also the one that has waited longest, which is to be cut.
    pub(crate) fn enter(&mut self, value: T) -> (StrangerId, Option<T>) {
        let cut = if self.slots.len() >= self.cap { self.cut() } else { None };
        self.entered += 1;
        let number = self.entered;
        let slot = self.slots.insert(Stranger { value, number, older: self.newest, newer: None });
        match self.newest.and_then(|newest| self.slots.get_mut(newest)) {
            Some(newest) => newest.newer = Some(slot),
            None => self.oldest = Some(slot),
        }
        self.newest = Some(slot);
        (StrangerId { slot, number }, cut)
    }

    /// Takes one out that has said who it is or is gone; `None` if it was cut before.
    pub(crate) fn leave(&mut self, id: StrangerId) -> Option<T> {
        let is_it = self.slots.get(id.slot).is_some_and(|stranger| stranger.number == id.number);
        is_it.then(|| self.take(id.slot)).flatten()
    }

    /// Takes out the one that has waited longest: for a socket that comes when there are no more to be had.
    pub(crate) fn cut(&mut self) -> Option<T> {
        self.oldest.and_then(|oldest| self.take(oldest))
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    fn take(&mut self, slot: usize) -> Option<T> {
        let stranger = self.slots.try_remove(slot)?;
        match stranger.older.and_then(|older| self.slots.get_mut(older)) {
            Some(older) => older.newer = stranger.newer,
            None => self.oldest = stranger.newer,
        }
        match stranger.newer.and_then(|newer| self.slots.get_mut(newer)) {
            Some(newer) => newer.older = stranger.older,
            None => self.newest = stranger.older,
        }
        Some(stranger.value)
    }
}
