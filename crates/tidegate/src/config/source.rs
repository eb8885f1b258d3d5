//! `[source]`: where rows come from, and which tables of a database become entities.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tidegate_feed::postgres::Settings;
use tidegate_feed::postgres::resolve::Wish;
use tidegate_model::query::ConditionJson;
use tidegate_model::{Catalog, EntityBuilder, EntityId, Object, Type, ValueError};
use toml::{Table, Value};

use super::layers::Layers;
use super::{ConfigError, entities};

/// Longest name of a slot or publication, in bytes: PostgreSQL cuts what is longer.
const NAME_BYTES_MAX: usize = 63;

/// Where rows come from, with as much about the entities as is known without asking there.
#[derive(Debug)]
pub enum Source {
    /// Writes come through the gateway's own API.
    Local(Arc<Catalog>),
    /// A PostgreSQL database is followed; its tables say what the entities are.
    Postgres(Box<Postgres>),
}

/// A database to follow.
#[derive(Debug, Clone)]
pub struct Postgres {
    /// How it is reached and followed.
    pub settings: Settings,
    /// Its tables, each to become an entity, in the order of the file.
    pub wishes: Vec<Wish>,
}

impl Source {
    /// The names of all entities, in the order of the file.
    pub(super) fn names(&self) -> Vec<&str> {
        match self {
            Self::Local(catalog) => catalog.entities().iter().map(|entity| &**entity.name()).collect(),
            Self::Postgres(postgres) => postgres.wishes.iter().map(|wish| &*wish.name).collect(),
        }
    }
}

pub(super) fn read(layers: &Layers) -> Result<Source, ConfigError> {
    match layers.text("source.kind") {
        "local" => {
            let of_a_database = ["source.url", "source.copy_url"];
            if let Some(key) = of_a_database.into_iter().find(|key| !layers.text(key).is_empty()) {
                return Err(layers.error(key, "is for source.kind = \"postgres\"; set that, or leave this out"));
            }
            Ok(Source::Local(Arc::new(entities::read(&layers.entities)?)))
        }
        "postgres" => {
            let settings = settings(layers)?;
            Ok(Source::Postgres(Box::new(Postgres { settings, wishes: wishes(&layers.entities)? })))
        }
        _ => Err(layers.error("source.kind", "must be \"local\" or \"postgres\"")),
    }
}

fn settings(layers: &Layers) -> Result<Settings, ConfigError> {
    let settings = |key| Settings::url(layers.text(key)).map_err(|e| layers.error(key, e.to_string()));
    let millis = |key, least| layers.int(key, least..=86_400_000).map(Duration::from_millis);
    if layers.text("source.url").is_empty() {
        let rule = "is needed: postgres://role@host:5432/database; TIDEGATE_SOURCE_URL keeps it out of the file";
        return Err(layers.error("source.url", rule));
    }
    let copies_elsewhere = !layers.text("source.copy_url").is_empty();
    let root_certificate = layers.text("source.root_certificate");
    let defaults = settings("source.url")?;
    Ok(Settings {
        copy_url: copies_elsewhere.then(|| settings("source.copy_url")).transpose()?.map(|settings| settings.url),
        slot: slot(layers)?.unwrap_or_else(|| defaults.slot.clone()),
        publication: publication(layers)?,
        copies: layers.int("source.copies", 1..=64)? as usize,
        root_certificate: (!root_certificate.is_empty()).then(|| PathBuf::from(root_certificate)),
        connect_timeout: millis("source.connect_timeout_ms", 1)?,
        status_interval: millis("source.status_interval_ms", 1)?,
        check_interval: millis("source.check_interval_ms", 1)?,
        stall_timeout: millis("source.stall_timeout_ms", 1_000)?,
        max_message_bytes: layers.int("source.max_message_bytes", 1 << 16..=1 << 30)? as usize,
        max_lag_bytes: layers.int("source.max_lag_bytes", 1..=1 << 50)?,
        ..defaults
    })
}

/// PostgreSQL's own rule for slots, which it would tell only once the gateway runs; `None` where none is set.
fn slot(layers: &Layers) -> Result<Option<String>, ConfigError> {
    let (key, name) = ("source.slot", layers.text("source.slot"));
    let letters = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if name.len() > NAME_BYTES_MAX || !letters {
        return Err(layers.error(key, format!("must be 1 to {NAME_BYTES_MAX} of a-z 0-9 _")));
    }
    Ok((!name.is_empty()).then(|| name.to_owned()))
}

