//! `POST /v1/entities/{entity}/changes`: a batch, all or nothing, answered when it is durable.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use sha2::{Digest as _, Sha256};
use tidegate_edge::ApiError;
use tidegate_feed::{
    Idempotency, Limits, TenantScope, WriteError, WriteErrorCode, WriteRequest, Written, decode_changes,
};
use tidegate_identity::{Principal, PrincipalKind, WriteScope};
use tidegate_model::Entity;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout;

use super::caller::Caller;
use super::{Api, from_url, internal, json};
use crate::feeds::Feed;

const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Longest idempotency key, in characters.
const IDEMPOTENCY_KEY_MAX: usize = 255;

pub(super) async fn write(
    State(api): State<Api>,
    Caller(principal): Caller,
    entity: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let entity = api.entity(&from_url(entity)?)?.clone();
    let Feed::Local(feed) = &api.0.feed else { return Ok(read_only()) };
    let scope = api.0.authority.write(&principal, &entity)?;
    let key = idempotency_key(&headers)?;
    let (body, room) = api.body(&headers, body).await?;
    api.still_stands(&principal).await?;
    let bounds = Limits { changes_max: api.0.bounds.max_changes, ..Limits::default() };
    let decoding = tokio::task::spawn_blocking(move || {
        let hash: [u8; 32] = Sha256::digest(&body).into();
        let idempotency = key.map(|key| Idempotency { scope: idempotency_scope(&principal, &entity), key, hash });
        let changes = decode_changes(&entity, &body, bounds)?;
        drop(room);
        let (tenant, guard) = match scope {
            WriteScope::Own { tenant, guard } => (TenantScope::Own(tenant), guard),
            WriteScope::Named => (TenantScope::Named(None), None),
        };
        Ok(WriteRequest { entity: entity.id(), tenant, guard, changes, idempotency })
    });
    let request = decoding.await.map_err(|e| internal(&e))?.map_err(refused)?;
    let (reply, answer) = oneshot::channel();
    feed.submit(
        request,
        Box::new(move |written| {
            // A client that left gets no answer; what it wrote stays written.
            let _ = reply.send(written);
        }),
    );
    let written = answer.await.map_err(|e| internal(&e))?.map_err(refused)?;
    Ok(json(answer_text(&written)))
}

/// Rows of a database are written there, in its own transactions.
fn read_only() -> Response {
    let message =
        "rows come from a database; write them there, and ask GET /v1/position?at_least=… for when they are here";
    let refusal = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "read_only_source", message);
    let mut response = refusal.into_response();
    // What else is under this path is a row whose key is its last part.
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET,HEAD"));
    response
}

impl Api {
    /// The whole body, bounded in bytes and time, with its share of what all bodies may have.
    pub(super) async fn body(
        &self,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<(axum::body::Bytes, OwnedSemaphorePermit), ApiError> {
        let bounds = &self.0.bounds;
        let max = bounds.max_body_bytes;
        let declared = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let bytes: usize = declared.unwrap_or(max);
        let too_large = || {
            let message = format!("the body has more than {max} bytes; send several batches");
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
        };
        if bytes > max {
            return Err(too_large());
        }
        let permits = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX);
        let room = self.0.bodies.clone().try_acquire_many_owned(permits).map_err(|_| {
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "too many bodies are being read; try again")
        })?;
        match timeout(bounds.body_timeout, axum::body::to_bytes(body, max)).await {
            Ok(Ok(bytes)) => Ok((bytes, room)),
            Ok(Err(_)) if declared.is_none() => Err(too_large()),
            Ok(Err(_)) => Err(ApiError::new(StatusCode::BAD_REQUEST, "malformed", "the body ended early")),
            Err(_) => {
                let message = format!("the body did not arrive within {} ms", bounds.body_timeout.as_millis());
                Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", message))
            }
        }
    }
}

/// Within which an idempotency key is unique: who writes, and to what.
fn idempotency_scope(principal: &Principal, entity: &Arc<Entity>) -> String {
    let kind = match principal.kind {
        PrincipalKind::Anonymous => "anonymous",
        PrincipalKind::User => "user",
        PrincipalKind::ApiKey => "key",
    };
    let tenant = principal.tenant.as_ref().map_or("", |tenant| tenant.name());
    // Parts that a client chose are told apart by their lengths.
    format!("{kind}/{}/{}:{tenant}/{}:{}", entity.name(), tenant.len(), principal.user.len(), principal.user)
}

pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = value.to_str().ok().filter(|key| (1..=IDEMPOTENCY_KEY_MAX).contains(&key.len()));
    let rule = || {
        let message = format!("Idempotency-Key must have 1 to {IDEMPOTENCY_KEY_MAX} visible ASCII characters");
        ApiError::new(StatusCode::BAD_REQUEST, "malformed", message)
    };
    key.map(|key| Some(key.to_owned())).ok_or_else(rule)
}

fn answer_text(written: &Written) -> String {
    let version = |version: &Option<u64>| version.map_or("null".to_owned(), |version| version.to_string());
    let versions: Vec<String> = written.versions.iter().map(version).collect();
    format!("{{\"position\":\"{}\",\"versions\":[{}]}}", written.position, versions.join(","))
}

fn refused(error: WriteError) -> ApiError {
    let status = StatusCode::from_u16(error.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let message = match error.code {
        // What the store says may name files.
        WriteErrorCode::StoreFailed => {
            tracing::error!(reason = error.message, "a write failed");
            "the store could not be written".to_owned()
        }
        _ => error.message,
    };
    let retryable = error.code.retryable();
    ApiError { path: error.path, retryable, ..ApiError::new(status, error.code.name(), message) }
}
