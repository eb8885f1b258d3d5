//! `GET /ws`: the event protocol, many subscriptions a connection.
//!
//! | client sends | data | reply, and what follows |
//! |---|---|---|
//! | `auth`, `auth.refresh` | `{token, proof?}` | `{client_id, expires_at?}` |
//! | `live.subscribe` | `{sub, query, resume_from?, synced?}` | `{sub, resumed, position}` once the feed is joined; `live.delta` |
//! | `live.reanchor` | `{sub, cursor?, limit?}` | the same |
//! | `live.unsubscribe` | `{sub}` | `{sub}` |
//! | `topic.subscribe` | `{topic, since?: {epoch, offset}}` | `{epoch, offset, recovered?, messages, data?}`; `topic.message`, `topic.join`, `topic.leave` |
//! | `topic.unsubscribe` | `{topic}` | `{}` |
//! | `topic.publish` | `{topic, data, key?, removed?, tags?, idempotency_key?}` | `{epoch, offset}` |
//! | `topic.history` | `{topic, since?: {epoch, offset}, limit?, reverse?}` | `{epoch, offset, messages}` |
//! | `topic.values` | `{topic, after?, limit?}` | `{epoch, offset, messages, next?}` |
//! | `topic.presence` | `{topic, since?, after?, limit?}` | `{version, clients, users}` and `{members, next?}` or, of a `since`, `{joined, left}` |
//! | `ephemeral.set` | `{topic, key, payload, ttl_ms?}` | `{}` |
//! | `ephemeral.clear` | `{topic, key}` | `{}` |
//! | `ephemeral.list` | `{topic}` | `{entries: [{key, payload, client_id, expires_in_ms}]}` |
//! | any other name | anything | what the application says |
//!
//! `sub` is the client's own name for a subscription, a short string or number. A subscription that ends without the
//! client's wish is told by `live.error` `{sub, code, message, retryable}`; with `synced` asked for, `live.synced`
//! `{sub, position}` follows each transaction.
//!
//! # Topics
//! Subscriptions to topics are named by these. What happens there comes as
//!
//! | event | data |
//! |---|---|
//! | `topic.message` | `{topic, data, encoding?, offset?, client_id?, key?, removed?, tags?}` |
//! | `topic.join`, `topic.leave` | `{topic, client_id, user, conn_info?, chan_info?}`, to the one who joins as well |
//! | `topic.dropped` | `{topic, count}`: so many messages before the next one were dropped, the client being slow |
//! | `topic.error` | `{topic, code, message, retryable}`: the subscription is over; after `insufficient_state` subscribe again with the last position |
//! | `topic.subscribed` | `{topic, …}`, the rest as the reply to `topic.subscribe`: somebody in the process has subscribed the client, or its own message had no `id` |
//! | `topic.unsubscribed` | `{topic}`: the other way round |
//!
//! `messages` have the members of `topic.message` but for the topic, and `time_ms`. `data` is JSON, or with `"encoding":"base64"`
//! bytes that are none; what happens to ephemeral entries is `data` too, without an offset. `recovered` answers a `since`:
//! true only where `messages` are all that came after it. A page has 100 entries unless `limit` says otherwise, at most
//! 1000, and fewer where they are too long for one answer; `limit` 0 asks for the position or the counts alone.
//!
//! Who needs the values of a topic and then every change of them subscribes first, and notes what comes; then reads
//! `topic.values` page by page; and then applies in order, over the values, what came. With a history, what has an offset up
//! to that of the page is in the page already.
//!
//! Reading history and values needs the permission `history`, presence its own, ephemeral entries `publish` to set or clear
//! and `subscribe` to list. A recovery is part of subscribing. Where the application is asked about subscribing, everything
//! else in the topic is only for those who subscribe.

use std::rc::Rc;
use std::sync::Arc;
use std::task::Context;

use axum::http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tidegate_identity::{Principal, Refusal};
use tidegate_live::{SubscriptionId, View};
use tidegate_model::{Part, Position, Query};
use tidegate_session::{CloseReason, Item, Session, Started};
use tokio::time::Instant;

