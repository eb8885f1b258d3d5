//! The seam: who is there, whether that one still stands, and what that one may see and change.

use std::sync::Arc;

use tidegate_model::{Entity, Guard, Query, Tenant};
use tokio::sync::broadcast;

use crate::{AgentVerb, Answer, Principal, Proof, Shown, TopicVerb};

/// A no, in the words the client gets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Refusal {
    /// For programs, such as `unauthenticated`.
    pub code: &'static str,
    /// For people; carries no secret.
    pub message: String,
    /// Whether the same may succeed later.
    pub retryable: bool,
    /// As an HTTP status, such as 401 or 403.
    pub status: u16,
}

impl Refusal {
    /// 401: who this is could not be settled, or no longer stands.
    pub fn unauthenticated(message: impl Into<String>) -> Self {
        Self { code: "unauthenticated", message: message.into(), retryable: false, status: 401 }
    }

    /// 403: it is settled, and this one may not.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self { code: "forbidden", message: message.into(), retryable: false, status: 403 }
    }

    /// 503: it cannot be found out now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { code: "identity_unavailable", message: message.into(), retryable: true, status: 503 }
    }

    /// 401: the device session was revoked.
    #[must_use]
    pub fn revoked() -> Self {
        Self {
            code: "revoked",
            message: "the session was revoked; sign in again".into(),
            retryable: false,
            status: 401,
        }
    }
}

/// Which rows a write may touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteScope {
    /// Of one tenant, whatever the row says.
    Own {
        /// Whose.
        tenant: Tenant,
        /// Which of them, and which of their columns; `None` is all.
        guard: Option<Guard>,
    },
    /// The tenant that the row names: API keys only.
    Named,
}

/// Whose connections have to end, or have to be looked at again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Revocation {
    /// The device session was revoked: its connections end.
    Session(Arc<str>),
    /// A user, in one tenant or in whichever (`None`).
    User {
        /// The user's name.
        user: Arc<str>,
        /// Only there.
        tenant: Option<Tenant>,
    },
    /// Everybody of a tenant.
    Tenant(Tenant),
    /// What is known about this session was dropped: its connections are checked again, and end if that fails.
    Recheck(Arc<str>),
    /// The same for everybody's, with a session or without: continuity was lost. Strangers and servers have nothing to check.
    RecheckAll,
}

/// Settles who a request comes from, for one that holds no connection.
///
/// # Errors
/// The refusal to send.
pub async fn admit(authority: &dyn Authority, shown: &Shown<'_>, proof: Proof<'_>) -> Result<Arc<Principal>, Refusal> {
    let principal = authority.authenticate(shown).wait().await?;
    authority.check(&principal, proof).wait().await?;
    Ok(principal)
}

/// Decides. The methods return at once: they are called from the tasks that serve sockets; what takes time is in the
/// [`Answer`].
pub trait Authority: Send + Sync {
    /// Who shows this; [`Credential::None`](crate::Credential::None) is answered with the anonymous principal where
    /// strangers are let in.
    fn authenticate(&self, shown: &Shown<'_>) -> Answer<Arc<Principal>>;

    /// Whether the principal still stands: its session is active and its user's, it was not revoked, and where that is
    /// asked for it proved that it holds the session's key. Called after the connection was registered for
    /// [`Authority::revocations`], and again on [`Revocation::Recheck`].
    fn check(&self, _principal: &Arc<Principal>, _proof: Proof<'_>) -> Answer<()> {
        Answer::Now(Ok(()))
    }

    /// Tells from now on whose connections have to end; `None` where that never happens. A receiver that lags has to
    /// treat what it missed as [`Revocation::RecheckAll`].
    fn revocations(&self) -> Option<broadcast::Receiver<Revocation>> {
        None
    }

    /// The effective query: the permission's filter added, the columns narrowed; and the tenant whose rows it reads,
    /// which follows from the principal and never from the client's message.
    ///
    /// # Errors
    /// The refusal to send.
    fn read(&self, principal: &Principal, query: Query) -> Result<(Tenant, Query), Refusal>;

    /// Whether the principal may change rows of the entity, and whose.
    ///
    /// # Errors
    /// The refusal to send.
    fn write(&self, principal: &Principal, entity: &Entity) -> Result<WriteScope, Refusal>;

    /// Whether the principal may do that with the topic of that name, in its own tenant
    /// ([`Principal::topic_tenant`]). By default nobody may.
    ///
    /// # Errors
    /// The refusal to send.
    fn topic(&self, _principal: &Principal, _verb: TopicVerb, _topic: &str) -> Result<(), Refusal> {
        Err(Refusal::forbidden("you may not do that here"))
    }

    /// Whether the principal may do that with the agent of that name, and with the jobs that others of its tenant submitted to
    /// it. Whoever may serve it has the jobs of all tenants. By default nobody may.
    ///
    /// # Errors
    /// The refusal to send.
    fn agent(&self, _principal: &Principal, _verb: AgentVerb, _agent: &str) -> Result<(), Refusal> {
        Err(Refusal::forbidden("you may not do that here"))
    }
}
