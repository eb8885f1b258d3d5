//! Lines from agents.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::de::IntoDeserializer;
use serde::de::value::Error as NoCode;
use serde::{Deserialize, Serialize};
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::agents::checks;
use crate::lease::{Constraints, Lease, Namespace};
use crate::{Asked, Chunk, Code, Delegation, Fault, JobId, Kind, Said};

/// Longest line from an agent, in bytes.
pub const LINE_BYTES_MAX: usize = 2 << 20;

/// A worker's line.
#[derive(Debug)]
pub(in crate::agents) struct OfJob {
    /// About which job.
    pub(in crate::agents) job: JobId,
    /// Its number.
    pub(in crate::agents) n: u64,
    /// What it says, or what is wrong with that.
    pub(in crate::agents) said: Result<Said, String>,
}

/// All fields that any line has.
#[derive(Deserialize)]
struct Fields {
    r#type: String,
    job_id: Option<JobId>,
    n: Option<u64>,
    kind: Option<String>,
    body: Option<Box<RawValue>>,
    call: Option<u64>,
    op: Option<String>,
    target: Option<Box<str>>,
    delegate_id: Option<Arc<str>>,
    agent: Option<String>,
    input: Option<Box<RawValue>>,
    lease_request: Option<Box<RawValue>>,
    lease_constraints: Option<Box<RawValue>>,
    data: Option<Box<str>>,
    encoding: Option<String>,
    more: Option<bool>,
    result: Option<Box<RawValue>>,
    summary: Option<String>,
    code: Option<String>,
    message: Option<String>,
    retryable: Option<bool>,
    details: Option<Box<RawValue>>,
}

/// Reads a command's line, and holds it against the bounds of what is said.
///
/// # Errors
/// What is wrong with it, without anything that it says.
pub(in crate::agents) fn read(line: &[u8], now_ms: u64) -> Result<Said, String> {
    let text = std::str::from_utf8(line).map_err(|_| "it is no UTF-8")?;
    checked(json(text)?, now_ms)
}

/// The same with a worker's.
///
/// # Errors
/// What is wrong with it, if it can't be told which job and number it is.
pub(in crate::agents) fn read_of_job(line: &str, now_ms: u64) -> Result<OfJob, String> {
    if line.len() > LINE_BYTES_MAX {
        return Err(format!("it is longer than {LINE_BYTES_MAX} bytes"));
    }
    let fields: Fields = json(line)?;
    let (Some(job), Some(n)) = (fields.job_id, fields.n) else { return Err("it has no job_id and n".into()) };
    Ok(OfJob { job, n, said: checked(fields, now_ms) })
}

fn checked(fields: Fields, now_ms: u64) -> Result<Said, String> {
    let mut said = said(fields, now_ms)?;
    checks::check(&mut said).map_err(|_| "it breaks a bound, or its body has not the shape of its kind")?;
    Ok(said)
}

/// Reads JSON; says what is wrong with it without anything of it.
pub(in crate::agents) fn json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| {
        let what = match error.classify() {
            Category::Data => "a field is missing or has the wrong type",
            _ => "it is no JSON",
        };
        format!("{what} (column {})", error.column())
    })
}

fn said(fields: Fields, now_ms: u64) -> Result<Said, String> {
    fn needs<T>(field: Option<T>, name: &str) -> Result<T, String> {
        field.ok_or_else(|| format!("it has no {name}"))
    }
    Ok(match &*fields.r#type {
        "event" => {
            let kind = Kind::named(&needs(fields.kind, "kind")?).map_err(|_| "there is no such kind of event")?;
            Said::Event { kind, body: needs(fields.body, "body")? }
        }
        "chunk" => {
            let data = needs(fields.data, "data")?;
            let data = match fields.encoding.as_deref() {
                Some("utf8") => Chunk::Text(data),
                Some("base64") => {
                    Chunk::Binary(BASE64_STANDARD.decode(&*data).map_err(|_| "data is not base64")?.into())
                }
                _ => return Err("encoding is utf8 or base64".into()),
            };
            Said::Chunk { data, is_last: !needs(fields.more, "more")? }
        }
        "authorize" => {
            let op = namespace(&needs(fields.op, "op")?).map_err(|fault| fault.message)?;
            Said::Authorize { call: needs(fields.call, "call")?, op, target: needs(fields.target, "target")? }
        }
        "delegate" => {
            let asked = |json: Option<Box<RawValue>>| json.unwrap_or_else(|| RawValue::NULL.to_owned());
            let lease_request = fields.lease_request.as_deref();
            let constraints = fields.lease_constraints.as_deref();
            let delegation = Delegation {
                id: needs(fields.delegate_id, "delegate_id")?,
                agent: Asked::parse(&needs(fields.agent, "agent")?).map_err(|_| "agent is no name or name@version")?,
                input: asked(fields.input).into(),
                lease: lease_request
                    .map_or_else(|| Ok(Lease::default()), Lease::read)
                    .map_err(|_| "lease_request is no lease")?,
                constraints: constraints
                    .map_or_else(|| Ok(Constraints::default()), |json| Constraints::read(json, now_ms))
                    .map_err(|_| "lease_constraints.expires_at is no time in the future")?,
            };
            Said::Delegate { call: needs(fields.call, "call")?, delegation: Box::new(delegation) }
        }
        "result" => Said::Done { result: fields.result, summary: fields.summary },
        "error" => {
            let message = fields.message.as_deref().unwrap_or_default();
            Said::Failed(fault(&needs(fields.code, "code")?, message, fields.retryable, fields.details))
        }
        _ => return Err("there is no such type of line".into()),
    })
}

/// What an agent calls a fault. A code of its own goes into the details.
pub(in crate::agents) fn fault(
    code: &str,
    message: &str,
    retryable: Option<bool>,
    details: Option<Box<RawValue>>,
) -> Fault {
    #[derive(Serialize)]
    struct Own<'a> {
        code: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        details: Option<&'a RawValue>,
    }
    let known: Result<Code, NoCode> = Code::deserialize(code.into_deserializer());
    let (mut fault, details) = match known {
        Ok(known) => (Fault::new(known, message), details.filter(|details| details.get().starts_with('{'))),
        Err(_) => {
            let message = if message.is_empty() { code } else { message };
            let own = serde_json::value::to_raw_value(&Own { code, details: details.as_deref() }).ok();
            (Fault::new(Code::InternalError, message), own)
        }
    };
    if let Some(retryable) = retryable {
        fault = fault.retryable(retryable);
    }
    fault.details = details;
    fault
}

/// An operation that a permit is asked for.
pub(in crate::agents) fn namespace(op: &str) -> Result<Namespace, Fault> {
    Namespace::named(op)
        .ok_or_else(|| Fault::invalid("op: fs.read, fs.write, net.fetch, tool.call, agent.delegate or model.use"))
}
