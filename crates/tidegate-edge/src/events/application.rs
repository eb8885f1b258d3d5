//! Events of any other name: the application's.
//!
//! One is handed over at once and answered whenever the application answers, so it holds up nothing: not the events behind
//! it, not pings. At most [`UNDER_WAY_MAX`] of a connection wait for an answer; more are `overloaded`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::http::StatusCode;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tidegate_identity::Principal;
use tidegate_session::Session;

use super::{Answer, Events, error_reply, reply, unauthenticated};
use crate::ApiError;
use crate::application::{Attendance, Peer};
use crate::commands::Envelope;

/// Events of a connection that the application has not answered.
const UNDER_WAY_MAX: usize = 32;
/// What a reply has around its data, beside the message's `id`.
const REPLY_BYTES: usize = 64;

type Reply = Pin<Box<dyn Future<Output = (Option<Box<str>>, Result<Bytes, ApiError>)> + Send>>;

/// What the application was told of a connection, and what it is asked. Mostly nothing.
#[derive(Default)]
pub(super) struct Called {
    known: Option<Box<Attendance>>,
    under_way: Option<Box<FuturesUnordered<Reply>>>,
}

impl Events {
    /// Hands an event over.
    pub(super) fn call(&mut self, session: &Session, message: &Envelope<'_>) -> Result<Answer, ApiError> {
        let application = self.edge.asked().ok_or_else(unknown_event)?;
        let principal = self.principal.as_ref().ok_or_else(unauthenticated)?;
        let under_way = self.called.under_way.as_ref().map_or(0, |under_way| under_way.len());
        if under_way >= UNDER_WAY_MAX {
            let message = "too many events of this connection wait for their reply; send fewer at once";
            return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "overloaded", message));
        }
        let peer = Peer::new(&self.edge, session.name().clone(), principal.clone());
        let answer = application.event(&peer, &message.event, message.data()).ok_or_else(unknown_event)?;
        let id = message.id().map(Into::into);
        let under_way = self.called.under_way.get_or_insert_default();
        under_way.push(Box::pin(async { (id, answer.await) }));
        Ok(Answer::Called)
    }

    /// Tells the application who is there, and passes on what it has answered.
    pub(super) fn poll_application(&mut self, session: &mut Session, cx: &mut Context<'_>) {
        self.attend(session);
        // Where there is no room for replies, taking some makes it and has this called again.
        while let Some(under_way) = self.called.under_way.as_mut().filter(|_| !session.is_reply_full()) {
            match under_way.poll_next_unpin(cx) {
                Poll::Ready(Some((Some(id), answer))) => session.reply(written(&id, answer, session.reply_room())),
                Poll::Ready(Some((None, _))) => {}
                Poll::Ready(None) => self.called.under_way = None,
                Poll::Pending => return,
            }
        }
    }

    fn attend(&mut self, session: &mut Session) {
        let (Some(application), Some(principal)) = (self.edge.asked(), &self.principal) else { return };
        if let Some(known) = &mut self.called.known {
            let before = known.peer().principal();
            if Arc::ptr_eq(before, principal) {
                return;
            }
            let who = |principal: &Principal| (principal.user.clone(), principal.topic_tenant());
            if who(before) == who(principal) {
                return known.renew(principal.clone());
            }
            leave_rooms(session);
            self.called.known = None;
        }
        let peer = Peer::new(&self.edge, session.name().clone(), principal.clone());
        self.called.known = Some(Box::new(Attendance::begin(application.clone(), peer)));
    }
}

/// They were joined by somebody else.
fn leave_rooms(session: &mut Session) {
    let rooms = session.topics().filter(|(_, topic)| topic.is_reserved()).map(|(id, _)| id);
    for id in rooms.collect::<Vec<_>>() {
        session.unsubscribe(id);
    }
}

/// The reply of so many bytes at most.
fn written(id: &str, answer: Result<Bytes, ApiError>, room: usize) -> Vec<u8> {
    match answer {
        Ok(data) if data.len() + id.len() + REPLY_BYTES <= room => reply(id, &data),
        Ok(_) => {
            let message = "the application's answer is longer than a client may be sent now";
            error_reply(id, &ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message))
        }
        Err(error) => error_reply(id, &error),
    }
}

fn unknown_event() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "unknown_event", "there is no such event")
}
