//! What waits to be sent to one client: a plain state machine, without a lock, a clock or a socket.
//!
//! A subscription's lane is *live*, *lagging* (its queued batches were dropped; deliveries are ignored), or *waiting*
//! (a command is under way; deliveries count again from the `Started` that answers it). One lagging lane at a time is
//! caught up, and only when the transport has taken most of what was queued, so that one answer finds room.
//!
//! Events of a durable session have a lane of their own behind all that (`events.rs`): answers overtake them.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tidegate_live::{Delivery, SubscriptionId, View};
use tidegate_model::{Batch, Op, Position};

use self::events::Cursor;
use self::lanes::{Lane, Lanes, Phase, Rescue};
pub(crate) use self::topics::TopicLane;
use crate::item::{ITEM_BYTES, Item, Queued, Started};
use crate::metrics::{Metrics, count};
use crate::{CloseReason, Encode, Limits};

/// A call to make on the engine, outside any lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CatchUp {
    pub(crate) subscription: SubscriptionId,
    pub(crate) sent: Option<Position>,
    pub(crate) reset: bool,
    pub(crate) request: u64,
}

#[derive(Debug)]
pub(crate) struct Outbox {
    limits: Limits,
    metrics: Arc<Metrics>,
    queue: VecDeque<Queued>,
    bytes: usize,
    frames: usize,
    reply_bytes: usize,
    lanes: Lanes,
    /// In order of their numbers.
    pub(crate) topics: Vec<TopicLane>,
    /// Of what all of these hold back.
    held_bytes: usize,
    /// Lagging lanes in the order in which they will be caught up; may name lanes that are not lagging any more.
    lagging: VecDeque<SubscriptionId>,
    /// The lane whose catch-up is under way.
    rescuing: Option<SubscriptionId>,
    requests: u64,
    /// Where the client is in the events of its durable session, if it follows one.
    events: Option<Box<Cursor>>,
}

impl Outbox {
    pub(crate) fn new(limits: Limits, metrics: Arc<Metrics>) -> Self {
        Self {
            limits,
            metrics,
            queue: VecDeque::new(),
            bytes: 0,
            frames: 0,
            reply_bytes: 0,
            lanes: Lanes::default(),
            topics: Vec::new(),
            held_bytes: 0,
            lagging: VecDeque::new(),
            rescuing: None,
            requests: 0,
            events: None,
        }
    }

    /// A new subscription; the number of its first command. `resume` is where the client's list is, if it has one that a
    /// catch-up can start from.
    pub(crate) fn open(&mut self, id: SubscriptionId, resume: Option<Position>, synced: bool) -> u64 {
        let request = self.next_request();
        let lane = Lane {
            phase: Phase::Waiting(request),
            asked: Some(request),
            catching_up: None,
            rescue: None,
            resume,
            sent: None,
            list: 0,
            seq: 0,
            synced,
        };
        self.lanes.insert(id, lane);
        request
    }

    /// Has a re-anchor asked for under the number given to `ask`, which tells whether it was taken; the number, if so.
    pub(crate) fn reanchor(&mut self, id: SubscriptionId, ask: impl FnOnce(u64) -> bool) -> Option<u64> {
        let request = self.next_request();
        let lane = self.lanes.get_mut(id)?;
        if !ask(request) {
            return None;
        }
        lane.asked = Some(request);
        // A live lane keeps its old list until the new one starts; one that lags needs nothing of the old.
        if lane.phase != Phase::Live {
            lane.phase = Phase::Waiting(request);
        }
        Some(request)
    }

    /// Nothing of what the lane showed so far is handed over any more: it waits for what was asked for under this number.
    pub(crate) fn supersede(&mut self, id: SubscriptionId, request: u64) {
        self.drop_queued(|other| other == id);
        if let Some(lane) = self.lanes.get_mut(id) {
            lane.phase = Phase::Waiting(request);
        }
    }

