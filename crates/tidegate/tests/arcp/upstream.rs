//! Where credentials come from: an upstream that remembers all that was asked of it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;
use serde_json::value::to_raw_value;
use tidegate_jobs::CredentialId;
use tidegate_jobs::credentials::{Credential, ProvisionError, Provisioner, Provisioning, Purpose};
use tokio::sync::{Semaphore, watch};

/// What every secret here begins with.
pub(crate) const SECRET: &str = "sk-virt-";

/// Makes one credential for each job whose lease names models.
pub(crate) struct Upstream {
    /// What was made, by its name.
    pub(crate) made: Mutex<Vec<(CredentialId, Arc<Purpose>)>>,
    /// What was ended.
    revoked: watch::Sender<Vec<CredentialId>>,
    /// How many are made before the next one has to wait.
    room: Arc<Semaphore>,
    /// How many revocations fail first.
    pub(crate) failures: AtomicUsize,
}

impl Default for Upstream {
    fn default() -> Self {
        let room = Arc::new(Semaphore::new(1_000));
        Self { made: Mutex::default(), revoked: watch::Sender::default(), room, failures: AtomicUsize::new(0) }
    }
}

impl Upstream {
    /// One that makes nothing until it is told to.
    pub(crate) fn closed() -> Self {
        Self { room: Arc::new(Semaphore::new(0)), ..Self::default() }
    }

    pub(crate) fn open(&self) {
        self.room.add_permits(1_000);
    }

    /// One that fails to revoke so many times.
    pub(crate) fn failing(times: usize) -> Self {
        Self { failures: AtomicUsize::new(times), ..Self::default() }
    }

    /// Waits until a credential was ended.
    pub(crate) async fn revokes(&self, id: &str) {
        let mut revoked = self.revoked.subscribe();
        let is_there = |ids: &Vec<CredentialId>| ids.iter().any(|revoked| revoked.to_string() == *id);
        tidegate_testkit::clients::within("a revocation", revoked.wait_for(is_there)).await.unwrap();
    }
}

impl Provisioner for Upstream {
    fn count(&self, purpose: &Purpose) -> usize {
        usize::from(!purpose.lease.patterns("model.use").is_empty())
    }

    fn issue(&self, id: CredentialId, purpose: Arc<Purpose>) -> Provisioning<Credential> {
        let room = self.room.clone();
        self.made.lock().unwrap().push((id, purpose.clone()));
        Box::pin(async move {
            room.acquire().await.map_err(|error| ProvisionError(error.to_string()))?.forget();
            let constraints = to_raw_value(&json!({ "model.use": purpose.lease.patterns("model.use") }));
            Ok(Credential {
                id,
                scheme: "bearer".into(),
                value: format!("{SECRET}{id}").into(),
                endpoint: "https://gateway.example.com/v1".into(),
                profile: Some("openai".into()),
                constraints: constraints.ok().map(Arc::from),
            })
        })
    }

    fn revoke(&self, id: CredentialId) -> Provisioning<()> {
        let fails =
            self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok();
        if !fails {
            self.revoked.send_modify(|revoked| revoked.push(id));
        }
        Box::pin(async move { if fails { Err(ProvisionError("not now".into())) } else { Ok(()) } })
    }
}
