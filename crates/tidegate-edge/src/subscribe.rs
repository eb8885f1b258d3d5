//! `POST /v1/live` and `GET /v1/live?query=`: one subscription as the body of the answer.
//!
//! Server-Sent Events, or lines of JSON for who asks with `Accept: application/x-ndjson`. `Last-Event-ID`, or
//! `resume_from` (`last_event_id`) in the address, resumes; `synced=true` in the address asks for `synced` with
//! `{"op","position"}` after each transaction, without an id of its own.

use std::rc::Rc;

use axum::body::Body;
use axum::extract::Query;
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use futures_util::StreamExt as _;
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use crate::admitted::{Admitted, Link};
use crate::cap::Place;
use crate::client::Carrier;
use crate::http::{Site, trace_parent};
use crate::pace::Pace;
use crate::register::Pass;
use crate::stream::{Format, Payload, Stream, StreamBody};
use crate::{ApiError, EdgeConfig};

#[derive(Deserialize, Default)]
struct Asked {
    query: Option<String>,
    resume_from: Option<String>,
    last_event_id: Option<String>,
    #[serde(default)]
    synced: bool,
}

impl Asked {
    fn of(uri: &Uri) -> Result<Self, ApiError> {
        Query::try_from_uri(uri).map(|Query(asked)| asked).map_err(ApiError::from)
    }
}

/// `GET /v1/live?query=…`, for a browser's `EventSource`.
pub(crate) async fn get(
    site: &Rc<Site>,
    link: &Rc<Link>,
    request: &Request<Incoming>,
) -> Result<Response<Payload>, ApiError> {
    let asked = Asked::of(request.uri())?;
    let query = asked.query.as_deref().ok_or_else(|| ApiError {
        path: Some("query".to_owned()),
        ..ApiError::malformed("is needed: the query as URL-encoded JSON")
    })?;
    let entrance = Entrance::pass(site, &asked, request.uri(), request.headers()).await?;
    open(site, link, entrance, request.headers(), &asked, query)
}

/// `POST /v1/live` with the query as the body.
pub(crate) async fn post(
    site: &Rc<Site>,
    link: &Rc<Link>,
    request: Request<Incoming>,
) -> Result<Response<Payload>, ApiError> {
    let asked = Asked::of(request.uri())?;
    let (parts, body) = request.into_parts();
    // Who is not let in has no body read.
    let entrance = Entrance::pass(site, &asked, &parts.uri, &parts.headers).await?;
    let body = whole(body, site.worker.edge.config()).await?;
    let query = std::str::from_utf8(&body).map_err(|_| ApiError::malformed("the query must be UTF-8"))?;
    open(site, link, entrance, &parts.headers, &asked, query)
}

/// All of a body, bounded in bytes, and in time by the pace at which it arrives.
async fn whole(body: Incoming, config: &EdgeConfig) -> Result<Vec<u8>, ApiError> {
    let mut pace = Pace::new(Instant::now(), config.message_timeout, config.min_bytes_per_second);
    let (mut chunks, mut whole) = (Body::new(body).into_data_stream(), Vec::new());
    while let Some(chunk) = timeout_at(pace.deadline(), chunks.next())
        .await
        .map_err(|_| ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the query took too long to arrive"))?
    {
        let chunk = chunk.map_err(|_| ApiError::malformed("the body ended early, or its chunks are malformed"))?;
        if whole.len() + chunk.len() > config.max_message_bytes {
            let message = format!("a query has at most {} bytes", config.max_message_bytes);
            return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message));
        }
        whole.extend_from_slice(&chunk);
        pace.take(chunk.len(), Instant::now());
    }
    Ok(whole)
}

/// A client that is let in: its place and who it is.
struct Entrance {
    place: Place,
    pass: Pass,
}

impl Entrance {
    async fn pass(site: &Site, asked: &Asked, uri: &Uri, headers: &HeaderMap) -> Result<Self, ApiError> {
        let resumes = resume(asked, headers).is_some();
        let edge = &site.worker.edge;
        Ok(Self { place: edge.admit(&site.outside.drain, resumes)?, pass: site.worker.pass_of(uri, headers).await? })
    }
}

fn resume<'a>(asked: &'a Asked, headers: &'a HeaderMap) -> Option<&'a str> {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    last.or(asked.resume_from.as_deref()).or(asked.last_event_id.as_deref())
}

fn open(
    site: &Rc<Site>,
    link: &Rc<Link>,
    entrance: Entrance,
    headers: &HeaderMap,
    asked: &Asked,
    query: &str,
) -> Result<Response<Payload>, ApiError> {
    let Entrance { place, pass } = entrance;
    let worker = &site.worker;
    let (want, _) = worker.edge.want(pass.principal(), query, resume(asked, headers), asked.synced)?;
    let format = format(headers);
    let client = worker.enter(|mut session| {
        if let Some(grip) = pass.grip() {
            session.share(grip.shares());
        }
        session.subscribe(want)?;
        let mut admitted = Admitted::new(&worker.edge, link, place, "live", format.transport());
        admitted.settle(pass, Instant::now());
        admitted.trace(trace_parent(headers.get("traceparent")));
        Ok::<_, ApiError>(Carrier::Stream(Stream::new(session, admitted, format, Instant::now())))
    })?;
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

fn format(headers: &HeaderMap) -> Format {
    let accepted = headers.get(header::ACCEPT).and_then(|accepted| accepted.to_str().ok()).unwrap_or_default();
    let is_lines = accepted.split(',').any(|entry| {
        let kind = entry.split(';').next().unwrap_or_default();
        kind.trim().eq_ignore_ascii_case("application/x-ndjson")
    });
    if is_lines { Format::Lines } else { Format::Events }
}
