//! Credentials: made and ended at an upstream, which takes time.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tidegate_jobs::credentials::{ProvisionError, Provisioner, Purpose};
use tidegate_jobs::{CredentialId, JobId};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::RuntimeMetrics;
use super::metrics::count;
use super::thread::Input;

/// For one call of a provisioner.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between tries of a revocation: the first, and the longest.
const RETRY: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(60);

pub(crate) struct Provision {
    by: Arc<dyn Provisioner>,
    inputs: mpsc::Sender<Input>,
    metrics: Arc<RuntimeMetrics>,
    on: Handle,
}

impl Provision {
    pub(crate) fn new(
        by: Arc<dyn Provisioner>,
        inputs: mpsc::Sender<Input>,
        metrics: Arc<RuntimeMetrics>,
        on: Handle,
    ) -> Self {
        Self { by, inputs, metrics, on }
    }

    /// Has a credential made, whose name is stored.
    pub(crate) fn issue(&self, job: JobId, id: CredentialId, purpose: Purpose) {
        let (issuing, inputs) = (self.by.issue(id, Arc::new(purpose)), self.inputs.clone());
        self.on.spawn(async move {
            let late = || Err(ProvisionError("the provisioner did not answer in time".into()));
            let made = timeout(PATIENCE, issuing).await.unwrap_or_else(|_| late());
            // Where the runtime has ended, the next one revokes it.
            let _ = inputs.send(Input::Issued(job, id, made)).await;
        });
    }

    /// Has a credential ended, however often that has to be tried.
    pub(crate) fn revoke(&self, id: CredentialId) {
        let (by, inputs, metrics) = (self.by.clone(), self.inputs.clone(), self.metrics.clone());
        metrics.unrevoked.fetch_add(1, Ordering::Relaxed);
        self.on.spawn(async move {
            let mut wait = RETRY;
            loop {
                match timeout(PATIENCE, by.revoke(id)).await {
                    Ok(Ok(())) => break,
                    Ok(Err(error)) => tracing::error!(credential = %id, %error, "a credential cannot be revoked"),
                    Err(_) => tracing::error!(credential = %id, "a credential cannot be revoked: no answer in time"),
                }
                count(&metrics.revoke_failures);
                sleep(wait).await;
                wait = (wait * 2).min(RETRY_MAX);
            }
            metrics.unrevoked.fetch_sub(1, Ordering::Relaxed);
            let _ = inputs.send(Input::Revoked(id)).await;
        });
    }
}
