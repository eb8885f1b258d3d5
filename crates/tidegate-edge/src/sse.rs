//! `POST /v1/live` and `GET /v1/live?query=`: one subscription as Server-Sent Events.
//!
//! The response's body pulls from the session each time hyper has room, so there is no buffer in between that a slow
//! reader could fill. `Last-Event-ID`, or `resume_from` (`last_event_id`) in the address, resumes; `synced=true` in the
//! address asks for `event: synced` with `{"op","position"}` after each transaction, without an id of its own.

use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use hyper::body::Frame;
use serde::Deserialize;
use tidegate_session::{CloseReason, Item, Principal, Session};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep, timeout};
use tokio_util::sync::WaitForCancellationFutureOwned;

use crate::edge::{Admitted, Link};
use crate::frames::{self, put};
use crate::{ApiError, Edge};

/// Bytes taken from a session each time the body is asked: what hyper writes at once.
const TURN_BYTES: usize = 32 << 10;
/// What a client waits before it comes back, and the most that is added on a drain, in milliseconds.
const RETRY_MS: u64 = 1_000;

#[derive(Deserialize, Default)]
pub(crate) struct Asked {
    query: Option<String>,
    resume_from: Option<String>,
    last_event_id: Option<String>,
    #[serde(default)]
    synced: bool,
}

/// `GET /v1/live?query=…`, for a browser's `EventSource`.
pub(crate) async fn get(
    State(edge): State<Edge>,
    Extension(link): Extension<Arc<Link>>,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Query(asked) = asked?;
    let query = asked.query.as_deref().ok_or_else(|| ApiError {
        path: Some("query".to_owned()),
        ..ApiError::malformed("is needed: the query as URL-encoded JSON")
    })?;
    let entrance = Entrance::pass(&edge, &link, &headers)?;
    open(&edge, &link, entrance, &headers, &asked, query)
}

