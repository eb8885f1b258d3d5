//! Live queries: what a client asks for, decoded, typed and bounded.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::{Catalog, Entity, Filter, Key, Object, Order, SortKey, Tenant};

mod conditions;

pub use conditions::{ConditionJson, decode_conditions};

/// What a query may be made of.
pub mod limits {
    /// Bytes of a query's JSON.
    pub const BYTES_MAX: usize = 64 * 1024;
    /// How deep groups of conditions nest.
    pub const DEPTH_MAX: usize = 8;
    /// Conditions in all, groups not counted.
    pub const CONDITIONS_MAX: usize = 64;
    /// Values of one `in` or `notin`.
    pub const LIST_MAX: usize = 1_000;
    /// Terms of a sort.
    pub const SORT_MAX: usize = 8;
    /// The window of a query that names no limit.
    pub const LIMIT_DEFAULT: u32 = 50;
}

/// How a query is kept up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// An ordered window with exact indexes.
    #[default]
    Maintained,
    /// Every matching row's comings and goings, without an order.
    Streamed,
}

/// A decoded query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Whose rows.
    pub entity: Arc<Entity>,
    /// Which rows.
    pub filter: Filter,
    /// Their order.
    pub order: Arc<Order>,
    /// The anchor: strictly after this key. `None` is the head.
    pub after: Option<Key>,
    /// Rows in the window.
    pub limit: u32,
    /// Columns sent, in the entity's order.
    pub select: Arc<[u16]>,
    /// How it is kept up.
    pub mode: Mode,
}

/// A query that breaks a rule. `path` points into the query's JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct QueryError {
    /// Where, such as `where[0].value`.
    pub path: String,
    /// What must hold.
    pub message: String,
}