use crate::admitted::Link;
use crate::commands::Envelope;
use crate::frames::{self, put};
use crate::http::Site;
use crate::out::Out;
use crate::passing::Ask;
use crate::protocol::Protocol;
use crate::rate::Bucket;
use crate::stream::Payload;
use crate::{ApiError, Edge, Order, upgrade};

use self::pending::Pending;
use self::told::{error_event, error_message, error_reply, reply};
use self::topics::Held;

mod application;
mod pending;
mod standing;
mod told;
mod topics;

/// The form of publications that this protocol sends.
const SLOT: usize = 0;
/// Commands of one live subscription, or about all topics, that wait for their reply.
const PENDING_MAX: usize = 64;

pub(crate) async fn open(
    site: &Rc<Site>,
    link: &Rc<Link>,
    request: Request<Incoming>,
) -> Result<Response<Payload>, ApiError> {
    let entrance = upgrade::enter(site, &request)?;
    let pass = site.worker.pass_or_wait(&request).await?;
    let principal = pass.as_ref().map(|pass| pass.principal().clone());
    let protocol = Events::new(site.worker.edge.clone(), principal);
    Ok(upgrade::switch(site, link, request, entrance, Box::new(protocol), pass, "ws"))
}

struct Events {
    edge: Edge,
    principal: Option<Arc<Principal>>,
    /// Credentials that the last message brought.
    ask: Option<Ask>,
    /// The `id` of the message whose credentials are being looked at, if it has one.
    asking: Option<Box<str>>,
    /// Few, so a list costs least.
    watched: Vec<Watched>,
    /// Subscriptions to topics.
    held: Vec<Held>,
    pending: Option<Box<Pending>>,
    /// Whether ephemeral entries were set.
    is_owner: bool,
    /// What the application has been told and asked.
    called: application::Called,
    errors: Bucket,
}

struct Watched {
    id: SubscriptionId,
    /// As JSON text.
    name: Box<str>,
    query: Arc<Query>,
    /// Whether `query` is the view's own, which all its subscribers share.
    is_shared: bool,
    /// What the client asked for, where it may see less.
    asked: Option<Arc<Query>>,
    /// Commands without a reply yet: their number and the `id` of the message.
    pending: Vec<(u64, Box<str>)>,
}

/// What becomes of a message that was understood.
enum Answer {
    /// The data of the reply.
    Now(Vec<u8>),
    /// With `Started`, to the command of that number.
    Later(SubscriptionId, u64),
    /// When the credentials are settled.
    Settled,
    /// When the application answers.
    Called,
}

impl Events {
    fn new(edge: Edge, principal: Option<Arc<Principal>>) -> Self {
        let rate = edge.config().errors_per_second;
        let errors = Bucket::new(rate, rate, Instant::now());
        Self {
            edge,
            principal,
            ask: None,
            asking: None,
            watched: Vec::new(),
            held: Vec::new(),
            pending: None,
            is_owner: false,
            called: application::Called::default(),
            errors,
        }
    }

    fn event(&mut self, session: &mut Session, message: &Envelope<'_>) -> Result<Answer, ApiError> {
        match &*message.event {
            "auth" | "auth.refresh" => {
                self.ask = Some(message.auth()?);
                Ok(Answer::Settled)
            }
            "live.subscribe" => self.subscribe(session, message),
            "live.reanchor" => self.reanchor(session, message),
            "live.unsubscribe" => self.unsubscribe(session, message),
            _ => self.call(session, message),
        }
    }