    /// Forgets a subscription and what is queued for it.
    pub(crate) fn end(&mut self, id: SubscriptionId) -> bool {
        self.drop_queued(|other| other == id);
        if self.rescuing == Some(id) {
            self.rescuing = None;
        }
        self.lanes.remove(id)
    }

    /// Drops everything but replies, which may say why.
    pub(crate) fn clear(&mut self) {
        self.queue.retain(|queued| matches!(queued, Queued::Reply(_) | Queued::Told(_)));
        (self.bytes, self.frames) = (0, 0);
        self.lanes.clear();
        self.lagging.clear();
        self.rescuing = None;
        self.events = None;
    }

    /// Queues what a protocol has to say. `Err` when the client leaves its answers unread.
    pub(crate) fn reply(&mut self, bytes: Bytes) -> Result<(), CloseReason> {
        self.control(Queued::Reply(bytes))
    }

    /// Bytes of replies that may still be queued.
    pub(crate) fn reply_room(&self) -> usize {
        self.limits.reply_bytes.saturating_sub(self.reply_bytes + ITEM_BYTES)
    }

    /// Whether so many answers wait that no further command should be taken.
    pub(crate) fn is_reply_full(&self) -> bool {
        self.reply_bytes >= self.limits.reply_bytes / 2
    }

    /// Whether [`Outbox::drain`] has something to hand over or to ask for.
    pub(crate) fn is_ready(&self) -> bool {
        !self.queue.is_empty() || self.has_events() || (self.rescuing.is_none() && !self.lagging.is_empty())
    }

    /// Whether there are subscriptions and each has been handed all that was delivered for it.
    pub(crate) fn is_caught_up(&self) -> bool {
        !self.lanes.is_empty() && self.queue.is_empty() && self.lanes.all().all(|lane| lane.phase == Phase::Live)
    }

    /// Takes one delivery.
    pub(crate) fn deliver(
        &mut self,
        id: SubscriptionId,
        delivery: Delivery,
        encode: Encode,
    ) -> Result<(), CloseReason> {
        let Some(lane) = self.lanes.get_mut(id) else { return Ok(()) };
        match delivery {
            Delivery::Started { request, resumed, position } => {
                self.started(id, Started { request, resumed, position })
            }
            Delivery::Batch { view, batch, from } if lane.phase == Phase::Live => {
                self.batch(id, view, batch, from, encode)
            }
            Delivery::Batch { .. } => Ok(()),
            Delivery::Synced { position } => {
                if lane.phase == Phase::Live {
                    lane.rescue = None;
                    if lane.synced {
                        self.synced(id, position);
                    }
                }
                Ok(())
            }
            Delivery::Ended(reason) => {
                self.end(id);
                self.control(Queued::Ended(id, reason))
            }
        }
    }

    /// Hands over whole items, at least one if there is any, until `max_bytes` are exceeded; and the catch-up to ask
    /// for, if there is room for its answer.
    pub(crate) fn drain(&mut self, max_bytes: usize, items: &mut Vec<Item>) -> Option<CatchUp> {
        let mut taken = 0;
        while taken < max_bytes {
            let Some(queued) = self.queue.pop_front() else {
                let Some((event, bytes)) = self.take_event() else { break };
                taken += bytes;
                items.push(event);
                continue;
            };
            let (bytes, frames) = queued.weight();
            self.bytes -= bytes;
            self.frames -= frames;
            self.reply_bytes -= queued.reply_bytes();
            taken += bytes + queued.reply_bytes();
            self.hand_over(queued, items);
        }
        if self.queue.is_empty() {
            // Most outboxes are empty most of the time, and there are many of them.
            self.queue = VecDeque::new();
        }
        self.next_catch_up()
    }

