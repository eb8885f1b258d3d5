//! `GET /v1/live/ws`: one subscription a connection, one frame a message.
//!
//! With `"synced":true` in the subscribe the client also gets `{"op":"synced","position":"17"}` after each
//! transaction and on an idle view: everything up to that position has been sent.

use std::sync::Arc;

use axum::extract::{Extension, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use tidegate_live::SubscriptionId;
use tidegate_model::{Position, Query};
use tidegate_session::{CloseReason, Item, Principal, Session};
use tokio::time::Instant;

use crate::commands::{self, LiveCommand, Reanchor, Subscribe};
use crate::edge::Link;
use crate::frames::{self, put};
use crate::metrics::count;
use crate::rate::Bucket;
use crate::ws::{Messages, Protocol};
use crate::{ApiError, Edge, upgrade, ws};

pub(crate) async fn open(
    State(edge): State<Edge>,
    Extension(link): Extension<Arc<Link>>,
    request: Request,
) -> Result<Response, ApiError> {
    let accept = upgrade::check(&edge, request.headers())?;
    let permit = edge.admit(&link)?;
    let principal = edge.authenticate(request.headers())?;
    link.name(&principal);
    let admitted = edge.begin(&link, permit, "live_ws");
    let protocol = LiveWs::new(edge.clone(), principal);
    Ok(ws::switch(&edge, &link, request, accept, protocol, admitted))
}

struct LiveWs {
    edge: Edge,
    principal: Arc<Principal>,
    watched: Option<(SubscriptionId, Arc<Query>)>,
    errors: Bucket,
}

impl LiveWs {
    fn new(edge: Edge, principal: Arc<Principal>) -> Self {
        let rate = edge.config().errors_per_second;
        Self { edge, principal, watched: None, errors: Bucket::new(rate, rate, Instant::now()) }
    }

    fn subscribe(&mut self, session: &Session, subscribe: &Subscribe<'_>) -> Result<(), ApiError> {
        let want =
            self.edge.want(&self.principal, subscribe.query, subscribe.resume_from.as_deref(), subscribe.synced)?;
        let query = want.query.clone();
        let (id, _) = session.subscribe(self.edge.live(), want)?;
        self.watched = Some((id, query));
        Ok(())
    }

    fn reanchor(&mut self, session: &Session, reanchor: &Reanchor<'_>) -> Result<(), ApiError> {
        let Some((id, query)) = &mut self.watched else { return Ok(()) };
        let moved = Arc::new(query.reanchored(reanchor.cursor, reanchor.limit)?);
        session.reanchor(*id, moved.clone())?;
        *query = moved;
        Ok(())
    }

    fn count(&self, error: &ApiError) {
        if error.is_malformed() {
            count(&self.edge.metrics().malformed);
        }
    }
}

impl Protocol for LiveWs {
    fn message(&mut self, session: &Session, text: &str, now: Instant) -> Result<(), CloseReason> {
        let command = commands::live(text);
        if self.watched.is_none() {
            let first = match command {
                Ok(LiveCommand::Subscribe(subscribe)) => self.subscribe(session, &subscribe),
                Ok(_) => Err(ApiError::malformed("the first message must be a subscribe")),
                Err(error) => Err(error),
            };
            return first.map_err(|error| {
                self.count(&error);
                session.reply(message_of(&error));
                match error.status {
                    _ if error.retryable => CloseReason::Overloaded,
                    StatusCode::BAD_REQUEST => CloseReason::FirstMessage,
                    _ => CloseReason::Refused,
                }
            });
        }
        let done = match command {
            Ok(LiveCommand::Reanchor(reanchor)) => self.reanchor(session, &reanchor),
            Ok(LiveCommand::Unsubscribe) => return Err(CloseReason::Normal),
            Ok(LiveCommand::Subscribe(_)) => {
                Err(ApiError::malformed("this connection has its subscription; unsubscribe, or open another one"))
            }
            Err(error) => Err(error),
        };
        if let Err(error) = done {
            self.count(&error);
            if self.errors.take(now).is_ok() {
                session.reply(message_of(&error));
            }
        }
        Ok(())
    }

    fn item(&mut self, item: Item, out: &mut Messages) -> Result<(), CloseReason> {
        match item {
            Item::Started(..) => {}
            Item::Frames { seq, view, batch, from, .. } => {
                let body = batch.body(|batch| frames::encode(&view, batch));
                for (index, seq) in (from..body.starts.len()).zip(seq..) {
                    let frame = frames::frame(body, index);
                    let mut message = Vec::with_capacity(frame.len() + 28);
                    frames::write_numbered(seq, frame, &mut message);
                    out.push(message);
                }
            }
            Item::Synced { position, .. } => {
                let mut message = Vec::new();
                put(&mut message, format_args!("{{\"op\":\"synced\",\"position\":\"{position}\"}}"));
                out.push(message);
            }
            Item::Ended(_, reason) => {
                out.push(message_of(&ApiError::from(&reason)));
                return Err(CloseReason::Ended);
            }
            Item::TooLarge(_, bytes) => {
                out.push(message_of(&ApiError::too_large(bytes)));
                return Err(CloseReason::Refused);
            }
            Item::Reply(bytes) => out.push(bytes.into()),
        }
        Ok(())
    }

    /// This protocol says it only to those who ask: to others an unknown op would be a surprise.
    fn synced(&mut self, _position: Position, _out: &mut Messages) {}

    fn missing(&self) -> Option<CloseReason> {
        self.watched.is_none().then_some(CloseReason::FirstMessage)
    }
}

fn message_of(error: &ApiError) -> Vec<u8> {
    let mut out = b"{\"op\":\"error\",".to_vec();
    error.write_parts(&mut out);
    out.push(b'}');
    out
}
