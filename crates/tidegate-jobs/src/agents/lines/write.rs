//! Lines to agents.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::lease::{Budget, Lease};
use crate::{CredentialId, Ending, Fault, FinalStatus, JobId, Outcome, ResultId, Start, Stop, Told, TraceId, time};

/// What is told, as a line without its end. `job` is named in each line of a worker's.
pub(in crate::agents) fn write(job: Option<JobId>, told: &Told) -> String {
    let line = match told {
        Told::Start(start) => begin(start),
        Told::Heard(n) => Out::Heard { job_id: job, n: *n },
        Told::Hold(held) => Out::Hold { job_id: job, held: *held },
        Told::Permit { call, permit: Ok(()) } => Out::Permit { job_id: job, call: *call },
        Told::Permit { call, permit: Err(error) } | Told::Delegated { call, child: Err(error) } => {
            Out::Refuse { job_id: job, call: *call, error }
        }
        Told::Delegated { call, child: Ok(child) } => Out::Delegated { job_id: job, call: *call, child_job_id: *child },
        Told::Child { job: child, ending } => ended(job, *child, ending),
        Told::Stop(stop) => Out::Stop { job_id: job, reason: reason(*stop) },
    };
    // Nothing in it can fail: keys are strings, and what is raw was JSON.
    serde_json::to_string(&line).unwrap_or_default()
}

/// Why a worker's connection ends, as its last line.
pub(in crate::agents) fn refused(error: &Fault) -> String {
    // As above.
    serde_json::to_string(&Out::Refused { error }).unwrap_or_default()
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Out<'a> {
    Job(Box<Begin<'a>>),
    Heard {
        #[serde(skip_serializing_if = "Option::is_none")]
        job_id: Option<JobId>,
        n: u64,
    },
    Hold {
        #[serde(skip_serializing_if = "Option::is_none")]
        job_id: Option<JobId>,
        held: bool,
    },
    Permit {
        #[serde(skip_serializing_if = "Option::is_none")]
        job_id: Option<JobId>,
        call: u64,
    },
    Refuse {
        #[serde(skip_serializing_if = "Option::is_none")]
        job_id: Option<JobId>,
        call: u64,
        error: &'a Fault,
    },
    Delegated {
        #[serde(skip_serializing_if = "Option::is_none")]
        job_id: Option<JobId>,
        call: u64,
        child_job_id: JobId,
    },
    Child(Ended<'a>),
    Stop {
        #[serde(skip_serializing_if = "Option::is_none")]
        job_id: Option<JobId>,
        reason: &'static str,
    },
    Refused {
        error: &'a Fault,
    },
}

#[derive(Serialize)]
struct Begin<'a> {
    job_id: JobId,
    agent: &'a str,
    version: &'a str,
    input: &'a RawValue,
    lease: &'a Lease,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_constraints: Option<Expires>,
    #[serde(skip_serializing_if = "Option::is_none")]
    budget: Option<BTreeMap<&'a str, Box<RawValue>>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    credentials: Vec<Shown<'a>>,
    trace_id: TraceId,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_job_id: Option<JobId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ends_at: Option<String>,
}

#[derive(Serialize)]
struct Expires {
    expires_at: String,
}

/// A credential, to the one who is to use it.
#[derive(Serialize)]
struct Shown<'a> {
    id: CredentialId,
    scheme: &'a str,
    value: &'a str,
    endpoint: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    constraints: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Ended<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    job_id: Option<JobId>,
    child_job_id: JobId,
    final_status: FinalStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result_id: Option<ResultId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result_size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a Fault>,
}

fn begin(start: &Start) -> Out<'_> {
    let accepted = &start.accepted;
    let credentials = start.credentials.iter().map(|credential| Shown {
        id: credential.id,
        scheme: &credential.scheme,
        value: &credential.value,
        endpoint: &credential.endpoint,
        profile: credential.profile.as_deref(),
        constraints: credential.constraints.as_deref(),
    });
    Out::Job(Box::new(Begin {
        job_id: accepted.job,
        agent: &accepted.agent.name,
        version: &accepted.agent.version,
        input: &start.input,
        lease: &accepted.lease,
        lease_constraints: accepted.constraints.expires_at_ms.map(|ms| Expires { expires_at: at(ms) }),
        budget: accepted.budget.as_ref().map(amounts),
        credentials: credentials.collect(),
        trace_id: accepted.trace,
        parent_job_id: accepted.parent.as_ref().map(|(parent, _)| *parent),
        ends_at: start.ends_at_ms.map(at),
    }))
}

fn ended(job_id: Option<JobId>, child_job_id: JobId, ending: &Ending) -> Out<'_> {
    let final_status = ending.status;
    let none = Ended {
        job_id,
        child_job_id,
        final_status,
        result: None,
        result_id: None,
        result_size: None,
        summary: None,
        error: None,
    };
    Out::Child(match &ending.outcome {
        Outcome::Result { result, summary } => Ended { result: result.as_deref(), summary: summary.as_deref(), ..none },
        Outcome::Streamed { result_id, result_size, summary } => {
            Ended { result_id: Some(*result_id), result_size: Some(*result_size), summary: summary.as_deref(), ..none }
        }
        Outcome::Fault(fault) => Ended { error: Some(fault), ..none },
    })
}

fn reason(stop: Stop) -> &'static str {
    match stop {
        Stop::Cancelled => "cancelled",
        Stop::TimedOut => "timed_out",
        Stop::LeaseExpired => "lease_expired",
        Stop::Failed => "failed",
        Stop::Ended => "ended",
    }
}

/// Numbers of JSON with the digits that they have.
fn amounts(budget: &Budget) -> BTreeMap<&str, Box<RawValue>> {
    let amount = |left: &Decimal| RawValue::from_string(left.to_string()).ok();
    budget.iter().filter_map(|(unit, left)| Some((&**unit, amount(left)?))).collect()
}

fn at(ms: u64) -> String {
    let mut text = Vec::new();
    time::write(ms, &mut text);
    String::from_utf8(text).unwrap_or_default()
}
