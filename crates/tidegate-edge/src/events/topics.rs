//! What a connection wants in topics, and what the process wants of it there.
//!
//! A command goes through up to three steps: it may be begun, the application says yes where the namespace has it asked, the
//! broker does it. [`pending`](super::pending) leads it from one to the next.

use std::borrow::Cow;
use std::sync::Arc;

use axum::http::StatusCode;
use bytes::Bytes;
use tidegate_identity::{Principal, TopicVerb};
use tidegate_live::SubscriptionId;
use tidegate_model::Answer;
use tidegate_session::{CloseReason, Session, Wish};
use tidegate_topics::{ClientInfo, Entry, History, Joined, Page, Presence, Publish, Published, Range, Set, Topic};
use tokio::time::Instant;

use super::{Events, insufficient_state, reply, told, unauthenticated, unknown};
use crate::application::{Peer, Permit};
use crate::commands::{Act, Envelope, Post};
use crate::{ApiError, Order};

/// What a message has around its data at most: an `id`, or the name of a topic.
const REPLY_BYTES: usize = 1 << 10;

/// A subscription to a topic that the client knows of.
pub(super) struct Held {
    pub(super) id: SubscriptionId,
    pub(super) topic: Arc<Topic>,
    /// Somebody in the process wished it, not the client.
    pub(super) is_ordered: bool,
}

/// One command.
pub(super) struct Command {
    giver: Giver,
    pub(super) topic: Arc<Topic>,
    /// What one must be allowed to do for it.
    pub(super) verb: Option<TopicVerb>,
    /// Until it is done.
    act: Option<Act>,
    joined: Option<SubscriptionId>,
    /// What the client is told with the answer to its subscribe, as JSON.
    data: Option<Bytes>,
}

/// Who gave a command.
enum Giver {
    /// The client, in a message with that `id`, if it has one.
    Client(Option<Box<str>>),
    Order,
}

/// What a step comes to.
pub(super) enum Found {
    Permit(Permit),
    Joined(Joined),
    Left,
    Published(Published),
    Presence(Presence),
    History(History),
    Values(Page),
    Entries(Vec<Entry>),
    Done,
}

