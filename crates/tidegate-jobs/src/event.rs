//! What is in a job's log.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{Fault, JobId, ResultId, TraceId};

/// Bytes of an envelope, which an entry counts for beside its own.
pub(crate) const AROUND: usize = 256;

/// One entry of a job's log: an event, or the job's end, which is its last.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Whose.
    pub job: JobId,
    /// Its place in the job's log: 1, 2, … without a gap.
    pub n: u64,
    /// Of the job.
    pub trace: Option<TraceId>,
    /// What happened.
    pub what: What,
}

/// What happened.
#[derive(Debug, Clone)]
pub enum What {
    /// An event: the `payload` object of a `job.event`, encoded: `{"kind":…,"ts":…,"body":…}`.
    Event(Bytes),
    /// The end.
    End(Arc<Ending>),
}

impl Entry {
    /// Bytes that it counts for against the bounds of logs.
    #[must_use]
    pub fn bytes(&self) -> usize {
        AROUND
            + match &self.what {
                What::Event(payload) => payload.len(),
                What::End(ending) => ending.bytes(),
            }
    }
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalStatus {
    /// With a result.
    Success,
    /// With a fault.
    Error,
    /// Because its client wanted it to.
    Cancelled,
    /// Because it took too long.
    TimedOut,
}

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Accepted; its agent has not begun.
    Pending,
    /// Its agent runs.
    Running,
    /// Ended with a result.
    Success,
    /// Ended with a fault.
    Error,
    /// Ended because its client wanted it to.
    Cancelled,
    /// Ended because it took too long.
    TimedOut,
}

impl From<FinalStatus> for Status {
    fn from(status: FinalStatus) -> Self {
        match status {
            FinalStatus::Success => Self::Success,
            FinalStatus::Error => Self::Error,
            FinalStatus::Cancelled => Self::Cancelled,
            FinalStatus::TimedOut => Self::TimedOut,
        }
    }
}

impl Status {
    /// As on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Success => "success",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timed_out",
        }
    }

    /// From that.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Pending, Self::Running, Self::Success, Self::Error, Self::Cancelled, Self::TimedOut]
            .into_iter()
            .find(|status| status.name() == name)
    }

    /// Whether the job has not ended.
    #[must_use]
    pub fn is_live(self) -> bool {
        matches!(self, Self::Pending | Self::Running)
    }
}

/// The end of a job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ending {
    /// How.
    pub status: FinalStatus,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// With what.
    pub outcome: Outcome,
}

/// What a job ended with.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A result in itself; `None` is that of an agent that returns nothing.
    Result {
        /// Any JSON.
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "there")]
        result: Option<Box<RawValue>>,
        /// For people.
        summary: Option<String>,
    },
    /// A result that was streamed.
    Streamed {
        /// Of its chunks.
        result_id: ResultId,
        /// Bytes of the whole, decoded.
        result_size: u64,
        /// For people.
        summary: Option<String>,
    },
    /// A fault.
    Fault(Fault),
}

/// A result that is there may be `null`.
fn there<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

impl Ending {
    fn bytes(&self) -> usize {
        match &self.outcome {
            Outcome::Result { result, summary } => {
                result.as_ref().map_or(0, |result| result.get().len()) + summary.as_ref().map_or(0, String::len)
            }
            Outcome::Streamed { summary, .. } => summary.as_ref().map_or(0, String::len),
            Outcome::Fault(fault) => {
                fault.message.len() + fault.details.as_ref().map_or(0, |details| details.get().len())
            }
        }
    }
}