    fn hand_over(&mut self, queued: Queued, items: &mut Vec<Item>) {
        let item = match queued {
            Queued::Started(id, started) => Item::Started(id, started),
            Queued::Ended(id, reason) => Item::Ended(id, reason),
            Queued::TooLarge(id, bytes) => Item::TooLarge(id, bytes),
            Queued::Reply(bytes) => Item::Reply(bytes),
            Queued::Told(reply) => Item::Told(reply),
            Queued::Gapped(id) => Item::Gapped(id),
            Queued::Publication { subscription, publication, .. } => {
                let Some(dropped) = self.hand_over_publication(subscription) else { return };
                if dropped > 0 {
                    items.push(Item::Dropped(subscription, dropped));
                }
                Item::Publication { subscription, publication }
            }
            Queued::Synced { subscription, position } => Item::Synced { subscription, position },
            Queued::Batch { subscription, view, batch, from, list, .. } => {
                let Some(lane) = self.lanes.get_mut(subscription) else { return };
                let seq = lane.seq + 1;
                lane.seq += batch.deltas.len().saturating_sub(from) as u64;
                if list == lane.list {
                    lane.sent = Some(batch.position);
                }
                Item::Frames { subscription, seq, view, batch, from }
            }
        };
        items.push(item);
    }

    fn next_catch_up(&mut self) -> Option<CatchUp> {
        let low = self.bytes <= self.limits.outbox_bytes / 4 && self.frames <= self.limits.outbox_frames / 4;
        if !low || self.rescuing.is_some() {
            return None;
        }
        while let Some(id) = self.lagging.pop_front() {
            let request = self.next_request();
            let Some(lane) = self.lanes.get_mut(id).filter(|lane| lane.phase == Phase::Lagging) else { continue };
            // A re-anchor under way replaces the list: nothing can be told relative to the one that was sent.
            let sent = lane.sent.filter(|_| lane.asked.is_none());
            let reset = lane.rescue == Some(Rescue::Reset) || (sent.is_none() && lane.asked.is_some());
            lane.rescue = Some(if reset || sent.is_none() { Rescue::Reset } else { Rescue::Net });
            lane.phase = Phase::Waiting(request);
            lane.catching_up = Some(request);
            self.rescuing = Some(id);
            return Some(CatchUp { subscription: id, sent, reset, request });
        }
        None
    }

    fn started(&mut self, id: SubscriptionId, started: Started) -> Result<(), CloseReason> {
        let Some(lane) = self.lanes.get_mut(id) else { return Ok(()) };
        let Started { request, resumed, .. } = started;
        if resumed {
            lane.sent = lane.sent.or(lane.resume);
        } else {
            lane.sent = None;
            lane.list += 1;
        }
        lane.resume = None;
        if lane.catching_up.is_some_and(|asked| asked <= request) {
            lane.catching_up = None;
            if !resumed {
                lane.rescue = Some(Rescue::Reset);
                count(&self.metrics.resets);
            }
            if self.rescuing == Some(id) {
                self.rescuing = None;
            }
        }
        if matches!(lane.phase, Phase::Waiting(asked) if asked <= request) {
            lane.phase = Phase::Live;
        }
        match lane.asked.take_if(|asked| *asked <= request) {
            Some(request) => self.control(Queued::Started(id, Started { request, ..started })),
            None => Ok(()),
        }
    }

    fn batch(
        &mut self,
        id: SubscriptionId,
        view: Arc<View>,
        batch: Arc<Batch>,
        from: usize,
        encode: Encode,
    ) -> Result<(), CloseReason> {
        let Some(lane) = self.lanes.get_mut(id) else { return Ok(()) };
        let body = batch.body(|batch| encode(&view, batch));
        let skipped = body.starts.get(from).map_or(body.bytes.len(), |start| *start as usize);
        let bytes = body.bytes.len() - skipped + ITEM_BYTES;
        let frames = batch.deltas.len().saturating_sub(from);
        let rescue = lane.rescue.take();
        if bytes > self.limits.outbox_bytes {
            let is_snapshot = batch.deltas.first().is_some_and(|delta| delta.op == Op::Reset);
            return self.too_large(id, bytes, rescue, is_snapshot);
        }
        let has_room = self.bytes + bytes <= self.limits.outbox_bytes
            && (self.frames == 0 || self.frames + frames <= self.limits.outbox_frames);
        if has_room {
            let list = lane.list;
            self.push(Queued::Batch { subscription: id, view, batch, from, list, bytes });
        } else {
            self.overflow(id);
        }
        Ok(())
    }

