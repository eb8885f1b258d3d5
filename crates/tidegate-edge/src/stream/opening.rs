//! The head of a stream, and how it becomes a client of its worker.

use std::rc::Rc;

use axum::http::{HeaderMap, HeaderValue, Response, header};
use tidegate_session::Session;
use tokio::time::Instant;

use super::{Letterbox, Payload, Stream, StreamBody};
use crate::ApiError;
use crate::admitted::{Admitted, Link};
use crate::cap::Place;
use crate::client::{Carrier, Stranger};
use crate::format::Format;
use crate::http::{Site, trace_parent};
use crate::protocol::Protocol;
use crate::register::Pass;

/// A client that is let in, as far as is known by now.
pub(crate) struct Opening<'a> {
    pub(crate) site: &'a Rc<Site>,
    pub(crate) link: &'a Rc<Link>,
    /// Of the request.
    pub(crate) headers: &'a HeaderMap,
    pub(crate) place: Place,
    /// Who it is, unless a message has to say it.
    pub(crate) pass: Option<Pass>,
    pub(crate) format: Format,
    /// The endpoint, for the log.
    pub(crate) kind: &'static str,
}

/// What a stream begins with.
pub(crate) struct Beginning {
    pub(crate) protocol: Box<dyn Protocol>,
    /// Where the client is heard later.
    pub(crate) letterbox: Option<Letterbox>,
    /// What it said already.
    pub(crate) message: Option<Vec<u8>>,
}

impl Opening<'_> {
    /// Makes a client of it, with what `begin` says; it is given the session.
    pub(crate) fn open(
        self,
        begin: impl FnOnce(&mut Session) -> Result<Beginning, ApiError>,
    ) -> Result<Response<Payload>, ApiError> {
        let Self { site, link, headers, place, pass, format, kind } = self;
        let (worker, now) = (&site.worker, Instant::now());
        let client = worker.enter(|mut session| {
            if let Some(grip) = pass.as_ref().and_then(Pass::grip) {
                session.share(grip.shares());
            }
            let Beginning { protocol, letterbox, message } = begin(&mut session)?;
            let mut admitted = Admitted::new(&worker.edge, link, place, kind, format.transport());
            if let Some(pass) = pass {
                admitted.settle(pass, now);
            }
            admitted.trace(trace_parent(headers.get("traceparent")));
            let mut stream = Stream::new(session, protocol, admitted, format, now);
            if let Some(letterbox) = letterbox {
                stream.listen(letterbox, now);
            }
            if let Some(message) = message {
                stream.open_with(&message, &worker.register, now);
            }
            Ok::<_, ApiError>(Carrier::Stream(stream))
        })?;
        if matches!(&*client.carrier.borrow(), Carrier::Stream(stream) if stream.is_stranger()) {
            client.stranger.set(Some(worker.meet(Stranger::Client(Rc::downgrade(&client)))));
        }
        let mut response = Response::new(Payload::Stream(StreamBody::new(worker.clone(), client)));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if !link.is_shared.get() {
            // When it ends there is nothing left to keep the socket for, least of all one whose owner was revoked.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        // nginx would hold events back.
        headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
        Ok(response)
    }
}
