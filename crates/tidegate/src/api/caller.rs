//! Who calls: settled before anything else of a request is looked at.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use tidegate_edge::ApiError;
use tidegate_identity::{Principal, PrincipalKind, Proof, admit};

use super::Api;

/// Whoever sent the request, admitted.
pub(super) struct Caller(pub(super) Arc<Principal>);

/// A server with an API key: for what nobody else may.
pub(super) struct Server;

impl Api {
    /// Whether the caller still stands now that the whole request is here: a body may take long, and a revocation less.
    pub(super) async fn still_stands(&self, principal: &Arc<Principal>) -> Result<(), ApiError> {
        Ok(self.0.authority.check(principal, Proof::Given).wait().await?)
    }
}

impl FromRequestParts<Api> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let presented = api.0.credentials.find(&parts.uri, &parts.headers)?;
        Ok(Self(admit(&*api.0.authority, &presented.shown(), presented.proof()).await?))
    }
}

impl FromRequestParts<Api> for Server {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let Caller(principal) = Caller::from_request_parts(parts, api).await?;
        Self::check(&principal)
    }
}

impl Server {
    /// Whether it is one.
    pub(super) fn check(principal: &Principal) -> Result<Self, ApiError> {
        match principal.kind {
            PrincipalKind::ApiKey => Ok(Self),
            _ => Err(ApiError::new(axum::http::StatusCode::FORBIDDEN, "forbidden", "this takes an API key")),
        }
    }
}