impl Events {
    /// Takes a client's command.
    pub(super) fn topical(
        &mut self,
        session: &mut Session,
        message: &Envelope<'_>,
        decoded: Result<(Cow<'_, str>, Act), ApiError>,
        now: Instant,
    ) -> Result<(), CloseReason> {
        let id = message.id();
        let command = decoded.and_then(|(name, act)| {
            let principal = self.principal.as_ref().ok_or_else(unauthenticated)?;
            let verb = act.verb();
            let topic = match verb {
                Some(verb) => self.edge.topic(principal, verb, &name)?,
                None => self.edge.topics().namespaces.topic(principal.topic_tenant(), &name)?,
            };
            let giver = Giver::Client(id.map(Into::into));
            Ok(Command { giver, topic, verb, act: Some(act), joined: None, data: None })
        });
        match command {
            Ok(command) => self.take(session, command, now),
            Err(error) => self.refuse(session, id, &error, now),
        }
    }

    /// Subscribes the client, or ends a subscription of it, because somebody in the process says so.
    pub(super) fn ordered(&mut self, session: &mut Session, order: Order, now: Instant) -> Result<(), CloseReason> {
        let (name, act, data) = match order {
            Order::Subscribe { topic, since, data } => (topic, Act::Subscribe { since }, data),
            Order::Unsubscribe { topic } => (topic, Act::Unsubscribe, None),
            Order::Dismiss { .. } => return Err(CloseReason::Dismissed),
            Order::Emit(message) => {
                session.reply(message);
                return Ok(());
            }
            Order::Send(data) => {
                session.reply(told::sent(&data));
                return Ok(());
            }
            Order::Refresh(_) => return Ok(()),
        };
        let Some(principal) = &self.principal else { return Ok(()) };
        match self.edge.topics().namespaces.topic(principal.topic_tenant(), &name) {
            Ok(topic) => {
                let command = Command { giver: Giver::Order, topic, verb: None, act: Some(act), joined: None, data };
                self.take(session, command, now)
            }
            Err(error) => {
                tracing::debug!(%error, "an order about a topic was not carried out");
                Ok(())
            }
        }
    }

    /// Looks whether it can be done here and now, and has the application asked where the namespace says so.
    pub(super) fn begin(&self, session: &Session, command: &Command) -> Answer<Found, ApiError> {
        let (topic, options) = (&command.topic, &command.topic.options);
        let is_subscribed = session.subscribed(&topic.name).is_some();
        let yes = Answer::Now(Ok(Found::Permit(Permit::default())));
        let is_asked = match (&command.giver, &command.act) {
            (_, Some(Act::Subscribe { .. })) if is_subscribed => return Answer::Now(Err(already_subscribed())),
            (_, Some(Act::Unsubscribe)) if !is_subscribed => return Answer::Now(Err(unknown())),
            (Giver::Order, _) | (_, Some(Act::Unsubscribe)) => false,
            (_, Some(Act::Subscribe { .. })) => options.ask_subscribe,
            // Who may not subscribe sees and touches nothing of the topic on another way either.
            _ if options.ask_subscribe && !is_subscribed => return Answer::Now(Err(not_subscribed())),
            (_, Some(Act::Publish(_))) => options.ask_publish,
            _ => false,
        };
        if !is_asked {
            return yes;
        }
        let Some((application, principal)) = self.edge.asked().zip(self.principal.clone()) else {
            let message = "the application is to be asked here, and there is none";
            return Answer::Now(Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", message)));
        };
        let peer = Peer::new(&self.edge, session.name().clone(), principal);
        match &command.act {
            Some(Act::Publish(post)) => {
                found(application.may_publish(&peer, topic, &post.data), |()| Found::Permit(Permit::default()))
            }
            _ => found(application.may_subscribe(&peer, topic), Found::Permit),
        }
    }

    /// Does it.
    pub(super) fn act(
        &mut self,
        session: &mut Session,
        command: &mut Command,
        permit: Permit,
    ) -> Answer<Found, ApiError> {
        let Some(act) = command.act.take() else { return Answer::Now(Ok(Found::Done)) };
        let topic = command.topic.clone();
        let broker = &self.edge.topics().broker;
        match act {
            Act::Subscribe { since } => {
                command.data = permit.data.or(command.data.take());
                let info = ClientInfo { chan_info: permit.chan_info, ..self.info(session) };
                let member = topic.options.presence.then(|| Arc::new(info));
                match session.join(Wish { topic, member, since, hears_joins: true }) {
                    Ok((id, joined)) => {
                        command.joined = Some(id);
                        found(joined, Found::Joined)
                    }
                    Err(error) => Answer::Now(Err(error.into())),
                }
            }
            Act::Unsubscribe => {
                let Some(id) = session.subscribed(&topic.name) else { return Answer::Now(Err(unknown())) };
                session.unsubscribe(id);
                self.let_go(id);
                Answer::Now(Ok(Found::Left))
            }
            Act::Publish(post) => {
                let Post { data, key, removed, tags, idempotency_key } = *post;
                let client = Some(Arc::new(self.info(session)));
                let publish = Publish { client, key, removed, tags, idempotency_key, ..Publish::new(topic, data) };
                found(broker.publish(publish), Found::Published)
            }
            Act::Presence(ask) => found(broker.presence(&topic, ask), Found::Presence),
            Act::History(range) => {
                // In JSON it may be longer.
                let range = Range { bytes_max: session.reply_room() / 2, ..range };
                found(broker.history(&topic, range), Found::History)
            }
            Act::Values { after, limit } => {
                let bytes_max = session.reply_room() / 2;
                found(broker.values(&topic, after.as_deref(), limit, bytes_max), Found::Values)
            }
            Act::Set { key, payload, ttl_ms } => {
                self.is_owner = true;
                let owner = session.own(topic.tenant.clone()).clone();
                found(broker.set(Set { topic, key, payload, ttl_ms, owner }), |()| Found::Done)
            }
            Act::Clear { key } => {
                self.is_owner = true;
                let owner = session.own(topic.tenant.clone());
                found(broker.clear(&topic, &key, owner), |()| Found::Done)
            }
            Act::List => found(broker.list(&topic, session.reply_room()), Found::Entries),
        }
    }

    fn info(&self, session: &Session) -> ClientInfo {
        let user = self.principal.as_ref().map(|principal| principal.user.clone()).unwrap_or_default();
        ClientInfo { client: session.name().clone(), user, ..ClientInfo::default() }
    }

    /// Answers.
    pub(super) fn finish(
        &mut self,
        session: &mut Session,
        command: Command,
        result: Result<Found, ApiError>,
        now: Instant,
    ) -> Result<(), CloseReason> {
        let room = session.reply_room().saturating_sub(REPLY_BYTES);
        let data = match result {
            Ok(Found::Joined(joined)) => return self.joined(session, command, &joined, room, now),
            Err(error) => return self.fail(session, &command, &error, now),
            Ok(Found::Left) if matches!(command.giver, Giver::Order) => {
                session.reply(told::event("unsubscribed", &command.topic.name, |_| ()));
                return Ok(());
            }
            Ok(Found::Permit(_) | Found::Left | Found::Done) => Some(b"{}".to_vec()),
            Ok(Found::Published(at)) => Some(told::published(&at)),
            Ok(Found::Presence(presence)) => Some(told::presence(&presence)),
            Ok(Found::History(history)) => told::history(&history, room),
            Ok(Found::Values(page)) => told::values(&page, room),
            Ok(Found::Entries(entries)) => told::entries(&entries, room),
        };
        let Giver::Client(Some(id)) = &command.giver else { return Ok(()) };
        match data.filter(|data| data.len() <= room) {
            Some(data) => {
                session.reply(reply(id, &data));
                Ok(())
            }
            None => self.refuse(session, Some(id), &too_large(), now),
        }
    }

    /// Answers a subscribe; then what happens in the topic is told.
    fn joined(
        &mut self,
        session: &mut Session,
        command: Command,
        joined: &Joined,
        room: usize,
        now: Instant,
    ) -> Result<(), CloseReason> {
        let Some(id) = command.joined.filter(|id| session.topic(*id).is_some()) else {
            return self.fail(session, &command, &insufficient_state(), now);
        };
        let parts = told::joined(joined, command.data.as_deref(), room);
        if parts.len() > room {
            return self.fail(session, &command, &too_large(), now);
        }
        let topic = command.topic;
        match &command.giver {
            Giver::Client(Some(message)) => session.reply(reply(message, &[b"{", &*parts, b"}"].concat())),
            _ => session.reply(told::event("subscribed", &topic.name, |out| {
                out.push(b',');
                out.extend_from_slice(&parts);
            })),
        }
        if self.held.is_empty() {
            self.held.reserve_exact(1);
        }
        self.held.push(Held { id, topic, is_ordered: matches!(command.giver, Giver::Order) });
        session.begin(id, &joined.at);
        Ok(())
    }

    fn fail(
        &mut self,
        session: &mut Session,
        command: &Command,
        error: &ApiError,
        now: Instant,
    ) -> Result<(), CloseReason> {
        if let Some(id) = command.joined {
            session.unsubscribe(id);
        }
        match &command.giver {
            Giver::Client(id) => self.refuse(session, id.as_deref(), error, now),
            // It is as it was wished.
            Giver::Order if matches!(error.code, "already_subscribed" | "unknown_subscription") => Ok(()),
            Giver::Order => {
                session.reply(told::error(&command.topic.name, error));
                Ok(())
            }
        }
    }

    /// Ends the subscriptions to topics that may no longer be subscribed to.
    pub(super) fn decide_topics_again(&mut self, session: &mut Session, principal: &Principal) {
        let authority = self.edge.authority();
        self.held.retain(|held| {
            let name = &held.topic.name;
            let decided = match held.is_ordered {
                true => Ok(()),
                false => authority.topic(principal, TopicVerb::Subscribe, name),
            };
            let Err(refusal) = decided else { return true };
            session.unsubscribe(held.id);
            session.reply(told::error(name, &refusal.into()));
            false
        });
    }

    /// Forgets a subscription that is over; its topic, if the client knew of it.
    pub(super) fn let_go(&mut self, id: SubscriptionId) -> Option<Arc<Topic>> {
        let at = self.held.iter().position(|held| held.id == id)?;
        Some(self.held.swap_remove(at).topic)
    }

    /// The topic of a subscription that the client knows of.
    pub(super) fn held(&self, id: SubscriptionId) -> Option<&Topic> {
        self.held.iter().find(|held| held.id == id).map(|held| &*held.topic)
    }
}

fn found<T, E>(answer: Answer<T, E>, make: impl FnOnce(T) -> Found + Send + 'static) -> Answer<Found, ApiError>
where
    T: 'static,
    E: Into<ApiError> + 'static,
{
    match answer {
        Answer::Now(answer) => Answer::Now(answer.map(make).map_err(Into::into)),
        Answer::Later(answer) => Answer::Later(Box::pin(async { answer.await.map(make).map_err(Into::into) })),
    }
}

fn already_subscribed() -> ApiError {
    let message = "the connection subscribes to the topic already; unsubscribe first";
    ApiError::new(StatusCode::CONFLICT, "already_subscribed", message)
}

fn not_subscribed() -> ApiError {
    ApiError::new(
        StatusCode::FORBIDDEN,
        "not_subscribed",
        "only who subscribes to the topic may do that; subscribe first",
    )
}

fn too_large() -> ApiError {
    let message = "the answer has more bytes than may wait for a client; ask for less";
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
}
