//! `POST /v1/live` and `GET /v1/live?query=`: one subscription as the body of the answer.
//!
//! Server-Sent Events, or lines of JSON for who asks with `Accept: application/x-ndjson`. `Last-Event-ID`, or
//! `resume_from` (`last_event_id`) in the address, resumes; `synced=true` in the address asks for `synced` with
//! `{"op","position"}` after each transaction, without an id of its own.

use std::rc::Rc;

use axum::extract::Query;
use axum::http::{HeaderMap, Request, Response, Uri};
use hyper::body::Incoming;
use serde::Deserialize;

use crate::admitted::Link;
use crate::cap::Place;
use crate::format::Format;
use crate::http::Site;
use crate::live_http::LiveHttp;
use crate::register::Pass;
use crate::stream::{Beginning, Opening, Payload};
use crate::{ApiError, request_body};

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
    let config = site.worker.edge.config();
    let body = request_body::read(body, config.max_message_bytes, config).await?;
    let query = std::str::from_utf8(&body).map_err(|_| ApiError::malformed("the query must be UTF-8"))?;
    open(site, link, entrance, &parts.headers, &asked, query)
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
    let opening =
        Opening { site, link, headers, place, pass: Some(pass), format: Format::accepted(headers), kind: "live" };
    opening.open(|session| {
        session.subscribe(want)?;
        Ok(Beginning { protocol: Box::new(LiveHttp), letterbox: None, message: None })
    })
}
