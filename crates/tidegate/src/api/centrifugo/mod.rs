//! The server API of Centrifugo, which its users' backends call: `POST /api/{method}` with a key.
//!
//! # Place in the flow
//! A request is one command or a `batch` of them. [`requests`] are their bodies, within their bounds; [`commands`] carries
//! them out, on topics through the broker and on connections by orders; [`answers`] is what comes back. A topic is a
//! channel here.
//!
//! # Invariants
//! - **The status is that of the request, not of the command**: 401 without a good key, 400 where the body is no JSON, and
//!   200 with `{"result":…}` or `{"error":{"code","message"}}` for everything that could be understood at all.
//! - **Nothing is left out in silence**: what Centrifugo has and this has not is refused by name, with 108 (or 104).
//! - **One tenant a command**: the one that is named, else the common one.
//! - **Bounded**: a request publishes so many times at most, however its commands are nested, and its answers are of a size.

mod answers;
mod commands;
mod requests;

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query as UrlQuery, State};
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use axum::routing::post;
use serde_json::value::RawValue;
use tidegate_edge::{ApiError, CentrifugoFault as Fault};
use tidegate_identity::{Principal, PrincipalKind, Refusal, admit};

use super::topics::OfTenant;
use super::{Api, from_url, json};
use commands::Request;

const API_KEY: &str = "x-api-key";

/// A server, by its key and nothing else: in `X-API-Key`, or as `Authorization: apikey <key>`.
struct Server(Arc<Principal>);

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/api/{method}", post(call))
}

/// `POST /api/{method}?tenant=…`
async fn call(
    Server(principal): Server,
    State(api): State<Api>,
    method: Result<Path<String>, PathRejection>,
    url: Result<UrlQuery<OfTenant>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let (Path(method), UrlQuery(url)) = (from_url(method)?, from_url(url)?);
    let (body, _room) = api.body(&headers, body).await?;
    api.still_stands(&principal).await?;
    let body: &RawValue = serde_json::from_slice(&body).map_err(|e| ApiError::malformed(format!("no JSON: {e}")))?;
    let mut request = Request::new(&api, &principal, url.tenant);
    if method == "batch" {
        let answer = match requests::read(body) {
            Ok(batch) => batched(&mut request, batch).await,
            Err(fault) => answers::error(&fault),
        };
        return Ok(json(answer));
    }
    let answer = match request.execute(&method, body).await {
        Ok(result) => answers::named("result", &result),
        Err(fault) => answers::error(&fault),
    };
    Ok(json(answer))
}

/// `{"replies":[{"publish":{…}},{"error":{…}}]}`: one after the other, in their order, also where `parallel` would allow another.
async fn batched(request: &mut Request<'_>, batch: requests::Batch<'_>) -> Vec<u8> {
    if batch.tenant.is_some() {
        request.tenant = batch.tenant;
    }
    let mut replies = Vec::with_capacity(batch.commands.0.len());
    for command in batch.commands.0 {
        replies.push(match one_of(request, command).await {
            Ok((method, result)) => answers::named(&method, &result),
            Err(fault) => answers::error(&fault),
        });
    }
    answers::list("replies", &replies)
}

/// A command of a batch: `{"publish":{…}}`.
async fn one_of(request: &mut Request<'_>, command: &RawValue) -> Result<(String, Vec<u8>), Fault> {
    let command: HashMap<String, &RawValue> = requests::read(command)?;
    let mut members = command.into_iter();
    let (Some((method, body)), None) = (members.next(), members.next()) else {
        return Err(Fault::bad("a command of a batch is one method with its request"));
    };
    let result = request.execute(&method, body).await?;
    Ok((method, result))
}

impl FromRequestParts<Api> for Server {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let without = || Refusal::unauthenticated("this takes an API key: X-API-Key, or Authorization: apikey <key>");
        let headers = by_key(&parts.headers).ok_or_else(without)?;
        let presented = api.0.credentials.find(&parts.uri, &headers)?;
        let principal = admit(&*api.0.authority, &presented.shown(), presented.proof()).await?;
        match principal.kind {
            PrincipalKind::ApiKey => Ok(Self(principal)),
            PrincipalKind::Anonymous | PrincipalKind::User => Err(without().into()),
        }
    }
}

/// The headers with the key where it is looked for and no other credential before it; `None` without a key.
fn by_key(headers: &HeaderMap) -> Option<HeaderMap> {
    let mut found = headers.clone();
    let authorization = found.remove(AUTHORIZATION);
    if !found.contains_key(API_KEY) {
        let authorization = authorization?;
        let (scheme, key) = authorization.to_str().ok()?.split_once(' ')?;
        let key = Some(key.trim()).filter(|_| scheme.eq_ignore_ascii_case("apikey"))?;
        found.insert(API_KEY, HeaderValue::from_str(key).ok()?);
    }
    Some(found)
}
