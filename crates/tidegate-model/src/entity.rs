//! Entities: tables opened to clients, and the catalog that holds them.

use std::fmt;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::query::{ConditionJson, decode_conditions};
use crate::{Column, Detail, Filter, Object, Type};

/// Most columns of an entity: sets of columns are one `u128`.
pub const COLUMNS_MAX: usize = 128;
/// Longest name of an entity or column, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// The window bound where configuration names none.
pub const MAX_WINDOW_DEFAULT: u32 = 500;

/// The number of an entity within its [`Catalog`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntityId(pub u32);

/// A tenant. The empty name is the common tenant of entities without a tenant column.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tenant(Arc<str>);

impl Tenant {
    /// The tenant of that name.
    pub fn new(name: impl AsRef<str>) -> Self {
        Self(name.as_ref().into())
    }

    /// The one tenant of entities that have no tenant column.
    #[must_use]
    pub fn common() -> Self {
        Self::new("")
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A table opened to clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entity {
    id: EntityId,
    name: Arc<str>,
    columns: Box<[Column]>,
    key: Box<[u16]>,
    tenant: Option<u16>,
    max_window: u32,
    indexes: Box<[Box<[u16]>]>,
    schema_version: u64,
    sourced: bool,
    row_filter: Option<Filter>,
}

/// A description of an entity that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entity {entity:?}, {key}: {rule}")]
pub struct EntityError {
    /// The entity's name.
    pub entity: String,
    /// The configuration key at fault, such as `key` or `columns.temp`.
    pub key: String,
    /// What must hold, with the value that does not.
    pub rule: String,
}

/// Everything configuration says about an entity; [`EntityBuilder::build`] checks it.
#[derive(Debug, Clone, Default)]
pub struct EntityBuilder {
    /// The name clients use.
    pub name: String,
    /// Columns in their order on the wire.
    pub columns: Vec<(String, Type)>,
    /// What the types alone do not say, by the column's name; an enum needs its labels.
    pub details: Vec<(String, Detail)>,
    /// Names of the key columns.
    pub key: Vec<String>,
    /// Name of the tenant column.
    pub tenant: Option<String>,
    /// Names of the columns that may be filtered; absent means every column.
    pub filterable: Option<Vec<String>>,
    /// Names of the columns that may be sorted; absent means every ordered column.
    pub sortable: Option<Vec<String>>,
    /// Largest window; absent means [`MAX_WINDOW_DEFAULT`].
    pub max_window: Option<u32>,
    /// Column lists to index for ordered scans; absent means one per column named in `sortable`.
    pub indexes: Option<Vec<Vec<String>>>,
    /// See [`Entity::is_sourced`].
    pub sourced: bool,
    /// Rows that are no match are nobody's: a JSON array of conditions, as the `where` of a query. Only of a sourced
    /// entity.
    pub row_filter: Option<String>,
}

impl EntityBuilder {
    /// Checks every rule and makes the entity.
    ///
    /// # Errors
    /// The first rule broken, with the key it stands under.
    pub fn build(&self, id: EntityId) -> Result<Entity, EntityError> {
        self.check_names()?;
        let key = self.columns_of("key", &self.key)?;
        if key.is_empty() {
            return Err(self.error("key", "names no column; an entity needs a key".into()));
        }
        let tenant = self.tenant.as_ref().map(|name| self.column_of("tenant", name)).transpose()?;
        let filterable = self.filterable.as_ref().map(|names| self.columns_of("filterable", names)).transpose()?;
        let sortable = self.sortable.as_ref().map(|names| self.columns_of("sortable", names)).transpose()?;
        let indexes: Vec<Box<[u16]>> = match &self.indexes {
            Some(lists) => {
                lists.iter().map(|names| self.columns_of("indexes", names).map(Into::into)).collect::<Result<_, _>>()?
            }
            None => sortable.iter().flatten().map(|column| [*column].into()).collect(),
        };
        for column in key
            .iter()
            .chain(tenant.iter())
            .chain(sortable.iter().flatten())
            .chain(indexes.iter().flat_map(|i| i.iter()))
        {
            let (name, kind) = &self.columns[usize::from(*column)];
            if !kind.is_ordered() {
                let rule =
                    format!("has type {kind}, which has no order, so it may not be key, tenant, sortable or indexed");
                return Err(self.error(&format!("columns.{name}"), rule));
            }
        }
        let details = self.details()?;
        if let Some(tenant) = tenant.map(usize::from)
            && (self.columns[tenant].1 != Type::Text || details[tenant] != Detail::None)
        {
            return Err(self.error("tenant", "must name a column of type text that is not padded".into()));
        }
        let max_window = self.max_window.unwrap_or(MAX_WINDOW_DEFAULT);
        if !(1..=10_000).contains(&max_window) {
            return Err(self.error("max_window", format!("is {max_window}; it must be between 1 and 10000")));
        }
        let columns: Box<[Column]> = (0u16..)
            .zip(&self.columns)
            .zip(details)
            .map(|((index, (name, kind)), detail)| Column {
                detail,
                name: name.as_str().into(),
                kind: *kind,
                filterable: filterable.as_ref().is_none_or(|columns| columns.contains(&index)),
                sortable: kind.is_ordered() && sortable.as_ref().is_none_or(|columns| columns.contains(&index)),
            })
            .collect();
        let schema_version = schema_version(&self.name, &columns, &key, tenant);
        let name = self.name.as_str().into();
        let mut entity = Entity {
            id,
            name,
            columns,
            key: key.into(),
            tenant,
            max_window,
            indexes: indexes.into(),
            schema_version,
            sourced: self.sourced,
            row_filter: None,
        };
        entity.row_filter = self.row_filter(&entity)?;
        Ok(entity)
    }

    /// One detail per column.
    fn details(&self) -> Result<Vec<Detail>, EntityError> {
        let names: Vec<String> = self.details.iter().map(|(name, _)| name.clone()).collect();
        let mut details = vec![Detail::None; self.columns.len()];
        for (column, (_, detail)) in self.columns_of("details", &names)?.into_iter().zip(&self.details) {
            details[usize::from(column)] = detail.clone();
        }
        for ((name, kind), detail) in self.columns.iter().zip(&details) {
            if let Some(rule) = detail.fault(*kind) {
                return Err(self.error(&format!("columns.{name}"), rule));
            }
        }
        Ok(details)
    }

    fn row_filter(&self, entity: &Entity) -> Result<Option<Filter>, EntityError> {
        let Some(text) = &self.row_filter else { return Ok(None) };
        if !self.sourced {
            return Err(self.error("where", "is for entities whose rows come from a source".into()));
        }
        let conditions: Vec<Object<ConditionJson<'_>>> =
            serde_json::from_str(text).map_err(|e| self.error("where", format!("is no list of conditions: {e}")))?;
        decode_conditions(entity, &conditions).map(Some).map_err(|e| self.error("where", e.to_string()))
    }

    fn check_names(&self) -> Result<(), EntityError> {
        if !is_name(&self.name) {
            return Err(self.error(
                "name",
                format!("must be 1 to {NAME_BYTES_MAX} of A-Z a-z 0-9 _ - and start with a letter or _"),
            ));
        }
        if self.columns.is_empty() || self.columns.len() > COLUMNS_MAX {
            return Err(
                self.error("columns", format!("has {} columns; 1 to {COLUMNS_MAX} are allowed", self.columns.len()))
            );
        }
        for (index, (name, _)) in self.columns.iter().enumerate() {
            let key = format!("columns.{name}");
            if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
                return Err(
                    self.error(&key, format!("a column name has 1 to {NAME_BYTES_MAX} bytes and no control character"))
                );
            }
            if self.columns[..index].iter().any(|(other, _)| other == name) {
                return Err(self.error(&key, "is named twice".into()));
            }
        }
        Ok(())
    }

    fn columns_of(&self, key: &str, names: &[String]) -> Result<Vec<u16>, EntityError> {
        let columns: Vec<u16> = names.iter().map(|name| self.column_of(key, name)).collect::<Result<_, _>>()?;
        match columns.iter().enumerate().find(|(i, column)| columns[..*i].contains(column)) {
            Some((i, _)) => Err(self.error(key, format!("names {:?} twice", names[i]))),
            None => Ok(columns),
        }
    }

    fn column_of(&self, key: &str, name: &str) -> Result<u16, EntityError> {
        match self.columns.iter().position(|(column, _)| column == name) {
            // COLUMNS_MAX fits.
            Some(index) => Ok(index as u16),
            None => Err(self.error(key, format!("names {name:?}, which is not among the columns"))),
        }
    }

    fn error(&self, key: &str, rule: String) -> EntityError {
        EntityError { entity: self.name.clone(), key: key.to_owned(), rule }
    }
}

impl Entity {
    /// Its number within the catalog.
    #[must_use]
    pub fn id(&self) -> EntityId {
        self.id
    }

