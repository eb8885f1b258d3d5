//! The opening handshake of a WebSocket (RFC 6455, section 4.2), and the hand-over of the socket.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use sha1_smol::Sha1;
use tokio_websockets::{Config, Limits, ServerBuilder, WebSocketStream};
use tracing::Instrument as _;

use crate::credentials::bearer_protocol;
use crate::edge::Link;
use crate::{ApiError, Edge, Refused};

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A server's end of a WebSocket.
pub(crate) type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Checks the handshake before anything is opened for it; the value of `Sec-WebSocket-Accept`.
pub(crate) fn check(edge: &Edge, headers: &HeaderMap) -> Result<HeaderValue, ApiError> {
    accept(headers).inspect_err(|_| edge.metrics().refuse(Refused::Handshake))
}

fn accept(headers: &HeaderMap) -> Result<HeaderValue, ApiError> {
    let names = |header: HeaderName, token: &str| {
        let values = headers.get_all(header).into_iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|entry| entry.trim().eq_ignore_ascii_case(token))
    };
    if !names(header::CONNECTION, "upgrade") || !names(header::UPGRADE, "websocket") {
        let message = "this endpoint is a WebSocket: Connection: Upgrade and Upgrade: websocket are needed";
        return Err(ApiError::new(StatusCode::UPGRADE_REQUIRED, "upgrade_required", message));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(ApiError::malformed("Sec-WebSocket-Version must be 13"));
    }
    let key =
        headers.get(header::SEC_WEBSOCKET_KEY).filter(|key| STANDARD.decode(key).is_ok_and(|key| key.len() == 16));
    let key = key.ok_or_else(|| ApiError::malformed("Sec-WebSocket-Key must be 16 bytes in base64"))?;
    let mut digest = Sha1::new();
    digest.update(key.as_bytes());
    digest.update(GUID);
    HeaderValue::from_str(&STANDARD.encode(digest.digest().bytes()))
        .map_err(|_| ApiError::malformed("Sec-WebSocket-Key must be 16 bytes in base64"))
}

/// Answers `101` and leaves the socket's task to `run` on the WebSocket.
pub(crate) fn switch<F>(
    edge: &Edge,
    link: &Arc<Link>,
    mut request: Request,
    accept: HeaderValue,
    run: impl FnOnce(Socket) -> F + Send + 'static,
) -> Response
where
    F: Future<Output = ()> + Send + 'static,
{
    let upgrade = hyper::upgrade::on(&mut request);
    let limits = Limits::default().max_payload_len(Some(edge.config().max_message_bytes));
    let upgraded = async move {
        // An error here is a client that left between its request and the answer.
        if let Ok(upgraded) = upgrade.await {
            // The transport flushes once per turn; the threshold only keeps the library from flushing in between.
            let config = Config::default().flush_threshold(usize::MAX);
            run(ServerBuilder::new().config(config).limits(limits).serve(TokioIo::new(upgraded))).await;
        }
    };
    link.set_upgraded(Box::pin(upgraded.instrument(link.span.clone())));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(Ok(protocol)) = bearer_protocol(request.headers()).map(HeaderValue::from_str) {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, protocol);
    }
    response
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
