//! The session: an outbox behind a lock, its subscriptions' handles, and the end of it all.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tidegate_live::{Delivery, Live, Sink, Subscribe, Subscription, SubscriptionId};
use tidegate_model::{Query, Tenant, Token};

use crate::item::Item;
use crate::metrics::{Metrics, count};
use crate::outbox::{CatchUp, Outbox};
use crate::{CloseReason, Encode, Limits};

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

/// What a drain gave.
#[derive(Debug, Default)]
pub struct Drained {
    /// Whole items, in order.
    pub items: Vec<Item>,
    /// Why the session closed, if it did: send the items, then the close.
    pub closed: Option<CloseReason>,
}

/// One client. Dropping it ends its subscriptions.
pub struct Session(Arc<Inner>);

struct Inner {
    encode: Encode,
    limits: Limits,
    metrics: Arc<Metrics>,
    wake: Box<dyn Fn() + Send + Sync>,
    state: Mutex<State>,
}

struct State {
    outbox: Outbox,
    handles: HashMap<SubscriptionId, Arc<Subscription>>,
    closed: Option<CloseReason>,
    next_id: u64,
}

impl Session {
    /// A session without subscriptions. `wake` is called, on any thread and without a lock held, when there is something
    /// to drain; it must not block.
    #[must_use]
    pub fn new(limits: Limits, encode: Encode, metrics: Arc<Metrics>, wake: Box<dyn Fn() + Send + Sync>) -> Self {
        let outbox = Outbox::new(limits, metrics.clone());
        let state = State { outbox, handles: HashMap::new(), closed: None, next_id: 0 };
        Self(Arc::new(Inner { encode, limits, metrics, wake, state: Mutex::new(state) }))
    }

    /// Starts a subscription. [`Item::Started`] with the number returned answers it.
    ///
    /// # Errors
    /// [`SubscribeError`]; nothing is left behind.
    pub fn subscribe(&self, live: &Live, want: Want) -> Result<(SubscriptionId, u64), SubscribeError> {
        let (id, request) = self.open(&want)?;
        let Want { query, tenant, resume, synced } = want;
        let sink: Arc<dyn Sink> = self.0.clone();
        match live.subscribe(Subscribe { query, tenant, resume, synced, request, id, sink }) {
            Ok(handle) => self.0.lock().handles.insert(id, Arc::new(handle)),
            Err(_busy) => {
                self.0.lock().outbox.end(id);
                self.0.metrics.subscriptions.fetch_sub(1, Ordering::Relaxed);
                return Err(SubscribeError::Busy);
            }
        };
        Ok((id, request))
    }

    fn open(&self, want: &Want) -> Result<(SubscriptionId, u64), SubscribeError> {
        let mut state = self.0.lock();
        if state.closed.is_some() {
            return Err(SubscribeError::Closed);
        }
        if state.handles.len().max(state.outbox.subscriptions()) >= self.0.limits.subscriptions {
            count(&self.0.metrics.subscriptions_refused);
            return Err(SubscribeError::TooMany(self.0.limits.subscriptions));
        }
        state.next_id += 1;
        let id = SubscriptionId(state.next_id);
        // Inside a batch the list is at no position: a catch-up could not start from it.
        let resume = want.resume.filter(|token| token.frame.is_none()).map(|token| token.position);
        let request = state.outbox.open(id, resume, want.synced);
        self.0.metrics.subscriptions.fetch_add(1, Ordering::Relaxed);
        Ok((id, request))
    }

    /// Moves a subscription's window. [`Item::Started`] with the number returned, or a later one, answers it.
    ///
    /// # Errors
    /// [`SubscribeError::Unknown`] or [`SubscribeError::Busy`].
    pub fn reanchor(&self, id: SubscriptionId, query: Arc<Query>) -> Result<u64, SubscribeError> {
        // The lock is held so that the answer cannot overtake the question; asking does not wait.
        let mut state = self.0.lock();
        let handle = state.handles.get(&id).cloned().ok_or(SubscribeError::Unknown)?;
        state.outbox.reanchor(id, |request| handle.reanchor(query, request).is_ok()).ok_or(SubscribeError::Busy)
    }

