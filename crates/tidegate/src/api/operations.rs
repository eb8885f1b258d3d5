//! What operators and their machines ask: alive, ready, how much.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use tidegate_edge::ApiError;
use tidegate_identity::Identity;

use super::{internal, json};
use crate::feeds::Feed;
use crate::health::Health;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone)]
pub(super) struct Operations {
    health: Arc<Health>,
    feed: Feed,
    identity: Option<Arc<Identity>>,
    registry: Arc<Registry>,
}

impl Operations {
    pub(super) fn new(health: Arc<Health>, feed: Feed, identity: Option<Arc<Identity>>, registry: Registry) -> Self {
        Self { health, feed, identity, registry: Arc::new(registry) }
    }

    pub(super) fn routes(self) -> Router {
        Router::new()
            .route("/healthz", get(|| async { json("{\"status\":\"ok\"}") }))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .with_state(self)
    }
}

async fn ready(State(operations): State<Operations>) -> Response {
    let sessions = operations.identity.as_ref().and_then(|identity| identity.sessions().trouble());
    let reasons = operations.health.reasons([operations.feed.trouble(), sessions], Instant::now());
    if reasons.is_empty() {
        return json("{\"status\":\"ready\"}");
    }
    let body = serde_json::json!({ "status": "not_ready", "reasons": reasons }).to_string();
    (StatusCode::SERVICE_UNAVAILABLE, json(body)).into_response()
}

async fn metrics(State(operations): State<Operations>) -> Result<Response, ApiError> {
    let mut text = String::new();
    encode(&mut text, &operations.registry).map_err(|e| internal(&e))?;
    Ok(([(CONTENT_TYPE, OPENMETRICS)], text).into_response())
}
