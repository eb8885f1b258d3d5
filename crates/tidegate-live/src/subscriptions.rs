//! Subscribers come, move, fall behind and go.

use std::sync::Arc;

use tidegate_model::{Position, Query, Tenant};

use crate::engine::{Engine, Request, Subscriber, SubscriberState, Subscribers, ViewRef, WAITING};
use crate::log::Log;
use crate::partition::Partition;
use crate::window::Window;
use crate::{Delivery, EndReason, View, diff};

impl Engine {
    /// Adds a subscriber: it is answered with what it missed, or with a snapshot as soon as there is one.
    pub fn subscribe(&mut self, subscriber: Subscriber, request: Request) {
        let Request { query, tenant, resume, synced, request } = request;
        let Some(at) = self.find_or_insert(query, tenant, None) else {
            self.out.deliver(subscriber, Delivery::Ended(EndReason::TooManyViews));
            return;
        };
        self.subscribers.insert(subscriber, SubscriberState { view: at, synced, place: WAITING });
        if synced {
            self.synced.insert(subscriber);
        }
        self.metrics.subscriptions.add(1);
        let position = self.position;
        let view = self.view(at);
        if let Some((missed, applied)) = resume.and_then(|token| view.resume(&token, position)) {
            self.metrics.resumed.add(1);
            self.join(at, subscriber, Some(request), true);
            let view = &self.partitions[at.partition as usize].views[at.slot as usize];
            for (nth, batch) in missed.iter().enumerate() {
                let from = if nth == 0 { applied } else { 0 };
                self.out.deliver(subscriber, view.delivery(batch, from));
            }
            self.deliver_synced_to(&[subscriber]);
            return;
        }
        if resume.is_some() {
            self.metrics.resets.add(1);
        }
        self.await_snapshot(at, subscriber, request);
    }

    /// Moves a subscriber to another anchor or limit of its query. It gets a snapshot.
    pub fn reanchor(&mut self, subscriber: Subscriber, query: Arc<Query>, request: u64, now_ms: u64) {
        let Some(state) = self.subscribers.get(&subscriber) else { return };
        let from = state.view;
        let tenant = self.partitions[from.partition as usize].tenant.clone();
        let Some(at) = self.find_or_insert(query, tenant, Some(from)) else {
            self.end_subscriber(subscriber, &EndReason::TooManyViews, now_ms);
            return;
        };
        self.metrics.reanchors.add(1);
        self.part(from, subscriber);
        if let Some(state) = self.subscribers.get_mut(&subscriber) {
            state.view = at;
        }
        self.await_snapshot(at, subscriber, request);
        if from != at {
            self.rest_if_unused(from, now_ms);
        }
    }

    /// Gives a subscriber that dropped everything after `sent` the net of it, or a snapshot where the log does not reach
    /// or `reset` asks for one.
    pub fn catch_up(&mut self, subscriber: Subscriber, sent: Option<Position>, reset: bool, request: u64) {
        let Some(at) = self.subscribers.get(&subscriber).map(|state| state.view) else { return };
        let position = self.position;
        let view = self.view(at);
        let mut waiting = view.waiting.iter_mut().flat_map(|waiting| waiting.iter_mut());
        if let Some(waiting) = waiting.find(|(waiting, _)| *waiting == subscriber) {
            waiting.1 = Some(request);
            return;
        }
        let net = sent.filter(|_| !reset).and_then(|sent| view.net_since(sent, position));
        let Some(net) = net else {
            self.metrics.resets.add(1);
            self.part(at, subscriber);
            self.await_snapshot(at, subscriber, request);
            return;
        };
        self.metrics.conflated.add(1);
        self.started(subscriber, request, true, net.position);
        if !net.deltas.is_empty() {
            let delivery = self.view(at).delivery(&Arc::new(net), 0);
            self.out.deliver(subscriber, delivery);
        }
        self.deliver_synced_to(&[subscriber]);
    }

    /// Takes a subscriber away. Its view stays for a while, so that whoever comes back finds its log.
    pub fn unsubscribe(&mut self, subscriber: Subscriber, now_ms: u64) {
        let Some(at) = self.subscribers.get(&subscriber).map(|state| state.view) else { return };
        self.part(at, subscriber);
        self.subscribers.remove(&subscriber);
        self.synced.remove(&subscriber);
        self.metrics.subscriptions.sub(1);
        self.rest_if_unused(at, now_ms);
    }