impl QueryError {
    fn new(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct QueryJson<'a> {
    entity: String,
    #[serde(default, borrow, rename = "where")]
    conditions: Vec<Object<ConditionJson<'a>>>,
    #[serde(default)]
    sort: Vec<Object<SortJson>>,
    limit: Option<i64>,
    #[serde(borrow)]
    cursor: Option<Object<CursorJson<'a>>>,
    select: Option<Vec<String>>,
    #[serde(default)]
    mode: Mode,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SortJson {
    column: String,
    #[serde(default)]
    desc: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CursorJson<'a> {
    #[serde(borrow)]
    values: Vec<&'a RawValue>,
}

impl Query {
    /// Decodes a query against the catalog.
    ///
    /// # Errors
    /// [`QueryError`] with the path at fault. Costs work in proportion to the text, which is bounded by
    /// [`limits::BYTES_MAX`].
    pub fn from_json(catalog: &Catalog, text: &str) -> Result<Self, QueryError> {
        if text.len() > limits::BYTES_MAX {
            return Err(QueryError::new(
                "query",
                format!("has {} bytes; at most {} are allowed", text.len(), limits::BYTES_MAX),
            ));
        }
        let Object(json): Object<QueryJson<'_>> =
            serde_json::from_str(text).map_err(|e| QueryError::new("query", e.to_string()))?;
        let entity = catalog
            .by_name(&json.entity)
            .ok_or_else(|| QueryError::new("entity", format!("there is no entity {:?}", json.entity)))?
            .clone();
        let filter = conditions::decode_asked(&entity, &json.conditions)?;
        let order = Arc::new(Order::new(&entity, &decode_sort(&entity, &json.sort)?));
        let after = json.cursor.map(|Object(cursor)| decode_cursor(&entity, &order, &cursor.values)).transpose()?;
        let limit = decode_limit(&entity, json.limit)?;
        let select = decode_select(&entity, json.select.as_deref())?;
        Ok(Self { entity, filter, order, after, limit, select, mode: json.mode })
    }

    /// The same query at another place: an anchor as JSON (`None` is the head) and a limit (`None` keeps it).
    ///
    /// # Errors
    /// [`QueryError`] as for [`Query::from_json`].
    pub fn reanchored(&self, cursor: Option<&RawValue>, limit: Option<i64>) -> Result<Self, QueryError> {
        let after = match cursor {
            Some(raw) if raw.get().trim() != "null" => {
                let Object(cursor): Object<CursorJson<'_>> =
                    serde_json::from_str(raw.get()).map_err(|e| QueryError::new("cursor", e.to_string()))?;
                Some(decode_cursor(&self.entity, &self.order, &cursor.values)?)
            }
            _ => None,
        };
        let limit = limit.map_or(Ok(self.limit), |limit| decode_limit(&self.entity, Some(limit)))?;
        Ok(Self { after, limit, ..self.clone() })
    }

    /// A number that is equal for queries that may share a view: tenant, filter (in any order of its conjuncts), sort,
    /// limit, anchor, mode, columns and schema. From SHA-256, because a client chooses what goes in.
    #[must_use]
    pub fn fingerprint(&self, tenant: &Tenant) -> u128 {
        let mut bytes = Vec::with_capacity(128);
        let mut part = |content: &[u8]| {
            bytes.extend_from_slice(&(content.len() as u64).to_be_bytes());
            bytes.extend_from_slice(content);
        };
        part(tenant.name().as_bytes());
        part(&self.entity.schema_version().to_be_bytes());
        let mut filter = Vec::new();
        self.filter.canonical(&mut filter);
        part(&filter);
        for term in self.order.terms() {
            part(&[(term.column >> 8) as u8, term.column as u8, u8::from(term.desc)]);
        }
        part(&self.limit.to_be_bytes());
        part(self.after.as_deref().unwrap_or_default());
        part(&[self.mode as u8, u8::from(self.after.is_some())]);
        for column in &*self.select {
            part(&column.to_be_bytes());
        }
        let digest = Sha256::digest(&bytes);
        u128::from_be_bytes(digest[..16].try_into().unwrap_or_default())
    }
}

fn decode_limit(entity: &Entity, limit: Option<i64>) -> Result<u32, QueryError> {
    let max = entity.max_window();
    match limit {
        None => Ok(limits::LIMIT_DEFAULT.min(max)),
        Some(limit) => u32::try_from(limit)
            .ok()
            .filter(|limit| (1..=max).contains(limit))
            .ok_or_else(|| QueryError::new("limit", format!("is {limit}; it must be between 1 and {max}"))),
    }
}

fn decode_select(entity: &Entity, names: Option<&[String]>) -> Result<Arc<[u16]>, QueryError> {
    let Some(names) = names else {
        return Ok((0..entity.columns().len() as u16).collect());
    };
    if names.is_empty() || names.len() > entity.columns().len() {
        return Err(QueryError::new("select", format!("must name 1 to {} columns", entity.columns().len())));
    }
    let mut columns = Vec::with_capacity(names.len());
    for (i, name) in names.iter().enumerate() {
        columns.push(column(entity, name, &format!("select[{i}]"))?);
    }
    columns.sort_unstable();
    columns.dedup();
    Ok(columns.into())
}

fn decode_sort(entity: &Entity, sort: &[Object<SortJson>]) -> Result<Vec<SortKey>, QueryError> {
    if sort.len() > limits::SORT_MAX {
        return Err(QueryError::new(
            "sort",
            format!("has {} terms; at most {} are allowed", sort.len(), limits::SORT_MAX),
        ));
    }
    let mut terms: Vec<SortKey> = Vec::with_capacity(sort.len());
    for (i, Object(term)) in sort.iter().enumerate() {
        let path = format!("sort[{i}].column");
        let column = column(entity, &term.column, &path)?;
        if !entity.column(column).sortable {
            return Err(QueryError::new(path, format!("{:?} is not sortable", term.column)));
        }
        if terms.iter().any(|other| other.column == column) {
            return Err(QueryError::new(path, format!("{:?} is named twice", term.column)));
        }
        terms.push(SortKey { column, desc: term.desc });
    }
    Ok(terms)
}

fn decode_cursor(entity: &Entity, order: &Order, raw: &[&RawValue]) -> Result<Key, QueryError> {
    if raw.len() != order.terms().len() {
        let rule =
            format!("has {} values; it needs {}: one per sort term, then the key", raw.len(), order.terms().len());
        return Err(QueryError::new("cursor.values", rule));
    }
    let mut values = Vec::with_capacity(raw.len());
    for (i, (term, raw)) in order.terms().iter().zip(raw).enumerate() {
        let value = entity.column(term.column).value_from_json(raw.get());
        values.push(value.map_err(|e| QueryError::new(format!("cursor.values[{i}]"), e.0))?);
    }
    Ok(order.key_of_values(&values))
}

fn column(entity: &Entity, name: &str, path: &str) -> Result<u16, QueryError> {
    entity
        .column_index(name)
        .ok_or_else(|| QueryError::new(path, format!("{:?} has no column {name:?}", &**entity.name())))
}

#[cfg(test)]
mod tests;
