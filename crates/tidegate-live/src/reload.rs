//! Entities that change as a whole: read anew, or no longer served.
//!
//! A transaction names the entities that changed in a way which is not told row by row. Maintained views: what the
//! subscribers have is held back, the window starts over, and once its rows are there the net difference leaves as one
//! batch, so that tokens and logs stay good across a reload. Streamed views: nobody knows which rows their subscribers
//! know of, so all of them get a fresh snapshot and hear nothing until then.

use std::sync::Arc;

use tidegate_model::{EntityId, Position};

use crate::EndReason;
use crate::engine::{Engine, Subscribers, ViewRef, WAITING};
use crate::log::Log;
use crate::view::{HeldBack, ViewState};
use crate::window::Window;

impl Engine {
    /// Has every view of `entities` read anew, as of the engine's position; the transaction before was at `previous`.
    /// Views that linger are let go: a scan each, for nobody, would be in the way of all others.
    pub(crate) fn reload(&mut self, entities: &[EntityId], previous: Position) {
        let partitions = self.partitions_of(entities);
        for partition in &partitions {
            self.partitions[*partition as usize].forget_rows();
        }
        for at in self.views_of(&partitions) {
            if self.view(at).idle.is_some() {
                self.metrics.idle_reloaded.add(1);
                self.drop_view(at);
                continue;
            }
            self.metrics.views_reloaded.add(1);
            let position = self.position;
            let view = self.view(at);
            let was = view.held_at();
            let dropped = view.start_over(previous, position);
            let moved = if view.is_streamed() { view.replace_sets(previous, position) } else { Subscribers::new() };
            let is = view.held_at();
            self.note_held(was, is);
            dropped.and_then(|ticket| self.tickets.remove(&ticket));
            for subscriber in moved {
                if let Some(state) = self.subscribers.get_mut(&subscriber) {
                    state.place = WAITING;
                }
            }
            self.partitions[at.partition as usize].refresh(at.slot);
            self.refill(at);
        }
    }

    /// Ends every subscription of an entity with [`EndReason::Unavailable`] and drops its views. A later subscribe makes
    /// a new one, and what the store says to its scan decides.
    pub fn end_entity(&mut self, entity: EntityId, reason: &Arc<str>) {
        let reason = EndReason::Unavailable(reason.clone());
        for partition in self.partitions_of(&[entity]) {
            for at in self.views_of(&[partition]) {
                self.end_subscribers(at, &reason);
                self.forget_view(at);
            }
            let partition = self.partitions.remove(partition as usize);
            self.by_name.remove(&(entity, partition.tenant));
        }
    }

    /// One pass over the names of all partitions: reloads are too rare for an index of their own.
    fn partitions_of(&self, entities: &[EntityId]) -> Vec<u32> {
        let named = self.by_name.iter().filter(|((entity, _), _)| entities.contains(entity));
        named.map(|(_, partition)| *partition).collect()
    }

    fn views_of(&self, partitions: &[u32]) -> Vec<ViewRef> {
        let views = |partition: &u32| {
            let partition = *partition;
            let slots = self.partitions[partition as usize].views.iter();
            slots.map(move |(slot, _)| ViewRef { partition, slot: slot as u32 })
        };
        partitions.iter().flat_map(views).collect()
    }
}

impl ViewState {
    /// Holds the list back that subscribers have and lets the window start over at its anchor. A scan under way stays
    /// where it reads from there (its page must then be of the reload or later); if not, its ticket is given back.
    fn start_over(&mut self, previous: Position, position: Position) -> Option<u64> {
        let streamed = self.is_streamed();
        let window = self.window.as_mut()?;
        if self.ready && !streamed {
            self.held.get_or_insert_with(|| HeldBack::new(window.visible(), previous)).reloaded(position);
        }
        *window = Window::new(window.anchor.take(), window.limit, window.cushion);
        self.snapshot = std::sync::Weak::new();
        match &mut self.fetch {
            Some(fetch) if window.horizon.key() == Some(&fetch.after) => {
                fetch.start_over(position);
                None
            }
            fetch => fetch.take().map(|fetch| fetch.ticket),
        }
    }

    /// Has all subscribers of a streamed view wait for a snapshot; returns them. No token from before proves anything.
    fn replace_sets(&mut self, previous: Position, position: Position) -> Subscribers {
        self.log = Log::new(position);
        let subscribers = std::mem::take(&mut self.subscribers);
        if !subscribers.is_empty() {
            self.held.get_or_insert_with(|| HeldBack::new(&[], previous));
            let query = &self.info.query;
            self.window.get_or_insert_with(|| Window::new(query.after.clone(), query.limit, 0));
            self.waiting.get_or_insert_default().extend(subscribers.iter().map(|subscriber| (*subscriber, None)));
        }
        subscribers
    }
}
