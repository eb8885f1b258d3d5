//! The opening handshake of a WebSocket, over HTTP/1.1 (RFC 6455, section 4.2) and over HTTP/2 (RFC 8441), and the
//! hand-over of the byte stream.

use std::rc::Rc;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::ext::Protocol as ConnectProtocol;
use hyper::upgrade::{OnUpgrade, Parts, Upgraded};
use hyper_util::rt::TokioIo;
use tidegate_ws::deflate::{Deflate, negotiate};
use tidegate_ws::{Decoder, Limits, Role, handshake};
use tokio::task::spawn_local;
use tokio::time::Instant;

use crate::admitted::{Admitted, Link};
use crate::cap::Place;
use crate::config::unless_zero;
use crate::credentials::bearer_protocol;
use crate::http::{Site, trace_parent};
use crate::io::Timed;
use crate::metrics::Transport;
use crate::protocol::Protocol;
use crate::register::Pass;
use crate::stream::Payload;
use crate::wire::Wire;
use crate::{ApiError, Edge, Refused};

/// A client that is let in.
pub(crate) struct Entrance {
    handshake: Handshake,
    place: Place,
    /// The subprotocol that was chosen.
    subprotocol: Option<&'static str>,
    /// Longest message.
    message_bytes: usize,
}

impl Entrance {
    /// To be answered as the subprotocol that was chosen among those that the client offers.
    pub(crate) fn speaking(self, subprotocol: Option<&'static str>) -> Self {
        Self { subprotocol, ..self }
    }

    /// For messages of so many bytes at least.
    pub(crate) fn for_messages(self, bytes: usize) -> Self {
        Self { message_bytes: self.message_bytes.max(bytes), ..self }
    }
}

/// A handshake that is in order.
struct Handshake {
    /// For HTTP/1.1: the value of `Sec-WebSocket-Accept`.
    accept: Option<HeaderValue>,
    deflate: Option<(Deflate, HeaderValue)>,
}

/// Lets a client in whose handshake is in order, if there is room for it.
pub(crate) fn enter(site: &Site, request: &Request<Incoming>) -> Result<Entrance, ApiError> {
    let edge = &site.worker.edge;
    let handshake = check(edge, request)?;
    let resumes = request.uri().query().is_some_and(|query| query.split('&').any(|field| field == "resume=true"));
    let place = edge.admit(&site.outside.drain, resumes)?;
    Ok(Entrance { handshake, place, subprotocol: None, message_bytes: edge.config().max_message_bytes })
}

/// Checks the handshake before anything is opened for it.
fn check(edge: &Edge, request: &Request<Incoming>) -> Result<Handshake, ApiError> {
    let accept = match request.version() {
        Version::HTTP_2 => extended_connect(request).map(|()| None),
        _ => accept(request.headers()).map(Some),
    };
    let accept = accept.inspect_err(|_| edge.metrics().refuse(Refused::Handshake))?;
    let deflate = if edge.config().compression { agree(request.headers()) } else { None };
    Ok(Handshake { accept, deflate })
}

fn agree(headers: &HeaderMap) -> Option<(Deflate, HeaderValue)> {
    let (deflate, answer) = negotiate(values(headers, &header::SEC_WEBSOCKET_EXTENSIONS))?;
    Some((deflate, HeaderValue::from_str(&answer).ok()?))
}

fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok())
}

fn extended_connect(request: &Request<Incoming>) -> Result<(), ApiError> {
    let protocol = request.extensions().get::<ConnectProtocol>();
    if request.method() != Method::CONNECT || protocol.is_none_or(|protocol| protocol.as_str() != "websocket") {
        let message = "this endpoint is a WebSocket: CONNECT with :protocol websocket is needed";
        return Err(ApiError::new(StatusCode::BAD_REQUEST, "upgrade_required", message));
    }
    version(request.headers())
}