    /// Ends a subscription; nothing more is handed over for it. Whether there was one.
    pub fn unsubscribe(&self, id: SubscriptionId) -> bool {
        let handle = {
            let mut state = self.0.lock();
            state.outbox.end(id);
            state.handles.remove(&id)
        };
        if handle.is_some() {
            self.0.metrics.subscriptions.fetch_sub(1, Ordering::Relaxed);
        }
        handle.is_some()
    }

    /// Queues what the protocol itself has to say, in its encoded form.
    pub fn reply(&self, bytes: impl Into<Bytes>) {
        let reason = {
            let mut state = self.0.lock();
            if state.closed.is_some() {
                return;
            }
            state.outbox.reply(bytes.into()).err()
        };
        if let Some(reason) = reason {
            self.close(reason);
        }
        (self.0.wake)();
    }

    /// Whether so many answers wait that no further command should be read.
    #[must_use]
    pub fn is_reply_full(&self) -> bool {
        self.0.lock().outbox.is_reply_full()
    }

    /// Whether [`Session::drain`] has something to give.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let state = self.0.lock();
        state.closed.is_some() || state.outbox.is_ready()
    }

    /// Whether there are subscriptions and everything delivered for them has been drained: then the client has been
    /// sent everything up to any [`Live::position`] read before.
    #[must_use]
    pub fn is_caught_up(&self) -> bool {
        self.0.lock().outbox.is_caught_up()
    }

    /// Takes what waits: whole items until `max_bytes` are exceeded, at least one if there is any. To be called again
    /// when the socket has taken them: what is not drained is what a slow client is measured by.
    #[must_use]
    pub fn drain(&self, max_bytes: usize) -> Drained {
        let mut items = Vec::new();
        let mut ended = Vec::new();
        let (catch_up, closed) = {
            let mut state = self.0.lock();
            let catch_up = state.outbox.drain(max_bytes, &mut items);
            for item in &items {
                if let Item::Ended(id, _) | Item::TooLarge(id, _) = item {
                    ended.extend(state.handles.remove(id));
                }
            }
            let catch_up = catch_up.map(|catch_up| (state.handles.get(&catch_up.subscription).cloned(), catch_up));
            (catch_up, state.closed)
        };
        self.0.metrics.subscriptions.fetch_sub(ended.len() as u64, Ordering::Relaxed);
        drop(ended);
        if let Some((Some(handle), CatchUp { sent, reset, request, .. })) = catch_up {
            handle.catch_up(sent, reset, request);
        }
        Drained { items, closed }
    }

    /// Closes the session: the first reason stays. What is queued is dropped but for replies, which may say why.
    pub fn close(&self, reason: CloseReason) {
        let handles = self.0.lock().close(reason);
        self.0.metrics.subscriptions.fetch_sub(handles.len() as u64, Ordering::Relaxed);
        drop(handles);
        (self.0.wake)();
    }

    /// Why the session closed, if it did.
    #[must_use]
    pub fn closed(&self) -> Option<CloseReason> {
        self.0.lock().closed
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // The engine holds the sink, and the sink the handles: here the circle is cut.
        self.close(CloseReason::Gone);
    }
}

impl State {
    /// The handles are given back, to be dropped where no lock is held.
    fn close(&mut self, reason: CloseReason) -> HashMap<SubscriptionId, Arc<Subscription>> {
        self.closed.get_or_insert(reason);
        self.outbox.clear();
        std::mem::take(&mut self.handles)
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Inner {
    fn deliver(&self, subscription: SubscriptionId, delivery: Delivery) {
        let wake = {
            let mut state = self.lock();
            if state.closed.is_some() {
                return;
            }
            let was_ready = state.outbox.is_ready();
            if let Err(reason) = state.outbox.deliver(subscription, delivery, self.encode) {
                // The handles stay until the transport, which is woken, closes or drops the session: dropping one here
                // would call back into the engine.
                state.closed = Some(reason);
                state.outbox.clear();
            }
            !was_ready && (state.closed.is_some() || state.outbox.is_ready())
        };
        if wake {
            (self.wake)();
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_credential_prints_no_secret() {
        let shown = format!("{:?}{:?}", crate::Credential::Bearer("hunter2"), crate::Credential::ApiKey("hunter2"));
        assert!(!shown.contains("hunter2"));
    }
}
