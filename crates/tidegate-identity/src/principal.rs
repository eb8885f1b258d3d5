//! Someone whose identity is settled.

use std::sync::Arc;

use serde_json::{Map, Value};
use tidegate_model::Tenant;

use crate::Refusal;
use crate::said::{ANONYMOUS, is_name};

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

    /// Whose topics it has: its tenant's; strangers and those of no tenant share the common one's.
    #[must_use]
    pub fn topic_tenant(&self) -> Tenant {
        let own = self.tenant.clone().filter(|_| self.kind == PrincipalKind::User);
        own.unwrap_or_else(Tenant::common)
    }

    /// The same for a request that may name a tenant, which is for servers: by default theirs is the common one, as that of
    /// strangers is.
    ///
    /// # Errors
    /// Somebody else names one, or it is no name.
    pub fn named_topic_tenant(&self, named: Option<&str>) -> Result<Tenant, Refusal> {
        match named {
            None => Ok(self.topic_tenant()),
            Some(_) if self.kind != PrincipalKind::ApiKey => {
                Err(Refusal::forbidden("only an API key may name a tenant; yours follows from who you are"))
            }
            Some(ANONYMOUS) => Ok(Tenant::common()),
            Some(name) if is_name(name) => Ok(Tenant::new(name)),
            Some(_) => Err(Refusal {
                code: "malformed",
                message: "a tenant has a name of 1 to 256 bytes".into(),
                retryable: false,
                status: 400,
            }),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_names_the_tenant_of_a_topic() {
        let of = |kind, tenant: Option<&str>| Principal { tenant: tenant.map(Tenant::new), ..Principal::new(kind) };
        let user = of(PrincipalKind::User, Some("acme"));
        let stranger = of(PrincipalKind::Anonymous, Some(ANONYMOUS));
        let server = of(PrincipalKind::ApiKey, None);
        assert_eq!(user.topic_tenant(), Tenant::new("acme"));
        for shared in [&stranger, &server, &of(PrincipalKind::User, None)] {
            assert_eq!(shared.topic_tenant(), Tenant::common(), "{shared:?}");
        }
        assert_eq!(user.named_topic_tenant(None), Ok(Tenant::new("acme")));
        for who in [&user, &stranger] {
            assert_eq!(who.named_topic_tenant(Some("acme")).unwrap_err().status, 403, "{who:?}");
        }
        assert_eq!(server.named_topic_tenant(Some("acme")), Ok(Tenant::new("acme")));
        assert_eq!(server.named_topic_tenant(Some(ANONYMOUS)), Ok(stranger.topic_tenant()));
        for bad in ["", " ", &"x".repeat(257)] {
            assert_eq!(server.named_topic_tenant(Some(bad)).unwrap_err().status, 400, "{bad:?}");
        }
    }
}
