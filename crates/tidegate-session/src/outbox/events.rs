//! The connection as a cursor over the numbered events of its durable session.
//!
//! A live event with the next number is queued if there is room. One that finds none is dropped here, for it is stored: the cursor
//! is *behind* then, and asks for a page when most of what it had is gone. To resume and to be slow is the same thing,
//! and nobody waits for a connection.

use std::collections::VecDeque;
use std::sync::Arc;

use tidegate_jobs::Entry;

use super::Outbox;
use crate::item::{Item, Queued};
use crate::metrics::count;
use crate::runtime::Reply;
use crate::{CloseReason, Limits};

/// Where a connection is in its session's events.
#[derive(Debug)]
pub(super) struct Cursor {
    /// The events before `next`, in order.
    queue: VecDeque<Arc<Entry>>,
    /// Sum of theirs.
    bytes: usize,
    /// The number of the first event that is not queued yet.
    next: u64,
    /// The newest number that is known of.
    head: u64,
    /// After which number a page is asked for, until it comes.
    asked: Option<u64>,
    /// Bytes of the next event, where it is known because it found no room.
    next_bytes: usize,
}

impl Cursor {
    fn is_behind(&self) -> bool {
        self.next <= self.head
    }

    /// One event alone may be larger than all bounds.
    fn has_room(&self, bytes: usize, limits: &Limits) -> bool {
        let has_room = self.bytes + bytes <= limits.outbox_bytes && self.queue.len() < limits.outbox_frames;
        has_room || self.queue.is_empty()
    }

    /// Queues the next event, if there is room.
    fn take(&mut self, entry: Arc<Entry>, limits: &Limits) -> bool {
        let bytes = entry.bytes();
        let has_room = self.has_room(bytes, limits);
        if has_room {
            self.queue.push_back(entry);
            self.bytes += bytes;
            self.next += 1;
        }
        self.next_bytes = if has_room { 0 } else { bytes };
        has_room
    }

    fn event(&mut self, seq: u64, entry: Arc<Entry>, limits: &Limits) {
        self.head = self.head.max(seq);
        if seq == self.next {
            self.take(entry, limits);
        }
    }

    fn page(&mut self, after: u64, events: Vec<Arc<Entry>>, head: u64, limits: &Limits) {
        self.asked.take_if(|asked| *asked == after);
        self.head = self.head.max(head);
        for (seq, entry) in (after + 1..).zip(events) {
            if seq == self.next && !self.take(entry, limits) {
                break;
            }
        }
    }

    fn wants(&mut self, limits: &Limits) -> Option<u64> {
        let low = self.bytes <= limits.outbox_bytes / 2 && self.queue.len() <= limits.outbox_frames / 2;
        // Without room for the first of a page the page would be asked for in vain.
        if !low || self.asked.is_some() || !self.is_behind() || !self.has_room(self.next_bytes, limits) {
            return None;
        }
        self.asked = Some(self.next - 1);
        self.asked
    }
}

impl Outbox {
    /// Events after the number `after` are handed over from now on; `head` is the newest.
    fn follow(&mut self, after: u64, head: u64) {
        let (queue, next) = (VecDeque::new(), after + 1);
        self.events = Some(Box::new(Cursor { queue, bytes: 0, next, head, asked: None, next_bytes: 0 }));
    }

    /// The session's newest number is at least this.
    fn reach(&mut self, head: u64) {
        if let Some(cursor) = self.events.as_deref_mut() {
            cursor.head = cursor.head.max(head);
        }
    }

    /// Takes what the runtime says. `Err` when the client leaves its answers unread.
    pub(crate) fn hear(&mut self, reply: Reply) -> Result<(), CloseReason> {
        match &reply {
            Reply::Welcome(welcome) => self.follow(welcome.after, welcome.head),
            Reply::Subscribed(subscribed) => self.reach(subscribed.subscribed_from),
            _ => {}
        }
        let (Reply::Event { .. } | Reply::Events { .. }) = reply else {
            return self.control(Queued::Told(Box::new(reply)));
        };
        let Some(cursor) = self.events.as_deref_mut() else { return Ok(()) };
        let was_behind = cursor.is_behind();
        match reply {
            Reply::Event { seq, entry } => cursor.event(seq, entry, &self.limits),
            Reply::Events { after, events, head } => cursor.page(after, events, head, &self.limits),
            _ => {}
        }
        if cursor.is_behind() && !was_behind {
            count(&self.metrics.events_behind);
        }
        Ok(())
    }

    /// The number to ask for events after: there are some, and there is room. It is asked for once, until the answer comes.
    pub(crate) fn wants_events(&mut self) -> Option<u64> {
        self.events.as_deref_mut()?.wants(&self.limits)
    }

    /// What was wanted last could not be asked for.
    pub(crate) fn not_asked(&mut self) {
        if let Some(cursor) = self.events.as_deref_mut() {
            cursor.asked = None;
        }
    }

    pub(super) fn has_events(&self) -> bool {
        self.events.as_ref().is_some_and(|cursor| !cursor.queue.is_empty())
    }

    /// The next event that waits, and its bytes.
    pub(super) fn take_event(&mut self) -> Option<(Item, usize)> {
        let cursor = self.events.as_deref_mut()?;
        let seq = cursor.next - cursor.queue.len() as u64;
        let entry = cursor.queue.pop_front()?;
        let bytes = entry.bytes();
        cursor.bytes -= bytes;
        if cursor.queue.is_empty() {
            cursor.queue = VecDeque::new();
        }
        Some((Item::Event { seq, entry }, bytes))
    }
}

#[cfg(test)]
mod tests;
