//! The application's endpoint: one signed `POST` a question. `docs/application.md` is its contract.
//!
//! | asked | answered with 200 | for the client |
//! |---|---|---|
//! | `{"type":"event","event","data","client"}` | `{"data"?}` | the reply, absent `data` is null |
//! | | `{"error":{"code","message","retryable"?}}` | that error |
//! | `{"type":"subscribe","topic","client"}` | `{"allow":true,"data"?,"info"?}` | may, and is told `data`; others see `info` |
//! | `{"type":"publish","topic","data" or "b64data","client"}` | `{"allow":true}` | may |
//! | either of these | `{"allow":false}` or `{"error":…}` | may not |
//! | any | anything else, or nothing in time | `application_unavailable` |
//!
//! A question is asked once more, under the same `Idempotency-Key` and within the same time, where the connection failed before
//! anything was answered and asking twice is harmless: about topics always, of events those that configuration lists.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidegate_edge::{ApiError, Permit};
use tidegate_identity::{Bounds, Claims, Clock, Fetch, FetchError, Principal, Signer};
use tidegate_model::{Later, Object};
use tidegate_topics::{Data, Topic};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::metrics::{Failed, Metrics, count};
use super::unavailable;
use crate::config::ApplicationEndpoint;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Longest code of the application's own, in bytes.
const CODE_BYTES_MAX: usize = 128;

/// Asks the endpoint. Cheap to clone.
#[derive(Clone)]
pub(super) struct Endpoint(Arc<Inner>);

struct Inner {
    settings: ApplicationEndpoint,
    signer: Signer,
    fetch: Fetch,
    runtime: Handle,
    clock: Clock,
    places: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// A connection's public name, and who that is.
#[derive(Clone, Copy)]
pub(super) struct From<'a>(pub(super) &'a str, pub(super) &'a Principal);

#[derive(Serialize)]
struct Question<'a> {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    topic: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    b64data: Option<String>,
    client: Who<'a>,
}

#[derive(Serialize)]
struct Who<'a> {
    client_id: &'a str,
    /// Null for a stranger and for a server.
    user: Option<&'a str>,
    /// Null for the common one.
    tenant: Option<&'a str>,
    claims: &'a Claims,
}

/// A field that is not known is a mistake: `alow` is no yes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventAnswer {
    data: Option<Box<RawValue>>,
    error: Option<ErrorAnswer>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TopicAnswer {
    #[serde(default)]
    allow: bool,
    data: Option<Box<RawValue>>,
    info: Option<Box<RawValue>>,
    error: Option<ErrorAnswer>,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    code: String,
    message: String,
    #[serde(default)]
    retryable: bool,
}

impl Endpoint {
    pub(super) fn new(
        settings: ApplicationEndpoint,
        runtime: Handle,
        clock: Clock,
        metrics: Arc<Metrics>,
    ) -> Result<Self, FetchError> {
        let signer = Signer::new(&settings.secret);
        let fetch = Fetch::new(runtime.clone())?;
        let places = Arc::new(Semaphore::new(settings.asked_max));
        Ok(Self(Arc::new(Inner { settings, signer, fetch, runtime, clock, places, metrics })))
    }

    /// Asks for the answer to an event; `None` for one that is none of the endpoint's.
    pub(super) fn event(&self, who: From<'_>, event: &str, data: &str) -> Option<Later<Bytes, ApiError>> {
        if !self.0.settings.events.have(event) {
            return None;
        }
        let data = serde_json::from_str(data).ok();
        let question = Question { event: Some(event), data, ..Question::of("event", who) };
        let answer = self.ask(&question, self.0.settings.idempotent.have(event));
        let metrics = self.0.metrics.clone();
        Some(Box::pin(async move {
            let Object(EventAnswer { data, error }) = read(&answer.await?, &metrics)?;
            match error {
                Some(error) => Err(error.into_error(&metrics)?),
                None => Ok(data.map_or(Bytes::from_static(b"null"), bytes)),
            }
        }))
    }

    pub(super) fn may_subscribe(&self, who: From<'_>, topic: &Topic) -> Later<Permit, ApiError> {
        let question = Question { topic: Some(&topic.name), ..Question::of("subscribe", who) };
        let allowed = self.allowed(&question);
        Box::pin(async move {
            let TopicAnswer { data, info, .. } = allowed.await?;
            Ok(Permit { chan_info: info.map(bytes), data: data.map(bytes) })
        })
    }

    pub(super) fn may_publish(&self, who: From<'_>, topic: &Topic, data: &Data) -> Later<(), ApiError> {
        let mut question = Question { topic: Some(&topic.name), ..Question::of("publish", who) };
        match data {
            Data::Json(json) => question.data = serde_json::from_slice(json).ok(),
            Data::Binary(bytes) => question.b64data = Some(STANDARD.encode(bytes)),
        }
        let allowed = self.allowed(&question);
        Box::pin(async move { allowed.await.map(|_| ()) })
    }

