//! `[[permission]]`: who may do what with which entity.

use serde::Deserialize;
use tidegate_model::query::{ConditionJson, decode_conditions};
use tidegate_model::{Catalog, Entity, EntityId, Filter, Object};
use toml::Table;

use super::{ConfigError, Source};

/// What one permission grants on one entity. All of this version's roles apply to every anonymous client, so grants
/// add up: the rows are those that any of them lets through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// On which entity.
    pub entity: EntityId,
    /// May see rows.
    pub read: bool,
    /// May change rows.
    pub write: bool,
    /// Which rows may be seen.
    pub filter: Filter,
    /// Which columns may be seen, in the entity's order; `None` is all.
    pub columns: Option<Vec<u16>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PermissionToml {
    roles: Vec<String>,
    entities: Option<Vec<String>>,
    may: Vec<String>,
    #[serde(default, rename = "where")]
    conditions: Vec<serde_json::Value>,
    columns: Option<Vec<String>>,
    topics: Option<toml::Value>,
    agents: Option<toml::Value>,
}

/// One `[[permission]]`, checked as far as that goes without the entities' columns.
#[derive(Debug)]
pub(super) struct Permission {
    path: String,
    entities: Vec<String>,
    read: bool,
    write: bool,
    /// A JSON array of conditions.
    conditions: String,
    columns: Option<Vec<String>>,
}

/// Reads all permissions on entities of these names.
pub(super) fn read(tables: &[Table], source: &Source) -> Result<Vec<Permission>, ConfigError> {
    let tables = tables.iter().enumerate();
    tables.map(|(i, table)| permission(&format!("permission[{i}]"), table, source)).collect()
}

/// What the permissions grant on the entities as they are.
pub(super) fn grants(permissions: &[Permission], catalog: &Catalog) -> Result<Vec<Grant>, ConfigError> {
    let mut grants: Vec<Grant> = Vec::new();
    for permission in permissions {
        for grant in permission.grants(catalog)? {
            let same = |other: &&Grant| other.entity == grant.entity && other.read && grant.read;
            if grants.iter().find(same).is_some_and(|other| other.columns != grant.columns) {
                let name = catalog.entity(grant.entity).name();
                let rule = format!(
                    "differs from an earlier permission to read {name:?}; one client would need other columns in each row"
                );
                return Err(ConfigError::rule(format!("{}.columns", permission.path), rule));
            }
            grants.push(grant);
        }
    }
    Ok(grants)
}

impl Permission {
    fn grants(&self, catalog: &Catalog) -> Result<Vec<Grant>, ConfigError> {
        let path = &self.path;
        let mut entities = Vec::new();
        for (i, name) in self.entities.iter().enumerate() {
            match catalog.by_name(name) {
                Some(entity) => entities.push(entity),
                None if name == "*" => entities.extend(catalog.entities()),
                None => return Err(no_entity(path, i, name)),
            }
        }
        entities
            .into_iter()
            .map(|entity| {
                let filter = conditions(path, entity, &self.conditions)?;
                let columns = self.columns.as_ref().map(|names| columns(path, entity, names)).transpose()?;
                Ok(Grant { entity: entity.id(), read: self.read, write: self.write, filter, columns })
            })
            .collect()
    }
}

fn no_entity(path: &str, index: usize, name: &str) -> ConfigError {
    ConfigError::of(format!("{path}.entities[{index}]"), &format!("{name:?}"), None, "there is no such entity")
}

