//! `GET /v1/position`: how far the views are, and waiting until they include what an application wrote.

use std::pin::Pin;
use std::time::Duration;

use axum::extract::Query;
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Incoming;
use serde::Deserialize;
use tidegate_model::{Position, json};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{ApiError, Edge};

/// Longest wait.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// A position that is being found out.
pub type Finding = Pin<Box<dyn Future<Output = Result<Position, ApiError>> + Send>>;

/// What places `at_least` may name, beside positions in decimal: a source's own names for what was written to it.
pub trait Places: Send + Sync {
    /// The position from which on the views include the place, once that is known. Dropped where nobody waits any more.
    ///
    /// # Errors
    /// This is no place; the message says what would be.
    fn find(&self, place: &str) -> Result<Finding, ApiError>;

    /// The source's name for a position: a member of the answer and its value.
    fn name(&self, position: Position) -> Option<(&'static str, String)>;
}

/// Of a source that has no names of its own.
#[derive(Debug, Clone, Copy)]
pub struct PositionsOnly;

impl Places for PositionsOnly {
    fn find(&self, _: &str) -> Result<Finding, ApiError> {
        Err(ApiError::malformed("must be a position: a whole number in decimal"))
    }

    fn name(&self, _: Position) -> Option<(&'static str, String)> {
        None
    }
}

#[derive(Deserialize)]
struct Asked {
    at_least: Option<String>,
}

pub(crate) async fn get(
    edge: &Edge,
    drain: &CancellationToken,
    request: &Request<Incoming>,
) -> Result<Response, ApiError> {
    let Query(asked): Query<Asked> = Query::try_from_uri(request.uri())?;
    edge.authenticate(request.uri(), request.headers()).await?;
    let place = asked.at_least.as_deref().unwrap_or("0");
    let finding: Finding = match place.parse() {
        Ok(position) => Box::pin(std::future::ready(Ok(position))),
        Err(_) => edge.places().find(place).map_err(|e| ApiError { path: Some("at_least".to_owned()), ..e })?,
    };
    let position = reached(edge, drain, finding).await?;
    let mut body = format!("{{\"position\":\"{position}\"").into_bytes();
    if let Some((member, name)) = edge.places().name(position) {
        body.push(b',');
        json::write_string(member, &mut body);
        body.push(b':');
        json::write_string(&name, &mut body);
    }
    body.push(b'}');
    Ok(([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], body).into_response())
}

async fn reached(edge: &Edge, drain: &CancellationToken, finding: Finding) -> Result<Position, ApiError> {
    let _place = edge.wait()?;
    let mut applied = edge.applied();
    let reached = timeout(WAIT_MAX, async {
        let at_least = finding.await?;
        applied.wait_for(|position| *position >= at_least).await.map(|position| *position).map_err(|_| stopping())
    });
    tokio::select! {
        reached = reached => reached.unwrap_or_else(|_| {
            let message = format!("that was not reached within {} s; ask again", WAIT_MAX.as_secs());
            Err(ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timeout", message))
        }),
        () = drain.cancelled() => Err(stopping()),
    }
}

fn stopping() -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "draining", "this process is stopping; ask again")
}
