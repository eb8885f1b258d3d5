//! The payloads of what clients are told, as they are on the wire.

use std::fmt::Display;

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use tidegate_jobs::lease::{Budget, Constraints, Lease};
use tidegate_jobs::{AgentRef, CredentialId, Fault, JobId, ResultId, SessionId, TraceId, credentials, time};
use tidegate_session::runtime::Listed;

use crate::arcp::dialect::Dialect;

type Written<S> = Result<<S as Serializer>::Ok, <S as Serializer>::Error>;

/// Something by its text.
pub(super) struct Text<'a, T>(pub(super) &'a T);

impl<T: Display> Serialize for Text<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Written<S> {
        serializer.collect_str(self.0)
    }
}

/// Milliseconds since 1970, as RFC 3339.
#[derive(Clone, Copy)]
pub(super) struct Time(pub(super) u64);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Written<S> {
        let mut text = Vec::with_capacity(24);
        time::write(self.0, &mut text);
        serializer.serialize_str(std::str::from_utf8(&text).map_err(serde::ser::Error::custom)?)
    }
}

/// What is left by currency: numbers, or `USD:5.00` where a library reads only that.
pub(super) struct Money<'a> {
    budget: &'a Budget,
    is_text: bool,
}

impl<'a> Money<'a> {
    pub(super) fn new(budget: &'a Budget, dialect: Dialect) -> Self {
        Self { budget, is_text: dialect == Dialect::Python }
    }
}

impl Serialize for Money<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Written<S> {
        let mut map = serializer.serialize_map(None)?;
        for (unit, left) in self.budget.iter() {
            if self.is_text {
                map.serialize_entry(&**unit, &format!("{unit}:{left}"))?;
            } else {
                // By its digits: a float would be another number.
                let digits = RawValue::from_string(left.normalize().to_string()).map_err(serde::ser::Error::custom)?;
                map.serialize_entry(&**unit, &digits)?;
            }
        }
        map.end()
    }
}

/// What is said of a fault.
pub(super) struct Shown<'a>(pub(super) &'a Fault);

/// The fields of it in another object.
impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Written<S> {
        let Fault { code, message, retryable, details } = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("code", code)?;
        map.serialize_entry("message", if message.is_empty() { code.name() } else { message })?;
        map.serialize_entry("retryable", retryable)?;
        if let Some(details) = details {
            map.serialize_entry("details", details)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
pub(super) struct Nothing {}

#[derive(Serialize)]
pub(super) struct Welcome<'a> {
    pub(super) runtime: Runtime,
    pub(super) session_id: SessionId,
    pub(super) resume_token: &'a str,
    pub(super) resume_window_sec: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) heartbeat_interval_sec: Option<u64>,
    pub(super) accepted_at: Time,
    pub(super) capabilities: Capabilities<'a>,
}

#[derive(Serialize)]
pub(super) struct Runtime {
    pub(super) name: &'static str,
    pub(super) version: &'static str,
}

#[derive(Serialize)]
pub(super) struct Capabilities<'a> {
    pub(super) encodings: [&'static str; 1],
    pub(super) features: Vec<&'static str>,
    pub(super) agents: Vec<Agent<'a>>,
}

#[derive(Serialize)]
pub(super) struct Agent<'a> {
    pub(super) name: &'a str,
    pub(super) versions: Vec<&'a str>,
    pub(super) default: &'a str,
}

#[derive(Serialize)]
pub(super) struct SessionError<'a> {
    #[serde(flatten)]
    pub(super) fault: Shown<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) job_id: Option<JobId>,
}

#[derive(Serialize)]
pub(super) struct Ping {
    pub(super) nonce: String,
    pub(super) sent_at: Time,
}

#[derive(Serialize)]
pub(super) struct Pong<'a> {
    pub(super) ping_nonce: &'a str,
    pub(super) received_at: Time,
}

