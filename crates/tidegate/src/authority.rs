//! Who may do what, as configuration says it: API keys may do everything, strangers what the permissions grant.

use std::sync::Arc;

use tidegate_identity::{
    Answer, Authority, Credential, Principal, PrincipalKind, Refusal, Secret, Settings, Shown, WriteScope,
};
use tidegate_model::{Comparison, Entity, Filter, Query, Tenant, Value};

use crate::config::Grant;

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
    grants: Vec<Grant>,
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
        Self { api_keys: identity.api_keys.clone(), guest_token: None, stranger, grants }
    }

    /// Lets a bearer token in as a stranger.
    #[must_use]
    pub fn with_guest_token(self, token: &'static str) -> Self {
        Self { guest_token: Some(token), ..self }
    }

    /// Whether strangers may do everything: they are let in and no permission says what they may do.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.stranger.is_some() && self.grants.is_empty()
    }

    /// Every key is compared in full, so that the time taken tells nothing about which comes close.
    fn knows_key(&self, given: &str) -> bool {
        self.api_keys.iter().fold(false, |known, key| known | key.is(given))
    }

    fn stranger(&self) -> Result<Arc<Principal>, Refusal> {
        self.stranger.clone().ok_or_else(|| unauthenticated("credentials are needed"))
    }

    fn granted<'a>(&'a self, entity: &'a Entity) -> impl Iterator<Item = &'a Grant> {
        self.grants.iter().filter(|grant| grant.entity == entity.id())
    }

    /// The query under the permissions of strangers.
    fn narrowed(&self, mut query: Query) -> Result<Query, Refusal> {
        if self.is_open() {
            return Ok(query);
        }
        let entity = query.entity.clone();
        let grants: Vec<&Grant> = self.granted(&entity).filter(|grant| grant.read).collect();
        let Some(first) = grants.first() else {
            return Err(forbidden(format!("you may not read {:?}", &**entity.name())));
        };
        // Configuration makes sure that all of them have the same columns.
        if let Some(columns) = &first.columns {
            narrow_columns(&mut query, columns)?;
        }
        let filters: Vec<Filter> = grants.iter().map(|grant| grant.filter.clone()).collect();
        if !filters.contains(&Filter::everything()) {
            let granted = if filters.len() == 1 { Filter::all(filters) } else { Filter::Any(filters.into()) };
            query.filter = Filter::all(vec![query.filter, granted]);
        }
        Ok(query)
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
        match (query.entity.tenant(), principal.kind) {
            (None, PrincipalKind::ApiKey) => Ok((Tenant::common(), query)),
            (Some(column), PrincipalKind::ApiKey) => match named_tenant(&query.filter, column) {
                Some(tenant) => Ok((tenant, query)),
                None => Err(Refusal {
                    code: "tenant_needed",
                    message: format!(
                        "an API key reads one tenant: add {{\"column\":{:?},\"op\":\"eq\",\"value\":…}} to where",
                        &*query.entity.column(column).name
                    ),
                    retryable: false,
                    status: 400,
                }),
            },
            (column, _) => {
                let tenant = column.and(principal.tenant.clone()).unwrap_or_else(Tenant::common);
                Ok((tenant, self.narrowed(query)?))
            }
        }
    }

    fn write(&self, principal: &Principal, entity: &Entity) -> Result<WriteScope, Refusal> {
        if principal.kind == PrincipalKind::ApiKey {
            return Ok(WriteScope::Named);
        }
        if !self.is_open() && !self.granted(entity).any(|grant| grant.write) {
            return Err(forbidden(format!("you may not change {:?}", &**entity.name())));
        }
        let own = entity.tenant().and(principal.tenant.clone()).unwrap_or_else(Tenant::common);
        Ok(WriteScope::Own(own))
    }
}

