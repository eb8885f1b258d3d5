//! Publications in an outbox: held back until the subscribe is answered, and what gives way when there is no room.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidegate_model::SubscriptionId;
use tidegate_topics::{Kind, Publication, Published, Record, Seat, SlowPolicy, Topic};

use super::Outbox;
use crate::CloseReason;
use crate::item::{ITEM_BYTES, Queued};
use crate::metrics::count;

/// What a session keeps of a topic that it subscribes to.
#[derive(Debug)]
pub(crate) struct TopicLane {
    pub(crate) id: SubscriptionId,
    pub(crate) topic: Arc<Topic>,
    pub(crate) seat: Seat,
    pub(crate) is_member: bool,
    /// Whether publications wait that the client did not take when it could have.
    is_stalled: bool,
    /// Publications dropped that the client has not been told of.
    dropped: u32,
    /// Until something newer than the answer to the subscribe has come.
    start: Option<Box<Start>>,
    /// The last value that the answer has, where there are no offsets.
    pub(crate) told: Option<Arc<Record>>,
}

#[derive(Debug)]
enum Start {
    /// The subscribe is not answered yet: what came since, and its bytes.
    Joining(Vec<Arc<Publication>>, usize),
    /// What comes with an offset up to this one is in the answer.
    Answered(Published),
    /// This one is, in a topic without offsets.
    Told(Arc<Record>),
    /// Something is missing: nothing follows it, or the client would take it for the next.
    Over,
}

impl TopicLane {
    pub(crate) fn new(id: SubscriptionId, topic: Arc<Topic>, seat: Seat, is_member: bool) -> Self {
        let start = Some(Box::new(Start::Joining(Vec::new(), 0)));
        Self { id, topic, seat, is_member, is_stalled: false, dropped: 0, start, told: None }
    }

    fn is_over(&self) -> bool {
        matches!(self.start.as_deref(), Some(Start::Over))
    }
}

impl Outbox {
    pub(crate) fn topic_lane(&mut self, id: SubscriptionId) -> Option<&mut TopicLane> {
        let at = self.topics.binary_search_by_key(&id, |lane| lane.id).ok()?;
        self.topics.get_mut(at)
    }

    /// Forgets a topic's lane and what is queued for it.
    pub(crate) fn end_topic(&mut self, id: SubscriptionId) -> Option<TopicLane> {
        let at = self.topics.binary_search_by_key(&id, |lane| lane.id).ok()?;
        self.drop_publications(|other, _| other == id);
        let mut lane = self.topics.remove(at);
        if lane.is_over() {
            // The client ended it first, and may have another by now.
            let before = self.queue.len();
            self.queue.retain(|queued| !matches!(queued, Queued::Gapped(other) if *other == id));
            self.reply_bytes -= (before - self.queue.len()) * ITEM_BYTES;
        }
        self.unhold(lane.start.take());
        Some(lane)
    }

    /// What was held back, which counts no more.
    fn unhold(&mut self, start: Option<Box<Start>>) -> Vec<Arc<Publication>> {
        let Some(Start::Joining(held, bytes)) = start.map(|start| *start) else { return Vec::new() };
        self.held_bytes -= bytes;
        held
    }

    /// The subscribe is answered, and the answer queued: what was held back and is newer follows.
    pub(crate) fn begin(&mut self, id: SubscriptionId, at: &Published) -> Result<(), CloseReason> {
        let Some(lane) = self.topic_lane(id).filter(|lane| !lane.is_over()) else { return Ok(()) };
        let answered = match lane.told.take() {
            Some(told) => Some(Box::new(Start::Told(told))),
            None => (at.offset > 0).then(|| Box::new(Start::Answered(at.clone()))),
        };
        let start = std::mem::replace(&mut lane.start, answered);
        self.unhold(start).iter().try_for_each(|publication| self.publish(id, publication))
    }

    /// Takes one publication.
    pub(crate) fn publish(&mut self, id: SubscriptionId, publication: &Arc<Publication>) -> Result<(), CloseReason> {
        let frames_max = self.limits.outbox_frames;
        let may_hold = self.held_bytes <= self.limits.outbox_bytes;
        let Some(lane) = self.topic_lane(id) else { return Ok(()) };
        let record = &publication.record;
        match lane.start.as_deref_mut() {
            Some(Start::Joining(held, bytes)) if held.len() < frames_max && may_hold => {
                held.push(publication.clone());
                *bytes += record.size();
                self.held_bytes += record.size();
                return Ok(());
            }
            // Nothing is told before the answer, and that is too long in coming.
            Some(Start::Joining(..)) => return self.gap(id),
            Some(Start::Over) => return Ok(()),
            // Who comes and goes, and what happens to entries, has nothing to do with the value.
            Some(Start::Told(_)) if record.kind != Kind::Message => {}
            // It was replaced before the answer was given.
            Some(Start::Told(told)) if record.time_ms < told.time_ms => return Ok(()),
            Some(Start::Told(told)) => {
                let is_told = Arc::ptr_eq(told, record);
                lane.start = None;
                if is_told {
                    return Ok(());
                }
            }
            Some(Start::Answered(at)) if record.offset > 0 && record.epoch == at.epoch => {
                if record.offset <= at.offset {
                    return Ok(());
                }
                lane.start = None;
            }
            _ => {}
        }
        let slow = lane.topic.options.slow;
        if slow == SlowPolicy::LatestOnly && lane.is_stalled {
            self.drop_older(id, publication);
        }
        let bytes = record.size() + ITEM_BYTES;
        if !self.has_room(bytes) {
            self.make_room(id, publication, slow, bytes)?;
            // Others may fill the outbox.
            if !self.has_room(bytes) {
                if slow == SlowPolicy::LatestOnly {
                    // Nothing else would bring the newest.
                    return self.gap(id);
                }
                self.note_dropped(id);
                return Ok(());
            }
        }
        self.push(Queued::Publication { subscription: id, publication: publication.clone(), bytes });
        Ok(())
    }

