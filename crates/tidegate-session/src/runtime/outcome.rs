//! What follows from what came in.

use tidegate_jobs::store::Write;
use tidegate_jobs::{CredentialId, JobId, Owner, Told};

use super::{Link, Reply};
use crate::durable::Run;

/// What follows from what came in. First `writes` are made durable, all of them at once; then the rest is done.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) writes: Vec<Write>,
    /// To connections, in order.
    pub(crate) letters: Vec<(Link, Reply)>,
    /// To agents, in order.
    pub(crate) told: Vec<(JobId, Told)>,
    pub(crate) reads: Vec<Read>,
    pub(crate) issues: Vec<(JobId, CredentialId)>,
    pub(crate) revokes: Vec<(JobId, CredentialId)>,
    pub(crate) audits: Vec<Audit>,
}

/// Events to be read from the store for a connection.
pub(crate) struct Read {
    pub(crate) to: Link,
    pub(crate) after: u64,
    pub(crate) runs: Vec<Run>,
    pub(crate) head: u64,
}

/// A decision that somebody may want to know of later.
#[derive(Debug)]
pub(crate) struct Audit {
    pub(crate) what: &'static str,
    /// Who asked.
    pub(crate) by: Owner,
    pub(crate) job: Option<JobId>,
    /// Whose that is, where whoever asked may know.
    pub(crate) of: Option<Owner>,
    pub(crate) decision: &'static str,
}
