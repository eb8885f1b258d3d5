//! Sockets and connections that have not said yet who they are, and which of them goes when there are too many.
//!
//! The one that has waited longest goes, not the one that comes: an honest client needs a round trip or two, whoever only
//! opens sockets waits until the deadline. So a flood of idle ones has to be renewed faster than honest ones speak before
//! it keeps anybody out.

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

    /// Takes out the one that has waited longest.
    fn cut(&mut self) -> Option<T> {
        self.oldest.and_then(|oldest| self.take(oldest))
    }

    /// All of them, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().map(|(_, stranger)| &stranger.value)
    }

    #[cfg(test)]
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_one_that_has_waited_longest_is_cut() {
        let mut strangers = Strangers::new(2);
        let (a, cut) = strangers.enter("a");
        assert_eq!(cut, None);
        let (b, _) = strangers.enter("b");
        assert_eq!(strangers.enter("c").1, Some("a"));
        assert_eq!((strangers.leave(a), strangers.leave(b)), (None, Some("b")));
        assert_eq!((strangers.cut(), strangers.cut(), strangers.len()), (Some("c"), None, 0));
    }

    #[test]
    fn a_slot_used_again_is_another_stranger() {
        let mut strangers = Strangers::new(1);
        let (old, _) = strangers.enter(1);
        let (new, _) = strangers.enter(2);
        assert_eq!((strangers.leave(old), strangers.leave(new)), (None, Some(2)));
        assert_eq!(strangers.leave(new), None);
    }

    #[test]
    fn one_that_stays_makes_nothing_grow() {
        let mut strangers = Strangers::new(8);
        let (first, _) = strangers.enter(0);
        for number in 1..10_000 {
            let (id, cut) = strangers.enter(number);
            assert_eq!((cut, strangers.leave(id)), (None, Some(number)));
        }
        assert!(strangers.slots.capacity() <= 8);
        assert_eq!(strangers.leave(first), Some(0));
    }

    proptest! {
        #[test]
        fn they_are_a_queue_that_one_may_leave_anywhere(
            cap in 1usize..8,
            steps in prop::collection::vec(prop::option::of(any::<prop::sample::Index>()), 1..200),
        ) {
            let (mut strangers, mut model) = (Strangers::new(cap), VecDeque::new());
            let mut ids = Vec::new();
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Some(index) if !ids.is_empty() => {
                        let (id, number): (StrangerId, usize) = ids[index.index(ids.len())];
                        let place = model.iter().position(|other| *other == number);
                        prop_assert_eq!(strangers.leave(id), place.and_then(|place| model.remove(place)));
                    }
                    _ => {
                        let (id, cut) = strangers.enter(number);
                        let expected = if model.len() == cap { model.pop_front() } else { None };
                        prop_assert_eq!(cut, expected);
                        model.push_back(number);
                        ids.push((id, number));
                    }
                }
                prop_assert_eq!(strangers.len(), model.len());
                prop_assert!(strangers.len() <= cap);
            }
            let rest: Vec<_> = std::iter::from_fn(|| strangers.cut()).collect();
            prop_assert_eq!(rest, Vec::from(model));
        }
    }
}
