//! A session among people: the topics that it subscribes to, and what it owns there.

use std::cell::OnceCell;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidegate_model::{Address, SubscriptionId, Tenant};
use tidegate_topics::{
    Answered, Cleared, ClientInfo, Join, Joined, Leave, Owner, Publication, Published, Since, Subscriber, Topic,
};

use crate::CloseReason;
use crate::outbox::TopicLane;
use crate::session::{Session, SubscribeError};

/// What others call a connection. Made when it is first asked for: most never are.
#[derive(Debug)]
pub(crate) struct Name {
    number: u128,
    text: OnceCell<Arc<str>>,
}

/// A wish to be told what happens in a topic.
#[derive(Debug)]
pub struct Wish {
    /// Where: the client may.
    pub topic: Arc<Topic>,
    /// As whom it becomes present, where the namespace has presence.
    pub member: Option<Arc<ClientInfo>>,
    /// Up to where the client has seen the topic.
    pub since: Option<Since>,
    /// Whether it is told who comes and goes, where the namespace tells.
    pub hears_joins: bool,
}

impl Name {
    pub(crate) fn new(number: u128) -> Self {
        Self { number, text: OnceCell::new() }
    }
}

impl Session {
    /// Its public name: `c_` and 32 hex digits.
    pub fn name(&self) -> &Arc<str> {
        self.name.text.get_or_init(|| format!("c_{:032x}", self.name.number).into())
    }

    /// The number that its name is made of.
    #[must_use]
    pub fn number(&self) -> u128 {
        self.name.number
    }

    /// From now on ephemeral entries can be its own, in this tenant; they end with it, or when it is somebody's of another
    /// tenant.
    pub fn own(&mut self, tenant: Tenant) -> &Owner {
        let client = self.name().clone();
        if let Some(before) = self.owner.take_if(|owner| owner.tenant != tenant) {
            self.room.broker.disown(&before, Cleared::Disconnect);
        }
        self.owner.get_or_insert_with(|| Box::new(Owner { tenant, client }))
    }

    /// Subscribes to a topic. Until [`Session::begin`] nothing is handed over for it: so queue the reply first. Where the
    /// answer is a no, end it with [`Session::unsubscribe`].
    ///
    /// # Errors
    /// [`SubscribeError`]; nothing is left behind.
    pub fn join(&mut self, wish: Wish) -> Result<(SubscriptionId, Answered<Joined>), SubscribeError> {
        let id = self.take_one()?;
        let Wish { topic, member, since, hears_joins } = wish;
        self.room.metrics.subscriptions.fetch_add(1, Ordering::Relaxed);
        let member = member.filter(|_| topic.options.presence);
        let address = Address { client: self.client, subscription: id };
        let seat = self.room.hub.join(&topic, Subscriber { address, hears_joins });
        if self.outbox.topics.is_empty() {
            self.outbox.topics.reserve_exact(1);
        }
        self.outbox.topics.push(TopicLane::new(id, topic.clone(), seat, member.is_some()));
        let join = Join { topic, member, since, bytes_max: self.reply_room() };
        let answer = self.room.broker.join(join);
        // It may have been passed on after the hub was joined.
        if let Answered::Now(Ok(joined)) = &answer
            && joined.at.offset == 0
            && let Some(lane) = self.outbox.topic_lane(id)
        {
            lane.told = joined.records.last().cloned();
        }
        Ok((id, answer))
    }

    /// The answer to a subscribe is queued: what came since, and is newer, is handed over after it.
    pub fn begin(&mut self, id: SubscriptionId, at: &Published) {
        if self.closed.is_none()
            && let Err(reason) = self.outbox.begin(id, at)
        {
            self.close(reason);
        }
    }

    /// Takes a publication that was addressed to this client.
    pub fn publish(&mut self, id: SubscriptionId, publication: &Arc<Publication>) {
        if self.closed.is_none()
            && let Err(reason) = self.outbox.publish(id, publication)
        {
            self.close(reason);
        }
    }

    /// Something of the topic could not be delivered: the subscription ends with [`Item::Gapped`](crate::Item::Gapped).
    pub fn gap(&mut self, id: SubscriptionId) {
        if self.closed.is_none()
            && let Err(reason) = self.outbox.gap(id)
        {
            self.close(reason);
        }
    }

    /// The socket did not take what was drained last.
    pub fn stall(&mut self) {
        self.outbox.stall();
    }

    /// The topics that it subscribes to.
    pub fn topics(&self) -> impl Iterator<Item = (SubscriptionId, &Arc<Topic>)> {
        self.outbox.topics.iter().map(|lane| (lane.id, &lane.topic))
    }

    /// Its subscription to a topic of that name.
    #[must_use]
    pub fn subscribed(&self, topic: &str) -> Option<SubscriptionId> {
        self.topics().find(|(_, subscribed)| &*subscribed.name == topic).map(|(id, _)| id)
    }

    /// The topic of a subscription.
    #[must_use]
    pub fn topic(&self, id: SubscriptionId) -> Option<&Arc<Topic>> {
        let at = self.outbox.topics.binary_search_by_key(&id, |lane| lane.id).ok()?;
        self.outbox.topics.get(at).map(|lane| &lane.topic)
    }

    /// Bytes of replies that may still be queued.
    #[must_use]
    pub fn reply_room(&self) -> usize {
        self.outbox.reply_room()
    }

    /// Ends a subscription to a topic; whether there was one.
    pub(crate) fn leave(&mut self, id: SubscriptionId) -> bool {
        let lane = self.outbox.end_topic(id);
        if let Some(lane) = &lane {
            self.left(lane);
            self.give_back(1);
        }
        lane.is_some()
    }

    /// Ends what it has among people.
    pub(crate) fn leave_all(&mut self, reason: Cleared) {
        for lane in std::mem::take(&mut self.outbox.topics) {
            self.left(&lane);
        }
        if let Some(owner) = self.owner.take() {
            self.room.broker.disown(&owner, reason);
        }
    }

    fn left(&self, lane: &TopicLane) {
        self.room.hub.leave(&lane.topic, lane.seat);
        if lane.is_member {
            self.room.broker.leave(Leave { topic: lane.topic.clone(), member: Some(self.name().clone()) });
        }
    }
}

/// What those who see a session's entries are told when it closes for this reason.
pub(crate) fn cleared(reason: CloseReason) -> Cleared {
    if reason == CloseReason::Revoked { Cleared::Revoked } else { Cleared::Disconnect }
}