#[derive(Serialize)]
pub(super) struct Accepted<'a> {
    pub(super) job_id: JobId,
    pub(super) agent: Text<'a, AgentRef>,
    pub(super) lease: &'a Lease,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lease_constraints: Option<Until>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) budget: Option<Money<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) credentials: Vec<Credential<'a>>,
    pub(super) accepted_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_id: Option<&'a str>,
    pub(super) trace_id: TraceId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parent_job_id: Option<JobId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) delegate_id: Option<&'a str>,
}

/// `lease_constraints`.
#[derive(Serialize)]
pub(super) struct Until {
    expires_at: Time,
}

pub(super) fn constraints(constraints: &Constraints) -> Option<Until> {
    constraints.expires_at_ms.map(|at| Until { expires_at: Time(at) })
}

/// With its secret.
#[derive(Serialize)]
pub(super) struct Credential<'a> {
    id: CredentialId,
    scheme: &'a str,
    value: &'a str,
    endpoint: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    constraints: Option<&'a RawValue>,
}

impl<'a> Credential<'a> {
    pub(super) fn of(credential: &'a credentials::Credential) -> Self {
        let credentials::Credential { id, scheme, value, endpoint, profile, constraints } = credential;
        let (profile, constraints) = (profile.as_deref(), constraints.as_deref());
        Self { id: *id, scheme, value, endpoint, profile, constraints }
    }
}

#[derive(Serialize)]
pub(super) struct Cancelled<'a> {
    pub(super) job_id: JobId,
    pub(super) request_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct Subscribed<'a> {
    pub(super) job_id: JobId,
    pub(super) request_id: &'a str,
    pub(super) current_status: &'static str,
    pub(super) agent: Text<'a, AgentRef>,
    pub(super) lease: &'a Lease,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lease_constraints: Option<Until>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) budget: Option<Money<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) credentials: Vec<Credential<'a>>,
    /// `null` where there is none.
    pub(super) parent_job_id: Option<JobId>,
    pub(super) trace_id: TraceId,
    pub(super) subscribed_from: u64,
    pub(super) replayed: bool,
}

#[derive(Serialize)]
pub(super) struct Jobs<'a> {
    pub(super) request_id: &'a str,
    pub(super) jobs: Vec<Box<RawValue>>,
    /// `null` where there is none.
    pub(super) next_cursor: Option<&'a str>,
}

/// A job in a list.
#[derive(Serialize)]
pub(super) struct Entry<'a> {
    job_id: JobId,
    agent: Text<'a, AgentRef>,
    status: &'static str,
    lease: &'a Lease,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_constraints: Option<Until>,
    /// `null` where there is none.
    parent_job_id: Option<JobId>,
    created_at: Time,
    submitted_at: Time,
    trace_id: TraceId,
    last_event_seq: u64,
}

impl<'a> Entry<'a> {
    pub(super) fn of(listed: &'a Listed) -> Self {
        let accepted = &listed.job.accepted;
        let created_at = Time(accepted.accepted_at_ms);
        Self {
            job_id: accepted.job,
            agent: Text(&accepted.agent),
            status: listed.job.status.name(),
            lease: &accepted.lease,
            lease_constraints: constraints(&accepted.constraints),
            parent_job_id: accepted.parent.as_ref().map(|(job, _)| *job),
            created_at,
            submitted_at: created_at,
            trace_id: accepted.trace,
            last_event_seq: listed.last_event_seq,
        }
    }
}

/// Of a `job.result`.
#[derive(Serialize)]
pub(super) struct Done<'a> {
    pub(super) final_status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<&'a RawValue>,
    /// The same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) output: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) result_id: Option<ResultId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) result_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) summary: Option<&'a str>,
    pub(super) completed_at: Time,
}

impl Done<'_> {
    /// Of nothing.
    pub(super) fn at(completed_at: Time) -> Self {
        Self {
            final_status: "success",
            result: None,
            output: None,
            result_id: None,
            result_size: None,
            summary: None,
            completed_at,
        }
    }
}

/// Of a `job.error`.
#[derive(Serialize)]
pub(super) struct Failed<'a> {
    pub(super) final_status: &'static str,
    #[serde(flatten)]
    pub(super) fault: Shown<'a>,
    pub(super) completed_at: Time,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_id: Option<&'a str>,
}
