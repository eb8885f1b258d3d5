//! Credentials that a job is given for its own use: whoever makes them, and how they end.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use crate::lease::{Budget, Constraints, Lease};
use crate::{AgentRef, CredentialId, JobId};

/// A credential for one job. Its value is a secret: never stored, logged or shown to anybody but the submitter and the agent.
#[derive(Clone)]
pub struct Credential {
    /// Its name, which is stored and with which it is revoked.
    pub id: CredentialId,
    /// How it is shown, such as `bearer`.
    pub scheme: Arc<str>,
    /// The secret.
    pub value: Arc<str>,
    /// Where alone it may be shown.
    pub endpoint: Arc<str>,
    /// What is spoken there, such as `openai`.
    pub profile: Option<Arc<str>>,
    /// What the upstream itself enforces of the lease.
    pub constraints: Option<Arc<serde_json::value::RawValue>>,
}

/// Without the secret.
impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What credentials are made for.
#[derive(Debug, Clone)]
pub struct Purpose {
    /// The job.
    pub job: JobId,
    /// What it is for.
    pub agent: AgentRef,
    /// To be baked in, as far as the upstream can.
    pub lease: Lease,
    /// The same.
    pub constraints: Constraints,
    /// The cap on what may be spent.
    pub budget: Option<Budget>,
}

/// Work of a provisioner's.
pub type Provisioning<T> = Pin<Box<dyn Future<Output = Result<T, ProvisionError>> + Send>>;

/// A provisioner could not.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct ProvisionError(
    /// Why, without any secret.
    pub String,
);

/// Makes credentials at an upstream, and ends them there. Without one the feature is not offered.
pub trait Provisioner: Send + Sync {
    /// How many credentials a job for this purpose gets; mostly 0 or 1. At most 16.
    fn count(&self, purpose: &Purpose) -> usize;

    /// Makes one under that name, which is stored already: if the process ends meanwhile it is revoked though it may never
    /// have been made.
    fn issue(&self, id: CredentialId, purpose: Arc<Purpose>) -> Provisioning<Credential>;

    /// Ends it. Called until it succeeds, also after a restart, so it has to succeed for one that is not there (any more).
    fn revoke(&self, id: CredentialId) -> Provisioning<()>;
}
