//! `GET /v1/live/ws`: one subscription a connection, one frame a message.
//!
//! With `"synced":true` in the subscribe the client also gets `{"op":"synced","position":"17"}` after each
//! transaction and on an idle view: everything up to that position has been sent.

use std::rc::Rc;
use std::sync::Arc;

use axum::http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use tidegate_identity::Principal;
use tidegate_live::SubscriptionId;
use tidegate_model::{Part, Query};
use tidegate_session::{CloseReason, Item, Session};
use tokio::time::Instant;

use crate::admitted::Link;
use crate::commands::{self, LiveCommand, Reanchor, Subscribe};
use crate::frames::{self, put};
use crate::http::Site;
use crate::metrics::count;
use crate::out::Out;
use crate::protocol::Protocol;
use crate::rate::Bucket;
use crate::stream::Payload;
use crate::{ApiError, Edge, upgrade};

pub(crate) async fn open(
    site: &Rc<Site>,
    link: &Rc<Link>,
    request: Request<Incoming>,
) -> Result<Response<Payload>, ApiError> {
    let entrance = upgrade::enter(site, &request)?;
    let pass = site.worker.pass(&request).await?;
    let protocol = LiveWs::new(site.worker.edge.clone(), pass.principal().clone());
    Ok(upgrade::switch(site, link, request, entrance, Box::new(protocol), Some(pass), "live_ws"))
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

    fn subscribe(&mut self, session: &mut Session, subscribe: &Subscribe<'_>) -> Result<(), ApiError> {
        let (want, _) =
            self.edge.want(&self.principal, subscribe.query, subscribe.resume_from.as_deref(), subscribe.synced)?;
        let query = want.query.clone();
        let (id, _) = session.subscribe(want)?;
        self.watched = Some((id, query));
        Ok(())
    }

    fn reanchor(&mut self, session: &mut Session, reanchor: &Reanchor<'_>) -> Result<(), ApiError> {
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
    fn text(&mut self, session: &mut Session, text: &str, now: Instant) -> Result<(), CloseReason> {
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

    fn item(&mut self, item: Item, out: &mut Out) -> Result<(), CloseReason> {
        match item {
            Item::Started(..) | Item::Publication { .. } | Item::Dropped(..) | Item::Gapped(_) => {}
            Item::Told(_) | Item::Event { .. } => {}
            Item::Frames { seq, view, batch, from, .. } => {
                let body = batch.body(|batch| frames::encode(&view, batch));
                for (index, seq) in (from..body.starts.len()).zip(seq..) {
                    frames::write_number(seq, out.head());
                    out.send_shared(&batch, Part::Frame(index));
                }
            }
            Item::Synced { position, .. } => {
                put(out.head(), format_args!("{{\"op\":\"synced\",\"position\":\"{position}\"}}"));
                out.send();
            }
            Item::Ended(_, reason) => {
                out.text(&message_of(&ApiError::from(&reason)));
                return Err(CloseReason::Ended);
            }
            Item::TooLarge(_, bytes) => {
                out.text(&message_of(&ApiError::too_large(bytes)));
                return Err(CloseReason::Refused);
            }
            Item::Reply(bytes) => out.text(&bytes),
        }
        Ok(())
    }

    // `synced` on an idle connection is not for this protocol: to those who have not asked an unknown op would be a surprise.

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
