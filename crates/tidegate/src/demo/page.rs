//! What the demo serves to a browser: the page, the client it uses, and the replay's controls.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use tidegate_edge::ApiError;
use tidegate_model::{Value, json::write_value};

use super::Player;
use super::replay::SPEED_MAX;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
/// Everything comes from here, nothing is inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const FILES: [(&str, &str, &str); 7] = [
    ("/", HTML, include_str!("../../../../web/demo/index.html")),
    ("/demo.css", CSS, include_str!("../../../../web/demo/demo.css")),
    ("/demo.js", JS, include_str!("../../../../web/demo/demo.js")),
    ("/demo-map.js", JS, include_str!("../../../../web/demo/demo-map.js")),
    ("/demo-meters.js", JS, include_str!("../../../../web/demo/demo-meters.js")),
    ("/demo-table.js", JS, include_str!("../../../../web/demo/demo-table.js")),
    ("/tidegate.js", JS, include_str!("../../../../clients/js/tidegate.js")),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Speed {
    speed: u32,
}

pub(super) fn router(player: Arc<Player>) -> Router {
    let controls =
        Router::new().route("/demo/state", get(state)).route("/demo/speed", post(set_speed)).with_state(player);
    FILES
        .iter()
        .fold(controls, |router, (path, kind, text)| router.route(path, get(move || async move { file(kind, text) })))
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, text).into_response()
}

async fn state(State(player): State<Arc<Player>>) -> Response {
    described(&player)
}

async fn set_speed(State(player): State<Arc<Player>>, body: axum::body::Bytes) -> Result<Response, ApiError> {
    let wrong = |message: String| ApiError::new(StatusCode::BAD_REQUEST, "malformed", message);
    let Speed { speed } =
        serde_json::from_slice(&body).map_err(|e| wrong(format!("expected {{\"speed\":3600}}: {e}")))?;
    if speed > SPEED_MAX {
        return Err(wrong(format!("speed is {speed}; it must be between 0 (a pause) and {SPEED_MAX}")));
    }
    player.set_speed(speed);
    Ok(described(&player))
}

fn described(player: &Player) -> Response {
    let (speed, clock, rows) = player.state();
    let mut text = Vec::new();
    write_value(&Value::Timestamp(clock), &mut text);
    let clock = String::from_utf8_lossy(&text).trim_matches('"').to_owned();
    let body = serde_json::json!({ "speed": speed, "clock": clock, "rows": rows, "paused": speed == 0 });
    ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}
