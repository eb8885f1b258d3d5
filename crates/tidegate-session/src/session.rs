//! The session: an outbox, its subscriptions' handles, and the end of it all.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tidegate_live::{Address, ClientId, Delivery, Live, Sink, Subscribe, Subscription, SubscriptionId};
use tidegate_model::{Query, Tenant, Token};
use tidegate_topics::{Broker, Hub, Owner};

use crate::item::Item;
use crate::metrics::{Metrics, count};
use crate::outbox::{CatchUp, Outbox};
use crate::runtime::Reply;
use crate::topics::{self, Name};
use crate::{CloseReason, Encode, Limits, Share, share};

/// What a client wants to watch, decided by the authority.
#[derive(Debug, Clone)]
pub struct Want {
    /// The effective query.
    pub query: Arc<Query>,
    /// Whose rows.
    pub tenant: Tenant,
    /// The last token that the client applied.
    pub resume: Option<Token>,
    /// Whether to hand over [`Item::Synced`] after each transaction.
    pub synced: bool,
}

/// A subscribe or re-anchor that was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// The cap on subscriptions of a session is reached.
    #[error("a connection may have at most {0} subscriptions; end one first")]
    TooMany(usize),
    /// The cap that all sessions of the user or of the tenant share is reached.
    #[error("the {0} may have at most {1} subscriptions; end one first")]
    Share(&'static str, usize),
    /// The engine has more commands waiting than it takes.
    #[error("the gateway has more to do than it takes; try again")]
    Busy,
    /// The subscription is not there, or not any more.
    #[error("there is no such subscription")]
    Unknown,
    /// The session is closed.
    #[error("the session is closed")]
    Closed,
}

/// What all sessions of a worker share.
pub struct Room {
    /// The engine.
    pub live: Live,
    /// Who of the worker's clients subscribes to which topic.
    pub hub: Rc<Hub>,
    /// What topics hold.
    pub broker: Arc<dyn Broker>,
    /// Where the engine's deliveries for the sessions' clients go; whoever takes them there hands them to
    /// [`Session::deliver`].
    pub sink: Arc<dyn Sink>,
    /// The codec.
    pub encode: Encode,
    /// Of each session.
    pub limits: Limits,
    /// Of all sessions.
    pub metrics: Arc<Metrics>,
}

/// One client. Dropping it ends its subscriptions.
pub struct Session {
    pub(crate) room: Rc<Room>,
    pub(crate) client: ClientId,
    pub(crate) name: Name,
    /// Whose ephemeral entries go with it.
    pub(crate) owner: Option<Box<Owner>>,
    pub(crate) outbox: Outbox,
    /// In order of their numbers.
    handles: Vec<(SubscriptionId, Subscription)>,
    pub(crate) closed: Option<CloseReason>,
    next_id: u64,
    shares: Box<[Arc<Share>]>,
}

impl Session {
    /// A session without subscriptions, whose deliveries will be addressed to `client`. `number` makes its public name.
    #[must_use]
    pub fn new(room: Rc<Room>, client: ClientId, number: u128) -> Self {
        let outbox = Outbox::new(room.limits, room.metrics.clone());
        let name = Name::new(number);
        let (handles, shares) = (Vec::new(), Box::default());
        Self { room, client, name, owner: None, outbox, handles, closed: None, next_id: 0, shares }
    }

    /// Takes subscriptions from these too from now on, those that it has included.
    pub fn share(&mut self, shares: Vec<Arc<Share>>) {
        share::give_back(&self.shares, self.subscriptions());
        self.shares = shares.into();
        share::add(&self.shares, self.subscriptions());
    }

    fn subscriptions(&self) -> usize {
        self.handles.len() + self.outbox.topics.len()
    }

    /// Starts a subscription. [`Item::Started`] with the number returned answers it.
    ///
    /// # Errors
    /// [`SubscribeError`]; nothing is left behind.
    pub fn subscribe(&mut self, want: Want) -> Result<(SubscriptionId, u64), SubscribeError> {
        let id = self.take_one()?;
        let Room { live, sink, metrics, .. } = &*self.room;
        let Want { query, tenant, resume, synced } = want;
        // Inside a batch the list is at no position: a catch-up could not start from it.
        let from = resume.filter(|token| token.frame.is_none()).map(|token| token.position);
        let request = self.outbox.open(id, from, synced);
        let address = Address { client: self.client, subscription: id };
        let subscribe = Subscribe { query, tenant, resume, synced, request, address, sink: sink.clone() };
        let Ok(handle) = live.subscribe(subscribe) else {
            self.outbox.end(id);
            share::give_back(&self.shares, 1);
            return Err(SubscribeError::Busy);
        };
        metrics.subscriptions.fetch_add(1, Ordering::Relaxed);
        if self.handles.is_empty() {
            self.handles.reserve_exact(1);
        }
        self.handles.push((id, handle));
        Ok((id, request))
    }

    /// A place for one more subscription.
    pub(crate) fn take_one(&mut self) -> Result<SubscriptionId, SubscribeError> {
        if self.closed.is_some() {
            return Err(SubscribeError::Closed);
        }
        let Room { limits, metrics, .. } = &*self.room;
        if self.subscriptions() >= limits.subscriptions {
            count(&metrics.subscriptions_refused);
            return Err(SubscribeError::TooMany(limits.subscriptions));
        }
        if let Err(share) = share::take(&self.shares) {
            count(&metrics.subscriptions_refused);
            return Err(SubscribeError::Share(share.whose(), share.max()));
        }
        self.next_id += 1;
        Ok(SubscriptionId(self.next_id))
    }

