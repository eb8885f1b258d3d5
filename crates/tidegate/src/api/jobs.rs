//! Agents' jobs, for operators: which there are, whoever's they are, and ending one. What clients do with theirs goes over ARCP.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query as UrlQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::json as object;
use tidegate_edge::ApiError;
use tidegate_identity::Principal;
use tidegate_jobs::lease::{Constraints, Lease};
use tidegate_jobs::{Asked, Code, Fault, Filter, JobId, LIST_MAX, Owner, Status, time};
use tidegate_session::runtime::Listed;

use super::caller::{Caller, Server};
use super::{Api, from_url, internal, json};

/// What one answer brings where the request does not say.
const LIMIT: usize = 100;
/// Longest reason of a cancel, in bytes.
const REASON_BYTES_MAX: usize = 1_024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    tenant: Option<String>,
    /// Separated by commas.
    status: Option<String>,
    agent: Option<String>,
    created_after: Option<String>,
    created_before: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfTenant {
    tenant: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cancel {
    reason: Option<Box<str>>,
}

/// A job: as `session.list_jobs` has it, and whose it is.
#[derive(Serialize)]
struct Job<'a> {
    job_id: JobId,
    agent: String,
    status: &'static str,
    lease: &'a Lease,
    lease_constraints: Option<Until>,
    parent_job_id: Option<JobId>,
    created_at: String,
    trace_id: String,
    last_event_seq: u64,
    tenant: &'a str,
    owner: &'a str,
}

#[derive(Serialize)]
struct Until {
    expires_at: String,
}

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/v1/jobs", get(list))
        .route("/v1/jobs/{job}", get(one))
        .route("/v1/jobs/{job}/cancel", post(cancel))
}

/// `GET /v1/jobs?status=…,…&agent=…&created_after=…&created_before=…&limit=…&cursor=…&tenant=…`: newest first, of all tenants
/// unless one is named.
async fn list(
    Caller(principal): Caller,
    State(api): State<Api>,
    url: Result<UrlQuery<Wanted>, QueryRejection>,
) -> Result<Response, ApiError> {
    let UrlQuery(url) = from_url(url)?;
    let tenant = tenant(&principal, url.tenant.as_deref())?;
    let limit = url.limit.unwrap_or(LIMIT);
    if !(1..=LIST_MAX).contains(&limit) {
        return Err(ApiError::malformed(format!("limit must be between 1 and {LIST_MAX}")));
    }
    let filter = Filter {
        status: url.status.as_deref().map(statuses).transpose()?.unwrap_or_default(),
        agent: url.agent.as_deref().map(Asked::parse).transpose().map_err(|fault| refused(&fault))?,
        created_after_ms: url.created_after.as_deref().map(|text| at("created_after", text)).transpose()?,
        created_before_ms: url.created_before.as_deref().map(|text| at("created_before", text)).transpose()?,
    };
    let page = api.0.runtime.list(tenant, filter, limit, url.cursor.map(Into::into)).await;
    let page = page.map_err(|fault| refused(&fault))?;
    let jobs: Vec<Job<'_>> = page.jobs.iter().map(|(listed, owner)| Job::of(listed, owner)).collect();
    Ok(json(object!({ "jobs": jobs, "next_cursor": page.next_cursor }).to_string()))
}

/// `GET /v1/jobs/{job}[?tenant=…]`
async fn one(
    Caller(principal): Caller,
    State(api): State<Api>,
    job: Result<Path<String>, PathRejection>,
    url: Result<UrlQuery<OfTenant>, QueryRejection>,
) -> Result<Response, ApiError> {
    let (Path(job), UrlQuery(url)) = (from_url(job)?, from_url(url)?);
    let tenant = tenant(&principal, url.tenant.as_deref())?;
    let found = api.0.runtime.find(tenant, named(&job)?).await;
    let (listed, owner) = found.map_err(|fault| refused(&fault))?;
    serde_json::to_string(&Job::of(&listed, &owner)).map(json).map_err(|error| internal(&error))
}

/// `POST /v1/jobs/{job}/cancel[?tenant=…]`, with `{"reason":"…"}` if there is one.
async fn cancel(
    Caller(principal): Caller,
    State(api): State<Api>,
    job: Result<Path<String>, PathRejection>,
    url: Result<UrlQuery<OfTenant>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let (Path(job), UrlQuery(url)) = (from_url(job)?, from_url(url)?);
    let tenant = tenant(&principal, url.tenant.as_deref())?;
    let job = named(&job)?;
    let (body, _room) = api.body(&headers, body).await?;
    let wanted: Cancel = match body.is_empty() {
        true => Cancel::default(),
        false => serde_json::from_slice(&body)
            .map_err(|e| ApiError::new(StatusCode::BAD_REQUEST, "invalid_body", e.to_string()))?,
    };
    if wanted.reason.as_ref().is_some_and(|reason| reason.len() > REASON_BYTES_MAX) {
        return Err(ApiError::malformed(format!("reason has at most {REASON_BYTES_MAX} bytes")));
    }
    api.still_stands(&principal).await?;
    let cancelled = api.0.runtime.cancel(tenant, job, wanted.reason).await.map_err(|fault| match fault.code {
        Code::InvalidRequest => ApiError::new(StatusCode::CONFLICT, "job_ended", fault.message),
        _ => refused(&fault),
    })?;
    let (job, status) = (cancelled.accepted.job.to_string(), cancelled.status.name());
    Ok(json(object!({ "job_id": job, "status": status }).to_string()))
}

impl<'a> Job<'a> {
    fn of(listed: &'a Listed, owner: &'a Owner) -> Self {
        let accepted = &*listed.job.accepted;
        let Constraints { expires_at_ms } = accepted.constraints;
        Self {
            job_id: accepted.job,
            agent: accepted.agent.to_string(),
            status: listed.job.status.name(),
            lease: &accepted.lease,
            lease_constraints: expires_at_ms.map(|ms| Until { expires_at: written(ms) }),
            parent_job_id: accepted.parent.as_ref().map(|(job, _)| *job),
            created_at: written(accepted.accepted_at_ms),
            trace_id: accepted.trace.to_string(),
            last_event_seq: listed.last_event_seq,
            tenant: &owner.tenant,
            owner: &owner.name,
        }
    }
}

/// The tenant that is meant; `None` is all. Operators alone come so far.
fn tenant(principal: &Principal, named: Option<&str>) -> Result<Option<Arc<str>>, ApiError> {
    Server::check(principal)?;
    let named = named.map(|name| principal.named_topic_tenant(Some(name))).transpose()?;
    Ok(named.map(|tenant| tenant.name().into()))
}

fn named(job: &str) -> Result<JobId, ApiError> {
    // What is no name is nobody's.
    job.parse().map_err(|_| unknown())
}

fn unknown() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "unknown_job", "there is no such job")
}

fn statuses(text: &str) -> Result<Vec<Status>, ApiError> {
    let rule = "status must be of pending, running, success, error, cancelled and timed_out, separated by commas";
    text.split(',').map(|name| Status::named(name).ok_or_else(|| ApiError::malformed(rule))).collect()
}

fn at(name: &str, text: &str) -> Result<u64, ApiError> {
    time::read(text).ok_or_else(|| ApiError::malformed(format!("{name} must be a time such as 2026-05-13T00:00:00Z")))
}

fn written(ms: u64) -> String {
    let mut out = Vec::new();
    time::write(ms, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

fn refused(fault: &Fault) -> ApiError {
    match fault.code {
        Code::JobNotFound => unknown(),
        Code::InternalError => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", fault.message.clone()),
        _ => ApiError::malformed(fault.message.clone()),
    }
}