fn accept(headers: &HeaderMap) -> Result<HeaderValue, ApiError> {
    let names = |name, token| handshake::has_token(values(headers, &name), token);
    if !names(header::CONNECTION, "upgrade") || !names(header::UPGRADE, "websocket") {
        let message = "this endpoint is a WebSocket: Connection: Upgrade and Upgrade: websocket are needed";
        return Err(ApiError::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message));
    }
    version(headers)?;
    let key = headers.get(header::SEC_WEBSOCKET_KEY).and_then(|key| handshake::accept(key.as_bytes()));
    key.and_then(|accept| HeaderValue::from_str(&accept).ok())
        .ok_or_else(|| ApiError::malformed("Sec-WebSocket-Key must be 16 bytes in base64"))
}

fn version(headers: &HeaderMap) -> Result<(), ApiError> {
    match headers.get(header::SEC_WEBSOCKET_VERSION) {
        Some(version) if version == "13" => Ok(()),
        _ => Err(ApiError::malformed("Sec-WebSocket-Version must be 13")),
    }
}

/// Answers the handshake; the byte stream becomes a client of the worker.
pub(crate) fn switch(
    site: &Site,
    link: &Rc<Link>,
    mut request: Request<Incoming>,
    entrance: Entrance,
    protocol: Box<dyn Protocol>,
    pass: Option<Pass>,
    kind: &'static str,
) -> Response<Payload> {
    let Entrance { handshake, place, subprotocol, message_bytes } = entrance;
    let worker = site.worker.clone();
    let transport = if handshake.accept.is_some() { Transport::WebSocket } else { Transport::WebSocketH2 };
    let mut admitted = Admitted::new(&worker.edge, link, place, kind, transport);
    if let Some(pass) = pass {
        admitted.settle(pass, Instant::now());
    }
    admitted.trace(trace_parent(request.headers().get("traceparent")));
    let upgrade = hyper::upgrade::on(&mut request);
    let deflate = handshake.deflate.as_ref().map(|(deflate, _)| *deflate);
    spawn_local(site.open.track_future(async move {
        let config = worker.edge.config();
        let limits = Limits { message_bytes, fragments: config.max_fragments };
        let decoder = Decoder::new(Role::Server, limits, deflate);
        let timeout = unless_zero(config.write_timeout);
        // A stalled tunnel says nothing about the others on its socket: its own error names the reason.
        let tunnel = |upgraded| Wire::Tunnel(Box::new(Timed::new(TokioIo::new(upgraded), timeout, Arc::default())));
        // None is a client that left between its request and the answer.
        if let Some((wire, early)) = byte_stream(upgrade, tunnel).await {
            worker.open(wire, early, decoder, protocol, admitted);
        }
    }));
    let mut response = Response::new(Payload::Api(Body::empty()));
    let headers = response.headers_mut();
    if let Some((_, answer)) = handshake.deflate {
        headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, answer);
    }
    let subprotocol = subprotocol.or_else(|| bearer_protocol(request.headers()));
    if let Some(Ok(protocol)) = subprotocol.map(HeaderValue::from_str) {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    if let Some(accept) = handshake.accept {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    }
    response
}

/// What is below HTTP, if that is over, with what was read past it; else a tunnel through it.
async fn byte_stream(upgrade: OnUpgrade, tunnel: impl FnOnce(Upgraded) -> Wire) -> Option<(Wire, Bytes)> {
    let upgraded = upgrade.await.ok()?;
    Some(match upgraded.downcast::<TokioIo<Wire>>() {
        // A copy, because what is left is a part of hyper's whole buffer.
        Ok(Parts { io, read_buf, .. }) => (io.into_inner(), Bytes::copy_from_slice(&read_buf)),
        Err(upgraded) => (tunnel(upgraded), Bytes::new()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_accept_key_is_that_of_the_standard() {
        let entries = [
            (header::CONNECTION, "keep-alive, Upgrade"),
            (header::UPGRADE, "websocket"),
            (header::SEC_WEBSOCKET_VERSION, "13"),
            (header::SEC_WEBSOCKET_KEY, "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let mut headers: HeaderMap =
            entries.into_iter().map(|(name, value)| (name, HeaderValue::from_static(value))).collect();
        assert_eq!(accept(&headers).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        headers.insert(header::SEC_WEBSOCKET_KEY, HeaderValue::from_static("c2hvcnQ="));
        assert!(accept(&headers).is_err());
    }
}
