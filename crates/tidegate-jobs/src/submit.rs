//! What a client asks for, and what it is told of a job.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::lease::{Budget, Constraints, Lease};
use crate::{AgentRef, Asked, JobId, NoId, SessionId, Status};

/// The `trace-id` of a W3C trace context: 32 lower-case hex digits on the wire, not all zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceId(u128);

impl TraceId {
    /// One that nobody has; `random` is not all zero.
    #[must_use]
    pub fn new(random: u128) -> Self {
        Self(random.max(1))
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Takes a whole `traceparent` too, of which only this part is kept.
impl FromStr for TraceId {
    type Err = NoId;

    fn from_str(text: &str) -> Result<Self, NoId> {
        let digits = match text.split('-').collect::<Vec<_>>()[..] {
            [_, digits, _, _] if text.len() == 55 => digits,
            _ => text,
        };
        let is_hex = digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        let number = is_hex.then(|| u128::from_str_radix(digits, 16).ok()).flatten().filter(|number| *number != 0);
        number.map(Self).ok_or(NoId)
    }
}

/// Whose a job or a session is. Nothing crosses a tenant, whatever a policy says.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// The tenant's name; empty for the common one.
    pub tenant: Arc<str>,
    /// Who within it: `user:<name>`, `anonymous`, `key`, `local`.
    pub name: Arc<str>,
}

/// What whoever asks may do beyond what is its own.
pub trait Rights: Send + Sync {
    /// Whether it may submit jobs to the agent of that name.
    fn may_submit(&self, agent: &str) -> bool;
    /// Whether it may see jobs of the agent of that name that others of its tenant submitted.
    fn may_observe(&self, agent: &str) -> bool;
}

/// Whoever asks about jobs.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// Who.
    pub owner: &'a Owner,
    /// On which session; `None` is outside of any, where nothing can be cancelled.
    pub session: Option<SessionId>,
    /// What that one may beyond what is its own.
    pub rights: &'a dyn Rights,
}

/// A `job.submit`, decoded and within all bounds.
#[derive(Debug, Clone)]
pub struct Submit {
    /// Who.
    pub owner: Owner,
    /// On which session: it alone may cancel.
    pub session: SessionId,
    /// The agent.
    pub agent: Asked,
    /// Any JSON; `null` where there was none.
    pub input: Arc<RawValue>,
    /// What it may do.
    pub lease: Lease,
    /// Until when.
    pub constraints: Constraints,
    /// So that the same is done once.
    pub idempotency_key: Option<Arc<str>>,
    /// Seconds after which it is stopped.
    pub max_runtime_sec: Option<u64>,
    /// As the client gave it; else one is made.
    pub trace: Option<TraceId>,
}

/// What a client is told when a job is accepted: the same each time it asks with the same key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Accepted {
    /// The job.
    pub job: JobId,
    /// What it is for.
    pub agent: AgentRef,
    /// What it may do.
    pub lease: Lease,
    /// Until when.
    pub constraints: Constraints,
    /// At the start; `None` without `cost.budget`.
    pub budget: Option<Budget>,
    /// In milliseconds since 1970.
    pub accepted_at_ms: u64,
    /// Of the job.
    pub trace: TraceId,
    /// Of a delegated job: its parent, and what that called the delegation.
    pub parent: Option<(JobId, Arc<str>)>,
}

/// What whoever may see a job sees of it.
#[derive(Debug, Clone)]
pub struct Descriptor {
    /// As it was accepted.
    pub accepted: Arc<Accepted>,
    /// Where it is.
    pub status: Status,
    /// What is left; `None` without `cost.budget`.
    pub budget: Option<Budget>,
}

impl Serialize for TraceId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <std::borrow::Cow<'de, str>>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_32_digits_also_of_a_whole_traceparent() {
        let digits = "4bf92f3577b34da6a3ce929d0e0e4736";
        let trace: TraceId = digits.parse().unwrap();
        assert_eq!(trace.to_string(), digits);
        assert_eq!(format!("00-{digits}-00f067aa0ba902b7-01").parse(), Ok(trace));
        for bad in ["", "0", &"0".repeat(32), &digits.to_uppercase(), &format!("{digits}0")] {
            assert_eq!(bad.parse::<TraceId>(), Err(NoId), "{bad}");
        }
    }
}
