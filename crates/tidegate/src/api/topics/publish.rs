//! Publishing: one, a batch of which each has its own answer, and the same to many.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query as UrlQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use tidegate_edge::ApiError;
use tidegate_identity::{Principal, PrincipalKind, TopicVerb};
use tidegate_topics::{ClientInfo, Data, Publish, Published};

use super::super::caller::Caller;
use super::super::changes::idempotency_key;
use super::super::{Api, from_url, json};
use super::messages::{Batch, Message, decode, invalid};
use super::{OfTenant, answers};

/// `POST /v1/topics/{topic}/publish`
pub(super) async fn one(
    State(api): State<Api>,
    Caller(principal): Caller,
    topic: Result<Path<String>, PathRejection>,
    url: Result<UrlQuery<OfTenant>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let (Path(name), UrlQuery(url)) = (from_url(topic)?, from_url(url)?);
    let in_head = idempotency_key(&headers)?;
    let (body, _room) = api.body(&headers, body).await?;
    api.still_stands(&principal).await?;
    let mut message: Message<'_> = decode(&body)?;
    if message.topic.is_some() || message.topics.is_some() {
        return Err(invalid("topic", "is in the address already"));
    }
    message.idempotency_key = message.idempotency_key.or(in_head);
    message.tenant = message.tenant.or(url.tenant);
    let published = api.publish(&principal, &name, &message, message.data()?).await?;
    let mut answer = Vec::new();
    answers::write_published(&published, &mut answer);
    Ok(json(answer))
}

/// `POST /v1/topics/publish`: one after the other, each with its own answer.
pub(super) async fn batch(
    State(api): State<Api>,
    Caller(principal): Caller,
    url: Result<UrlQuery<OfTenant>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let UrlQuery(url) = from_url(url)?;
    let (body, _room) = api.body(&headers, body).await?;
    api.still_stands(&principal).await?;
    let batch: Batch<'_> = decode(&body)?;
    let tenant = batch.tenant.or(url.tenant);
    let mut results = Vec::with_capacity(batch.publish.0.len());
    for (i, mut message) in batch.publish.0.into_iter().enumerate() {
        message.tenant = message.tenant.or_else(|| tenant.clone());
        let published = api.publish_to_named(&principal, &message).await;
        results.push(published.map_err(|error| at(&format!("publish[{i}]"), error)));
    }
    Ok(json(results_text(&results)))
}

/// `POST /v1/topics/broadcast`: the same to each, with its own answer.
pub(super) async fn broadcast(
    State(api): State<Api>,
    Caller(principal): Caller,
    url: Result<UrlQuery<OfTenant>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let UrlQuery(url) = from_url(url)?;
    let in_head = idempotency_key(&headers)?;
    let (body, _room) = api.body(&headers, body).await?;
    api.still_stands(&principal).await?;
    let mut message: Message<'_> = decode(&body)?;
    if message.topic.is_some() {
        return Err(invalid("topic", "is for one; this takes topics"));
    }
    let topics = message.topics.take().ok_or_else(|| invalid("topics", "is missing"))?.0;
    message.idempotency_key = message.idempotency_key.or(in_head);
    message.tenant = message.tenant.or(url.tenant);
    let data = message.data()?;
    message.check()?;
    let mut results = Vec::with_capacity(topics.len());
    for (i, name) in topics.iter().enumerate() {
        let published = api.publish(&principal, name, &message, data.clone()).await;
        results.push(published.map_err(|error| at(&format!("topics[{i}]"), error)));
    }
    Ok(json(results_text(&results)))
}

impl Api {
    async fn publish_to_named(&self, principal: &Principal, message: &Message<'_>) -> Result<Published, ApiError> {
        if message.topics.is_some() {
            return Err(invalid("topics", "is for a broadcast; this takes topic"));
        }
        let name = message.topic.as_deref().ok_or_else(|| invalid("topic", "is missing"))?;
        self.publish(principal, name, message, message.data()?).await
    }

    pub(in crate::api) async fn publish(
        &self,
        principal: &Principal,
        name: &str,
        message: &Message<'_>,
        data: Data,
    ) -> Result<Published, ApiError> {
        message.check()?;
        let topic = self.topic(principal, TopicVerb::Publish, name, message.tenant.as_deref())?;
        let publish = Publish {
            client: publisher(principal),
            key: message.key.as_deref().map(Into::into),
            removed: message.removed,
            tags: message.tags(),
            idempotency_key: message.idempotency_key.as_deref().map(Into::into),
            skip_history: message.skip_history,
            ..Publish::new(topic, data)
        };
        Ok(self.topics().broker.publish(publish).wait().await?)
    }
}

/// Who publishes, as others see it: somebody without a connection. A server does not say.
fn publisher(principal: &Principal) -> Option<Arc<ClientInfo>> {
    let info = || Arc::new(ClientInfo { user: principal.user.clone(), ..ClientInfo::default() });
    (principal.kind != PrincipalKind::ApiKey).then(info)
}

/// The error with where in the request it is.
fn at(place: &str, error: ApiError) -> ApiError {
    let path = match &error.path {
        Some(path) => format!("{place}.{path}"),
        None => place.to_owned(),
    };
    ApiError { path: Some(path), ..error }
}

/// `{"results":[{"epoch":…,"offset":…},{"error":…}]}`
fn results_text(results: &[Result<Published, ApiError>]) -> Vec<u8> {
    let mut out = b"{\"results\":[".to_vec();
    answers::write_list(results, &mut out, |result, out| match result {
        Ok(published) => answers::write_published(published, out),
        Err(error) => answers::write_error(error, out),
    });
    out.extend_from_slice(b"]}");
    out
}
