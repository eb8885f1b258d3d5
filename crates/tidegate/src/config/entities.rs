//! `[[entity]]`: from TOML to the model's builder, which holds the rules.

use serde::Deserialize;
use tidegate_model::{Catalog, EntityBuilder, Type};
use toml::Table;

use super::ConfigError;

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

/// Reads all entities and checks them against each other.
pub(super) fn read(tables: &[Table]) -> Result<Catalog, ConfigError> {
    let builders: Vec<EntityBuilder> = tables
        .iter()
        .enumerate()
        .map(|(i, table)| builder(&format!("entity[{i}]"), table))
        .collect::<Result<_, _>>()?;
    Catalog::build(&builders).map_err(|e| {
        let at = builders.iter().position(|builder| builder.name == e.entity).unwrap_or_default();
        ConfigError::rule(format!("entity[{at}] ({}), {}", e.entity, e.key), e.rule)
    })
}

fn builder(path: &str, table: &Table) -> Result<EntityBuilder, ConfigError> {
    let toml: EntityToml = super::typed(path, table)?;
    let mut columns = Vec::with_capacity(toml.columns.len());
    for (name, value) in toml.columns {
        let kind = value.as_str().and_then(|text| Type::ALL.into_iter().find(|kind| kind.name() == text));
        let kind = kind.ok_or_else(|| {
            let names: Vec<&str> = Type::ALL.iter().map(|kind| kind.name()).collect();
            let rule = format!("must be one of {}", names.join(", "));
            ConfigError::of(format!("{path}.columns.{name}"), &value, None, rule)
        })?;
        columns.push((name, kind));
    }
    Ok(EntityBuilder {
        name: toml.name,
        columns,
        key: toml.key,
        tenant: toml.tenant,
        filterable: toml.filterable,
        sortable: toml.sortable,
        max_window: toml.max_window,
        indexes: toml.indexes,
        ..EntityBuilder::default()
    })
}