    /// The name clients use.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its columns, in their order on the wire.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The column at `index`, which must come from this entity.
    #[must_use]
    pub fn column(&self, index: u16) -> &Column {
        &self.columns[usize::from(index)]
    }

    /// The index of the column of that name.
    #[must_use]
    pub fn column_index(&self, name: &str) -> Option<u16> {
        self.columns.iter().position(|column| &*column.name == name).map(|index| index as u16)
    }

    /// Indexes of the key columns.
    #[must_use]
    pub fn key(&self) -> &[u16] {
        &self.key
    }

    /// Index of the tenant column.
    #[must_use]
    pub fn tenant(&self) -> Option<u16> {
        self.tenant
    }

    /// Largest `limit` of a query.
    #[must_use]
    pub fn max_window(&self) -> u32 {
        self.max_window
    }

    /// Column lists that ordered scans are served from, the primary key not among them.
    #[must_use]
    pub fn indexes(&self) -> &[Box<[u16]>] {
        &self.indexes
    }

    /// A number that changes when columns, their types and details, the key or the tenant column change.
    #[must_use]
    pub fn schema_version(&self) -> u64 {
        self.schema_version
    }

    /// Whether its rows are a copy of another database's: a key is then unique across tenants, the table can be copied
    /// again, and nothing else writes it.
    #[must_use]
    pub fn is_sourced(&self) -> bool {
        self.sourced
    }

