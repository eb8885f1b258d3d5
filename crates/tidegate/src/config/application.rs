//! `[application]`: the endpoint that is asked, and the bounds of handlers.

use std::time::Duration;

use axum::http::Uri;
use tidegate_identity::{Patterns, Secret};

use super::ConfigError;
use super::identity::{SECRET_BYTES_GOOD, count, endpoint, is_open_to_others, some_millis};
use super::layers::Layers;

/// The application behind the gateway.
#[derive(Debug)]
pub struct Application {
    /// Asked over HTTP, where there is one.
    pub endpoint: Option<ApplicationEndpoint>,
    /// For one run of a compiled-in handler. Default 30 s.
    pub handler_timeout: Duration,
    /// Compiled-in handlers that run at once; past it events are refused. Default 4,096.
    pub handlers_max: usize,
}

/// The application's endpoint.
#[derive(Debug, Clone)]
pub struct ApplicationEndpoint {
    /// Where.
    pub url: Uri,
    /// Signs what is asked.
    pub secret: Secret,
    /// For one answer. Default 5 s.
    pub timeout: Duration,
    /// Questions under way at once; past it they are refused. Default 256.
    pub asked_max: usize,
    /// Bytes of an answer. Default 64 KiB.
    pub answer_bytes_max: usize,
    /// Events that it is asked about. Default all.
    pub events: Patterns,
    /// Of these, such as may reach it twice. Default none.
    pub idempotent: Patterns,
}

pub(super) fn read(layers: &Layers) -> Result<Application, ConfigError> {
    Ok(Application {
        endpoint: asked(layers)?,
        handler_timeout: some_millis(layers, "application.handler_timeout_ms")?,
        handlers_max: count(layers, "application.max_handlers")?,
    })
}

fn asked(layers: &Layers) -> Result<Option<ApplicationEndpoint>, ConfigError> {
    let [url, secret] = ["application.url", "application.secret"].map(|key| layers.text(key));
    if url.is_empty() && !secret.is_empty() {
        return Err(layers.error("application.url", "is needed beside application.secret"));
    }
    let timeout = some_millis(layers, "application.timeout_ms")?;
    let asked_max = count(layers, "application.max_concurrent")?;
    let answer_bytes_max = layers.int("application.max_answer_bytes", 256..=16 << 20)? as usize;
    let patterns = |key: &str| {
        let read = Patterns::new(&layers.list(key));
        read.map_err(|(i, what)| ConfigError::rule(format!("{key}[{i}]"), what))
    };
    let (events, idempotent) = (patterns("application.events")?, patterns("application.idempotent")?);
    if url.is_empty() {
        return Ok(None);
    }
    if secret.is_empty() {
        let rule = "is needed beside application.url: by it the application knows who asks";
        return Err(layers.error("application.secret", rule));
    }
    let (url, secret) = (endpoint("application.url", url)?, Secret::new(secret));
    Ok(Some(ApplicationEndpoint { url, secret, timeout, asked_max, answer_bytes_max, events, idempotent }))
}

/// What is allowed and yet likely a mistake, each in a sentence.
pub(crate) fn warnings(application: &Application) -> Vec<String> {
    let Some(endpoint) = &application.endpoint else { return Vec::new() };
    let mut warnings = Vec::new();
    if endpoint.secret.expose().len() < SECRET_BYTES_GOOD {
        warnings.push(format!("application.secret has fewer than {SECRET_BYTES_GOOD} bytes, so it could be guessed"));
    }
    if is_open_to_others(&endpoint.url) {
        warnings.push("application.url is not https: who sits on the way can read and answer what clients send".into());
    }
    warnings
}