    /// Something of the topic is missing: the subscription ends, and the client may come back to a recovery.
    pub(crate) fn gap(&mut self, id: SubscriptionId) -> Result<(), CloseReason> {
        let Some(lane) = self.topic_lane(id).filter(|lane| !lane.is_over()) else { return Ok(()) };
        let start = lane.start.replace(Box::new(Start::Over));
        self.unhold(start);
        count(&self.metrics.gapped);
        self.drop_publications(|other, _| other == id);
        self.control(Queued::Gapped(id))
    }

    /// The socket did not take what was handed over: of topics that want only the newest, what waits now may be replaced.
    pub(crate) fn stall(&mut self) {
        let latest_only = self.topics.iter_mut().filter(|lane| lane.topic.options.slow == SlowPolicy::LatestOnly);
        latest_only.for_each(|lane| lane.is_stalled = true);
    }

    /// A publication is handed over; how many before it were dropped that the client has to be told of.
    pub(super) fn hand_over_publication(&mut self, id: SubscriptionId) -> Option<u32> {
        let lane = self.topic_lane(id)?;
        lane.is_stalled = false;
        Some(std::mem::take(&mut lane.dropped))
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.bytes + bytes <= self.limits.outbox_bytes && self.frames < self.limits.outbox_frames
    }

    fn make_room(
        &mut self,
        id: SubscriptionId,
        publication: &Publication,
        slow: SlowPolicy,
        bytes: usize,
    ) -> Result<(), CloseReason> {
        match slow {
            SlowPolicy::Close => {
                count(&self.metrics.slow_clients);
                return Err(CloseReason::SlowClient);
            }
            SlowPolicy::DropOldest => {
                while !self.has_room(bytes) && self.drop_oldest(id) {
                    self.note_dropped(id);
                }
            }
            SlowPolicy::LatestOnly => self.drop_older(id, publication),
        }
        Ok(())
    }

    /// Drops what waits and is replaced by this: a value, of the same key. What else happens replaces nothing.
    fn drop_older(&mut self, id: SubscriptionId, newer: &Publication) {
        let newer = &newer.record;
        let is_older = |other, publication: &Publication| {
            let older = &publication.record;
            other == id && (older.kind, newer.kind) == (Kind::Message, Kind::Message) && older.key == newer.key
        };
        let dropped = self.drop_publications(is_older);
        self.metrics.publications_dropped.fetch_add(dropped as u64, Ordering::Relaxed);
    }

    fn note_dropped(&mut self, id: SubscriptionId) {
        count(&self.metrics.publications_dropped);
        if let Some(lane) = self.topic_lane(id).filter(|lane| lane.topic.options.slow == SlowPolicy::DropOldest) {
            lane.dropped = lane.dropped.saturating_add(1);
        }
    }

    /// Drops the oldest publication that waits; whether there was one. It is near the front where a client is slow.
    fn drop_oldest(&mut self, id: SubscriptionId) -> bool {
        let is_of = |queued: &Queued| matches!(queued, Queued::Publication { subscription, .. } if *subscription == id);
        let oldest = self.queue.iter().position(is_of).and_then(|at| self.queue.remove(at));
        let (bytes, frames) = oldest.as_ref().map(Queued::weight).unwrap_or_default();
        self.bytes -= bytes;
        self.frames -= frames;
        oldest.is_some()
    }

    /// Drops the publications that wait and are meant; how many.
    fn drop_publications(&mut self, is_meant: impl Fn(SubscriptionId, &Publication) -> bool) -> usize {
        let (mut dropped, mut bytes, mut frames) = (0, 0, 0);
        self.queue.retain(|queued| match queued {
            Queued::Publication { subscription, publication, .. } if is_meant(*subscription, publication) => {
                let weight = queued.weight();
                (dropped, bytes, frames) = (dropped + 1, bytes + weight.0, frames + weight.1);
                false
            }
            _ => true,
        });
        self.bytes -= bytes;
        self.frames -= frames;
        dropped
    }
}

#[cfg(test)]
mod tests;