fn permission(path: &str, table: &Table, source: &Source) -> Result<Permission, ConfigError> {
    let toml: PermissionToml = super::typed(path, table)?;
    for (key, given) in [("topics", &toml.topics), ("agents", &toml.agents)] {
        if given.is_some() {
            return Err(ConfigError::rule(format!("{path}.{key}"), format!("this version does not serve {key}")));
        }
    }
    if toml.roles.is_empty() {
        return Err(ConfigError::rule(format!("{path}.roles"), "must name a role"));
    }
    if let Some((i, role)) = toml.roles.iter().enumerate().find(|(_, role)| *role != "*" && *role != "anonymous") {
        let rule = "this version has no token issuers, so the roles are \"*\" and \"anonymous\"";
        return Err(ConfigError::of(format!("{path}.roles[{i}]"), &format!("{role:?}"), None, rule));
    }
    let (read, write) = may(path, &toml.may)?;
    if write && matches!(source, Source::Postgres(_)) {
        let rule = "may not be \"write\": rows of a database are written there";
        return Err(ConfigError::rule(format!("{path}.may"), rule));
    }
    if write && (toml.columns.is_some() || !toml.conditions.is_empty()) {
        let key = if toml.columns.is_some() { "columns" } else { "where" };
        let rule = "narrows reading and would not narrow writing; put write into a permission of its own";
        return Err(ConfigError::rule(format!("{path}.{key}"), rule));
    }
    let entities = toml.entities.unwrap_or_default();
    if entities.is_empty() {
        return Err(ConfigError::rule(format!("{path}.entities"), "must name an entity, or \"*\" for all"));
    }
    let names = source.names();
    let is_one = |name: &str| name == "*" || names.contains(&name);
    if let Some((i, name)) = entities.iter().enumerate().find(|(_, name)| !is_one(name)) {
        return Err(no_entity(path, i, name));
    }
    let conditions = serde_json::Value::from(toml.conditions).to_string();
    refuse_claims(&format!("{path}.where"), &conditions)?;
    Ok(Permission { path: path.to_owned(), entities, read, write, conditions, columns: toml.columns })
}

fn may(path: &str, may: &[String]) -> Result<(bool, bool), ConfigError> {
    for (i, verb) in may.iter().enumerate() {
        let rule = match verb.as_str() {
            "read" | "write" => continue,
            "subscribe" | "publish" | "presence" | "history" => "this version does not serve topics",
            "submit" | "observe" => "this version does not serve agents",
            _ => "must be \"read\" or \"write\"",
        };
        return Err(ConfigError::of(format!("{path}.may[{i}]"), &format!("{verb:?}"), None, rule));
    }
    if may.is_empty() {
        return Err(ConfigError::rule(format!("{path}.may"), "must be \"read\", \"write\" or both"));
    }
    Ok((may.iter().any(|verb| verb == "read"), may.iter().any(|verb| verb == "write")))
}

/// Conditions that name claims would compare with that very text.
pub(super) fn refuse_claims(path: &str, conditions: &str) -> Result<(), ConfigError> {
    if conditions.contains("\"$claims.") {
        let rule = "this version has no token issuers, so there are no claims; give a literal value";
        return Err(ConfigError::rule(path, rule));
    }
    Ok(())
}

fn conditions(path: &str, entity: &Entity, conditions: &str) -> Result<Filter, ConfigError> {
    let decoded: Vec<Object<ConditionJson<'_>>> =
        serde_json::from_str(conditions).map_err(|e| ConfigError::rule(format!("{path}.where"), e.to_string()))?;
    decode_conditions(entity, &decoded).map_err(|e| {
        ConfigError::rule(format!("{path}.{}", e.path), format!("{} (entity {:?})", e.message, &**entity.name()))
    })
}

fn columns(path: &str, entity: &Entity, names: &[String]) -> Result<Vec<u16>, ConfigError> {
    let mut columns = Vec::with_capacity(names.len());
    for (i, name) in names.iter().enumerate() {
        let column = entity.column_index(name).ok_or_else(|| {
            let rule = format!("{:?} has no such column", &**entity.name());
            ConfigError::of(format!("{path}.columns[{i}]"), &format!("{name:?}"), None, rule)
        })?;
        columns.push(column);
    }
    // Every frame names its row, so the key cannot be kept back.
    if let Some(hidden) = entity.key().iter().find(|column| !columns.contains(column)) {
        let rule = format!("must include the key column {:?} of {:?}", entity.column(*hidden).name, &**entity.name());
        return Err(ConfigError::rule(format!("{path}.columns"), rule));
    }
    columns.sort_unstable();
    columns.dedup();
    Ok(columns)
}