    /// A clear yes.
    fn allowed(&self, question: &Question<'_>) -> Later<TopicAnswer, ApiError> {
        let (answer, metrics) = (self.ask(question, true), self.0.metrics.clone());
        Box::pin(async move {
            match read(&answer.await?, &metrics)? {
                Object(TopicAnswer { error: Some(error), .. }) => Err(error.into_error(&metrics)?),
                Object(answer) if answer.allow => Ok(answer),
                _ => Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", "the application does not allow it")),
            }
        })
    }

    /// Asks at once, on the process's runtime, whether or not the answer is waited for.
    fn ask(&self, question: &Question<'_>, repeatable: bool) -> Later<Bytes, ApiError> {
        let Ok(body) = serde_json::to_vec(question).map(Bytes::from) else {
            return Box::pin(async { Err(unavailable("the question cannot be written")) });
        };
        let Ok(place) = self.0.places.clone().try_acquire_owned() else {
            count(&self.0.metrics.turned_away);
            return Box::pin(async { Err(unavailable("as many questions are under way as may")) });
        };
        count(&self.0.metrics.asked);
        let this = self.0.clone();
        // Ends within the time for an answer.
        let task = self.0.runtime.spawn(async move {
            let _place = place;
            this.post(body, repeatable).await
        });
        Box::pin(async move { task.await.unwrap_or_else(|_cut| Err(unavailable("the gateway is stopping"))) })
    }
}

impl Inner {
    async fn post(&self, body: Bytes, repeatable: bool) -> Result<Bytes, ApiError> {
        let time = self.settings.timeout;
        let answer = timeout(time, self.try_twice(body, repeatable)).await.unwrap_or(Err(FetchError::Late(time)));
        let (failed, error) = match answer {
            Ok((StatusCode::OK, answer)) => return Ok(answer),
            Ok((status, _)) => (Failed::Status, FetchError::Status(status)),
            Err(error @ FetchError::Late(_)) => (Failed::Late, error),
            Err(error @ FetchError::TooLong(_)) => (Failed::TooLong, error),
            Err(error) => (Failed::Connection, error),
        };
        Err(fail(&self.metrics, failed, &error.to_string()))
    }

    async fn try_twice(&self, body: Bytes, repeatable: bool) -> Result<(StatusCode, Bytes), FetchError> {
        let mut headers = self.signer.headers(&body, (self.clock)());
        let key = HeaderValue::from_str(&format!("{:032x}", rand::random::<u128>()));
        headers.extend(key.ok().map(|key| (IDEMPOTENCY_KEY, key)));
        let Self { settings, fetch, .. } = self;
        let bounds = Bounds { timeout: settings.timeout, bytes_max: settings.answer_bytes_max };
        let answer = fetch.post(&settings.url, headers.clone(), body.clone(), bounds).await;
        if !repeatable || !matches!(answer, Err(FetchError::Unanswered(_))) {
            return answer;
        }
        count(&self.metrics.repeated);
        fetch.post(&settings.url, headers, body, bounds).await
    }
}

impl<'a> Question<'a> {
    fn of(r#type: &'static str, From(name, principal): From<'a>) -> Self {
        let client = Who {
            client_id: name,
            user: Some(&*principal.user).filter(|user| !user.is_empty()),
            tenant: super::tenant(principal),
            claims: &principal.claims,
        };
        Self { r#type, event: None, topic: None, data: None, b64data: None, client }
    }
}

impl ErrorAnswer {
    /// As the client gets it.
    fn into_error(self, metrics: &Metrics) -> Result<ApiError, ApiError> {
        if self.code.is_empty() || self.code.len() > CODE_BYTES_MAX {
            return Err(malformed(metrics));
        }
        Ok(ApiError::of_application(&self.code, self.message, self.retryable))
    }
}

fn read<T: serde::de::DeserializeOwned>(answer: &[u8], metrics: &Metrics) -> Result<Object<T>, ApiError> {
    let read = serde_json::from_slice(answer).map_err(|_| malformed(metrics))?;
    count(&metrics.answered);
    Ok(read)
}

fn malformed(metrics: &Metrics) -> ApiError {
    fail(metrics, Failed::Malformed, "the answer is not as agreed")
}

/// Counts and logs. What happened is the operator's business; the client learns that it may try again.
fn fail(metrics: &Metrics, failed: Failed, error: &str) -> ApiError {
    count(&metrics.failed[failed as usize]);
    tracing::warn!(reason = failed.name(), error, "the application's endpoint did not answer as agreed");
    unavailable("it does not answer")
}

fn bytes(raw: Box<RawValue>) -> Bytes {
    Bytes::from(String::from(Box::<str>::from(raw)))
}

#[cfg(test)]
mod tests;
