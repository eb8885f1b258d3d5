//! Views without subscribers stay for a while.

use std::collections::VecDeque;

use slab::Slab;

use crate::engine::{Engine, ViewRef};
use crate::partition::Partition;
use crate::view::ViewState;

/// Views in the order in which their last subscriber left. An entry whose stamp is not the view's any more is stale.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    queue: VecDeque<Entry>,
    next_stamp: u64,
    /// Views that linger now, stale entries not among them, and their bytes as last weighed.
    views: usize,
    bytes: usize,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    at: ViewRef,
    stamp: u64,
    since_ms: u64,
}

/// What a lingering view knows of its place in the queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Resting {
    stamp: u64,
    bytes: usize,
}

impl Entry {
    fn view<'a>(&self, partitions: &'a mut Slab<Partition>) -> Option<&'a mut ViewState> {
        let view = partitions.get_mut(self.at.partition as usize)?.views.get_mut(self.at.slot as usize)?;
        (view.idle.as_ref()?.stamp == self.stamp).then_some(view)
    }
}

impl Engine {
    /// Lets views go that have had no subscriber for as long as they may linger, or whose logs have grown too large.
    pub fn tick(&mut self, now_ms: u64) {
        let linger_ms = self.limits.linger_ms;
        while self.idle.queue.front().is_some_and(|entry| entry.since_ms.saturating_add(linger_ms) <= now_ms) {
            self.drop_oldest();
        }
        let Idle { queue, bytes, .. } = &mut self.idle;
        for entry in queue {
            let Some(view) = entry.view(&mut self.partitions) else { continue };
            let now = weight(view);
            if let Some(resting) = &mut view.idle {
                *bytes = *bytes - resting.bytes + now;
                resting.bytes = now;
            }
        }
        self.drop_excess();
    }

    pub(crate) fn rest_if_unused(&mut self, at: ViewRef, now_ms: u64) {
        let stamp = self.idle.next_stamp;
        let view = self.view(at);
        if !view.subscribers.is_empty() || view.waiting.is_some() {
            return;
        }
        if !view.ready {
            // No token was ever given for it, so nobody can come back to it.
            self.drop_view(at);
            return;
        }
        let bytes = weight(view);
        view.idle = Some(Box::new(Resting { stamp, bytes }));
        let idle = &mut self.idle;
        idle.next_stamp += 1;
        idle.queue.push_back(Entry { at, stamp, since_ms: now_ms });
        idle.views += 1;
        idle.bytes += bytes;
        if idle.queue.len() > 2 * idle.views + 64 {
            idle.queue.retain(|entry| entry.view(&mut self.partitions).is_some());
        }
        self.drop_excess();
    }

    /// A view is used again, or goes.
    pub(crate) fn wake(&mut self, at: ViewRef) {
        if let Some(resting) = self.view(at).idle.take() {
            self.idle.views -= 1;
            self.idle.bytes -= resting.bytes;
        }
    }

    /// Makes room by letting up to `count` idle views go.
    pub(crate) fn drop_idle(&mut self, count: usize) {
        let target = self.by_fingerprint.len().saturating_sub(count);
        while self.by_fingerprint.len() > target && !self.idle.queue.is_empty() {
            self.drop_oldest();
        }
    }

    fn drop_excess(&mut self) {
        while self.idle.views > self.limits.linger_views || self.idle.bytes > self.limits.linger_bytes {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some(entry) = self.idle.queue.pop_front() else { return };
        if entry.view(&mut self.partitions).is_some() {
            self.drop_view(entry.at);
        }
    }
}

/// Bytes of a view by estimate: its state, its filter and as much again for where that is filed, its log, its list of
/// rows.
fn weight(view: &ViewState) -> usize {
    let held = view.window.as_ref().map_or(0, |window| window.rows.len());
    let filter = 2 * view.info.query.filter.size();
    size_of_val(view) + filter + view.log.bytes() + held * size_of::<crate::window::Held>()
}
