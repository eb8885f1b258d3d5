//! The HTTP API: writes, rows, pages, the catalog; topics; and what operators ask.

mod caller;
mod centrifugo;
mod changes;
mod ephemeral;
mod jobs;
mod operations;
mod rows;
mod sessions;
mod source;
mod topics;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tidegate_edge::{ApiError, Credentials, Edge};
use tidegate_identity::{Authority, Identity};
use tidegate_mirror::Mirror;
use tidegate_model::{Catalog, Entity, ScanError};
use tidegate_session::runtime::Runtime;
use tidegate_topics::Topics;
use tokio::sync::Semaphore;

use crate::config;
use crate::feeds::Feed;
use crate::health::Health;
use crate::metrics::{self, Sources};

/// What every request needs.
#[derive(Clone)]
pub(crate) struct Api(Arc<Inner>);

/// Who is asked about those who call, and where their credentials are looked for.
pub(crate) struct Asked {
    pub(crate) authority: Arc<dyn Authority>,
    pub(crate) credentials: Credentials,
    /// `None` where the embedding program decides.
    pub(crate) identity: Option<Arc<Identity>>,
}

struct Inner {
    bounds: config::Api,
    catalog: Arc<Catalog>,
    authority: Arc<dyn Authority>,
    credentials: Credentials,
    identity: Option<Arc<Identity>>,
    feed: Feed,
    mirror: Arc<Mirror>,
    edge: Edge,
    runtime: Runtime,
    /// One permit for each KiB of a body.
    bodies: Arc<Semaphore>,
    started: Instant,
    /// Of this run.
    uid: Box<str>,
}

impl Api {
    pub(crate) fn new(
        bounds: &config::Api,
        catalog: Arc<Catalog>,
        asked: Asked,
        feed: Feed,
        mirror: Arc<Mirror>,
        edge: Edge,
        runtime: Runtime,
    ) -> Self {
        let Asked { authority, credentials, identity } = asked;
        let bounds = bounds.clone();
        let bodies = Arc::new(Semaphore::new((bounds.max_bodies_bytes >> 10).clamp(1, Semaphore::MAX_PERMITS)));
        let (started, uid) = (Instant::now(), format!("{:032x}", rand::random::<u128>()).into());
        Self(Arc::new(Inner {
            bounds,
            catalog,
            authority,
            credentials,
            identity,
            feed,
            mirror,
            edge,
            runtime,
            bodies,
            started,
            uid,
        }))
    }

    fn entity(&self, name: &str) -> Result<&Arc<Entity>, ApiError> {
        let unknown = || ApiError::new(StatusCode::NOT_FOUND, "unknown_entity", "there is no such entity");
        self.0.catalog.by_name(name).ok_or_else(unknown)
    }

    fn topics(&self) -> &Topics {
        self.0.edge.topics()
    }

    /// Asks the store on a thread that may wait.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Mirror) -> Result<T, ScanError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let mirror = self.0.mirror.clone();
        let asked = tokio::task::spawn_blocking(move || question(&mirror)).await;
        match asked {
            Ok(answer) => answer.map_err(|error| store_error(&error)),
            Err(error) => Err(internal(&error)),
        }
    }
}

/// Every route of the binary that needs the rooms.
pub(crate) fn router(api: Api, health: Arc<Health>, sources: Sources) -> Router {
    let inner = &api.0;
    let registry = metrics::registry(sources);
    let operations = operations::Operations::new(health, inner.feed.clone(), inner.identity.clone(), registry);
    let sessions = if inner.identity.is_some() { sessions::routes() } else { Router::new() };
    Router::new()
        .route("/v1/entities", get(rows::catalog))
        .route("/v1/entities/{entity}", get(rows::page_by_url))
        .route("/v1/entities/{entity}/query", post(rows::page_by_body).get(rows::one_named_query))
        .route("/v1/entities/{entity}/changes", post(changes::write).get(rows::one_named_changes))
        .route("/v1/entities/{entity}/{key}", get(rows::one))
        .route("/v1/source", get(source::status))
        .merge(topics::routes())
        .merge(ephemeral::routes())
        .merge(jobs::routes())
        .merge(centrifugo::routes())
        .merge(sessions)
        .with_state(api)
        .merge(operations.routes())
        .fallback(|| async { ApiError::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here") })
        .method_not_allowed_fallback(|| async {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this takes another method")
        })
}

/// What stands in a URL, or what is wrong with it.
fn from_url<T, E: std::fmt::Display>(extracted: Result<T, E>) -> Result<T, ApiError> {
    extracted.map_err(|e| ApiError::new(StatusCode::BAD_REQUEST, "malformed", e.to_string()))
}

fn json(body: impl Into<axum::body::Body>) -> Response {
    ([(CONTENT_TYPE, "application/json")], body.into()).into_response()
}

fn store_error(error: &ScanError) -> ApiError {
    match error {
        ScanError::NotReady => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", error.to_string()),
        ScanError::Unavailable(_) => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", error.to_string()),
        ScanError::Busy => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", error.to_string()),
        ScanError::Store(reason) => {
            tracing::error!(reason, "the store could not be read");
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "store_failed", "the store could not be read")
        }
    }
}

fn internal(error: &impl std::fmt::Display) -> ApiError {
    tracing::error!(%error, "a request failed inside");
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the request could not be finished")
}
