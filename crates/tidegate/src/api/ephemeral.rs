//! Ephemeral state without a socket: what a topic shows, and setting and clearing on behalf of a client that is connected.
//!
//! What is set belongs to that client's connection and ends with it: so it is set there, where the connection cannot end
//! meanwhile.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query as UrlQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{delete, get};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::json as object;
use tidegate_edge::ApiError;
use tidegate_identity::{Principal, PrincipalKind, TopicVerb};
use tidegate_topics::{Answered, Entry, Owner, Set, Topic, TopicError};

use super::caller::Caller;
use super::topics::{OfTenant, decode, invalid};
use super::{Api, from_url, json};

/// Keys and payloads of one answer, in bytes: the keys of eight clients at their default bounds.
const ANSWER_BYTES_MAX: usize = 32 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetBody {
    client_id: String,
    key: String,
    /// In base64.
    payload: String,
    #[serde(default)]
    ttl_ms: i64,
    tenant: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfClient {
    client_id: String,
    tenant: Option<String>,
}

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/topics/{topic}/ephemeral", get(list).post(set))
        .route("/v1/topics/{topic}/ephemeral/{key}", delete(clear))
}

/// `GET /v1/topics/{topic}/ephemeral`: for those who may subscribe.
async fn list(
    Caller(principal): Caller,
    State(api): State<Api>,
    topic: Result<Path<String>, PathRejection>,
    url: Result<UrlQuery<OfTenant>, QueryRejection>,
) -> Result<Response, ApiError> {
    let (Path(name), UrlQuery(url)) = (from_url(topic)?, from_url(url)?);
    let topic = api.topic(&principal, TopicVerb::Subscribe, &name, url.tenant.as_deref())?;
    let entries = api.topics().broker.list(&topic, ANSWER_BYTES_MAX).wait().await?;
    let shown = |entry: &Entry| {
        object!({
            "key": entry.key,
            "client_id": entry.client,
            "payload": STANDARD.encode(&entry.payload),
            "expires_in_ms": entry.expires_in_ms,
        })
    };
    let entries: Vec<serde_json::Value> = entries.iter().map(shown).collect();
    Ok(json(object!({ "entries": entries }).to_string()))
}

/// `POST /v1/topics/{topic}/ephemeral`
async fn set(
    Caller(principal): Caller,
    State(api): State<Api>,
    topic: Result<Path<String>, PathRejection>,
    url: Result<UrlQuery<OfTenant>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let (Path(name), UrlQuery(url)) = (from_url(topic)?, from_url(url)?);
    let (body, _room) = api.body(&headers, body).await?;
    api.still_stands(&principal).await?;
    let SetBody { client_id, key, payload, ttl_ms, tenant } = decode(&body)?;
    let topic = api.topic(&principal, TopicVerb::Publish, &name, tenant.or(url.tenant).as_deref())?;
    let payload = STANDARD.decode(payload).map_err(|_| invalid("payload", "must be base64, padded"))?;
    let (broker, of) = (api.topics().broker.clone(), topic.clone());
    let act =
        move |owner: Owner| broker.set(Set { topic: of, key: key.into(), payload: payload.into(), ttl_ms, owner });
    api.on_behalf(&principal, &topic, &client_id, act).await?;
    Ok(json("{\"set\":true}"))
}

/// `DELETE /v1/topics/{topic}/ephemeral/{key}?client_id=…`: of a key that is another's, or not there, nothing happens.
async fn clear(
    Caller(principal): Caller,
    State(api): State<Api>,
    path: Result<Path<(String, String)>, PathRejection>,
    url: Result<UrlQuery<OfClient>, QueryRejection>,
) -> Result<Response, ApiError> {
    let (Path((name, key)), UrlQuery(url)) = (from_url(path)?, from_url(url)?);
    let topic = api.topic(&principal, TopicVerb::Publish, &name, url.tenant.as_deref())?;
    let (broker, of) = (api.topics().broker.clone(), topic.clone());
    let act = move |owner: Owner| broker.clear(&of, &key, &owner);
    api.on_behalf(&principal, &topic, &url.client_id, act).await?;
    Ok(json("{\"cleared\":true}"))
}

impl Api {
    /// Acts as the owner that a client is, where that one is connected, has topics of this tenant, and is the caller's own
    /// unless that is a server.
    async fn on_behalf(
        &self,
        caller: &Arc<Principal>,
        topic: &Arc<Topic>,
        client: &str,
        act: impl FnOnce(Owner) -> Answered<()> + Send + 'static,
    ) -> Result<(), ApiError> {
        let (caller, tenant) = (caller.clone(), topic.tenant.clone());
        let visit = self.0.edge.visit(client, move |session, principal| {
            // Of other tenants' clients nothing is said, not even that they are there.
            if principal.topic_tenant() != tenant {
                return Err(TopicError::UnknownClient.into());
            }
            if !is_own(&caller, principal) {
                return Err(ApiError::new(StatusCode::FORBIDDEN, "forbidden", "this client is not yours"));
            }
            Ok(act(session.own(tenant).clone()))
        });
        let answer = visit.await?.unwrap_or_else(|| Err(TopicError::UnknownClient.into()))?;
        Ok(answer.wait().await?)
    }
}

/// Whether whoever calls may act as this client. Strangers have no names to tell them apart by.
fn is_own(caller: &Principal, client: &Principal) -> bool {
    match caller.kind {
        PrincipalKind::ApiKey => true,
        PrincipalKind::User => client.kind == PrincipalKind::User && client.user == caller.user,
        PrincipalKind::Anonymous => false,
    }
}
