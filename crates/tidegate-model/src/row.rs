//! Rows.

use std::sync::Arc;

use crate::{Entity, Position, Tenant, Value};

/// A row: one value per column of its entity, and the position of its last change. Shared by reference: a row that a
/// thousand windows show is in memory once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    version: u64,
    values: Box<[Value]>,
    size: u32,
}

impl Row {
    /// A row as it was last changed at `version`. `values` has one value per column.
    #[must_use]
    pub fn new(version: Position, values: impl Into<Box<[Value]>>) -> Arc<Self> {
        let values = values.into();
        let size = 40 + values.iter().map(|value| size_of::<Value>() + value.heap_size()).sum::<usize>();
        Arc::new(Self { version: version.0, values, size: u32::try_from(size).unwrap_or(u32::MAX) })
    }

    /// The position of its last change, as a number.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// All cells in column order.
    #[must_use]
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The cell of a column.
    #[must_use]
    pub fn value(&self, column: u16) -> &Value {
        &self.values[usize::from(column)]
    }

    /// The tenant that the row belongs to: its tenant column, or the common tenant.
    #[must_use]
    pub fn tenant(&self, entity: &Entity) -> Tenant {
        match entity.tenant().map(|column| self.value(column)) {
            Some(Value::Text(tenant)) => Tenant::new(tenant),
            _ => Tenant::common(),
        }
    }

    /// The set of columns (a bit each) in which two rows of one entity differ.
    #[must_use]
    pub fn difference(&self, other: &Row) -> u128 {
        let pairs = self.values.iter().zip(&other.values).enumerate();
        pairs.filter(|(_, (a, b))| a != b).fold(0, |set, (column, _)| set | 1 << column)
    }

    /// Bytes in memory, for byte bounds: an estimate from the lengths of its values.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size as usize
    }
}
