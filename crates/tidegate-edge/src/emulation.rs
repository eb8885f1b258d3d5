//! `POST /emulation` `{"session","node","data"}`: what the client of a stream has to say, whose stream is somewhere else.
//!
//! Also as the message `EmulationRequest` of the protocol's schema, with `Content-Type: application/octet-stream`. Answered by
//! `204` once the stream's protocol has taken it; answers come on the stream. Nothing but knowing the session is asked of the
//! sender: it is told to nobody but the stream's client.

use axum::body::Body;
use axum::http::{HeaderMap, Request, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use hyper::body::Incoming;

use crate::centrifugo::wire::{EmulationRequest, Malformed};
use crate::centrifugo::{json, protobuf};
use crate::stream::{Letterbox, unknown};
use crate::{ApiError, Edge, request_body};

/// What is around the data.
const AROUND_BYTES: usize = 1 << 10;

pub(crate) async fn post(edge: &Edge, request: Request<Incoming>) -> Result<Response<Body>, ApiError> {
    let config = edge.config();
    let (head, body) = request.into_parts();
    // In JSON each quote in it takes two.
    let bytes_max = config.max_message_bytes.saturating_mul(2).saturating_add(AROUND_BYTES);
    let body = request_body::read(body, bytes_max, config).await?;
    let request = match is_packed(&head.headers) {
        true => protobuf::emulation(&body),
        false => std::str::from_utf8(&body).map_err(|_| Malformed::Json).and_then(json::emulation),
    };
    let EmulationRequest { node, session, data } =
        request.map_err(|_| ApiError::malformed("the body must be {\"session\",\"node\",\"data\"}, each a string"))?;
    if data.len() > config.max_message_bytes {
        return Err(request_body::too_large(config.max_message_bytes));
    }
    let to = Letterbox::parse(&session).filter(|_| node == edge.node()).ok_or_else(unknown)?;
    edge.hand_in(to, data).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Whether a body is in the schema's binary form.
pub(crate) fn is_packed(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/octet-stream"))
}
