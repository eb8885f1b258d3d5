//! What a client asks for, from what it sends: every field checked, and whatever both sides did not agree to use refused.

use std::sync::Arc;

use serde_json::value::RawValue;
use tidegate_jobs::lease::{Constraints, Lease};
use tidegate_jobs::{Asked, Code, Fault, JobId, Status};
use tidegate_session::runtime::{List, Request, Submission};

use super::envelope::{Envelope, Kind};
use super::features::{Feature, Features};
use super::fields::Fields;

#[cfg(test)]
mod tests;

/// Longest idempotency key and nonce, in bytes.
const NAME_BYTES_MAX: usize = 256;
/// Longest reason of a cancel.
const REASON_BYTES_MAX: usize = 1_024;
/// Longest cursor, in bytes.
const CURSOR_BYTES_MAX: usize = 256;
/// Jobs of one page.
const LISTED_MAX: u64 = 1_000;

/// What a message of this kind needs both sides to have agreed to.
pub(super) fn needs(kind: Kind) -> Option<Feature> {
    match kind {
        Kind::Ping | Kind::Pong => Some(Feature::Heartbeat),
        Kind::Ack => Some(Feature::Ack),
        Kind::ListJobs => Some(Feature::ListJobs),
        Kind::Subscribe | Kind::Unsubscribe => Some(Feature::Subscribe),
        _ => None,
    }
}

/// Refuses what was not agreed to.
pub(super) fn agreed(features: Features, feature: Feature) -> Result<(), Fault> {
    match features.have(feature) {
        true => Ok(()),
        false => Err(Fault::invalid(format!("the feature {} was not agreed to", feature.name()))),
    }
}

/// The request that a message is.
pub(super) fn read(envelope: &Envelope<'_>, features: Features, now_ms: u64) -> Result<Request, Fault> {
    let payload = envelope.payload()?;
    Ok(match envelope.kind {
        Kind::Submit => Request::Submit(Box::new(submission(envelope, &payload, features, now_ms)?)),
        Kind::Cancel => Request::Cancel { job: job(envelope, &payload)?, reason: reason(&payload)? },
        Kind::Subscribe => Request::Subscribe {
            job: job(envelope, &payload)?,
            from_event_seq: payload.number("from_event_seq")?.unwrap_or(0),
            history: payload.flag("history")?.unwrap_or(false),
        },
        Kind::Unsubscribe => Request::Unsubscribe { job: job(envelope, &payload)? },
        Kind::ListJobs => Request::List(Box::new(list(&payload)?)),
        Kind::Close => Request::Close,
        Kind::Hello | Kind::Resume => return Err(Fault::invalid("the session has begun already")),
        Kind::Ping | Kind::Pong | Kind::Ack | Kind::Ignored => return Err(Fault::invalid("this asks for nothing")),
    })
}

/// `last_processed_seq` of an acknowledgement.
pub(super) fn acknowledged(envelope: &Envelope<'_>) -> Result<u64, Fault> {
    let payload = envelope.payload()?;
    payload.needed("last_processed_seq", payload.number("last_processed_seq")?)
}

/// The nonce of a ping.
pub(super) fn nonce(envelope: &Envelope<'_>) -> Result<Box<str>, Fault> {
    let payload = envelope.payload()?;
    payload.needed("nonce", short(&payload, "nonce")?)
}