    fn subscribe(&mut self, session: &mut Session, message: &Envelope<'_>) -> Result<Answer, ApiError> {
        let (name, subscribe) = message.subscribe()?;
        let principal = self.principal.clone().ok_or_else(unauthenticated)?;
        if self.named(name).is_some() {
            let message = "the name is in use on this connection; choose another, or unsubscribe first";
            return Err(ApiError::new(StatusCode::CONFLICT, "sub_in_use", message));
        }
        let (want, asked) =
            self.edge.want(&principal, subscribe.query, subscribe.resume_from.as_deref(), subscribe.synced)?;
        let query = want.query.clone();
        let (id, request) = session.subscribe(want)?;
        if self.watched.is_empty() {
            self.watched.reserve_exact(1);
        }
        self.watched.push(Watched { id, name: name.into(), query, is_shared: false, asked, pending: Vec::new() });
        Ok(Answer::Later(id, request))
    }

    fn reanchor(&mut self, session: &mut Session, message: &Envelope<'_>) -> Result<Answer, ApiError> {
        let (name, reanchor) = message.reanchor()?;
        let watched = self.named(name).ok_or_else(unknown)?;
        if watched.pending.len() >= PENDING_MAX {
            return Err(overloaded());
        }
        let move_it = |query: &Query| query.reanchored(reanchor.cursor, reanchor.limit).map(Arc::new);
        let (moved, asked) = (move_it(&watched.query)?, watched.asked.as_deref().map(move_it).transpose()?);
        let request = session.reanchor(watched.id, moved.clone())?;
        (watched.query, watched.is_shared, watched.asked) = (moved, false, asked);
        Ok(Answer::Later(watched.id, request))
    }

    fn unsubscribe(&mut self, session: &mut Session, message: &Envelope<'_>) -> Result<Answer, ApiError> {
        let id = self.named(message.sub()?).ok_or_else(unknown)?.id;
        session.unsubscribe(id);
        let watched = self.forget(id).ok_or_else(unknown)?;
        // Commands that wait are answered too: by the end.
        for (_, waiting) in watched.pending {
            session.reply(error_reply(&waiting, &unknown()));
        }
        let mut data = Vec::new();
        put(&mut data, format_args!("{{\"sub\":{}}}", watched.name));
        Ok(Answer::Now(data))
    }

    fn named(&mut self, name: &str) -> Option<&mut Watched> {
        self.watched.iter_mut().find(|watched| &*watched.name == name)
    }

    fn watched(&mut self, id: SubscriptionId) -> Option<&mut Watched> {
        self.watched.iter_mut().find(|watched| watched.id == id)
    }

    fn forget(&mut self, id: SubscriptionId) -> Option<Watched> {
        let at = self.watched.iter().position(|watched| watched.id == id)?;
        Some(self.watched.swap_remove(at))
    }

    fn started(&mut self, id: SubscriptionId, started: Started, out: &mut Out) {
        let Some(watched) = self.watched(id) else { return };
        let mut data = Vec::new();
        let Started { request, resumed, position } = started;
        put(&mut data, format_args!("{{\"sub\":{},\"resumed\":{resumed},\"position\":\"{position}\"}}", watched.name));
        // A later re-anchor overtakes an earlier one: one start answers both.
        watched.pending.retain(|(number, waiting)| {
            let is_answered = *number <= request;
            if is_answered {
                out.text(&reply(waiting, &data));
            }
            !is_answered
        });
    }

    fn ended(&mut self, id: SubscriptionId, error: &ApiError, out: &mut Out) {
        let Some(watched) = self.forget(id) else { return };
        for (_, waiting) in &watched.pending {
            out.text(&error_reply(waiting, error));
        }
        out.text(&error_message(&watched.name, error));
    }
}

impl Protocol for Events {
    fn text(&mut self, session: &mut Session, text: &str, now: Instant) -> Result<(), CloseReason> {
        let envelope = Envelope::parse(text);
        if let Ok(message) = &envelope
            && let Some(decoded) = message.topic()
        {
            return self.topical(session, message, decoded, now);
        }
        let answer = envelope.as_ref().map_err(Clone::clone).and_then(|message| self.event(session, message));
        let id = envelope.as_ref().ok().and_then(Envelope::id);
        match (answer, id) {
            (Ok(Answer::Now(data)), Some(id)) => session.reply(reply(id, &data)),
            (Ok(Answer::Later(subscription, request)), Some(id)) => {
                if let Some(watched) = self.watched(subscription) {
                    watched.pending.push((request, id.into()));
                }
            }
            (Ok(Answer::Settled), id) => self.asking = id.map(Into::into),
            (Ok(Answer::Called), _) | (Ok(_), None) => {}
            (Err(error), id) => return self.refuse(session, id, &error, now),
        }
        Ok(())
    }