    /// Moves a subscription's window. [`Item::Started`] with the number returned, or a later one, answers it.
    ///
    /// # Errors
    /// [`SubscribeError::Unknown`] or [`SubscribeError::Busy`].
    pub fn reanchor(&mut self, id: SubscriptionId, query: Arc<Query>) -> Result<u64, SubscribeError> {
        let at = self.place(id).ok_or(SubscribeError::Unknown)?;
        let handle = &self.handles[at].1;
        self.outbox.reanchor(id, |request| handle.reanchor(query, request).is_ok()).ok_or(SubscribeError::Busy)
    }

    /// As [`Session::reanchor`], for a query that the client may see where it no longer may see the one before: nothing more
    /// of that is handed over.
    ///
    /// # Errors
    /// As [`Session::reanchor`]; then the subscription goes on as it was, so end it.
    pub fn replace(&mut self, id: SubscriptionId, query: Arc<Query>) -> Result<u64, SubscribeError> {
        let request = self.reanchor(id, query)?;
        self.outbox.supersede(id, request);
        Ok(request)
    }

    /// Whose session it is.
    #[must_use]
    pub fn client(&self) -> ClientId {
        self.client
    }

    /// Ends a subscription, of either kind; nothing more is handed over for it. Whether there was one.
    pub fn unsubscribe(&mut self, id: SubscriptionId) -> bool {
        self.outbox.end(id);
        self.release(id) || self.leave(id)
    }

    /// Queues what the protocol itself has to say, in its encoded form.
    pub fn reply(&mut self, bytes: impl Into<Bytes>) {
        if self.closed.is_none()
            && let Err(reason) = self.outbox.reply(bytes.into())
        {
            self.close(reason);
        }
    }

    /// Takes a delivery that was addressed to this client.
    pub fn deliver(&mut self, subscription: SubscriptionId, delivery: Delivery) {
        if self.closed.is_none()
            && let Err(reason) = self.outbox.deliver(subscription, delivery, self.room.encode)
        {
            self.close(reason);
        }
    }

    /// Takes what the runtime says to this client: replies, as [`Item::Told`], and from the welcome on the events behind the number
    /// in it, as [`Item::Event`]. Behind the newest the client is given them in pages: see [`Session::wants_events`].
    pub fn hear(&mut self, reply: Reply) {
        if self.closed.is_none()
            && let Err(reason) = self.outbox.hear(reply)
        {
            self.close(reason);
        }
    }

    /// The number after which events have to be asked for, because the client is behind and most of what it had is taken:
    /// to be looked at after each [`Session::hear`] and [`Session::drain`]. Told once; the next is when
    /// [`Reply::Events`] has come.
    pub fn wants_events(&mut self) -> Option<u64> {
        self.outbox.wants_events()
    }

    /// What [`Session::wants_events`] told could not be asked for, and is told again.
    pub fn not_asked(&mut self) {
        self.outbox.not_asked();
    }

    /// Whether so many answers wait that no further command should be read.
    #[must_use]
    pub fn is_reply_full(&self) -> bool {
        self.outbox.is_reply_full()
    }

    /// Whether [`Session::drain`] has something to give.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.closed.is_some() || self.outbox.is_ready()
    }

    /// Whether there are subscriptions and everything delivered for them has been drained.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.outbox.is_caught_up()
    }

    /// Takes what waits: whole items until `max_bytes` are exceeded, at least one if there is any; and why the session
    /// closed, if it did: send the items, then the close. To be called again when the socket has taken them: what is not
    /// drained is what a slow client is measured by.
    pub fn drain(&mut self, max_bytes: usize, items: &mut Vec<Item>) -> Option<CloseReason> {
        let first = items.len();
        let catch_up = self.outbox.drain(max_bytes, items);
        for item in &items[first..] {
            match item {
                Item::Ended(id, _) | Item::TooLarge(id, _) => drop(self.release(*id)),
                Item::Gapped(id) => drop(self.leave(*id)),
                _ => {}
            }
        }
        if let Some(CatchUp { subscription, sent, reset, request }) = catch_up
            && let Some(at) = self.place(subscription)
        {
            self.handles[at].1.catch_up(sent, reset, request);
        }
        self.closed
    }

    /// Closes the session: the first reason stays. What is queued is dropped but for replies, which may say why.
    pub fn close(&mut self, reason: CloseReason) {
        let reason = *self.closed.get_or_insert(reason);
        self.outbox.clear();
        self.give_back(self.subscriptions());
        self.handles = Vec::new();
        self.leave_all(topics::cleared(reason));
    }

    /// Why the session closed, if it did.
    #[must_use]
    pub fn closed(&self) -> Option<CloseReason> {
        self.closed
    }

    fn place(&self, id: SubscriptionId) -> Option<usize> {
        self.handles.binary_search_by_key(&id, |(other, _)| *other).ok()
    }

    /// Lets go of a subscription's handle, which tells the engine.
    fn release(&mut self, id: SubscriptionId) -> bool {
        let at = self.place(id);
        if let Some(at) = at {
            self.handles.remove(at);
            self.give_back(1);
        }
        at.is_some()
    }

    pub(crate) fn give_back(&self, count: usize) {
        share::give_back(&self.shares, count);
        self.room.metrics.subscriptions.fetch_sub(count as u64, Ordering::Relaxed);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.close(CloseReason::Gone);
    }
}