    /// The view of a query, made if need be. A new one takes over what the view `from` knows of its rows.
    fn find_or_insert(&mut self, query: Arc<Query>, tenant: Tenant, from: Option<ViewRef>) -> Option<ViewRef> {
        let fingerprint = query.fingerprint(&tenant);
        // Half of it, from SHA-256, is as good a hash as any.
        let (short, partitions) = (fingerprint as u64, &self.partitions);
        let rest = (fingerprint >> 64) as u64;
        let same = |at: &ViewRef| {
            let view = &partitions[at.partition as usize].views[at.slot as usize];
            view.info.fingerprint == short && view.fingerprint == rest
        };
        if let Some(at) = self.by_fingerprint.find(short, same) {
            return Some(*at);
        }
        if self.by_fingerprint.len() >= self.limits.views {
            self.drop_idle(1);
        }
        if self.by_fingerprint.len() >= self.limits.views {
            self.metrics.views_refused.add(1);
            return None;
        }
        let name = (query.entity.id(), tenant.clone());
        let partition =
            *self.by_name.entry(name).or_insert_with(|| self.partitions.insert(Partition::new(tenant)) as u32);
        let cushion = self.limits.cushion(query.limit);
        // The token carries half of the fingerprint: enough to tell a client's own views apart.
        let view = View { query, incarnation: self.incarnation, fingerprint: short };
        let views = &mut self.partitions[partition as usize];
        let slot = views.insert(view, rest, cushion, self.position);
        if let Some(from) = from.filter(|from| from.partition == partition)
            && let Some((new, old)) = views.views.get2_mut(slot as usize, from.slot as usize)
            && new.shows_rows_of(old)
            && let (Some(new), Some(old)) = (&mut new.window, &old.window)
        {
            new.seed_from(old);
        }
        self.partitions[partition as usize].refresh(slot);
        let at = ViewRef { partition, slot };
        let partitions = &self.partitions;
        let hash = |at: &ViewRef| partitions[at.partition as usize].views[at.slot as usize].info.fingerprint;
        self.by_fingerprint.insert_unique(short, at, hash);
        self.metrics.views.add(1);
        Some(at)
    }

    fn await_snapshot(&mut self, at: ViewRef, subscriber: Subscriber, request: u64) {
        self.wake(at);
        let limit = self.view(at).info.query.limit;
        let view = self.view(at);
        view.waiting.get_or_insert_default().push((subscriber, Some(request)));
        if view.is_streamed() && view.window.is_none() {
            view.window = Some(Window::new(view.info.query.after.clone(), limit, 0));
        }
        self.settle(at);
        self.refill(at);
    }

    /// Hands a snapshot to everyone who waits, if there is one now.
    pub(crate) fn complete(&mut self, at: ViewRef) {
        let position = self.position;
        let view = self.view(at);
        let streamed = view.is_streamed();
        if !std::mem::replace(&mut view.ready, true) && !streamed {
            // What happened while the first snapshot was read is in no batch: no token from before proves anything.
            view.log = Log::new(position);
        }
        if view.waiting.is_none() {
            return;
        }
        let batch = if streamed {
            let Some(window) = view.window.take() else { return };
            let was = view.held.take().map(|held| held.position);
            self.note_held(was, None);
            Some(Arc::new(diff::snapshot(position, window.visible().iter().map(|held| &held.row))))
        } else {
            view.snapshot(position)
        };
        let Some(batch) = batch else { return };
        if let Some(fetch) = self.view(at).fetch.take_if(|_| streamed) {
            self.tickets.remove(&fetch.ticket);
        }
        let Some(waiting) = self.view(at).waiting.take() else { return };
        for (subscriber, request) in waiting.iter() {
            self.join(at, *subscriber, *request, false);
        }
        let joined: Subscribers = waiting.iter().map(|(subscriber, _)| *subscriber).collect();
        let delivery = self.view(at).delivery(&batch, 0);
        self.out.deliver_to_all(joined.clone(), delivery);
        self.deliver_synced_to(&joined);
        self.partitions[at.partition as usize].refresh(at.slot);
    }

