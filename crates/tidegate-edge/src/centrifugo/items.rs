//! What a session hands over, as messages; and what others in the process want told.

use std::sync::Arc;

use tidegate_model::SubscriptionId;
use tidegate_session::{Item, Session};
use tidegate_topics::{Data, Kind as RecordKind, Publication, Since};

use super::channel::{Channel, Kind};
use super::codes::{Disconnected, Unsubscribed};
use super::connect::{now_ms, time_left};
use super::encoding::Encoding;
use super::protocol::Centrifugo;
use super::push;
use super::subscribe::{Entered, Entering, is_delta};
use super::wire::{Publication as Told, Push, Refresh, Reply, SendRequest, Subscribe, SubscribeRequest};
use crate::order::Order;
use crate::out::Out;

impl Centrifugo {
    pub(super) fn hand_over(&mut self, item: Item, out: &mut Out) {
        match item {
            Item::Reply(messages) => self.encoding.put(&messages, out),
            Item::Publication { subscription, publication } => self.publication(subscription, &publication, out),
            // What is no channel is a room, or has yet to be answered: neither can be recovered by itself.
            Item::Gapped(id) if self.channel_of(id).is_none() => self.fail(Disconnected::InsufficientState),
            Item::Gapped(id) => self.lose(id, Unsubscribed::Insufficient, out),
            Item::Dropped(id, _) => {
                let told = self.channel_of(id).and_then(Channel::told);
                if told.is_some_and(|told| told.is_positioned) {
                    self.lose(id, Unsubscribed::Insufficient, out);
                }
            }
            Item::Started(id, started) => self.started(id, started, out),
            Item::Frames { subscription, view, batch, from, .. } => {
                self.frames(subscription, &view, &batch, from, out);
            }
            Item::Ended(id, reason) => self.ended(id, &reason, out),
            Item::TooLarge(id, bytes) => self.too_large(id, bytes, out),
            Item::Synced { .. } | Item::Told(_) | Item::Event { .. } => {}
        }
    }

    /// Something happened in a topic. Who needs nothing of its own shares the bytes with all others.
    fn publication(&mut self, id: SubscriptionId, publication: &Arc<Publication>, out: &mut Out) {
        let encoding = self.encoding;
        let record = &publication.record;
        let Some(Channel { kind: Kind::Topic(told), .. }) = self.channel_of(id) else {
            // Of a room that the application had the client join.
            if record.kind == RecordKind::Event {
                let message = Some(SendRequest { data: record.data.bytes().clone() });
                self.put(&Reply { push: Some(Push { message, ..Push::default() }), ..Reply::default() }, out);
            }
            return;
        };
        if told.filter.as_ref().is_some_and(|filter| !filter.takes(&record.tags)) {
            return;
        }
        let form = told.form;
        let is_base = is_delta(form) && !matches!(record.kind, RecordKind::Join | RecordKind::Leave);
        let is_shared = !is_base || told.base.has_previous(publication);
        if is_base {
            told.base.told(record);
        }
        if !is_shared {
            let whole = push::push_whole(record, form);
            return match whole.is_empty() {
                true => self.fail(Disconnected::InappropriateProtocol),
                false => encoding.put(&whole, out),
            };
        }
        if publication.form(form.slot(), |publication| push::push(publication, form)).is_empty() {
            return self.fail(Disconnected::InappropriateProtocol);
        }
        let is_binary = encoding == Encoding::Protobuf;
        out.publication(publication, form.slot(), is_binary, |publication| push::push(publication, form));
    }

    /// A subscription is over because something is missing. The session learns of it when it can be told.
    pub(super) fn lose(&mut self, id: SubscriptionId, why: Unsubscribed, out: &mut Out) {
        if let Some(channel) = self.forget(id) {
            self.gone.push(id);
            self.put(&Reply { push: Some(why.push(&*channel.name)), ..Reply::default() }, out);
        }
    }

    /// Sends a message at once, in the place of an item.
    pub(super) fn put(&mut self, reply: &Reply, out: &mut Out) {
        let mut message = Vec::new();
        match self.encoding.append(reply, &mut message) {
            Ok(()) => self.encoding.put(&message, out),
            Err(_) => self.fail(Disconnected::InappropriateProtocol),
        }
    }

    /// Does what somebody else in the process wants done.
    pub(super) fn obey(&mut self, session: &mut Session, order: Order) {
        if !self.is_connected() {
            return;
        }
        match order {
            Order::Subscribe { topic, since, data } => self.subscribe_by_order(session, &topic, since, data),
            Order::Unsubscribe { topic } => {
                if let Some(id) = self.channel(&topic).map(|channel| channel.id) {
                    self.end_channel(session, id, Unsubscribed::Server);
                }
            }
            Order::Send(data) => match (data, self.encoding) {
                (Data::Binary(_), Encoding::Json | Encoding::Bare) => self.fail(Disconnected::InappropriateProtocol),
                (Data::Json(data) | Data::Binary(data), _) => {
                    self.tell(session, Push { message: Some(SendRequest { data }), ..Push::default() });
                }
            },
            Order::Refresh(expires_at_ms) => {
                if expires_at_ms.is_some_and(|at| at <= now_ms()) {
                    return self.fail(Disconnected::Expired);
                }
                let (expires, ttl) = time_left(expires_at_ms);
                self.tell(session, Push { refresh: Some(Refresh { expires, ttl }), ..Push::default() });
            }
            // An event of the application's: `{"event","data"}`.
            Order::Emit(data) => {
                self.tell(session, Push { message: Some(SendRequest { data }), ..Push::default() });
            }
            Order::Dismiss { .. } => {}
        }
    }

    fn subscribe_by_order(
        &mut self,
        session: &mut Session,
        name: &str,
        since: Option<Since>,
        data: Option<bytes::Bytes>,
    ) {
        if self.channel(name).is_some() || self.waiting.has(name) {
            return;
        }
        let Some(tenant) = self.principal.as_ref().map(|principal| principal.topic_tenant()) else { return };
        let Ok(topic) = self.edge.topics().namespaces.topic(tenant, name) else { return };
        let request = SubscribeRequest { channel: name.into(), recover: since.is_some(), ..Default::default() };
        let entering = Entering::by_server(request, None, data);
        let joining = self.join(session, topic, entering, since, |this, session, sub, entering, joined| {
            let entered =
                joined.and_then(|joined| this.entered(session, sub, &entering, &joined).map(|it| (it, joined)));
            let Ok((Entered { result, told }, joined)) = entered else {
                session.unsubscribe(sub);
                return;
            };
            let channel = entering.request.channel;
            this.keep(&channel, sub, told);
            let subscribe = Subscribe {
                recoverable: result.recoverable,
                positioned: result.positioned,
                epoch: result.epoch,
                offset: result.offset,
                data: result.data,
            };
            this.tell(session, Push { channel: channel.clone(), subscribe: Some(subscribe), ..Push::default() });
            result.publications.into_iter().for_each(|publication| this.repeat(session, &channel, publication));
            this.flush(session);
            session.begin(sub, &joined.at);
        });
        if let Err(fault) = joining {
            tracing::debug!(?fault, "a client cannot be subscribed to a topic");
        }
    }

    fn repeat(&mut self, session: &mut Session, channel: &str, publication: Told) {
        self.tell(session, Push { channel: channel.into(), publication: Some(publication), ..Push::default() });
    }
}
