//! `[[entity]]`: from TOML to the model's builder, which holds the rules.

use serde::Deserialize;
use tidegate_model::{Catalog, EntityBuilder, Type};
use toml::{Table, Value};

use super::ConfigError;

/// Keys that say where in a database rows come from.
const OF_A_DATABASE: [&str; 2] = ["table", "where"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntityToml {
    name: String,
    key: Vec<String>,
    tenant: Option<String>,
    columns: Table,
    filterable: Option<Vec<String>>,
    sortable: Option<Vec<String>>,
    max_window: Option<u32>,
    indexes: Option<Vec<Vec<String>>>,
}

/// Reads all entities of a local source and checks them against each other.
pub(super) fn read(tables: &[Table]) -> Result<Catalog, ConfigError> {
    let builders: Vec<EntityBuilder> = tables
        .iter()
        .enumerate()
        .map(|(i, table)| builder(&format!("entity[{i}]"), table))
        .collect::<Result<_, _>>()?;
    catalog(&builders)
}

/// The catalog of entities in the order of the file.
pub(super) fn catalog(builders: &[EntityBuilder]) -> Result<Catalog, ConfigError> {
    Catalog::build(builders).map_err(|e| {
        let at = builders.iter().position(|builder| builder.name == e.entity).unwrap_or_default();
        ConfigError::rule(format!("entity[{at}] ({}), {}", e.entity, e.key), e.rule)
    })
}

/// The type that a configuration names.
pub(super) fn kind(path: &str, column: &str, value: &Value) -> Result<Type, ConfigError> {
    let kind = value.as_str().and_then(|text| Type::ALL.into_iter().find(|kind| kind.name() == text));
    kind.ok_or_else(|| {
        let names: Vec<&str> = Type::ALL.iter().map(|kind| kind.name()).collect();
        let rule = format!("must be one of {}", names.join(", "));
        ConfigError::of(format!("{path}.columns.{column}"), value, None, rule)
    })
}

fn builder(path: &str, table: &Table) -> Result<EntityBuilder, ConfigError> {
    if let Some(key) = OF_A_DATABASE.into_iter().find(|key| table.contains_key(*key)) {
        let rule = "is for entities of a database; set source.kind = \"postgres\", or leave it out";
        return Err(ConfigError::rule(format!("{path}.{key}"), rule));
    }
    let toml: EntityToml = super::typed(path, table)?;
    let columns = toml.columns.into_iter().map(|(name, value)| {
        let kind = kind(path, &name, &value)?;
        Ok((name, kind))
    });
    Ok(EntityBuilder {
        name: toml.name,
        columns: columns.collect::<Result<_, ConfigError>>()?,
        key: toml.key,
        tenant: toml.tenant,
        filterable: toml.filterable,
        sortable: toml.sortable,
        max_window: toml.max_window,
        indexes: toml.indexes,
        ..EntityBuilder::default()
    })
}
