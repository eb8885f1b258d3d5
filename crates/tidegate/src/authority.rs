//! Who may do what, as configuration says it: API keys may do everything, strangers what the permissions grant.

use std::sync::Arc;

use tidegate_identity::{
    Answer, Authority, Credential, Grant, Principal, PrincipalKind, Refusal, Secret, Settings, Shown, WriteScope,
};
use tidegate_model::{Entity, Query, Tenant};

/// The tenant that all strangers share, in entities that have a tenant column.
const ANONYMOUS_TENANT: &str = "anonymous";

/// The authority of this version: keys, strangers and permissions from configuration.
#[derive(Debug)]
pub struct Permissions {
    api_keys: Vec<Secret>,
    /// A bearer token that counts as a stranger's (the demo's).
    guest_token: Option<&'static str>,
    /// Who strangers are, where they are let in: the same for all.
    stranger: Option<Arc<Principal>>,
    granted: tidegate_identity::Permissions,
}

impl Permissions {
    /// From configuration.
    #[must_use]
    pub fn new(identity: &Settings, grants: Vec<Grant>) -> Self {
        let stranger = identity.anonymous.then(|| {
            Arc::new(Principal {
                tenant: Some(Tenant::new(ANONYMOUS_TENANT)),
                roles: ["anonymous".into()].into(),
                ..Principal::new(PrincipalKind::Anonymous)
            })
        });
        Self {
            api_keys: identity.api_keys.clone(),
            guest_token: None,
            stranger,
            granted: tidegate_identity::Permissions::new(grants),
        }
    }

    /// Lets a bearer token in as a stranger.
    #[must_use]
    pub fn with_guest_token(self, token: &'static str) -> Self {
        Self { guest_token: Some(token), ..self }
    }

    /// Whether strangers may do everything: they are let in and no permission says what they may do.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.stranger.is_some() && self.granted.is_empty()
    }

    /// Every key is compared in full, so that the time taken tells nothing about which comes close.
    fn knows_key(&self, given: &str) -> bool {
        self.api_keys.iter().fold(false, |known, key| known | key.is(given))
    }

    fn stranger(&self) -> Result<Arc<Principal>, Refusal> {
        self.stranger.clone().ok_or_else(|| unauthenticated("credentials are needed"))
    }
}

impl Authority for Permissions {
    fn authenticate(&self, shown: &Shown<'_>) -> Answer<Arc<Principal>> {
        Answer::Now(match shown.credential {
            Credential::None => self.stranger(),
            Credential::Bearer(token) if self.guest_token.is_some_and(|guest| guest == token) => self.stranger(),
            Credential::Bearer(key) | Credential::ApiKey(key) if self.knows_key(key) => {
                Ok(Arc::new(Principal::new(PrincipalKind::ApiKey)))
            }
            Credential::Bearer(_) => Err(unauthenticated("the token is not valid here")),
            Credential::ApiKey(_) => Err(unauthenticated("the API key is not valid")),
        })
    }

    fn read(&self, principal: &Principal, query: Query) -> Result<(Tenant, Query), Refusal> {
        self.granted.read(principal, query, self.is_open())
    }

    fn write(&self, principal: &Principal, entity: &Entity) -> Result<WriteScope, Refusal> {
        self.granted.write(principal, entity, self.is_open())
    }
}

}

fn unauthenticated(message: &str) -> Refusal {
    Refusal { code: "unauthenticated", message: message.into(), retryable: false, status: 401 }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, Flags};

    const ENTITIES: &str = r#"
[[entity]]
name = "asset"
key = ["id"]
columns = { id = "int", name = "text", temp = "float", secret = "text" }
[[entity]]
name = "note"
key = ["id"]
tenant = "org"
columns = { id = "int", org = "text" }
"#;

    fn config(text: &str) -> Config {
        let text = format!("{text}{ENTITIES}");
        Config::layered(Some((Path::new("t.toml"), &text)), [], &Flags::default()).unwrap()
    }

    fn permissions(text: &str) -> (Permissions, Config) {
        let config = config(text);
        let grants = config.grants(config.catalog().unwrap()).unwrap();
        (Permissions::new(&config.identity, grants), config)
    }

    fn authenticate(permissions: &Permissions, credential: Credential<'_>) -> Result<Arc<Principal>, Refusal> {
        match permissions.authenticate(&Shown { credential, headers: &axum::http::HeaderMap::new() }) {
            Answer::Now(answer) => answer,
            Answer::Later(_) => panic!("not at once"),
        }
    }

    fn query(config: &Config, json: &str) -> Query {
        Query::from_json(config.catalog().unwrap(), json).unwrap()
    }

    #[test]
    fn no_configuration_opens_anything_to_strangers() {
        let (permissions, _) = permissions("");
        assert_eq!(authenticate(&permissions, Credential::None).unwrap_err().status, 401);
        assert_eq!(authenticate(&permissions, Credential::Bearer("x")).unwrap_err().status, 401);
        assert_eq!(authenticate(&permissions, Credential::ApiKey("")).unwrap_err().status, 401);
    }

    #[test]
    fn strangers_without_any_permission_set_may_do_everything() {
        let (permissions, config) = permissions("[identity]\nanonymous = true\n");
        assert!(permissions.is_open());
        let stranger = authenticate(&permissions, Credential::None).unwrap();
        let (tenant, _) = permissions.read(&stranger, query(&config, r#"{"entity":"note"}"#)).unwrap();
        assert_eq!(tenant.name(), "anonymous");
        let asset = config.catalog().unwrap().by_name("asset").unwrap();
        assert_eq!(
            permissions.write(&stranger, asset).unwrap(),
            WriteScope::Own { tenant: Tenant::common(), guard: None }
        );
    }

    #[test]
    fn keys_may_do_everything_and_name_their_tenant() {
        let (permissions, config) = permissions("[identity]\napi_keys = [\"first\", \"second\"]\n");
        for credential in [Credential::ApiKey("second"), Credential::Bearer("first")] {
            let server = authenticate(&permissions, credential).unwrap();
            let note = config.catalog().unwrap().by_name("note").unwrap();
            assert_eq!(permissions.write(&server, note).unwrap(), WriteScope::Named);
            let refused = permissions.read(&server, query(&config, r#"{"entity":"note"}"#)).unwrap_err();
            assert_eq!(refused.code, "tenant_needed");
            let named = r#"{"entity":"note","where":[{"column":"org","op":"eq","value":"a"}]}"#;
            assert_eq!(permissions.read(&server, query(&config, named)).unwrap().0.name(), "a");
        }
        for wrong in ["", "firs", "first2", "thirds"] {
            assert!(authenticate(&permissions, Credential::ApiKey(wrong)).is_err());
        }
    }
}
