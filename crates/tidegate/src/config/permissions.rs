//! `[[permission]]`: who may do what with which rows, topics or agents.

use std::sync::Arc;

use serde::Deserialize;
use tidegate_identity::{AgentVerb, Audience, EntityRights, Grant, Patterns, Rights, Template, TopicVerb};
use tidegate_model::{Catalog, Entity, QueryError};
use toml::Table;

use super::{ConfigError, Source};

/// Longest name of a role: what a token may have.
const ROLE_BYTES_MAX: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PermissionToml {
    roles: Vec<String>,
    #[serde(default)]
    claims: Table,
    entities: Option<Vec<String>>,
    topics: Option<Vec<String>>,
    agents: Option<Vec<String>>,
    may: Vec<String>,
    #[serde(rename = "where")]
    conditions: Option<Vec<serde_json::Value>>,
    columns: Option<Vec<String>>,
}

/// One `[[permission]]`, checked as far as that goes without the entities' columns.
#[derive(Debug)]
pub(super) struct Permission {
    path: String,
    to: Audience,
    what: What,
}

#[derive(Debug)]
enum What {
    Rows(Rows),
    /// Topics or agents, which no catalog is needed for.
    Names(Rights),
}

#[derive(Debug)]
struct Rows {
    entities: Vec<String>,
    read: bool,
    write: bool,
    conditions: Template,
    columns: Option<Vec<String>>,
}

/// Reads all permissions on entities of these names.
pub(super) fn read(tables: &[Table], source: &Source) -> Result<Vec<Permission>, ConfigError> {
    let tables = tables.iter().enumerate();
    tables.map(|(i, table)| permission(&format!("permission[{i}]"), table, source)).collect()
}

/// What the permissions grant on the entities as they are.
pub(super) fn grants(permissions: &[Permission], catalog: &Catalog) -> Result<Vec<Grant>, ConfigError> {
    permissions.iter().map(|permission| permission.grant(catalog)).collect()
}

impl Permission {
    fn grant(&self, catalog: &Catalog) -> Result<Grant, ConfigError> {
        let rights = match &self.what {
            What::Rows(rows) => rows.rights(&self.path, catalog)?,
            What::Names(rights) => rights.clone(),
        };
        Ok(Grant { to: self.to.clone(), rights })
    }
}

impl Rows {
    fn rights(&self, path: &str, catalog: &Catalog) -> Result<Rights, ConfigError> {
        let mut entities = Vec::new();
        for (i, name) in self.entities.iter().enumerate() {
            match catalog.by_name(name) {
                Some(entity) => entities.push(entity),
                None if name == "*" => entities.extend(catalog.entities()),
                None => return Err(no_entity(path, i, name)),
            }
        }
        let rights = |entity: &Arc<Entity>| {
            let rows = self.conditions.rows(entity).map_err(|e| {
                let QueryError { path: place, message } = e;
                ConfigError::rule(format!("{path}.{place}"), format!("{message} (entity {:?})", &**entity.name()))
            })?;
            let columns = self.columns.as_ref().map(|names| columns(path, entity, names)).transpose()?;
            Ok(EntityRights { entity: entity.id(), rows, columns: columns.unwrap_or(u128::MAX) })
        };
        let of = entities.into_iter().map(rights).collect::<Result<_, _>>()?;
        Ok(Rights::Rows { read: self.read, write: self.write, of })
    }
}

fn no_entity(path: &str, index: usize, name: &str) -> ConfigError {
    ConfigError::of(format!("{path}.entities[{index}]"), &format!("{name:?}"), None, "there is no such entity")
}

fn permission(path: &str, table: &Table, source: &Source) -> Result<Permission, ConfigError> {
    let toml: PermissionToml = super::typed(path, table)?;
    let to = Audience { roles: roles(path, &toml.roles)?, claims: claims(path, &toml.claims)? };
    let names_rows = toml.conditions.is_some() || toml.columns.is_some();
    let key = if toml.conditions.is_some() { "where" } else { "columns" };
    let what = match (toml.entities, toml.topics, toml.agents) {
        (Some(entities), None, None) => {
            What::Rows(rows(path, entities, &toml.may, toml.conditions.unwrap_or_default(), toml.columns, source)?)
        }
        (None, _, _) if names_rows => return Err(ConfigError::rule(format!("{path}.{key}"), "is for entities")),
        (None, Some(topics), None) => What::Names(Rights::Topics {
            may: may(path, &toml.may, TOPICS)?,
            topics: patterns(path, "topics", &topics)?,
        }),
        (None, None, Some(agents)) => What::Names(Rights::Agents {
            may: may(path, &toml.may, AGENTS)?,
            agents: patterns(path, "agents", &agents)?,
        }),
        (None, None, None) => {
            return Err(ConfigError::rule(path, "must name entities, topics or agents; \"*\" is all of them"));
        }
        _ => {
            return Err(ConfigError::rule(path, "names more than one of entities, topics and agents; make it several"));
        }
    };
    Ok(Permission { path: path.to_owned(), to, what })
}

