//! The broker within one process.
//!
//! ```text
//! publish, join, leave ─► Store ─► the topic's Channel, under its lock ─► records ─► outlet
//!                           ▲
//!            timer thread ──┘ values, histories and idempotency keys whose time is over
//! ```
//!
//! A [`Channel`](channel::Channel) is a pure state machine. The store finds it, counts what all of them hold, and passes on
//! what happened before anybody else has a turn at that topic: so the order there is the order that everybody sees. A topic
//! has a channel only while there is something to remember. One with a history keeps it, for its position, until the cap on
//! topics is hit.

mod agenda;
mod channel;
mod log;
mod once;
mod outlet;
mod presence;
mod store;
#[cfg(test)]
mod tests;
mod timer;
mod values;

use std::collections::BTreeSet;
use std::sync::Arc;

use tidegate_model::{Answer, Tenant};

use crate::ephemeral::Ephemera;
use crate::metrics::count;
use crate::{
    Answered, Broker, Cleared, ClientInfo, Entry, History, Join, Joined, Keep, Leave, Limits, Members, Metrics, Owner,
    Page, Presence, PresenceAsk, Publish, Published, Range, Set, Since, Topic, TopicError,
};
pub use outlet::{Clock, Outlet};
use store::Store;
use timer::Timer;

/// Longest key of a value, in bytes.
const KEY_BYTES_MAX: usize = 255;
/// Longest idempotency key, in bytes.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;

/// Everything in the memory of this process. Dropping it ends its timers.
pub struct Memory {
    store: Arc<Store>,
    ephemera: Ephemera,
    _timer: Option<Timer>,
}

