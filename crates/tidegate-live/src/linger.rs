//! Views without subscribers stay for a while.

use std::collections::VecDeque;

use crate::engine::{Engine, ViewRef};

/// Views in the order in which their last subscriber left. An entry whose stamp is not the view's any more is stale.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    queue: VecDeque<(ViewRef, Entry)>,
    next_stamp: u64,
    views: usize,
    bytes: usize,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    stamp: u64,
    since_ms: u64,
    bytes: usize,
}

impl Engine {
    /// Lets views go that have had no subscriber for as long as they may linger.
    pub fn tick(&mut self, now_ms: u64) {
        let due = |entry: &Entry, linger_ms: u64| entry.since_ms.saturating_add(linger_ms) <= now_ms;
        while self.idle.queue.front().is_some_and(|(_, entry)| due(entry, self.limits.linger_ms)) {
            self.drop_oldest();
        }
    }

    pub(crate) fn rest_if_unused(&mut self, at: ViewRef, now_ms: u64) {
        let stamp = self.idle.next_stamp;
        let view = self.view(at);
        if !view.subscribers.is_empty() || view.waiting.is_some() {
            return;
        }
        let held = view.window.as_ref().map_or(0, |window| window.rows.len());
        let bytes = size_of_val(view) + view.log.bytes() + held * size_of::<crate::window::Held>();
        view.idle = Some(stamp);
        self.idle.next_stamp += 1;
        self.idle.queue.push_back((at, Entry { stamp, since_ms: now_ms, bytes }));
        self.idle.views += 1;
        self.idle.bytes += bytes;
        while self.idle.views > self.limits.linger_views || self.idle.bytes > self.limits.linger_bytes {
            self.drop_oldest();
        }
    }

    /// Makes room by letting up to `count` idle views go.
    pub(crate) fn drop_idle(&mut self, count: usize) {
        let target = self.by_fingerprint.len().saturating_sub(count);
        while self.by_fingerprint.len() > target && !self.idle.queue.is_empty() {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some((at, entry)) = self.idle.queue.pop_front() else { return };
        self.idle.views -= 1;
        self.idle.bytes -= entry.bytes;
        let partition = self.partitions.get(at.partition as usize);
        let view = partition.and_then(|partition| partition.views.get(at.slot as usize));
        if view.is_some_and(|view| view.idle == Some(entry.stamp)) {
            self.drop_view(at);
        }
    }
}