    /// What a row must match to be anybody's.
    #[must_use]
    pub fn row_filter(&self) -> Option<&Filter> {
        self.row_filter.as_ref()
    }

    /// Whether the column may never be null.
    #[must_use]
    pub fn is_required(&self, column: u16) -> bool {
        self.key.contains(&column) || self.tenant == Some(column)
    }
}

/// The name rule of entities: also what keeps a name safe inside SQL identifiers, paths and metric labels.
#[must_use]
pub fn is_name(name: &str) -> bool {
    let start = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    name.len() <= NAME_BYTES_MAX
        && name.bytes().next().is_some_and(start)
        && name.bytes().all(|b| start(b) || b.is_ascii_digit() || b == b'-')
}

fn schema_version(name: &str, columns: &[Column], key: &[u16], tenant: Option<u16>) -> u64 {
    let mut hash = Sha256::new();
    hash.update(name);
    for column in columns {
        hash.update([0]);
        hash.update(column.name.as_bytes());
        hash.update([0]);
        hash.update(column.kind.name());
        match &column.detail {
            Detail::None => {}
            Detail::Labels(labels) => hash.update(format!("{labels:?}")),
            Detail::Padded(len) => hash.update(format!("{len}")),
        }
    }
    hash.update(format!("{key:?}{tenant:?}"));
    let digest = hash.finalize();
    u64::from_be_bytes(digest[..8].try_into().unwrap_or_default())
}

/// All entities of a process, by number and by name. Fixed at start.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    entities: Vec<Arc<Entity>>,
}

impl Catalog {
    /// Builds every entity, numbering them in order.
    ///
    /// # Errors
    /// The first broken rule; a name used twice is one.
    pub fn build(builders: &[EntityBuilder]) -> Result<Self, EntityError> {
        let mut catalog = Self::default();
        for (id, builder) in (0u32..).zip(builders) {
            if catalog.by_name(&builder.name).is_some() {
                return Err(builder.error("name", "is used by another entity".into()));
            }
            catalog.entities.push(Arc::new(builder.build(EntityId(id))?));
        }
        Ok(catalog)
    }

    /// The entity of that number, which must come from this catalog.
    #[must_use]
    pub fn entity(&self, id: EntityId) -> &Arc<Entity> {
        &self.entities[id.0 as usize]
    }

    /// The entity of that name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<&Arc<Entity>> {
        self.entities.iter().find(|entity| &**entity.name() == name)
    }

    /// All of them.
    #[must_use]
    pub fn entities(&self) -> &[Arc<Entity>] {
        &self.entities
    }
}