impl Memory {
    /// Without topics. Events of ephemeral entries have their name in the field `discriminator`.
    ///
    /// # Errors
    /// If there can be no thread for a timer.
    pub fn new(
        limits: Limits,
        discriminator: &str,
        clock: Clock,
        outlet: Arc<dyn Outlet>,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Arc<Self>> {
        let mut memory = Self::untimed(limits, discriminator, clock, outlet, metrics)?;
        memory._timer = Some(Timer::start(memory.store.clone())?);
        Ok(Arc::new(memory))
    }

    /// Without the thread that does what is due.
    fn untimed(
        limits: Limits,
        discriminator: &str,
        clock: Clock,
        outlet: Arc<dyn Outlet>,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<Self> {
        let ephemera = Ephemera::new(limits, discriminator, clock.clone(), outlet.clone(), metrics.clone())?;
        let store = Arc::new(Store::new(limits, rand::random(), clock, outlet, metrics));
        Ok(Self { store, ephemera, _timer: None })
    }

    fn check(&self, publish: &Publish) -> Result<(), TopicError> {
        let limits = &self.store.limits;
        let tags: usize = publish.tags.iter().map(|(name, value)| name.len() + value.len()).sum();
        if publish.data.bytes().len().saturating_add(tags) > limits.payload_bytes {
            return Err(TopicError::TooLarge(limits.payload_bytes));
        }
        let has_keys = publish.topic.options.keep == Keep::LastOfKey;
        match &publish.key {
            Some(_) if !has_keys => return Err(TopicError::NotAvailable("keys")),
            None if publish.removed && !has_keys => return Err(TopicError::NotAvailable("keys")),
            Some(key) if key.is_empty() => return Err(TopicError::Key("must not be empty")),
            Some(key) if key.len() > KEY_BYTES_MAX => return Err(TopicError::Key("must have at most 255 bytes")),
            None if publish.removed => return Err(TopicError::Key("must be given where a value is removed")),
            _ => {}
        }
        match &publish.idempotency_key {
            Some(key) if key.is_empty() => Err(TopicError::Key("of idempotency must not be empty")),
            Some(key) if key.len() > IDEMPOTENCY_KEY_BYTES_MAX => {
                Err(TopicError::Key("of idempotency must have at most 128 bytes"))
            }
            _ => Ok(()),
        }
    }

    fn publish_now(&self, mut publish: Publish) -> Result<Published, TopicError> {
        self.check(&publish)?;
        publish.idempotency_key = publish.idempotency_key.map(|key| of_publisher(publish.client.as_deref(), &key));
        let (store, metrics) = (&self.store, &self.store.metrics);
        if store.outlet.is_full() {
            count(&metrics.overloaded);
            return Err(TopicError::Overloaded);
        }
        let topic = publish.topic.clone();
        let options = &topic.options;
        let leaves = options.history_size > 0
            || options.keep != Keep::Nothing
            || publish.idempotency_key.is_some()
            || (options.delta && store.outlet.has_subscribers(&topic));
        store.turn(&topic, leaves, |channel, turn| {
            let Some(channel) = channel else {
                if turn.heard {
                    let record = channel::record(publish, Published::default(), turn.now_ms);
                    turn.happened.push((Arc::new(record), None));
                }
                count(&metrics.published);
                return Ok(Published::default());
            };
            if let Some(known) = publish.idempotency_key.as_deref().and_then(|key| channel.known(key)) {
                count(&metrics.published);
                count(&metrics.repeated);
                return Ok(known.clone());
            }
            let room = store.values_room();
            let answer = channel.publish(publish, turn.heard, room, &store.limits, &mut turn.happened)?;
            count(&metrics.published);
            Ok(answer)
        })?
    }

    fn join_now(&self, join: Join) -> Result<Joined, TopicError> {
        let (topic, hoped) = (join.topic.clone(), join.since.is_some());
        let is_kept = topic.options.history_size > 0 || (topic.options.presence && join.member.is_some());
        let joined = self.store.turn(&topic, is_kept, |channel, turn| {
            let Some(channel) = channel else {
                let recovered = hoped.then_some(false);
                return Joined { at: Published::default(), recovered, records: Vec::new() };
            };
            channel.join(join, self.store.next_version(), &mut turn.happened)
        })?;
        match joined.recovered {
            Some(true) => count(&self.store.metrics.recovered),
            Some(false) => count(&self.store.metrics.unrecovered),
            None => {}
        }
        Ok(joined)
    }

    fn leave_now(&self, leave: &Leave) {
        let Some(member) = &leave.member else { return };
        // Nothing is made, so nothing can be refused.
        let _ = self.store.turn(&leave.topic, false, |channel, turn| {
            if let Some(channel) = channel {
                channel.leave(member, self.store.next_version(), &mut turn.happened);
            }
        });
    }

    fn history_now(&self, topic: &Arc<Topic>, range: &Range) -> Result<History, TopicError> {
        if topic.options.history_size == 0 {
            return Err(TopicError::NotAvailable("history"));
        }
        let is_beginning = range.since.as_ref().is_none_or(Since::is_beginning);
        self.store.turn(topic, false, |channel, _| match channel {
            Some(channel) => channel.history(range),
            None if is_beginning => Ok(History { at: Published::default(), records: Vec::new() }),
            None => Err(TopicError::Unrecoverable),
        })?
    }

    fn forget_now(&self, topic: &Arc<Topic>) -> Result<(), TopicError> {
        let store = &self.store;
        store.turn(topic, false, |channel, _| {
            let Some(channel) = channel else { return };
            let epoch = if topic.options.history_size > 0 { store.epoch() } else { Arc::default() };
            channel.forget(epoch);
            // Later ones have offsets that are known already, and nobody hears that values are gone.
            store.outlet.gap(topic);
        })
    }

    fn values_now(
        &self,
        topic: &Arc<Topic>,
        after: Option<&str>,
        limit: usize,
        bytes_max: usize,
    ) -> Result<Page, TopicError> {
        if topic.options.keep != Keep::LastOfKey {
            return Err(TopicError::NotAvailable("values"));
        }
        self.store.turn(topic, false, |channel, _| match channel {
            Some(channel) => channel.values(after, limit, bytes_max),
            None => Page { at: Published::default(), records: Vec::new(), next: None },
        })
    }

    fn presence_now(&self, topic: &Arc<Topic>, ask: &PresenceAsk) -> Result<Presence, TopicError> {
        if !topic.options.presence {
            return Err(TopicError::NotAvailable("presence"));
        }
        self.store.turn(topic, false, |channel, _| {
            let present = channel.and_then(|channel| channel.presence(ask));
            let nobody = || Members::Page(Vec::new(), None);
            present.unwrap_or_else(|| Presence {
                version: self.store.version(),
                clients: 0,
                users: 0,
                members: nobody(),
            })
        })
    }

    fn topics_now(&self, tenant: &Tenant, after: Option<&str>, limit: usize) -> Vec<Box<str>> {
        // The first ones by name, so far.
        let mut names: BTreeSet<Box<str>> = BTreeSet::new();
        let mut take = |topic: &Topic| {
            let is_asked = topic.tenant == *tenant && after.is_none_or(|after| *topic.name > *after);
            let is_late = names.len() >= limit && names.last().is_none_or(|last| topic.name >= *last);
            // Rooms are the application's.
            if is_asked && !is_late && !topic.is_reserved() {
                names.insert(topic.name.clone());
                if names.len() > limit {
                    names.pop_last();
                }
            }
        };
        self.store.each(|topic, channel| {
            if !channel.is_empty() {
                take(topic);
            }
        });
        self.store.outlet.each(&mut take);
        names.into_iter().collect()
    }
}

/// The key as it is remembered: nobody uses up one of somebody else's. Strangers share theirs, and so do servers.
fn of_publisher(client: Option<&ClientInfo>, key: &str) -> Box<str> {
    match client {
        None => format!("-{key}").into(),
        // The names are told from the keys by their lengths.
        Some(client) => format!("{}:{}{key}", client.user.len(), client.user).into(),
    }
}

impl Broker for Memory {
    fn publish(&self, publish: Publish) -> Answered<Published> {
        Answer::Now(self.publish_now(publish))
    }

    fn join(&self, join: Join) -> Answered<Joined> {
        Answer::Now(self.join_now(join))
    }

    fn leave(&self, leave: Leave) {
        self.leave_now(&leave);
    }

    fn history(&self, topic: &Arc<Topic>, range: Range) -> Answered<History> {
        Answer::Now(self.history_now(topic, &range))
    }

    fn forget(&self, topic: &Arc<Topic>) -> Answered<()> {
        Answer::Now(self.forget_now(topic))
    }

    fn values(&self, topic: &Arc<Topic>, after: Option<&str>, limit: usize, bytes_max: usize) -> Answered<Page> {
        Answer::Now(self.values_now(topic, after, limit, bytes_max))
    }

    fn presence(&self, topic: &Arc<Topic>, ask: PresenceAsk) -> Answered<Presence> {
        Answer::Now(self.presence_now(topic, &ask))
    }

    fn topics(&self, tenant: &Tenant, after: Option<&str>, limit: usize) -> Answered<Vec<Box<str>>> {
        Answer::Now(Ok(self.topics_now(tenant, after, limit)))
    }

    fn set(&self, set: Set) -> Answered<()> {
        Answer::Now(self.ephemera.set(&set))
    }

    fn clear(&self, topic: &Arc<Topic>, key: &str, owner: &Owner) -> Answered<()> {
        Answer::Now(self.ephemera.clear(topic, key, owner))
    }

    fn list(&self, topic: &Arc<Topic>, bytes_max: usize) -> Answered<Vec<Entry>> {
        Answer::Now(self.ephemera.list(topic, bytes_max))
    }

    fn disown(&self, owner: &Owner, reason: Cleared) {
        self.ephemera.disown(owner, reason);
    }
}