/// `POST /v1/live` with the query as the body.
pub(crate) async fn post(
    State(edge): State<Edge>,
    Extension(link): Extension<Arc<Link>>,
    asked: Result<Query<Asked>, QueryRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let Query(asked) = asked?;
    let (parts, body) = request.into_parts();
    // Who is not let in has no body read.
    let entrance = Entrance::pass(&edge, &link, &parts.headers)?;
    let config = edge.config();
    let body = timeout(config.handshake_timeout, to_bytes(body, config.max_message_bytes)).await;
    let body =
        body.map_err(|_| ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the query took too long to arrive"))?;
    let body = body.map_err(|error| {
        if is_of_the_connection(&error) {
            return ApiError::malformed("the body ended early, or its chunks are malformed");
        }
        let message = format!("a query has at most {} bytes", config.max_message_bytes);
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    })?;
    let query = std::str::from_utf8(&body).map_err(|_| ApiError::malformed("the query must be UTF-8"))?;
    open(&edge, &link, entrance, &parts.headers, &asked, query)
}

/// Whether a body could not be read through the fault of its connection, as against the bound.
fn is_of_the_connection(error: &axum::Error) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<hyper::Error>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// A client that is let in: its place and who it is.
struct Entrance {
    permit: OwnedSemaphorePermit,
    principal: Arc<Principal>,
}

impl Entrance {
    fn pass(edge: &Edge, link: &Link, headers: &HeaderMap) -> Result<Self, ApiError> {
        Ok(Self { permit: edge.admit(link)?, principal: edge.authenticate(headers)? })
    }
}

fn open(
    edge: &Edge,
    link: &Arc<Link>,
    entrance: Entrance,
    headers: &HeaderMap,
    asked: &Asked,
    query: &str,
) -> Result<Response, ApiError> {
    let Entrance { permit, principal } = entrance;
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let resume = last.or(asked.resume_from.as_deref()).or(asked.last_event_id.as_deref());
    let want = edge.want(&principal, query, resume, asked.synced)?;
    let waker = Arc::new(AtomicWaker::new());
    let session = edge.session(&waker);
    session.subscribe(edge.live(), want)?;
    link.name(&principal);
    let admitted = edge.begin(link, permit, "sse");
    let mut response = Response::new(Body::new(Events::new(session, waker, admitted)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // nginx would hold events back.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// The body: events as they come.
struct Events {
    session: Session,
    waker: Arc<AtomicWaker>,
    admitted: Admitted,
    /// Until the next comment.
    quiet: Pin<Box<Sleep>>,
    drain: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Once draining: until the end.
    leave: Option<Pin<Box<Sleep>>>,
    has_begun: bool,
    has_ended: bool,
}

impl Events {
    fn new(session: Session, waker: Arc<AtomicWaker>, admitted: Admitted) -> Self {
        let quiet = Box::pin(sleep(admitted.edge.config().sse_comment_interval));
        let drain = Box::pin(admitted.link.drain.clone().cancelled_owned());
        Self { session, waker, admitted, quiet, drain, leave: None, has_begun: false, has_ended: false }
    }

    fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Vec<u8>> {
        let mut out = Vec::new();
        if !self.has_begun {
            self.has_begun = true;
            put(&mut out, format_args!("retry: {RETRY_MS}\n\n"));
        }
        self.waker.register(cx.waker());
        self.write_waiting(&mut out);
        if self.leave.is_none() && self.drain.as_mut().poll(cx).is_ready() {
            let window = self.admitted.edge.drain_window();
            self.leave = Some(Box::pin(sleep(window.mul_f64(rand::random_range(0.0..=1.0)))));
        }
        if self.leave.as_mut().is_some_and(|leave| leave.as_mut().poll(cx).is_ready()) {
            put(&mut out, format_args!("retry: {}\n\n", RETRY_MS + rand::random_range(0..=RETRY_MS)));
            self.end(CloseReason::GoingAway);
        }
        let interval: Duration = self.admitted.edge.config().sse_comment_interval;
        if !out.is_empty() {
            self.quiet.as_mut().reset(Instant::now() + interval);
        } else if self.quiet.as_mut().poll(cx).is_ready() {
            self.quiet.as_mut().reset(Instant::now() + interval);
            out.extend_from_slice(b":\n\n");
        }
        if out.is_empty() && !self.has_ended { Poll::Pending } else { Poll::Ready(out) }
    }

    fn write_waiting(&mut self, out: &mut Vec<u8>) {
        let (start, mut events) = (out.len(), 0);
        let drained = self.session.drain(TURN_BYTES);
        for item in drained.items {
            match item {
                Item::Frames { seq, view, batch, from, .. } => {
                    let body = batch.body(|batch| frames::encode(&view, batch));
                    events += frames::write_events(&view, &batch, body, from, seq, out);
                }
                Item::Synced { position, .. } => {
                    let data = format_args!("{{\"op\":\"synced\",\"position\":\"{position}\"}}");
                    put(out, format_args!("event: synced\ndata: {data}\n\n"));
                    events += 1;
                }
                Item::Ended(_, reason) => {
                    write_error(&ApiError::from(&reason), out);
                    self.end(CloseReason::Ended);
                }
                Item::TooLarge(_, bytes) => {
                    write_error(&ApiError::too_large(bytes), out);
                    self.end(CloseReason::Refused);
                }
                Item::Started(..) | Item::Reply(_) => {}
            }
        }
        if let Some(reason) = drained.closed {
            self.end(reason);
        }
        if events > 0 {
            self.admitted.edge.metrics().sent(events, out.len() - start);
        }
    }

    fn end(&mut self, reason: CloseReason) {
        self.has_ended = true;
        self.session.close(reason);
        self.admitted.close(reason);
    }
}

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if this.has_ended {
            return Poll::Ready(None);
        }
        this.poll_bytes(cx).map(|bytes| (!bytes.is_empty()).then(|| Ok(Frame::data(bytes.into()))))
    }
}

/// An error in mid-stream.
fn write_error(error: &ApiError, out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: error\ndata: {\"op\":\"error\",");
    error.write_parts_retryable(out);
    out.extend_from_slice(b"}\n\n");
}
