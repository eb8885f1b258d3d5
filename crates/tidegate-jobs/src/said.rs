//! What passes between the runtime and whatever runs a job.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::credentials::Credential;
use crate::lease::{Constraints, Lease, Namespace};
use crate::{Accepted, AgentRef, Asked, Ending, Fault, JobId, Kind};

/// What an agent says. It is numbered from 1 for each job, so that a worker that comes back knows what was heard.
#[derive(Debug)]
pub struct Spoken {
    /// About which job.
    pub job: JobId,
    /// Its number.
    pub n: u64,
    /// What.
    pub said: Said,
}

/// What an agent says.
#[derive(Debug)]
pub enum Said {
    /// Something happened. A `delegate` or `result_chunk` is never said so, but as below.
    Event {
        /// What kind of thing.
        kind: Kind,
        /// Its body: a JSON object of its kind's shape, which was checked ([`Kind::check`](crate::Kind::check)).
        body: Box<RawValue>,
    },
    /// More of its result.
    Chunk {
        /// At most [`CHUNK_BYTES_MAX`](crate::CHUNK_BYTES_MAX).
        data: Chunk,
        /// Whether it is the last.
        is_last: bool,
    },
    /// May it do this now? Answered by [`Told::Permit`].
    Authorize {
        /// Names the question.
        call: u64,
        /// What it wants to do.
        op: Namespace,
        /// To what: a path, a URL, a tool, an agent, a model.
        target: Box<str>,
    },
    /// It has another agent do a part. Answered by [`Told::Delegated`], and when that has ended by [`Told::Child`].
    Delegate {
        /// Names the question.
        call: u64,
        /// What to do.
        delegation: Box<Delegation>,
    },
    /// It has done its work; what it says after that is ignored.
    Done {
        /// Any JSON. Ignored where the result was streamed.
        result: Option<Box<RawValue>>,
        /// For people.
        summary: Option<String>,
    },
    /// It has failed; what it says after that is ignored.
    Failed(Fault),
    /// A worker has come back with the job. Its number counts for nothing. Answered by [`Told::Heard`] with what was heard of the
    /// job, or by [`Told::Stop`].
    Back {
        /// The agents that it serves, which the job's has to be one of.
        serves: Arc<[AgentRef]>,
    },
}

/// A piece of a result.
#[derive(Debug, Clone)]
pub enum Chunk {
    /// Told as `utf8`.
    Text(Box<str>),
    /// Told as `base64`.
    Binary(Bytes),
}

/// A part of a job that another agent does.
#[derive(Debug, Clone)]
pub struct Delegation {
    /// What the agent calls it.
    pub id: Arc<str>,
    /// Who does it.
    pub agent: Asked,
    /// Any JSON.
    pub input: Arc<RawValue>,
    /// A subset of the parent's.
    pub lease: Lease,
    /// Not later than the parent's.
    pub constraints: Constraints,
}

/// What an agent is told about a job of its.
#[derive(Debug, Clone)]
pub enum Told {
    /// Begin. The first that is told of a job.
    Start(Arc<Start>),
    /// Everything up to this number was heard, and is stored.
    Heard(u64),
    /// Wait before saying more (`true`), or go on: whoever submitted the job reads as fast as it can, which is slower.
    Hold(bool),
    /// Whether it may.
    Permit {
        /// The question.
        call: u64,
        /// The answer.
        permit: Result<(), Fault>,
    },
    /// Whether another agent does it.
    Delegated {
        /// The question.
        call: u64,
        /// The child, or why not.
        child: Result<JobId, Fault>,
    },
    /// A child has ended.
    Child {
        /// Which.
        job: JobId,
        /// How.
        ending: Arc<Ending>,
    },
    /// Stop: the job has ended, or is about to. Nothing that it says is heard any more.
    Stop(Stop),
}

/// Why an agent has to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Its client wanted it to.
    Cancelled,
    /// It took too long.
    TimedOut,
    /// Its lease has ended.
    LeaseExpired,
    /// It broke a bound.
    Failed,
    /// The job is over, in whatever way.
    Ended,
}

/// A job to begin.
#[derive(Debug)]
pub struct Start {
    /// As its client was told.
    pub accepted: Arc<Accepted>,
    /// Any JSON.
    pub input: Arc<RawValue>,
    /// For its use alone. Never stored, never logged.
    pub credentials: Vec<Credential>,
    /// When it will be stopped, in milliseconds since 1970.
    pub ends_at_ms: Option<u64>,
}