fn rows(
    path: &str,
    entities: Vec<String>,
    verbs: &[String],
    conditions: Vec<serde_json::Value>,
    columns: Option<Vec<String>>,
    source: &Source,
) -> Result<Rows, ConfigError> {
    let verbs = may(path, verbs, ROWS)?;
    let (read, write) = (verbs.contains(&RowVerb::Read), verbs.contains(&RowVerb::Write));
    if write && matches!(source, Source::Postgres(_)) {
        let rule = "may not be \"write\": rows of a database are written there";
        return Err(ConfigError::rule(format!("{path}.may"), rule));
    }
    if entities.is_empty() {
        return Err(ConfigError::rule(format!("{path}.entities"), "must name an entity, or \"*\" for all"));
    }
    let names = source.names();
    let is_one = |name: &str| name == "*" || names.contains(&name);
    if let Some((i, name)) = entities.iter().enumerate().find(|(_, name)| !is_one(name)) {
        return Err(no_entity(path, i, name));
    }
    let conditions =
        Template::new(conditions).map_err(|e| ConfigError::rule(format!("{path}.{}", e.path), e.message))?;
    Ok(Rows { entities, read, write, conditions, columns })
}

fn roles(path: &str, roles: &[String]) -> Result<Vec<Box<str>>, ConfigError> {
    if roles.is_empty() {
        return Err(ConfigError::rule(format!("{path}.roles"), "must name a role; \"*\" is everybody"));
    }
    let read = |(i, role): (usize, &String)| {
        let is_role = (1..=ROLE_BYTES_MAX).contains(&role.len());
        let rule = || format!("must have 1 to {ROLE_BYTES_MAX} bytes");
        let fault = || ConfigError::of(format!("{path}.roles[{i}]"), &format!("{role:?}"), None, rule());
        is_role.then(|| role.as_str().into()).ok_or_else(fault)
    };
    roles.iter().enumerate().map(read).collect()
}

fn claims(path: &str, claims: &Table) -> Result<Vec<(Box<str>, serde_json::Value)>, ConfigError> {
    let read = |(name, wanted): (&String, &toml::Value)| {
        let wanted = match wanted {
            toml::Value::String(text) => text.as_str().into(),
            toml::Value::Integer(number) => (*number).into(),
            toml::Value::Boolean(truth) => (*truth).into(),
            other => {
                let rule = "must be a text, a whole number, true or false";
                return Err(ConfigError::of(format!("{path}.claims.{name}"), other, None, rule));
            }
        };
        Ok((name.as_str().into(), wanted))
    };
    claims.iter().map(read).collect()
}

#[derive(Clone, Copy, PartialEq)]
enum RowVerb {
    Read,
    Write,
}

const ROWS: &[(&str, RowVerb)] = &[("read", RowVerb::Read), ("write", RowVerb::Write)];
const TOPICS: &[(&str, TopicVerb)] = &[
    ("subscribe", TopicVerb::Subscribe),
    ("publish", TopicVerb::Publish),
    ("presence", TopicVerb::Presence),
    ("history", TopicVerb::History),
];
const AGENTS: &[(&str, AgentVerb)] =
    &[("submit", AgentVerb::Submit), ("observe", AgentVerb::Observe), ("serve", AgentVerb::Serve)];

fn may<V: Copy>(path: &str, may: &[String], known: &[(&str, V)]) -> Result<Vec<V>, ConfigError> {
    let names: Vec<String> = known.iter().map(|(name, _)| format!("{name:?}")).collect();
    if may.is_empty() {
        return Err(ConfigError::rule(format!("{path}.may"), format!("must name one of {}", names.join(", "))));
    }
    let read = |(i, verb): (usize, &String)| {
        let found = known.iter().find(|(name, _)| name == verb).map(|(_, verb)| *verb);
        let rule = || format!("must be one of {}", names.join(", "));
        found.ok_or_else(|| ConfigError::of(format!("{path}.may[{i}]"), &format!("{verb:?}"), None, rule()))
    };
    may.iter().enumerate().map(read).collect()
}

fn patterns(path: &str, key: &str, patterns: &[String]) -> Result<Patterns, ConfigError> {
    if patterns.is_empty() {
        return Err(ConfigError::rule(format!("{path}.{key}"), "must name one, or \"*\" for all"));
    }
    Patterns::new(patterns)
        .map_err(|(i, rule)| ConfigError::of(format!("{path}.{key}[{i}]"), &format!("{:?}", patterns[i]), None, rule))
}

/// The set of columns, a bit each.
fn columns(path: &str, entity: &Entity, names: &[String]) -> Result<u128, ConfigError> {
    let mut columns = 0;
    for (i, name) in names.iter().enumerate() {
        let column = entity.column_index(name).ok_or_else(|| {
            let rule = format!("{:?} has no such column", &**entity.name());
            ConfigError::of(format!("{path}.columns[{i}]"), &format!("{name:?}"), None, rule)
        })?;
        columns |= 1 << column;
    }
    // Every frame names its row, so the key cannot be kept back.
    if let Some(hidden) = entity.key().iter().find(|column| columns & 1 << **column == 0) {
        let rule = format!("must include the key column {:?} of {:?}", entity.column(*hidden).name, &**entity.name());
        return Err(ConfigError::rule(format!("{path}.columns"), rule));
    }
    Ok(columns)
}