fn publication(layers: &Layers) -> Result<String, ConfigError> {
    let (key, name) = ("source.publication", layers.text("source.publication"));
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains(char::is_control) {
        return Err(layers.error(key, format!("must be 1 to {NAME_BYTES_MAX} bytes")));
    }
    Ok(name.to_owned())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourcedToml {
    name: String,
    table: Option<String>,
    key: Option<Vec<String>>,
    tenant: Option<String>,
    columns: Option<Value>,
    filterable: Option<Vec<String>>,
    sortable: Option<Vec<String>>,
    max_window: Option<u32>,
    indexes: Option<Vec<Vec<String>>>,
    #[serde(rename = "where")]
    conditions: Option<Vec<serde_json::Value>>,
}

fn wishes(tables: &[Table]) -> Result<Vec<Wish>, ConfigError> {
    let mut wishes: Vec<Wish> = Vec::with_capacity(tables.len());
    for (i, table) in tables.iter().enumerate() {
        let path = format!("entity[{i}]");
        let wish = wish(&path, table)?;
        if wishes.iter().any(|other| other.name == wish.name) {
            return Err(ConfigError::rule(format!("{path} ({}), name", wish.name), "is used by another entity"));
        }
        wishes.push(wish);
    }
    if wishes.is_empty() {
        let rule = "is needed for each table to be opened; `tidegate init --from postgres://…` writes them";
        return Err(ConfigError::rule("[[entity]]", rule));
    }
    Ok(wishes)
}

fn wish(path: &str, table: &Table) -> Result<Wish, ConfigError> {
    let toml: SourcedToml = super::typed(path, table)?;
    check_name(path, &toml.name)?;
    let (schema, table) = match &toml.table {
        None => ("public".to_owned(), toml.name.clone()),
        Some(text) => named_table(path, text)?,
    };
    let columns = toml.columns.map(|columns| wished_columns(path, columns)).transpose()?;
    Ok(Wish {
        name: toml.name,
        schema,
        table,
        key: toml.key,
        columns,
        tenant: toml.tenant,
        filterable: toml.filterable,
        sortable: toml.sortable,
        indexes: toml.indexes,
        max_window: toml.max_window,
        row_filter: toml.conditions.map(|conditions| row_filter(path, conditions)).transpose()?,
    })
}

/// The model's rule for names, told before the database is asked for the rest.
fn check_name(path: &str, name: &str) -> Result<(), ConfigError> {
    let columns = vec![("id".to_owned(), Type::Int)];
    let alone = EntityBuilder { name: name.into(), columns, key: vec!["id".into()], ..EntityBuilder::default() };
    alone.build(EntityId(0)).map(drop).map_err(|e| ConfigError::rule(format!("{path} ({name}), {}", e.key), e.rule))
}

/// `schema.table`, or a table of the schema `public`; as the catalog has the names, without quotes. The first dot ends the
/// schema.
fn named_table(path: &str, text: &str) -> Result<(String, String), ConfigError> {
    let (schema, table) = text.split_once('.').unwrap_or(("public", text));
    if schema.is_empty() || table.is_empty() || text.contains('"') {
        let rule = "must be a table or schema.table, written as PostgreSQL lists it and without quotes";
        return Err(ConfigError::of(format!("{path}.table"), &format!("{text:?}"), None, rule));
    }
    Ok((schema.to_owned(), table.to_owned()))
}

/// A list of names, or a table of name and type as in entities of a local source.
fn wished_columns(path: &str, columns: Value) -> Result<Vec<(String, Option<Type>)>, ConfigError> {
    let rule = "must be a list of names, or a table such as { id = \"int\", name = \"text\" }";
    match columns {
        Value::Table(table) => table
            .into_iter()
            .map(|(name, value)| {
                let kind: Type =
                    value.as_str().unwrap_or_default().parse().map_err(|e: ValueError| {
                        ConfigError::of(format!("{path}.columns.{name}"), &value, None, e.0)
                    })?;
                Ok((name, Some(kind)))
            })
            .collect(),
        Value::Array(names) => names
            .into_iter()
            .map(|name| match name {
                Value::String(name) => Ok((name, None)),
                other => Err(ConfigError::of(format!("{path}.columns"), &other, None, rule)),
            })
            .collect(),
        other => Err(ConfigError::of(format!("{path}.columns"), &other, None, rule)),
    }
}

fn row_filter(path: &str, conditions: Vec<serde_json::Value>) -> Result<String, ConfigError> {
    let path = format!("{path}.where");
    let text = serde_json::Value::from(conditions).to_string();
    if text.contains("\"$claims.") {
        let rule = "says what of the table is taken, for everybody, so there are no claims; give a literal value";
        return Err(ConfigError::rule(path, rule));
    }
    let form: Result<Vec<Object<ConditionJson<'_>>>, _> = serde_json::from_str(&text);
    form.map(drop).map_err(|e| ConfigError::rule(path, e.to_string()))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_defaults_are_those_of_the_feed() {
        let url = "postgres://tide@db/shop";
        let mut layers = Layers::defaults().unwrap();
        layers.flag("source.url", "--from", url).unwrap();
        assert_eq!(format!("{:?}", settings(&layers).unwrap()), format!("{:?}", Settings::url(url).unwrap()));
    }
}
