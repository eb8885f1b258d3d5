//! `[[entity]]`: from TOML to the model's builder, which holds the rules.

use serde::Deserialize;
use tidegate_model::{Catalog, Detail, EntityBuilder, Type};
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

fn builder(path: &str, table: &Table) -> Result<EntityBuilder, ConfigError> {
    if let Some(key) = OF_A_DATABASE.into_iter().find(|key| table.contains_key(*key)) {
        let rule = "is for entities of a database; set source.kind = \"postgres\", or leave it out";
        return Err(ConfigError::rule(format!("{path}.{key}"), rule));
    }
    let toml: EntityToml = super::typed(path, table)?;
    let (mut columns, mut details) = (Vec::with_capacity(toml.columns.len()), Vec::new());
    for (name, value) in toml.columns {
        let (kind, detail) =
            kind(&value).map_err(|rule| ConfigError::of(format!("{path}.columns.{name}"), &value, None, rule))?;
        if detail != Detail::None {
            details.push((name.clone(), detail));
        }
        columns.push((name, kind));
    }
    Ok(EntityBuilder {
        name: toml.name,
        columns,
        details,
        key: toml.key,
        tenant: toml.tenant,
        filterable: toml.filterable,
        sortable: toml.sortable,
        max_window: toml.max_window,
        indexes: toml.indexes,
        ..EntityBuilder::default()
    })
}

/// A column's type: its name, or `{ enum = ["label", …] }`.
fn kind(value: &Value) -> Result<(Type, Detail), String> {
    let labels = |table: &Table| match table.get("enum")?.as_array()? {
        labels if table.len() == 1 => labels.iter().map(|label| label.as_str().map(Into::into)).collect(),
        _ => None,
    };
    let known = match value {
        Value::String(name) => name.parse().ok().filter(|kind| *kind != Type::Enum).map(|kind| (kind, Detail::None)),
        Value::Table(table) => labels(table).map(|labels| (Type::Enum, Detail::Labels(labels))),
        _ => None,
    };
    known.ok_or_else(|| {
        let plain = Type::ALL.into_iter().filter(|kind| !matches!(kind, Type::Enum | Type::Array(_)));
        let names: Vec<&str> = plain.map(Type::name).collect();
        format!("must be one of {}, an array as in \"text[]\", or {{ enum = [\"label\", …] }}", names.join(", "))
    })
}
