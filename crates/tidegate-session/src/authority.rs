//! The seam to identity: who is there, and what that one may see and change.

use std::fmt;
use std::sync::Arc;

use tidegate_model::{Entity, Query, Tenant};

/// Someone whose identity is settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The user's name; empty for an anonymous one.
    pub user: Arc<str>,
    /// From the verified identity, never from a message.
    pub tenant: Option<Tenant>,
    /// What permissions are granted to.
    pub roles: Vec<Arc<str>>,
    /// How the identity was settled.
    pub kind: PrincipalKind,
}

/// How an identity was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PrincipalKind {
    /// It was not: a stranger.
    Anonymous,
    /// By a token.
    User,
    /// By a server's key.
    ApiKey,
}

/// What a client shows. Never logged: `Debug` prints the kind alone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Credential<'a> {
    /// Nothing.
    None,
    /// A bearer token.
    Bearer(&'a str),
    /// A server's key.
    ApiKey(&'a str),
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Credential::None => "None",
            Credential::Bearer(_) => "Bearer",
            Credential::ApiKey(_) => "ApiKey",
        })
    }
}

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

/// Whose rows a write may touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteScope {
    /// This tenant's, whatever the row says.
    Own(Tenant),
    /// The tenant that the row names: API keys only.
    Named,
}

/// Decides. Answers at once: called from the tasks that serve sockets.
pub trait Authority: Send + Sync {
    /// Who shows this credential; [`Credential::None`] is answered with the anonymous principal where strangers are let
    /// in.
    ///
    /// # Errors
    /// The refusal to send.
    fn authenticate(&self, credential: Credential<'_>) -> Result<Arc<Principal>, Refusal>;

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
}
