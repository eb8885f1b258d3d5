//! Topics without a socket: publishing, histories, values, who is present. Ephemeral state is [`super::ephemeral`]'s.
//!
//! A topic's name in a path is percent-decoded once, so that a `/` in it is written `%2F`. Whose topic is meant follows from the
//! caller; an API key may name a tenant.

mod answers;
mod messages;
mod publish;

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query as UrlQuery, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json as object;
use tidegate_edge::ApiError;
use tidegate_identity::{Principal, PrincipalKind, TopicVerb};
use tidegate_topics::{PresenceAsk, Range, Since, Topic};

use super::caller::Caller;
use super::{Api, from_url, json};
pub(super) use messages::{AtMost, MESSAGES_MAX, Message, decode, given, invalid};

/// What one answer brings where the request does not say.
const LIMIT: usize = 100;
/// What one answer brings at most: names, members, values or publications.
const LIMIT_MAX: usize = 1_000;
/// Bytes of records in one answer: sixty of the largest, with their default bound.
const ANSWER_BYTES_MAX: usize = 4 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfTenant {
    /// For API keys.
    pub(super) tenant: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Paged {
    tenant: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfHistory {
    tenant: Option<String>,
    limit: Option<usize>,
    since_epoch: Option<String>,
    since_offset: Option<u64>,
    #[serde(default)]
    reverse: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfPresence {
    tenant: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
    since: Option<u64>,
}

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/topics", get(names))
        .route("/v1/topics/publish", post(publish::batch))
        .route("/v1/topics/broadcast", post(publish::broadcast))
        .route("/v1/topics/{topic}/publish", post(publish::one))
        .route("/v1/topics/{topic}/history", get(history).delete(forget))
        .route("/v1/topics/{topic}/values", get(values))
        .route("/v1/topics/{topic}/presence", get(presence))
        .route("/v1/topics/{topic}/presence/counts", get(counts))
}

/// `GET /v1/topics?after=…&limit=…`: those that something is known about.
async fn names(
    Caller(principal): Caller,
    State(api): State<Api>,
    url: Result<UrlQuery<Paged>, QueryRejection>,
) -> Result<Response, ApiError> {
    let UrlQuery(url) = from_url(url)?;
    check_server(&principal)?;
    let tenant = principal.named_topic_tenant(url.tenant.as_deref())?;
    let limit = limited(url.limit)?;
    let broker = &api.topics().broker;
    let names = broker.topics(&tenant, url.after.as_deref(), limit).wait().await?;
    let next = names.last().filter(|_| names.len() == limit);
    let mut answer = object!({ "topics": names });
    if let Some(next) = next {
        answer["next"] = (**next).into();
    }
    Ok(json(answer.to_string()))
}

/// `GET /v1/topics/{topic}/history?limit=…&since_epoch=…&since_offset=…&reverse=…`
async fn history(
    Caller(principal): Caller,
    State(api): State<Api>,
    topic: Result<Path<String>, PathRejection>,
    url: Result<UrlQuery<OfHistory>, QueryRejection>,
) -> Result<Response, ApiError> {
    let (Path(name), UrlQuery(url)) = (from_url(topic)?, from_url(url)?);
    let topic = api.topic(&principal, TopicVerb::History, &name, url.tenant.as_deref())?;
    let since = match (url.since_epoch, url.since_offset) {
        (None, None) => None,
        (epoch, Some(offset)) => Some(Since { epoch: epoch.unwrap_or_default().into(), offset }),
        (Some(_), None) => return Err(ApiError::malformed("since_epoch needs since_offset")),
    };
    let limit = match url.limit {
        // The position alone.
        Some(0) => 0,
        limit => limited(limit)?,
    };
    let range = Range { since, limit, reverse: url.reverse, bytes_max: ANSWER_BYTES_MAX };
    let history = api.topics().broker.history(&topic, range).wait().await?;
    Ok(json(answers::history(&history)))
}

/// `DELETE /v1/topics/{topic}/history`: for servers, whoever published it.
async fn forget(
    Caller(principal): Caller,
    State(api): State<Api>,
    topic: Result<Path<String>, PathRejection>,
    url: Result<UrlQuery<OfTenant>, QueryRejection>,
) -> Result<Response, ApiError> {
    let (Path(name), UrlQuery(url)) = (from_url(topic)?, from_url(url)?);
    check_server(&principal)?;
    let topic = api.topic(&principal, TopicVerb::History, &name, url.tenant.as_deref())?;
    api.topics().broker.forget(&topic).wait().await?;
    Ok(json(object!({ "forgotten": true }).to_string()))
}

/// `GET /v1/topics/{topic}/values?after=…&limit=…`
async fn values(
    Caller(principal): Caller,
    State(api): State<Api>,
    topic: Result<Path<String>, PathRejection>,
    url: Result<UrlQuery<Paged>, QueryRejection>,
) -> Result<Response, ApiError> {
    let (Path(name), UrlQuery(url)) = (from_url(topic)?, from_url(url)?);
    let topic = api.topic(&principal, TopicVerb::History, &name, url.tenant.as_deref())?;
    let limit = limited(url.limit)?;
    let page = api.topics().broker.values(&topic, url.after.as_deref(), limit, ANSWER_BYTES_MAX).wait().await?;
    Ok(json(answers::values(&page)))
}

/// `GET /v1/topics/{topic}/presence?limit=…&after=…&since=…`
async fn presence(
    Caller(principal): Caller,
    State(api): State<Api>,
    topic: Result<Path<String>, PathRejection>,
    url: Result<UrlQuery<OfPresence>, QueryRejection>,
) -> Result<Response, ApiError> {
    let (Path(name), UrlQuery(url)) = (from_url(topic)?, from_url(url)?);
    let topic = api.topic(&principal, TopicVerb::Presence, &name, url.tenant.as_deref())?;
    let ask = PresenceAsk { since: url.since, after: url.after.map(Into::into), limit: limited(url.limit)? };
    let presence = api.topics().broker.presence(&topic, ask).wait().await?;
    Ok(json(answers::presence(&presence)))
}

/// `GET /v1/topics/{topic}/presence/counts`
async fn counts(
    Caller(principal): Caller,
    State(api): State<Api>,
    topic: Result<Path<String>, PathRejection>,
    url: Result<UrlQuery<OfTenant>, QueryRejection>,
) -> Result<Response, ApiError> {
    let (Path(name), UrlQuery(url)) = (from_url(topic)?, from_url(url)?);
    let topic = api.topic(&principal, TopicVerb::Presence, &name, url.tenant.as_deref())?;
    let presence = api.topics().broker.presence(&topic, PresenceAsk::default()).wait().await?;
    let (version, clients, users) = (presence.version, presence.clients, presence.users);
    Ok(json(object!({ "version": version, "clients": clients, "users": users }).to_string()))
}

impl Api {
    /// The topic that the caller means, where it may do that with it.
    pub(super) fn topic(
        &self,
        principal: &Principal,
        verb: TopicVerb,
        name: &str,
        tenant: Option<&str>,
    ) -> Result<Arc<Topic>, ApiError> {
        let tenant = principal.named_topic_tenant(tenant)?;
        let topic = self.topics().namespaces.topic(tenant, name)?;
        self.0.authority.topic(principal, verb, name)?;
        // Who may not subscribe sees and touches nothing of the topic on another way either.
        let is_asked = topic.options.ask_subscribe || (topic.options.ask_publish && verb == TopicVerb::Publish);
        if is_asked && principal.kind != PrincipalKind::ApiKey {
            let message = "the application decides about this, and is asked about connections alone";
            return Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", message));
        }
        Ok(topic)
    }
}

/// How much of a list one answer is to bring.
fn limited(limit: Option<usize>) -> Result<usize, ApiError> {
    let limit = limit.unwrap_or(LIMIT);
    let rule = || ApiError::malformed(format!("limit must be between 1 and {LIMIT_MAX}"));
    (1..=LIMIT_MAX).contains(&limit).then_some(limit).ok_or_else(rule)
}

fn check_server(principal: &Principal) -> Result<(), ApiError> {
    match principal.kind {
        PrincipalKind::ApiKey => Ok(()),
        _ => Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", "this takes an API key")),
    }
}
