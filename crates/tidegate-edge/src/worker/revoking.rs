//! Closing the connections of those who may not be here any more.

use std::panic::resume_unwind;
use std::rc::Rc;
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tidegate_identity::{PrincipalKind, Proof, Revocation};
use tidegate_session::CloseReason;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, timeout_at};

use super::Worker;
use crate::metrics::count;
use crate::register::Entry;

/// For finding out whether connections still stand, once what was known of them is lost. Who is not proven to by then goes.
const RECHECK_TIME: Duration = Duration::from_secs(1);
/// Of those that are being found out about at once.
const RECHECKS_MAX: usize = 512;
/// Connections closed before sockets are looked at again.
const CLOSES: usize = 64;

impl Worker {
    /// Ends connections as told, for as long as the authority lives.
    pub(crate) async fn revoke(self: Rc<Self>, mut revocations: Receiver<Revocation>) {
        // Dropped, with what is under way, when the worker ends.
        let mut rechecks = JoinSet::new();
        loop {
            let told = tokio::select! {
                told = revocations.recv() => told,
                Some(done) = rechecks.join_next() => {
                    // Who was to be checked again may stand no longer: the worker ends with it.
                    if let Err(failed) = done && let Ok(panic) = failed.try_into_panic() {
                        resume_unwind(panic);
                    }
                    continue;
                }
            };
            let revocation = match told {
                Ok(revocation) => revocation,
                Err(RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "revocations came faster than they were taken: everybody is checked again");
                    Revocation::RecheckAll
                }
                Err(RecvError::Closed) => return,
            };
            let meant = self.meant(&revocation);
            match revocation {
                Revocation::Session(_) | Revocation::User { .. } | Revocation::Tenant(_) => {
                    self.end_all(&meant, CloseReason::Revoked).await;
                }
                Revocation::Recheck(_) | Revocation::RecheckAll => {
                    rechecks.spawn_local(self.clone().recheck(meant));
                }
            }
        }
    }

    fn meant(&self, revocation: &Revocation) -> Vec<Rc<Entry>> {
        match revocation {
            Revocation::Session(session) | Revocation::Recheck(session) => self.register.of_session(session),
            Revocation::User { user, tenant } => self.register.matching(|principal| {
                principal.user == *user && (tenant.is_none() || principal.tenant == *tenant) && !user.is_empty()
            }),
            Revocation::Tenant(tenant) => self.register.matching(|principal| principal.tenant.as_ref() == Some(tenant)),
            // Also those without a session: what was missed may have been their user's end, or their tenant's.
            Revocation::RecheckAll => self.register.matching(|principal| principal.kind == PrincipalKind::User),
        }
    }

    async fn end_all(&self, entries: &[Rc<Entry>], reason: CloseReason) {
        for entries in entries.chunks(CLOSES) {
            entries.iter().for_each(|entry| self.end(entry, reason));
            yield_now().await;
        }
    }

    fn end(&self, entry: &Entry, reason: CloseReason) {
        count(&self.edge.metrics().revoked);
        if let Some(client) = entry.end(reason).and_then(|id| self.client(id)) {
            self.close(&client, reason);
        }
    }

    /// Asks again about each; whoever no longer stands, or is not known to in time, goes.
    async fn recheck(self: Rc<Self>, entries: Vec<Rc<Entry>>) {
        let by = Instant::now() + RECHECK_TIME;
        let checks = stream::iter(entries).map(|entry| {
            let worker = &self;
            async move {
                let reason = worker.stands_no_longer(&entry, by).await;
                reason.map(|reason| (entry, reason))
            }
        });
        // Many are answered at once.
        let mut checked = checks.buffer_unordered(RECHECKS_MAX).ready_chunks(CLOSES);
        while let Some(checked) = checked.next().await {
            checked.iter().flatten().for_each(|(entry, reason)| self.end(entry, *reason));
            yield_now().await;
        }
    }

    /// Why somebody has to go.
    async fn stands_no_longer(&self, entry: &Entry, by: Instant) -> Option<CloseReason> {
        // Past the time nobody is asked for nothing: those who come back are waiting for an answer.
        if Instant::now() >= by {
            return Some(CloseReason::Unverified);
        }
        let check = self.edge.authority().check(&entry.principal, Proof::Given);
        match timeout_at(by, check.wait()).await {
            Ok(Ok(())) => None,
            Ok(Err(refusal)) if refusal.code == "revoked" => Some(CloseReason::Revoked),
            // Nobody said that it was revoked: it is not known any more, or another's.
            Ok(Err(refusal)) if !refusal.retryable => Some(CloseReason::Unauthenticated),
            Ok(Err(_)) | Err(_) => Some(CloseReason::Unverified),
        }
    }
}
