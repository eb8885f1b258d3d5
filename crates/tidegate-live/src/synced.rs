//! Telling subscribers that they have everything up to a position, where they asked to be told.

use crate::Delivery;
use crate::engine::{Engine, Subscriber, SubscriberState, Subscribers, ViewRef, WAITING};

impl Engine {
    /// To all that asked, after a transaction.
    pub(crate) fn deliver_synced(&mut self) {
        let synced: Subscribers = self.synced.iter().copied().collect();
        self.deliver_synced_to(&synced);
    }

    /// To those of a view, whose frames were held back until now.
    pub(crate) fn deliver_synced_of(&mut self, at: ViewRef) {
        let subscribers = self.view(at).subscribers.clone();
        self.deliver_synced_to(&subscribers);
    }

    /// To those of them that asked and have everything.
    pub(crate) fn deliver_synced_to(&mut self, subscribers: &[Subscriber]) {
        if self.synced.is_empty() {
            return;
        }
        let due = subscribers.iter().copied().filter(|subscriber| self.is_synced(*subscriber)).collect();
        self.out.deliver_to_all(due, Delivery::Synced { position: self.position });
    }

    fn is_synced(&self, subscriber: Subscriber) -> bool {
        let asked = self.subscribers.get(&subscriber).filter(|state| state.synced && state.place != WAITING);
        asked.is_some_and(|SubscriberState { view, .. }| {
            self.partitions[view.partition as usize].views[view.slot as usize].is_exact()
        })
    }
}