    fn join(&mut self, at: ViewRef, subscriber: Subscriber, request: Option<u64>, resumed: bool) {
        self.wake(at);
        let position = self.position;
        let view = &mut self.partitions[at.partition as usize].views[at.slot as usize];
        if let Some(state) = self.subscribers.get_mut(&subscriber) {
            state.place = view.subscribers.len() as u32;
        }
        let position = view.list(position).map_or(position, |(_, position)| position);
        view.subscribers.push(subscriber);
        if let Some(request) = request {
            self.started(subscriber, request, resumed, position);
        }
    }

    fn started(&mut self, subscriber: Subscriber, request: u64, resumed: bool, position: Position) {
        let delivery = Delivery::Started { request, resumed, position };
        self.out.deliver(subscriber, delivery);
    }

    /// Takes a subscriber out of a view.
    fn part(&mut self, at: ViewRef, subscriber: Subscriber) {
        let Some(state) = self.subscribers.get_mut(&subscriber) else { return };
        let view = &mut self.partitions[at.partition as usize].views[at.slot as usize];
        let place = std::mem::replace(&mut state.place, WAITING);
        if place != WAITING {
            view.subscribers.swap_remove(place as usize);
            if let Some(moved) = view.subscribers.get(place as usize).and_then(|moved| self.subscribers.get_mut(moved))
            {
                moved.place = place;
            }
        }
        if let Some(waiting) = &mut view.waiting {
            waiting.retain(|(other, _)| *other != subscriber);
        }
        view.waiting.take_if(|waiting| waiting.is_empty());
        if view.is_streamed() && view.waiting.is_none() {
            // A page that nobody waits for any more: kept, it would grow with every row that comes to match.
            view.window = None;
            let (fetch, held) = (view.fetch.take(), view.held.take());
            if let Some(fetch) = fetch {
                self.tickets.remove(&fetch.ticket);
            }
            self.note_held(held.map(|held| held.position), None);
        }
    }

    fn end_subscriber(&mut self, subscriber: Subscriber, reason: &EndReason, now_ms: u64) {
        self.out.deliver(subscriber, Delivery::Ended(reason.clone()));
        self.unsubscribe(subscriber, now_ms);
    }

    /// Ends every subscription of a view and drops it.
    pub(crate) fn end_view(&mut self, at: ViewRef, reason: &EndReason) {
        self.end_subscribers(at, reason);
        self.drop_view(at);
    }

    pub(crate) fn end_subscribers(&mut self, at: ViewRef, reason: &EndReason) {
        let view = self.view(at);
        let waiting = view.waiting.iter().flat_map(|waiting| waiting.iter()).map(|(subscriber, _)| *subscriber);
        let all: Subscribers = view.subscribers.iter().copied().chain(waiting).collect();
        self.out.deliver_to_all(all.clone(), Delivery::Ended(reason.clone()));
        for subscriber in all {
            if self.subscribers.remove(&subscriber).is_some() {
                self.metrics.subscriptions.sub(1);
                self.synced.remove(&subscriber);
            }
        }
    }

    pub(crate) fn drop_view(&mut self, at: ViewRef) {
        self.forget_view(at);
        let views = &mut self.partitions[at.partition as usize];
        let view = views.remove(at.slot);
        if views.views.is_empty() {
            let partition = self.partitions.remove(at.partition as usize);
            self.by_name.remove(&(view.info.query.entity.id(), partition.tenant));
        }
    }

    /// Takes a view out of everything but its partition.
    pub(crate) fn forget_view(&mut self, at: ViewRef) {
        self.wake(at);
        let view = self.view(at);
        let (held, fingerprint) = (view.held_at(), view.info.fingerprint);
        if let Some(fetch) = view.fetch.take() {
            self.tickets.remove(&fetch.ticket);
        }
        self.note_held(held, None);
        if let Ok(entry) = self.by_fingerprint.find_entry(fingerprint, |other| *other == at) {
            entry.remove();
        }
        self.metrics.views.sub(1);
    }
}
