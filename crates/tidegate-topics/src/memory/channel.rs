//! All that is remembered of one topic: its position and history, kept values, idempotency keys, members. Pure: the time comes
//! in, what happened goes out in order.

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::log::Log;
use super::once::Once;
use super::presence::{Joining, Present};
use super::values::Values;
use crate::{
    ClientInfo, Data, History, Join, Joined, Keep, Kind, Limits, Page, Presence, PresenceAsk, Publish, Published,
    Range, Record, Since, Topic, TopicError,
};

/// How late what nobody sees may be forgotten, in milliseconds.
const LATE_MS: u64 = 1_000;
/// How long the last publication may outstay the last subscriber who could need the difference to it, in milliseconds.
const PREVIOUS_MS: u64 = 60_000;

/// Records in their order, each with the one before it where differences are told.
pub(super) type Happened = SmallVec<[(Arc<Record>, Option<Arc<Record>>); 1]>;

/// See the module.
pub(super) struct Channel {
    topic: Arc<Topic>,
    /// Empty without history.
    epoch: Arc<str>,
    log: Log,
    values: Values,
    once: Once,
    /// The last publication without a key, for the difference to it.
    previous: Option<Arc<Record>>,
    present: Option<Box<Present>>,
    /// Never goes back.
    now_ms: u64,
}

/// What is published here, as a record.
pub(super) fn record(publish: Publish, at: Published, now_ms: u64) -> Record {
    let Publish { topic, data, client, key, removed, tags, .. } = publish;
    let Published { epoch, offset } = at;
    let kind = if topic.is_reserved() { Kind::Event } else { Kind::Message };
    Record { topic, kind, offset, epoch, key, removed, data, client, tags, time_ms: now_ms }
}

fn coming_or_going(topic: &Arc<Topic>, kind: Kind, client: Arc<ClientInfo>, now_ms: u64) -> Arc<Record> {
    Arc::new(Record {
        topic: topic.clone(),
        kind,
        offset: 0,
        epoch: Arc::default(),
        key: None,
        removed: false,
        data: Data::Json(Bytes::from_static(b"null")),
        client: Some(client),
        tags: Box::default(),
        time_ms: now_ms,
    })
}

impl Channel {
    /// About which nothing is known yet. `epoch` belongs to no other channel, of this process or another.
    pub(super) fn new(topic: Arc<Topic>, epoch: Arc<str>, now_ms: u64) -> Self {
        Self {
            topic,
            epoch,
            log: Log::default(),
            values: Values::default(),
            once: Once::default(),
            previous: None,
            present: None,
            now_ms,
        }
    }

    /// Where the topic is.
    pub(super) fn position(&self) -> Published {
        Published { epoch: self.epoch.clone(), offset: self.log.top() }
    }

    pub(super) fn history_bytes(&self) -> usize {
        self.log.bytes()
    }

    pub(super) fn values_bytes(&self) -> usize {
        self.values.bytes()
    }

    pub(super) fn members(&self) -> usize {
        self.present.as_ref().map_or(0, |present| present.clients())
    }

    /// Whether it can be dropped without anybody ever knowing.
    pub(super) fn is_vacant(&self) -> bool {
        self.topic.options.history_size == 0
            && self.values.is_empty()
            && self.once.is_empty()
            && self.previous.is_none()
            && self.present.is_none()
    }

    /// Whether there is nothing that somebody could read.
    pub(super) fn is_empty(&self) -> bool {
        self.log.is_empty() && self.values.is_empty() && self.present.is_none()
    }

    /// Whether somebody is present, or a key has a value: then it must not be forgotten.
    pub(super) fn is_held(&self) -> bool {
        self.present.is_some() || self.values.keys() > 0
    }

    /// When [`Channel::expire`] has something to do, as far as it does not go by itself.
    pub(super) fn next_due_ms(&self) -> Option<u64> {
        let age_ms = self.topic.options.history_age_ms;
        let oldest_ms = self.log.oldest_ms().filter(|_| age_ms > 0);
        let history = oldest_ms.map(|oldest_ms| oldest_ms.saturating_add(age_ms));
        let late = history.into_iter().chain(self.once.next_end_ms()).min().map(|ms| ms.saturating_add(LATE_MS));
        let previous = self.previous.as_ref().map(|_| self.now_ms.saturating_add(PREVIOUS_MS));
        [late, previous, self.values.next_end_ms()].into_iter().flatten().min()
    }

