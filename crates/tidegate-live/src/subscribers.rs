//! The subscribers of an engine, by their numbers: 12 bytes each.

use crate::engine::{Subscriber, ViewRef};

#[derive(Debug, Clone, Copy)]
pub(crate) struct SubscriberState {
    pub(crate) view: ViewRef,
    /// Its place among the view's subscribers; [`WAITING`] while it waits for a snapshot.
    pub(crate) place: u32,
}

/// No place: not a subscriber of its view yet.
pub(crate) const WAITING: u32 = u32::MAX;

/// A number that nobody has.
const VACANT: SubscriberState =
    SubscriberState { view: ViewRef { partition: u32::MAX, slot: u32::MAX }, place: WAITING };

/// As long as the highest number was large.
#[derive(Debug, Default)]
pub(crate) struct SubscriberTable(Vec<SubscriberState>);

impl SubscriberTable {
    pub(crate) fn insert(&mut self, subscriber: Subscriber, state: SubscriberState) {
        let at = subscriber as usize;
        if self.0.len() <= at {
            self.0.resize(at + 1, VACANT);
        }
        self.0[at] = state;
    }

    pub(crate) fn get(&self, subscriber: Subscriber) -> Option<&SubscriberState> {
        self.0.get(subscriber as usize).filter(|state| state.view != VACANT.view)
    }

    pub(crate) fn get_mut(&mut self, subscriber: Subscriber) -> Option<&mut SubscriberState> {
        self.0.get_mut(subscriber as usize).filter(|state| state.view != VACANT.view)
    }

    /// Whether there was one.
    pub(crate) fn remove(&mut self, subscriber: Subscriber) -> bool {
        self.get_mut(subscriber).map(|state| *state = VACANT).is_some()
    }
}
