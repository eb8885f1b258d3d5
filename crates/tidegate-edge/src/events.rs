//! `GET /ws`: the event protocol, many subscriptions a connection.
//!
//! | client sends | data | reply, and what follows |
//! |---|---|---|
//! | `auth`, `auth.refresh` | `{token}` | `{client_id}` |
//! | `live.subscribe` | `{sub, query, resume_from?, synced?}` | `{sub, resumed, position}` once the feed is joined; `live.delta` |
//! | `live.reanchor` | `{sub, cursor?, limit?}` | the same |
//! | `live.unsubscribe` | `{sub}` | `{sub}` |
//!
//! `sub` is the client's own name for a subscription, a short string or number. A subscription that ends without the
//! client's wish is told by `live.error` `{sub, code, message, retryable}`; with `synced` asked for, `live.synced`
//! `{sub, position}` follows each transaction.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use tidegate_live::SubscriptionId;
use tidegate_model::{Position, Query};
use tidegate_session::{CloseReason, Credential, Item, Principal, Session, Started};
use tokio::time::Instant;

use crate::commands::Envelope;
use crate::edge::Link;
use crate::frames::{self, put};
use crate::metrics::count;
use crate::rate::Bucket;
use crate::ws::{Messages, Protocol};
use crate::{ApiError, Edge, credential, upgrade, ws};

/// Commands of one subscription that wait for their reply.
const PENDING_MAX: usize = 64;

pub(crate) async fn open(
    State(edge): State<Edge>,
    Extension(link): Extension<Arc<Link>>,
    request: Request,
) -> Result<Response, ApiError> {
    let accept = upgrade::check(&edge, request.headers())?;
    let permit = edge.admit(&link)?;
    let principal = match credential(request.headers()) {
        // Who shows nothing may still do so in the first message.
        Ok(Credential::None) => edge.authority().authenticate(Credential::None).ok(),
        _ => Some(edge.authenticate(request.headers())?),
    };
    let admitted = edge.begin(&link, permit, "ws");
    let protocol = Events::new(edge.clone(), link.clone(), principal);
    Ok(ws::switch(&edge, &link, request, accept, protocol, admitted))
}

struct Events {
    edge: Edge,
    link: Arc<Link>,
    principal: Option<Arc<Principal>>,
    client_id: String,
    watched: HashMap<SubscriptionId, Watched>,
    /// By the name's JSON text.
    named: HashMap<Arc<str>, SubscriptionId>,
    errors: Bucket,
}

struct Watched {
    name: Arc<str>,
    query: Arc<Query>,
    /// Commands without a reply yet: their number and the `id` of the message.
    pending: Vec<(u64, Box<str>)>,
}

/// What becomes of a message that was understood.
enum Answer {
    /// The data of the reply.
    Now(Vec<u8>),
    /// With `Started`, to the command of that number.
    Later(SubscriptionId, u64),
}

impl Events {
    fn new(edge: Edge, link: Arc<Link>, principal: Option<Arc<Principal>>) -> Self {
        let rate = edge.config().errors_per_second;
        if let Some(principal) = &principal {
            link.name(principal);
        }
        Self {
            edge,
            link,
            principal,
            client_id: format!("c_{:032x}", rand::random::<u128>()),
            watched: HashMap::new(),
            named: HashMap::new(),
            errors: Bucket::new(rate, rate, Instant::now()),
        }
    }

    fn event(&mut self, session: &Session, message: &Envelope<'_>) -> Result<Answer, ApiError> {
        match &*message.event {
            "auth" | "auth.refresh" => self.auth(message),
            "live.subscribe" => self.subscribe(session, message),
            "live.reanchor" => self.reanchor(session, message),
            "live.unsubscribe" => self.unsubscribe(session, message),
            _ => Err(ApiError::new(StatusCode::NOT_FOUND, "unknown_event", "there is no such event")),
        }
    }