    /// Goes on to a time: what is over by then is gone. Values of keys go with a record.
    pub(super) fn expire(&mut self, now_ms: u64, happened: &mut Happened) {
        self.now_ms = self.now_ms.max(now_ms);
        while let Some(value) = self.values.expire(self.now_ms) {
            let Published { epoch, offset } = self.next(false);
            let gone = Record {
                topic: value.topic.clone(),
                kind: Kind::Message,
                offset,
                epoch,
                key: value.key.clone(),
                removed: true,
                data: Data::Json(Bytes::from_static(b"null")),
                client: None,
                tags: Box::default(),
                time_ms: self.now_ms,
            };
            let gone = Arc::new(gone);
            self.append(&gone);
            happened.push((gone, None));
        }
        self.trim();
        self.once.expire(self.now_ms);
    }

    /// The oldest publication leaves the history, unless it is the newest; whether one did.
    pub(super) fn evict(&mut self) -> bool {
        self.log.oldest_offset().is_some_and(|oldest| oldest < self.log.top()) && self.log.pop()
    }

    /// Whatever publication is the oldest leaves the history; whether there was one.
    pub(super) fn evict_any(&mut self) -> bool {
        self.log.pop()
    }

    /// Nobody subscribes: nobody needs a difference.
    pub(super) fn forget_previous(&mut self) {
        self.previous = None;
    }

    /// What was answered to the first publish of that idempotency key.
    pub(super) fn known(&self, idempotency_key: &str) -> Option<&Published> {
        self.once.get(idempotency_key)
    }

    /// Publishes. `values_room` is how many bytes kept values may take beyond what they do.
    ///
    /// # Errors
    /// [`TopicError::Full`]; then nothing has changed.
    pub(super) fn publish(
        &mut self,
        mut publish: Publish,
        heard: bool,
        values_room: usize,
        limits: &Limits,
        happened: &mut Happened,
    ) -> Result<Published, TopicError> {
        let idempotency_key = publish.idempotency_key.take();
        let answer = self.next(publish.skip_history);
        let record = Arc::new(record(publish, answer.clone(), self.now_ms));
        let before = self.make_room(&record, values_room, limits)?;
        self.append(&record);
        let previous = self.keep(&record, before, heard);
        happened.push((record, previous));
        if let Some(key) = idempotency_key {
            let end_ms = self.now_ms.saturating_add(limits.idempotency_ms);
            self.once.remember(key, answer.clone(), end_ms, limits.idempotency_keys);
        }
        Ok(answer)
    }

    /// The value that a record takes the place of, if there is room for it.
    fn make_room(
        &self,
        record: &Record,
        values_room: usize,
        limits: &Limits,
    ) -> Result<Option<Arc<Record>>, TopicError> {
        let before = match (self.topic.options.keep, &record.key) {
            (Keep::LastOfKey, Some(key)) => self.values.get(key),
            (Keep::Last, _) => self.values.last(),
            _ => return Ok(None),
        };
        if record.removed {
            return Ok(before.cloned());
        }
        if record.key.is_some() && before.is_none() && self.values.keys() >= limits.values {
            return Err(TopicError::Full(limits.values));
        }
        if record.size() > values_room.saturating_add(before.map_or(0, |before| before.size())) {
            return Err(TopicError::Full(limits.history_bytes));
        }
        Ok(before.cloned())
    }

    /// Keeps it as a value, where these are kept; the record before it, where differences are told.
    fn keep(&mut self, record: &Arc<Record>, before: Option<Arc<Record>>, heard: bool) -> Option<Arc<Record>> {
        let options = &self.topic.options;
        match (options.keep, &record.key) {
            (Keep::LastOfKey, Some(key)) => {
                if record.removed {
                    self.values.remove(key);
                    return None;
                }
                self.values.set(key, record.clone(), self.now_ms, options.value_ttl_ms);
                return before.filter(|_| options.delta);
            }
            (Keep::Last, _) => self.values.set_last(record.clone(), self.now_ms, options.value_ttl_ms),
            _ => {}
        }
        let next = (options.delta && heard).then(|| record.clone());
        std::mem::replace(&mut self.previous, next)
    }

