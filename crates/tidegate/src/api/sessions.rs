//! Ending what was let in, storing device sessions, and challenges for those who prove that they hold their session's key.

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query as UrlQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{post, put};
use serde::Deserialize;
use serde_json::json as object;
use tidegate_edge::ApiError;
use tidegate_identity::{Identity, Revocation, SessionsError};
use tidegate_model::Tenant;

use super::caller::Server;
use super::{Api, from_url, json};

/// Longest name of a session, a user or a tenant, in bytes.
const NAME_BYTES_MAX: usize = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfTenant {
    tenant: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Session {
    user_id: String,
    client_public_key: String,
}

/// For a gateway whose configuration says who is there.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/sessions/{id}", put(store))
        .route("/v1/sessions/{id}/revoke", post(revoke_session))
        .route("/v1/users/{user}/revoke", post(revoke_user))
        .route("/v1/tenants/{tenant}/revoke", post(revoke_tenant))
        .route("/v1/challenge", post(challenge))
}

/// `POST /v1/sessions/{id}/revoke`
async fn revoke_session(
    _: Server,
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let Path(id) = from_url(id)?;
    revoke(&api, Revocation::Session(named(&id)?.into())).await
}

/// `POST /v1/users/{user}/revoke[?tenant=…]`, or with `{"tenant":"…"}` as the body.
async fn revoke_user(
    _: Server,
    State(api): State<Api>,
    user: Result<Path<String>, PathRejection>,
    url: Result<UrlQuery<OfTenant>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let (Path(user), UrlQuery(url)) = (from_url(user)?, from_url(url)?);
    let (body, _room) = api.body(&headers, body).await?;
    // What is said there and not understood could have been the one tenant that was meant.
    let said: OfTenant = match body.is_empty() {
        true => OfTenant { tenant: None },
        false => serde_json::from_slice(&body)
            .map_err(|e| ApiError::new(StatusCode::BAD_REQUEST, "invalid_body", e.to_string()))?,
    };
    let tenant = url.tenant.or(said.tenant).map(|tenant| named(&tenant).map(Tenant::new)).transpose()?;
    revoke(&api, Revocation::User { user: named(&user)?.into(), tenant }).await
}

/// `POST /v1/tenants/{tenant}/revoke`
async fn revoke_tenant(
    _: Server,
    State(api): State<Api>,
    tenant: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let Path(tenant) = from_url(tenant)?;
    revoke(&api, Revocation::Tenant(Tenant::new(named(&tenant)?))).await
}

async fn revoke(api: &Api, target: Revocation) -> Result<Response, ApiError> {
    if api.identity()?.sessions().revoke(target).await.map_err(refused)? {
        return Ok(json(object!({ "revoked": true }).to_string()));
    }
    Err(ApiError::new(StatusCode::NOT_FOUND, "unknown_session", "there is no such session"))
}

/// `PUT /v1/sessions/{id}`: for those who keep their sessions here.
async fn store(
    _: Server,
    State(api): State<Api>,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let Path(id) = from_url(id)?;
    let (body, _room) = api.body(&headers, body).await?;
    let session: Session = serde_json::from_slice(&body)
        .map_err(|e| ApiError::new(StatusCode::BAD_REQUEST, "invalid_body", e.to_string()))?;
    let stored = api.identity()?.sessions().put(named(&id)?, &session.user_id, &session.client_public_key).await;
    stored.map_err(refused)?;
    Ok(json(object!({ "stored": true }).to_string()))
}

/// `POST /v1/challenge`: for anybody.
async fn challenge(State(api): State<Api>) -> Result<Response, ApiError> {
    let challenge = api.identity()?.proofs().challenge();
    Ok(json(object!({ "challenge": challenge.text, "expires_in_ms": challenge.expires_in_ms }).to_string()))
}

impl Api {
    /// There wherever these routes are.
    fn identity(&self) -> Result<&Identity, ApiError> {
        let absent = || ApiError::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here");
        self.0.identity.as_deref().ok_or_else(absent)
    }
}

fn named(name: &str) -> Result<&str, ApiError> {
    if (1..=NAME_BYTES_MAX).contains(&name.len()) {
        return Ok(name);
    }
    let message = format!("a session, user or tenant has a name of 1 to {NAME_BYTES_MAX} bytes");
    Err(ApiError::new(StatusCode::BAD_REQUEST, "malformed", message))
}

fn refused(error: SessionsError) -> ApiError {
    match error {
        SessionsError::Malformed(_) => {
            ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_session", error.to_string())
        }
        SessionsError::Refused(reason) => ApiError::new(StatusCode::CONFLICT, "revoked", reason),
        SessionsError::NotEmbedded => {
            let message = "sessions are announced in Redis; write them there";
            ApiError::new(StatusCode::CONFLICT, "sessions_elsewhere", message)
        }
        error => {
            // What a store says may name files and hosts.
            tracing::error!(%error, "sessions could not be changed");
            let message = "sessions cannot be changed now";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "identity_unavailable", message)
        }
    }
}