    fn auth(&mut self, message: &Envelope<'_>) -> Result<Answer, ApiError> {
        let token = message.auth()?;
        let principal = self.edge.authority().authenticate(Credential::Bearer(&token))?;
        // Subscriptions that stand were decided for someone: a connection never changes hands under them.
        if self.principal.as_ref().is_some_and(|known| {
            !self.watched.is_empty() && (&known.user, &known.tenant) != (&principal.user, &principal.tenant)
        }) {
            let message = "the token is another user's; open another connection for them";
            return Err(ApiError::new(StatusCode::FORBIDDEN, "other_user", message));
        }
        self.link.name(&principal);
        self.principal = Some(principal);
        let mut data = Vec::new();
        put(&mut data, format_args!("{{\"client_id\":\"{}\"}}", self.client_id));
        Ok(Answer::Now(data))
    }

    fn subscribe(&mut self, session: &Session, message: &Envelope<'_>) -> Result<Answer, ApiError> {
        let (name, subscribe) = message.subscribe()?;
        let principal = self.principal.as_ref().ok_or_else(unauthenticated)?;
        if self.named.contains_key(name) {
            let message = "the name is in use on this connection; choose another, or unsubscribe first";
            return Err(ApiError::new(StatusCode::CONFLICT, "sub_in_use", message));
        }
        let want = self.edge.want(principal, subscribe.query, subscribe.resume_from.as_deref(), subscribe.synced)?;
        let query = want.query.clone();
        let (id, request) = session.subscribe(self.edge.live(), want)?;
        let name: Arc<str> = name.into();
        self.named.insert(name.clone(), id);
        self.watched.insert(id, Watched { name, query, pending: Vec::new() });
        Ok(Answer::Later(id, request))
    }

    fn reanchor(&mut self, session: &Session, message: &Envelope<'_>) -> Result<Answer, ApiError> {
        let (name, reanchor) = message.reanchor()?;
        let id = self.id_of(name)?;
        let watched = self.watched.get_mut(&id).ok_or_else(unknown)?;
        if watched.pending.len() >= PENDING_MAX {
            let message = "too many commands of this subscription wait for their reply; send fewer at once";
            return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "overloaded", message));
        }
        let moved = Arc::new(watched.query.reanchored(reanchor.cursor, reanchor.limit)?);
        let request = session.reanchor(id, moved.clone())?;
        watched.query = moved;
        Ok(Answer::Later(id, request))
    }

    fn unsubscribe(&mut self, session: &Session, message: &Envelope<'_>) -> Result<Answer, ApiError> {
        let id = self.id_of(message.sub()?)?;
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

    fn id_of(&self, name: &str) -> Result<SubscriptionId, ApiError> {
        self.named.get(name).copied().ok_or_else(unknown)
    }

    fn forget(&mut self, id: SubscriptionId) -> Option<Watched> {
        let watched = self.watched.remove(&id)?;
        self.named.remove(&watched.name);
        Some(watched)
    }

    fn started(&mut self, id: SubscriptionId, started: Started, out: &mut Messages) {
        let Some(watched) = self.watched.get_mut(&id) else { return };
        let mut data = Vec::new();
        let Started { request, resumed, position } = started;
        put(&mut data, format_args!("{{\"sub\":{},\"resumed\":{resumed},\"position\":\"{position}\"}}", watched.name));
        // A later re-anchor overtakes an earlier one: one start answers both.
        watched.pending.retain(|(number, waiting)| {
            let is_answered = *number <= request;
            if is_answered {
                out.push(reply(waiting, &data));
            }
            !is_answered
        });
    }

    fn ended(&mut self, id: SubscriptionId, error: &ApiError, out: &mut Messages) {
        let Some(watched) = self.forget(id) else { return };
        out.extend(watched.pending.iter().map(|(_, waiting)| error_reply(waiting, error)));
        let mut message = Vec::new();
        put(&mut message, format_args!("{{\"event\":\"live.error\",\"data\":{{\"sub\":{},", watched.name));
        error.write_parts_retryable(&mut message);
        message.extend_from_slice(b"}}");
        out.push(message);
    }
}

