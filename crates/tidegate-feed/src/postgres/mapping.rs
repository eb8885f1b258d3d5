//! How the rows of a table become the rows of an entity. Pure.

use super::pgoutput::Relation;
use super::quote;
use super::values::SourceType;

/// A table's columns as an entity's. Made by [`super::resolve::resolve`].
#[derive(Debug, Clone)]
pub struct Mapping {
    /// The table's oid.
    pub oid: u32,
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// Whether it is partitioned, and its rows its partitions'.
    pub is_partitioned: bool,
    /// In the entity's column order.
    pub columns: Vec<MappedColumn>,
    /// Whether every column was wished for, so that a new one is missed.
    pub takes_all: bool,
    /// Text that differs whenever rows copied under another mapping may differ from what a new copy would give.
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
    /// Columns that are new, where all were wished for.
    pub added: Vec<String>,
}

impl Mapping {
    /// The statement that copies the table in binary, the columns in the entity's order.
    #[must_use]
    pub fn copy_sql(&self) -> String {
        let expression = |column: &MappedColumn| column.source.copy_expression(&quote::identifier(&column.name));
        let columns: Vec<String> = self.columns.iter().map(expression).collect();
        // Tables that inherit from this one are tables of their own in the stream.
        let only = if self.is_partitioned { "" } else { "ONLY " };
        let table = quote::table(&self.schema, &self.table);
        format!("COPY (SELECT {} FROM {only}{table}) TO STDOUT (FORMAT binary)", columns.join(", "))
    }

    /// For each column of the relation, the entity's column it is.
    ///
    /// # Errors
    /// [`Drift`] where the table is another, a column that the entity needs is gone, stands elsewhere (dropped and added
    /// again) or is of another type or modifier, or one was added to a table whose columns are all wished for. A type that
    /// changes to a wider one is a drift too: the rows were rewritten, by whatever expression, and the stream does not
    /// tell of that.
    pub fn fits(&self, relation: &Relation) -> Result<Vec<Option<usize>>, Drift> {
        let drift = |reason: String| Err(Drift { reason, added: Vec::new() });
        let table = quote::table(&self.schema, &self.table);
        if relation.oid != self.oid {
            return drift(format!("{table} is another table now"));
        }
        let mut places = vec![None; relation.columns.len()];
        let mut found = Vec::with_capacity(self.columns.len());
        for (index, column) in self.columns.iter().enumerate() {
            let Some(place) = relation.columns.iter().position(|other| other.name == column.name) else {
                return drift(format!("{table} has no column {:?} any more", column.name));
            };
            let other = &relation.columns[place];
            if (other.type_oid, other.typmod) != (column.type_oid, column.typmod) {
                return drift(format!("the type of the column {:?} of {table} was changed", column.name));
            }
            places[place] = Some(index);
            found.push((column.number, place, &column.name));
        }
        found.sort_unstable();
        if let Some([(_, _, name), _]) = found.windows(2).find(|pair| pair[0].1 > pair[1].1) {
            return drift(format!("the column {name:?} of {table} was dropped and added again"));
        }
        let new = relation.columns.iter().zip(&places).filter(|(_, place)| place.is_none());
        let added: Vec<String> = new.map(|(column, _)| column.name.clone()).collect();
        if self.takes_all && !added.is_empty() {
            let reason = format!("{table} has new columns: {}", added.join(", "));
            return Err(Drift { reason, added });
        }
        Ok(places)
    }
}

#[cfg(test)]
mod tests;
