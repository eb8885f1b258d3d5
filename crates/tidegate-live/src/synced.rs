//! Telling subscribers that they have everything up to a position, where they asked to be told.

use crate::Delivery;
use crate::engine::{Engine, Output, ViewRef, WAITING};
use crate::view::Subscriber;

impl Engine {
    /// To all that asked, after a transaction.
    pub(crate) fn deliver_synced(&mut self) {
        let synced = std::mem::take(&mut self.synced);
        synced.iter().for_each(|subscriber| self.deliver_synced_to(*subscriber));
        self.synced = synced;
    }

    /// To those of a view, whose frames were held back until now.
    pub(crate) fn deliver_synced_of(&mut self, at: ViewRef) {
        for subscriber in self.view(at).subscribers.clone() {
            self.deliver_synced_to(subscriber);
        }
    }

    /// To one subscriber, if it asked and has everything.
    pub(crate) fn deliver_synced_to(&mut self, subscriber: Subscriber) {
        let position = self.position;
        let Some(state) = self.subscribers.get(&subscriber).filter(|state| state.synced && state.place != WAITING)
        else {
            return;
        };
        let at = state.view;
        if self.view(at).is_exact() {
            self.out.push(Output::Deliver(subscriber, Delivery::Synced { position }));
        }
    }
}