fn submission(
    envelope: &Envelope<'_>,
    payload: &Fields<'_>,
    features: Features,
    now_ms: u64,
) -> Result<Submission, Fault> {
    let agent = Asked::parse(&payload.needed("agent", payload.text("agent")?)?)?;
    if agent.version.is_some() {
        agreed(features, Feature::AgentVersions)?;
    }
    let lease = payload.raw("lease_request").map(Lease::read).transpose()?.unwrap_or_default();
    for (namespace, feature) in [("cost.budget", Feature::CostBudget), ("model.use", Feature::ModelUse)] {
        if !lease.patterns(namespace).is_empty() {
            agreed(features, feature)?;
        }
    }
    let constraints = payload.raw("lease_constraints").map(|json| Constraints::read(json, now_ms));
    let constraints = constraints.transpose()?.unwrap_or_default();
    if constraints.expires_at_ms.is_some() {
        agreed(features, Feature::LeaseExpiresAt)?;
    }
    let max_runtime_sec = payload.number("max_runtime_sec")?;
    if max_runtime_sec == Some(0) {
        return Err(payload.bad("max_runtime_sec", "at least 1"));
    }
    Ok(Submission {
        agent,
        input: payload.raw("input").unwrap_or(RawValue::NULL).to_owned().into(),
        lease,
        constraints,
        idempotency_key: short(payload, "idempotency_key")?.map(Arc::from),
        max_runtime_sec,
        trace: envelope.trace,
    })
}

/// Which job: named in the payload, or around it.
fn job(envelope: &Envelope<'_>, payload: &Fields<'_>) -> Result<JobId, Fault> {
    let name = payload.text("job_id")?;
    let name = match (&name, &envelope.job_id) {
        (Some(inner), Some(outer)) if inner != outer => {
            return Err(Fault::invalid("payload.job_id and job_id name different jobs"));
        }
        (Some(name), _) | (None, Some(name)) => name,
        (None, None) => return Err(Fault::invalid("payload.job_id is missing")),
    };
    // What is no name of ours names no job.
    name.parse().map_err(|_| Fault::new(Code::JobNotFound, "there is no such job"))
}

fn reason(payload: &Fields<'_>) -> Result<Option<Arc<str>>, Fault> {
    let reason = payload.text("reason")?;
    if reason.as_ref().is_some_and(|reason| reason.len() > REASON_BYTES_MAX) {
        return Err(payload.bad("reason", "at most 1024 bytes long"));
    }
    Ok(reason.map(Arc::from))
}

fn list(payload: &Fields<'_>) -> Result<List, Fault> {
    let filter = payload.object("filter", "payload.filter.")?.unwrap_or_else(|| Fields::none("payload.filter."));
    let status = filter.texts("status")?.unwrap_or_default();
    let status = status.iter().map(|name| Status::named(name)).collect::<Option<Vec<_>>>();
    let status =
        status.ok_or_else(|| filter.bad("status", "of pending, running, success, error, cancelled and timed_out"))?;
    let agent = match filter.text("agent")? {
        Some(name) => Some(Asked::parse(&name).map_err(|_| filter.bad("agent", "name or name@version"))?),
        None => None,
    };
    let limit = payload.number("limit")?;
    if limit.is_some_and(|limit| !(1..=LISTED_MAX).contains(&limit)) {
        return Err(payload.bad("limit", "1 to 1000"));
    }
    let cursor = payload.text("cursor")?.filter(|cursor| !cursor.is_empty());
    if cursor.as_ref().is_some_and(|cursor| cursor.len() > CURSOR_BYTES_MAX) {
        return Err(payload.bad("cursor", "a next_cursor"));
    }
    Ok(List {
        status,
        agent,
        created_after_ms: time(&filter, "created_after")?,
        created_before_ms: time(&filter, "created_before")?,
        limit: limit.and_then(|limit| usize::try_from(limit).ok()),
        cursor: cursor.map(Into::into),
    })
}

/// A time with any offset: it only has to be compared.
fn time(filter: &Fields<'_>, name: &'static str) -> Result<Option<u64>, Fault> {
    let Some(text) = filter.text(name)? else { return Ok(None) };
    let time: jiff::Timestamp = text.parse().map_err(|_| filter.bad(name, "a time of RFC 3339"))?;
    Ok(Some(u64::try_from(time.as_millisecond()).unwrap_or(0)))
}

/// A name: neither empty nor long.
fn short(payload: &Fields<'_>, name: &'static str) -> Result<Option<Box<str>>, Fault> {
    let text = payload.text(name)?;
    if text.as_ref().is_some_and(|text| text.is_empty() || text.len() > NAME_BYTES_MAX) {
        return Err(payload.bad(name, "1 to 256 bytes long"));
    }
    Ok(text.map(Into::into))
}
