//! Someone whose identity is settled.

use std::sync::Arc;

use serde_json::{Map, Value};
use tidegate_model::Tenant;

/// The claims that permissions name, by their names there; others are not kept.
pub type Claims = Arc<Map<String, Value>>;

/// Someone whose identity is settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The user's name; empty for an anonymous one and for a server.
    pub user: Arc<str>,
    /// From the verified identity, never from a message.
    pub tenant: Option<Tenant>,
    /// What permissions are granted to.
    pub roles: Arc<[Arc<str>]>,
    /// How the identity was settled.
    pub kind: PrincipalKind,
    /// The device session that it is bound to.
    pub session: Option<Arc<str>>,
    /// What permissions refer to as `$claims.<name>`.
    pub claims: Claims,
    /// When the token was issued, in milliseconds since 1970.
    pub issued_at_ms: Option<u64>,
    /// When the identity ends, in milliseconds since 1970: with a token, at its `exp`.
    pub expires_at_ms: Option<u64>,
}

/// How an identity was settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PrincipalKind {
    /// It was not: a stranger.
    Anonymous,
    /// By a token, or by the application's connect hook.
    User,
    /// By a server's key.
    ApiKey,
}

impl Principal {
    /// Someone of a kind, of whom nothing else is known.
    #[must_use]
    pub fn new(kind: PrincipalKind) -> Self {
        Self {
            user: "".into(),
            tenant: None,
            roles: Arc::default(),
            kind,
            session: None,
            claims: Claims::default(),
            issued_at_ms: None,
            expires_at_ms: None,
        }
    }

    /// Whether both are the same one for permissions: what was decided for one holds for the other.
    #[must_use]
    pub fn has_the_same_rights(&self, other: &Self) -> bool {
        let rights = |principal: &Self| {
            let Self { user, tenant, roles, kind, claims, .. } = principal.clone();
            (user, tenant, roles, kind, claims)
        };
        rights(self) == rights(other)
    }
}