    /// Where the next publication is.
    fn next(&self, skip_history: bool) -> Published {
        if skip_history || self.topic.options.history_size == 0 {
            return Published::default();
        }
        Published { epoch: self.epoch.clone(), offset: self.log.top() + 1 }
    }

    fn append(&mut self, record: &Arc<Record>) {
        if record.offset > 0 {
            self.log.push(record.clone());
            self.trim();
        }
    }

    fn trim(&mut self) {
        let options = &self.topic.options;
        let until_ms = (options.history_age_ms > 0).then(|| self.now_ms.checked_sub(options.history_age_ms)).flatten();
        self.log.trim(options.history_size, until_ms);
    }

    /// Tells where the topic is and what was missed, and enters the member. `version` is for the presence.
    pub(super) fn join(&mut self, join: Join, version: u64, happened: &mut Happened) -> Joined {
        let Join { member, since, bytes_max, .. } = join;
        let missed = since.as_ref().and_then(|since| self.missed(since, bytes_max));
        let recovered = since.is_some().then_some(missed.is_some());
        let last = || self.values.last().filter(|last| last.size() <= bytes_max).cloned().into_iter().collect();
        let records = missed.unwrap_or_else(last);
        let joined = Joined { at: self.position(), recovered, records };
        if let Some(member) = member
            && self.topic.options.presence
        {
            let present = self.present.get_or_insert_with(|| Box::new(Present::new(version - 1)));
            if present.join(member.clone(), version) == Joining::New && self.topic.options.join_leave {
                happened.push((coming_or_going(&self.topic, Kind::Join, member, self.now_ms), None));
            }
        }
        joined
    }

    /// All that came after a position, if that is certain. Without an epoch the offset 0 is the beginning of this one: all
    /// that was ever published in it has to be there.
    fn missed(&self, since: &Since, bytes_max: usize) -> Option<Vec<Arc<Record>>> {
        if self.epoch.is_empty() || (!since.is_beginning() && *since.epoch != *self.epoch) {
            return None;
        }
        self.log.missed(since.offset, self.topic.options.recover_max, bytes_max)
    }

    /// The member is none any more.
    pub(super) fn leave(&mut self, member: &str, version: u64, happened: &mut Happened) {
        let Some(present) = &mut self.present else { return };
        let Some(member) = present.leave(member, version) else { return };
        if present.is_empty() {
            self.present = None;
        }
        if self.topic.options.join_leave {
            happened.push((coming_or_going(&self.topic, Kind::Leave, member, self.now_ms), None));
        }
    }

    /// A part of the history. An empty epoch at offset 0 is the beginning of whatever is kept.
    ///
    /// # Errors
    /// [`TopicError::Unrecoverable`] for a position of another epoch or of the future.
    pub(super) fn history(&self, range: &Range) -> Result<History, TopicError> {
        if let Some(since) = &range.since
            && ((*since.epoch != *self.epoch && !since.is_beginning()) || since.offset > self.log.top())
        {
            return Err(TopicError::Unrecoverable);
        }
        let since = range.since.as_ref().map(|since| since.offset);
        let records = self.log.read(since, range.reverse, range.limit, range.bytes_max);
        Ok(History { at: self.position(), records })
    }

    /// Kept values by key.
    pub(super) fn values(&self, after: Option<&str>, limit: usize, bytes_max: usize) -> Page {
        let (records, next) = self.values.page(after, limit, bytes_max);
        Page { at: self.position(), records, next }
    }

    /// Who is present; None if nobody is.
    pub(super) fn presence(&self, ask: &PresenceAsk) -> Option<Presence> {
        self.present.as_ref().map(|present| present.tell(ask))
    }

    /// Forgets history and values. Idempotency keys stay: what was published was.
    pub(super) fn forget(&mut self, epoch: Arc<str>) {
        self.epoch = epoch;
        self.log.clear();
        self.values.clear();
        self.previous = None;
    }
}
