//! Errors as ARCP says them.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The codes of the draft, section 12. There are no others on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// The lease, or a permission, does not cover it.
    PermissionDenied,
    /// A delegation asked for more than the parent has.
    LeaseSubsetViolation,
    /// There is no such job, or not for whoever asks.
    JobNotFound,
    /// The idempotency key was used with other parameters.
    DuplicateKey,
    /// No such agent is offered.
    AgentNotAvailable,
    /// The agent is, in other versions.
    AgentVersionNotAvailable,
    /// The client cancelled it.
    Cancelled,
    /// The job took longer than it might.
    Timeout,
    /// What is asked for is no longer kept.
    ResumeWindowExpired,
    /// The other side was silent for two intervals.
    HeartbeatLost,
    /// The lease has ended.
    LeaseExpired,
    /// Nothing is left of a budget.
    BudgetExhausted,
    /// It breaks the protocol, or a bound.
    InvalidRequest,
    /// Who this is could not be settled.
    Unauthenticated,
    /// A fault of the runtime's or the agent's. Always retryable.
    InternalError,
}

impl Code {
    /// As on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::LeaseSubsetViolation => "LEASE_SUBSET_VIOLATION",
            Self::JobNotFound => "JOB_NOT_FOUND",
            Self::DuplicateKey => "DUPLICATE_KEY",
            Self::AgentNotAvailable => "AGENT_NOT_AVAILABLE",
            Self::AgentVersionNotAvailable => "AGENT_VERSION_NOT_AVAILABLE",
            Self::Cancelled => "CANCELLED",
            Self::Timeout => "TIMEOUT",
            Self::ResumeWindowExpired => "RESUME_WINDOW_EXPIRED",
            Self::HeartbeatLost => "HEARTBEAT_LOST",
            Self::LeaseExpired => "LEASE_EXPIRED",
            Self::BudgetExhausted => "BUDGET_EXHAUSTED",
            Self::InvalidRequest => "INVALID_REQUEST",
            Self::Unauthenticated => "UNAUTHENTICATED",
            Self::InternalError => "INTERNAL_ERROR",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why something was refused, or a job failed.
#[derive(Debug, Clone, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Fault {
    /// For programs.
    pub code: Code,
    /// For people; never empty, carries no secret.
    pub message: String,
    /// Whether the same may succeed later.
    pub retryable: bool,
    /// An agent's own code, and whatever it adds: a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<RawValue>>,
}

impl Fault {
    /// With the retryability that belongs to the code: only `INTERNAL_ERROR` is retryable.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.is_empty() {
            code.name().clone_into(&mut message);
        }
        Self { code, message, retryable: code == Code::InternalError, details: None }
    }

    /// A request that breaks a rule.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest, message)
    }

    /// The same with what an agent says of whether to try again; three codes have no choice.
    #[must_use]
    pub fn retryable(mut self, retryable: bool) -> Self {
        self.retryable = match self.code {
            Code::InternalError => true,
            Code::LeaseExpired | Code::BudgetExhausted => false,
            _ => retryable,
        };
        self
    }
}

impl PartialEq for Fault {
    fn eq(&self, other: &Self) -> bool {
        let text = |fault: &Self| fault.details.as_ref().map(|details| details.get().to_owned());
        (self.code, &self.message, self.retryable, text(self))
            == (other.code, &other.message, other.retryable, text(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_tried_again_is_the_codes_to_say() {
        assert!(Fault::new(Code::InternalError, "").retryable(false).retryable);
        assert!(!Fault::new(Code::BudgetExhausted, "x").retryable(true).retryable);
        assert!(Fault::new(Code::Timeout, "x").retryable(true).retryable);
        assert_eq!(Fault::new(Code::Timeout, "").message, "TIMEOUT");
        assert_eq!(serde_json::to_string(&Code::AgentVersionNotAvailable).unwrap(), "\"AGENT_VERSION_NOT_AVAILABLE\"");
    }
}
