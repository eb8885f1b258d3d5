//! What an outbox keeps of each subscription.

use tidegate_live::SubscriptionId;
use tidegate_model::Position;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Live,
    Lagging,
    Waiting(u64),
}

/// How a lane is being caught up, until the answer is in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rescue {
    Net,
    Reset,
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) phase: Phase,
    /// The newest command not answered yet.
    pub(super) asked: Option<u64>,
    /// The newest catch-up.
    pub(super) catching_up: Option<u64>,
    pub(super) rescue: Option<Rescue>,
    /// Where the list that the client came back with is, until the engine says whether it stays.
    pub(super) resume: Option<Position>,
    /// The last batch handed over of the list that the client has, if there is one.
    pub(super) sent: Option<Position>,
    /// Grows with each snapshot: a batch of the list before it says nothing about `sent`.
    pub(super) list: u64,
    pub(super) seq: u64,
    pub(super) synced: bool,
}

/// Lanes by the number of their subscription. Most clients have one or few, so a sorted list costs least; numbers grow,
/// so a new one goes to the end.
#[derive(Debug, Default)]
pub(super) struct Lanes(Vec<(SubscriptionId, Lane)>);

impl Lanes {
    pub(super) fn insert(&mut self, id: SubscriptionId, lane: Lane) {
        if self.0.is_empty() {
            self.0.reserve_exact(1);
        }
        let at = self.0.partition_point(|(other, _)| *other < id);
        self.0.insert(at, (id, lane));
    }

    pub(super) fn get_mut(&mut self, id: SubscriptionId) -> Option<&mut Lane> {
        let at = self.0.binary_search_by_key(&id, |(other, _)| *other).ok()?;
        self.0.get_mut(at).map(|(_, lane)| lane)
    }

    pub(super) fn remove(&mut self, id: SubscriptionId) -> bool {
        let at = self.0.binary_search_by_key(&id, |(other, _)| *other);
        at.map(|at| self.0.remove(at)).is_ok()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Lane> {
        self.0.iter().map(|(_, lane)| lane)
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
