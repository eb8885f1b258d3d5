//! `GET /v1/position`: how far the views are, and waiting until they include what an application wrote.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Extension, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use tidegate_model::Position;
use tokio::time::timeout;

use crate::edge::Link;
use crate::{ApiError, Edge};

/// Longest wait.
const WAIT_MAX: Duration = Duration::from_secs(30);

#[derive(Deserialize)]
pub(crate) struct Asked {
    at_least: Option<String>,
}

pub(crate) async fn get(
    State(edge): State<Edge>,
    Extension(link): Extension<Arc<Link>>,
    asked: Result<Query<Asked>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Query(asked) = asked?;
    edge.authenticate(&headers)?;
    let at_least = asked.at_least.as_deref().map(str::parse::<Position>).transpose().map_err(|_| {
        let path = Some("at_least".to_owned());
        ApiError { path, ..ApiError::malformed("must be a position: a whole number in decimal") }
    })?;
    let position = reached(&edge, &link, at_least.unwrap_or_default()).await?;
    let body = format!("{{\"position\":\"{position}\"}}");
    Ok(([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")], body).into_response())
}

async fn reached(edge: &Edge, link: &Link, at_least: Position) -> Result<Position, ApiError> {
    let mut applied = edge.applied();
    let reached = timeout(WAIT_MAX, applied.wait_for(|position| *position >= at_least));
    tokio::select! {
        reached = reached => match reached {
            Ok(Ok(position)) => Ok(*position),
            Ok(Err(_)) => Err(stopping()),
            Err(_) => {
                let message = format!("position {at_least} was not reached within {} s", WAIT_MAX.as_secs());
                Err(ApiError::new(StatusCode::GATEWAY_TIMEOUT, "timeout", message))
            }
        },
        () = link.drain.cancelled() => Err(stopping()),
    }
}

fn stopping() -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "draining", "this process is stopping; ask again")
}