    fn ask(&mut self) -> Option<Ask> {
        self.ask.take()
    }

    fn settled(
        &mut self,
        session: &mut Session,
        settled: Result<&Arc<Principal>, Refusal>,
    ) -> Result<bool, CloseReason> {
        self.become_known(session, settled)
    }

    fn item(&mut self, item: Item, out: &mut Out) -> Result<(), CloseReason> {
        match item {
            Item::Started(id, started) => self.started(id, started, out),
            Item::Frames { subscription, seq, view, batch, from } => {
                let Some(watched) = self.watched(subscription) else { return Ok(()) };
                watched.share(&view);
                batch.body(|batch| frames::encode(&view, batch));
                let sub = &watched.name;
                put(
                    out.head(),
                    format_args!("{{\"event\":\"live.delta\",\"data\":{{\"sub\":{sub},\"seq\":{seq},\"deltas\":"),
                );
                out.send_shared(&batch, Part::From(from));
            }
            Item::Synced { subscription, position } => {
                let Some(Watched { name, .. }) = self.watched(subscription) else { return Ok(()) };
                let data = format_args!("{{\"sub\":{name},\"position\":\"{position}\"}}");
                put(out.head(), format_args!("{{\"event\":\"live.synced\",\"data\":{data}}}"));
                out.send();
            }
            Item::Ended(id, reason) => self.ended(id, &ApiError::from(&reason), out),
            Item::TooLarge(id, bytes) => self.ended(id, &ApiError::too_large(bytes), out),
            Item::Reply(bytes) => out.text(&bytes),
            Item::Told(_) | Item::Event { .. } => {}
            Item::Publication { publication, .. } => out.publication(&publication, SLOT, false, told::publication),
            Item::Dropped(id, count) => {
                if let Some(topic) = self.held(id) {
                    let count = |out: &mut Vec<u8>| put(out, format_args!(",\"count\":{count}"));
                    out.text(&told::event("dropped", &topic.name, count));
                }
            }
            Item::Gapped(id) => {
                // What happened in a room of the application can't be recovered.
                let topic = self.let_go(id).ok_or(CloseReason::Overloaded)?;
                out.text(&told::error(&topic.name, &insufficient_state()));
            }
        }
        Ok(())
    }

    fn poll(&mut self, session: &mut Session, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        self.poll_application(session, cx);
        self.poll_pending(session, cx)
    }

    fn order(&mut self, session: &mut Session, order: Order, now: Instant) -> Result<(), CloseReason> {
        self.ordered(session, order, now)
    }

    fn synced(&mut self, position: Position, out: &mut Out) {
        put(out.head(), format_args!("{{\"event\":\"live.synced\",\"data\":{{\"position\":\"{position}\"}}}}"));
        out.send();
    }

    fn missing(&self) -> Option<CloseReason> {
        self.principal.is_none().then_some(CloseReason::Unauthenticated)
    }
}

impl Watched {
    /// Lets go of a query of its own that is the same as the view's: after a re-anchor frames of the view before it may still
    /// come.
    fn share(&mut self, view: &View) {
        if !self.is_shared && self.query.limit == view.query.limit && self.query.after == view.query.after {
            (self.query, self.is_shared) = (view.query.clone(), true);
        }
    }
}

fn unknown() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "unknown_subscription", "there is no subscription of that name")
}

fn overloaded() -> ApiError {
    let message = "too many commands wait for their reply; send fewer at once";
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "overloaded", message)
}

fn insufficient_state() -> ApiError {
    let message = "something that happened here could not be told; subscribe again with the last position";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "insufficient_state", message)
}

fn unauthenticated() -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "unauthenticated", "send `auth` with a token first")
}
