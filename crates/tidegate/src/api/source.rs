//! `GET /v1/source`: how the source is followed, for those who run it.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use tidegate_edge::ApiError;
use tidegate_feed::postgres::{EntityStatus, Status};
use tidegate_session::PrincipalKind;

use super::{Api, json};
use crate::feeds::Feed;

pub(super) async fn status(State(api): State<Api>, headers: HeaderMap) -> Result<Response, ApiError> {
    // It names tables and repeats what the database says.
    if api.principal(&headers)?.kind != PrincipalKind::ApiKey {
        return Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", "this takes an API key"));
    }
    let status = match &api.0.feed {
        Feed::Local(_) => serde_json::json!({ "kind": "local" }),
        Feed::Postgres(feed) => {
            let trouble = feed.health().err();
            told(&feed.status(), trouble.as_deref())
        }
    };
    Ok(json(status.to_string()))
}

fn told(status: &Status, trouble: Option<&str>) -> serde_json::Value {
    let entities: Vec<serde_json::Value> = status.entities.iter().map(entity).collect();
    serde_json::json!({ "kind": "postgres", "session": status.session, "trouble": trouble, "entities": entities })
}

fn entity(entity: &EntityStatus) -> serde_json::Value {
    serde_json::json!({
        "name": entity.name,
        "state": entity.state,
        "rows_copied": entity.rows_copied,
        "rows_estimated": entity.rows_estimated,
        "reason": entity.reason,
    })
}
