//! `GET /v1/source`: how the source is followed, for those who run it.

use axum::extract::State;
use axum::response::Response;
use serde::Serialize;
use tidegate_edge::ApiError;
use tidegate_feed::postgres::Status;

use super::caller::Server;
use super::{Api, internal, json};
use crate::feeds::Feed;

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Told {
    Local {},
    Postgres {
        /// Why readiness is red, if it is.
        trouble: Option<String>,
        #[serde(flatten)]
        status: Status,
    },
}

/// It names tables and repeats what the database says.
pub(super) async fn status(_: Server, State(api): State<Api>) -> Result<Response, ApiError> {
    let told = match &api.0.feed {
        Feed::Local(_) => Told::Local {},
        Feed::Postgres(feed) => Told::Postgres { trouble: feed.health().err(), status: feed.status() },
    };
    Ok(json(serde_json::to_vec(&told).map_err(|e| internal(&e))?))
}