impl Protocol for Events {
    fn message(&mut self, session: &Session, text: &str, now: Instant) -> Result<(), CloseReason> {
        let envelope = Envelope::parse(text);
        let answer = envelope.as_ref().map_err(Clone::clone).and_then(|message| self.event(session, message));
        let id = envelope.as_ref().ok().and_then(Envelope::id);
        match (answer, id) {
            (Ok(Answer::Now(data)), Some(id)) => session.reply(reply(id, &data)),
            (Ok(Answer::Later(subscription, request)), Some(id)) => {
                if let Some(watched) = self.watched.get_mut(&subscription) {
                    watched.pending.push((request, id.into()));
                }
            }
            (Ok(_), None) => {}
            (Err(error), id) => {
                if error.is_malformed() {
                    count(&self.edge.metrics().malformed);
                }
                match id {
                    Some(id) => session.reply(error_reply(id, &error)),
                    None if self.errors.take(now).is_ok() => session.reply(error_event(&error)),
                    None => {}
                }
                if self.principal.is_none() && error.status == StatusCode::UNAUTHORIZED {
                    return Err(CloseReason::Unauthenticated);
                }
            }
        }
        Ok(())
    }

    fn item(&mut self, item: Item, out: &mut Messages) -> Result<(), CloseReason> {
        match item {
            Item::Started(id, started) => self.started(id, started, out),
            Item::Frames { subscription, seq, view, batch, from } => {
                let Some(watched) = self.watched.get(&subscription) else { return Ok(()) };
                let body = batch.body(|batch| frames::encode(&view, batch));
                let mut message =
                    Vec::with_capacity(body.bytes.len() + body.starts.len() * 2 + watched.name.len() + 80);
                let sub = &watched.name;
                put(
                    &mut message,
                    format_args!("{{\"event\":\"live.delta\",\"data\":{{\"sub\":{sub},\"seq\":{seq},\"deltas\":"),
                );
                frames::write_array(body, from, &mut message);
                message.extend_from_slice(b"}}");
                out.push(message);
            }
            Item::Synced { subscription, position } => {
                let Some(watched) = self.watched.get(&subscription) else { return Ok(()) };
                let mut message = Vec::new();
                let sub = &watched.name;
                put(
                    &mut message,
                    format_args!(
                        "{{\"event\":\"live.synced\",\"data\":{{\"sub\":{sub},\"position\":\"{position}\"}}}}"
                    ),
                );
                out.push(message);
            }
            Item::Ended(id, reason) => self.ended(id, &ApiError::from(&reason), out),
            Item::TooLarge(id, bytes) => self.ended(id, &ApiError::too_large(bytes), out),
            Item::Reply(bytes) => out.push(bytes.into()),
        }
        Ok(())
    }

    fn synced(&mut self, position: Position, out: &mut Messages) {
        let mut message = Vec::new();
        put(&mut message, format_args!("{{\"event\":\"live.synced\",\"data\":{{\"position\":\"{position}\"}}}}"));
        out.push(message);
    }

    fn missing(&self) -> Option<CloseReason> {
        self.principal.is_none().then_some(CloseReason::Unauthenticated)
    }
}

fn unknown() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "unknown_subscription", "there is no subscription of that name")
}

fn unauthenticated() -> ApiError {
    ApiError::new(StatusCode::UNAUTHORIZED, "unauthenticated", "send `auth` with a token first")
}

fn reply(id: &str, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + id.len() + 40);
    put(&mut out, format_args!("{{\"event\":\"reply\",\"id\":{id},\"data\":"));
    out.extend_from_slice(data);
    out.push(b'}');
    out
}

fn error_reply(id: &str, error: &ApiError) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, format_args!("{{\"event\":\"reply\",\"id\":{id},\"error\":{{"));
    error.write_parts_retryable(&mut out);
    out.extend_from_slice(b"}}");
    out
}

fn error_event(error: &ApiError) -> Vec<u8> {
    let mut out = b"{\"event\":\"error\",\"data\":{".to_vec();
    error.write_parts_retryable(&mut out);
    out.extend_from_slice(b"}}");
    out
}