/// The tenant that a filter asks for by an equality that must hold.
fn named_tenant(filter: &Filter, tenant: u16) -> Option<Tenant> {
    filter.conjuncts().iter().find_map(|conjunct| match conjunct {
        Filter::Compare { column, op: Comparison::Eq, value: Value::Text(name) } if *column == tenant => {
            Some(Tenant::new(name))
        }
        _ => None,
    })
}

fn narrow_columns(query: &mut Query, columns: &[u16]) -> Result<(), Refusal> {
    let hidden = |set: u128| (0..128).find(|column| set & (1 << column) != 0 && !columns.contains(column));
    let sorted = query.order.sort().iter().fold(0, |set, term| set | 1 << term.column);
    if let Some(column) = hidden(query.filter.columns() | sorted) {
        let name = &query.entity.column(column).name;
        return Err(forbidden(format!("you may not see {name:?}, so you may not filter or sort by it")));
    }
    query.select = query.select.iter().copied().filter(|column| columns.contains(column)).collect();
    if query.select.is_empty() {
        return Err(forbidden("you may see none of the selected columns".into()));
    }
    Ok(())
}

fn unauthenticated(message: &str) -> Refusal {
    Refusal { code: "unauthenticated", message: message.into(), retryable: false, status: 401 }
}

fn forbidden(message: String) -> Refusal {
    Refusal { code: "forbidden", message, retryable: false, status: 403 }
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
        assert_eq!(permissions.write(&stranger, asset).unwrap(), WriteScope::Own(Tenant::common()));
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

    const GRANTS: &str = r#"
[identity]
anonymous = true
[[permission]]
roles = ["*"]
entities = ["asset"]
may = ["read"]
where = [{ column = "temp", op = "gt", value = 5 }]
columns = ["id", "name"]
"#;

    #[test]
    fn a_permission_narrows_rows_and_columns() {
        let (permissions, config) = permissions(GRANTS);
        let stranger = authenticate(&permissions, Credential::None).unwrap();
        let asked = r#"{"entity":"asset","where":[{"column":"name","op":"eq","value":"a"}]}"#;
        let (_, effective) = permissions.read(&stranger, query(&config, asked)).unwrap();
        assert_eq!(&*effective.select, [0, 1]);
        let both = r#"{"entity":"asset","where":[{"column":"name","op":"eq","value":"a"},{"column":"temp","op":"gt","value":5}]}"#;
        assert_eq!(effective.filter, query(&config, both).filter);
    }

    #[test]
    fn what_may_not_be_seen_may_not_be_asked_about() {
        let (permissions, config) = permissions(GRANTS);
        let stranger = authenticate(&permissions, Credential::None).unwrap();
        for asked in [
            r#"{"entity":"asset","where":[{"not":{"column":"secret","op":"like","value":"a%"}}]}"#,
            r#"{"entity":"asset","sort":[{"column":"secret"}]}"#,
            r#"{"entity":"asset","select":["secret"]}"#,
            r#"{"entity":"note"}"#,
        ] {
            assert_eq!(permissions.read(&stranger, query(&config, asked)).unwrap_err().status, 403, "{asked}");
        }
        assert_eq!(
            permissions.write(&stranger, config.catalog().unwrap().by_name("asset").unwrap()).unwrap_err().status,
            403
        );
    }

    #[test]
    fn grants_add_up() {
        let more = GRANTS.replace("\"gt\", value = 5", "\"lt\", value = 1");
        let (permissions, config) = permissions(&format!("{GRANTS}{}", more.split_once("true\n").unwrap().1));
        let stranger = authenticate(&permissions, Credential::None).unwrap();
        let (_, effective) = permissions.read(&stranger, query(&config, r#"{"entity":"asset"}"#)).unwrap();
        let either = r#"{"entity":"asset","where":[{"or":[{"column":"temp","op":"gt","value":5},{"column":"temp","op":"lt","value":1}]}]}"#;
        assert_eq!(effective.filter, query(&config, either).filter);
    }
}