    /// A batch that does not fit even an empty outbox.
    fn too_large(
        &mut self,
        id: SubscriptionId,
        bytes: usize,
        rescue: Option<Rescue>,
        is_snapshot: bool,
    ) -> Result<(), CloseReason> {
        match rescue {
            Some(Rescue::Reset) => {
                count(&self.metrics.slow_clients);
                Err(CloseReason::SlowClient)
            }
            // No fault of the client's speed: the window itself is larger than anyone may be sent.
            None if is_snapshot => {
                count(&self.metrics.too_large);
                self.end(id);
                self.control(Queued::TooLarge(id, bytes))
            }
            rescue => {
                self.drop_queued(|other| other == id);
                self.lag(id);
                if let Some(lane) = self.lanes.get_mut(id) {
                    lane.rescue = rescue.map(|_| Rescue::Reset);
                }
                Ok(())
            }
        }
    }

    /// There is no room for a delivery of `id`: every live batch that waits gives way, and its lane lags.
    fn overflow(&mut self, id: SubscriptionId) {
        let mut dropped: Vec<SubscriptionId> = self
            .queue
            .iter()
            .filter_map(|queued| match queued {
                Queued::Batch { subscription, .. } => Some(*subscription),
                _ => None,
            })
            .chain([id])
            .collect();
        dropped.sort_unstable();
        dropped.dedup();
        self.drop_queued(|_| true);
        for id in dropped {
            self.lag(id);
        }
    }

    fn lag(&mut self, id: SubscriptionId) {
        let Some(lane) = self.lanes.get_mut(id) else { return };
        lane.rescue = None;
        // A lane that waits for an answer goes on waiting: what is dropped now, the answer replaces.
        if lane.phase == Phase::Live {
            lane.phase = Phase::Lagging;
            self.lagging.push_back(id);
            count(&self.metrics.conflated);
        }
    }

    fn synced(&mut self, id: SubscriptionId, position: Position) {
        if let Some(Queued::Synced { subscription, position: last }) = self.queue.back_mut()
            && *subscription == id
        {
            *last = position;
            return;
        }
        let full = self.bytes + ITEM_BYTES > self.limits.outbox_bytes || self.frames >= self.limits.outbox_frames;
        // A later one says the same and more.
        if !full {
            self.push(Queued::Synced { subscription: id, position });
        }
    }

    fn push(&mut self, queued: Queued) {
        let (bytes, frames) = queued.weight();
        self.bytes += bytes;
        self.frames += frames;
        self.queue.push_back(queued);
    }

    fn control(&mut self, queued: Queued) -> Result<(), CloseReason> {
        self.reply_bytes += queued.reply_bytes();
        self.queue.push_back(queued);
        if self.reply_bytes > self.limits.reply_bytes {
            count(&self.metrics.slow_clients);
            return Err(CloseReason::SlowClient);
        }
        Ok(())
    }

    fn drop_queued(&mut self, of: impl Fn(SubscriptionId) -> bool) {
        let (mut bytes, mut frames) = (0, 0);
        self.queue.retain(|queued| {
            let drop = queued.live_of().is_some_and(&of);
            if drop {
                let weight = queued.weight();
                bytes += weight.0;
                frames += weight.1;
            }
            !drop
        });
        self.bytes -= bytes;
        self.frames -= frames;
    }

    fn next_request(&mut self) -> u64 {
        self.requests += 1;
        self.requests
    }
}

mod events;
mod lanes;
pub(crate) mod told;
mod topics;

#[cfg(test)]
mod exactness;
#[cfg(test)]
mod tests;
