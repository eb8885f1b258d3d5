//! From what configuration wishes and what a table is, to the entity and to how its rows are read. Pure.

use tidegate_model::{EntityBuilder, Type};

use super::check::Problem;
use super::inspect::TableInfo;
use super::pgoutput::Relation;
use super::quote;
use super::values::SourceType;

/// What configuration says of an entity that follows a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    /// The entity's name.
    pub name: String,
    /// The table's schema.
    pub schema: String,
    /// The table's name.
    pub table: String,
    /// As [`EntityBuilder::key`]; absent means the primary key.
    pub key: Option<Vec<String>>,
    /// The columns taken, each with the type it must have or text for anything; absent means all that are replicated.
    pub columns: Option<Vec<(String, Option<Type>)>>,
    /// As [`EntityBuilder::tenant`].
    pub tenant: Option<String>,
    /// As [`EntityBuilder::filterable`]; absent means every column that does not travel as text.
    pub filterable: Option<Vec<String>>,
    /// As [`EntityBuilder::sortable`]; absent means every ordered column that does not travel as text.
    pub sortable: Option<Vec<String>>,
    /// As [`EntityBuilder::indexes`].
    pub indexes: Option<Vec<Vec<String>>>,
    /// As [`EntityBuilder::max_window`].
    pub max_window: Option<u32>,
    /// As [`EntityBuilder::row_filter`].
    pub row_filter: Option<String>,
}

/// How the rows of a table become the rows of an entity.
#[derive(Debug, Clone)]
pub struct Mapping {
    /// The table's oid.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// In the entity's column order.
    pub columns: Vec<MappedColumn>,
    /// Whether the wish took every column, so that a new one is missed.
    pub takes_all: bool,
    /// Text that changes whenever the copied rows may no longer be what a new copy would give.
    pub signature: String,
}

/// A column of the table that is a column of the entity.
#[derive(Debug, Clone)]
pub struct MappedColumn {
    /// Its name, in both.
    pub name: String,
    /// Its number within the table.
    pub number: i16,
    /// Its type; a domain's own oid.
    pub type_oid: u32,
    /// The type's modifier, or -1.
    pub typmod: i32,
    /// How its cells are read.
    pub source: SourceType,
}

/// A table is no longer what the mapping was made for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Drift {
    /// What changed.
    pub reason: String,
    /// Columns that are new, where the wish took all.
    pub added: Vec<String>,
}

/// Makes the entity and its mapping, with whatever is amiss but not fatal.
///
/// # Errors
/// What makes it impossible: every [`Problem`] found, the fatal ones among them.
pub fn resolve(wish: &Wish, table: &TableInfo) -> Result<(EntityBuilder, Mapping, Vec<Problem>), Vec<Problem>> {
    let _ = (wish, table);
    Err(Vec::new())
}

impl Mapping {
    /// The statement that copies the table in binary, the columns in the entity's order.
    #[must_use]
    pub fn copy_sql(&self) -> String {
        let columns: Vec<String> =
            self.columns.iter().map(|column| column.source.copy_expression(&quote::identifier(&column.name))).collect();
        format!(
            "COPY (SELECT {} FROM {}) TO STDOUT (FORMAT binary)",
            columns.join(", "),
            quote::table(&self.schema, &self.table)
        )
    }

    /// For each column of the relation, the entity's column it is.
    ///
    /// # Errors
    /// [`Drift`] where the table is another, a column the entity needs is gone or of another type, or one was added
    /// to a table whose columns are all taken.
    pub fn fits(&self, relation: &Relation) -> Result<Vec<Option<usize>>, Drift> {
        let _ = relation;
        Ok(Vec::new())
    }
}
