//! One entity as it is followed: which cells of a streamed tuple are its own, and what a message does to it. Pure.

use std::sync::Arc;

use tidegate_mirror::SourceOp;
use tidegate_model::{Entity, EntityId, Value};

use super::Lsn;
use super::copy::Seen;
use super::mapping::{Drift, Mapping};
use super::pgoutput::{Cell, Old, Relation, Tuple};

/// What the stream's changes of an entity are for.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Its table is complete: changes are applied.
    Following,
    /// Its table is being copied: changes are recorded.
    Recording,
    /// The copy is complete: once the stream has come to `upto`, past everything that the copy has seen, what was
    /// recorded is applied, but for what the copy had seen; what comes is recorded behind it until nothing is left.
    Replaying { seen: Seen, upto: Lsn },
    /// It can't be served, for this reason: changes are ignored.
    Failed(Arc<str>),
}

/// An entity, its table, and how far it is.
#[derive(Debug)]
pub(crate) struct Follow {
    pub(crate) entity: Arc<Entity>,
    pub(crate) mapping: Mapping,
    pub(crate) phase: Phase,
    /// For each column of the table as last announced, the entity's column.
    projection: Option<Vec<Option<usize>>>,
}

/// A change that can't be told in the entity's terms.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FollowError {
    /// Rows came before the table's description.
    #[error("the server sent rows of a table that it had not described")]
    NotAnnounced,
    /// The tuple does not have the columns that were described.
    #[error("the server sent a row that does not have the columns it described")]
    Shape,
    /// A cell is not of its column's type.
    #[error("column {column:?}: {reason}")]
    Cell {
        /// Its name.
        column: String,
        /// What was expected.
        reason: String,
    },
}

/// A change as it waits for a copy to be complete. `None` is one of a table of another shape: it can't be told, and need not
/// be where the copy has seen it.
pub(crate) type Recorded = Option<SourceOp>;

impl Follow {
    pub(crate) fn new(entity: Arc<Entity>, mapping: Mapping, phase: Phase) -> Self {
        Self { entity, mapping, phase, projection: None }
    }

    pub(crate) fn id(&self) -> EntityId {
        self.entity.id()
    }

    pub(crate) fn is_failed(&self) -> bool {
        matches!(self.phase, Phase::Failed(_))
    }

    /// Whether its changes are recorded.
    pub(crate) fn is_copied(&self) -> bool {
        matches!(self.phase, Phase::Recording | Phase::Replaying { .. })
    }

    /// The server describes the table: before its first row in a session, and again whenever something about it may have
    /// changed.
    pub(crate) fn announce(&mut self, relation: &Relation) -> Result<(), Drift> {
        self.projection = None;
        let places = self.mapping.fits(relation)?;
        let is_told = |column: &u16| {
            let mut told = places.iter().zip(&relation.columns).filter(|(_, column)| column.key);
            told.any(|(place, _)| *place == Some(usize::from(*column)))
        };
        // Else an update of the key would not tell the key before it.
        if !self.entity.key().iter().all(is_told) {
            let reason =
                format!("the replica identity of the table {:?} does not have every column of the key", relation.name);
            return Err(Drift { reason, added: Vec::new() });
        }
        self.projection = Some(places);
        Ok(())
    }

    /// Descriptions are of a session.
    pub(crate) fn forget_announcement(&mut self) {
        self.projection = None;
    }

    pub(crate) fn insert(&self, new: &Tuple<'_>) -> Result<SourceOp, FollowError> {
        Ok(SourceOp::Upsert { old_key: None, cells: self.cells(new)? })
    }

    pub(crate) fn update(&self, old: Option<&Old<'_>>, new: &Tuple<'_>) -> Result<SourceOp, FollowError> {
        let old_key = old.map(|old| self.key(old)).transpose()?;
        Ok(SourceOp::Upsert { old_key, cells: self.cells(new)? })
    }

    pub(crate) fn delete(&self, old: &Old<'_>) -> Result<SourceOp, FollowError> {
        Ok(SourceOp::Delete { key: self.key(old)? })
    }

    fn projection(&self, tuple: &Tuple<'_>) -> Result<&[Option<usize>], FollowError> {
        let projection = self.projection.as_deref().ok_or(FollowError::NotAnnounced)?;
        if projection.len() == tuple.len() { Ok(projection) } else { Err(FollowError::Shape) }
    }

    /// The entity's cells; `None` where the value was too large to be sent again.
    fn cells(&self, tuple: &Tuple<'_>) -> Result<Vec<Option<Value>>, FollowError> {
        let projection = self.projection(tuple)?;
        let mut cells = vec![None; self.mapping.columns.len()];
        for (cell, column) in tuple.iter().zip(projection) {
            if let Some(column) = *column {
                cells[column] = self.value(column, cell)?;
            }
        }
        Ok(cells)
    }

    /// The key's values of an old row.
    fn key(&self, old: &Old<'_>) -> Result<Vec<Value>, FollowError> {
        let (Old::Key(tuple) | Old::Full(tuple)) = old;
        let projection = self.projection(tuple)?;
        let value = |column: &u16| {
            let column = usize::from(*column);
            let at = projection.iter().position(|to| *to == Some(column)).ok_or(FollowError::Shape)?;
            self.value(column, &tuple[at])?.ok_or(FollowError::Shape)
        };
        self.entity.key().iter().map(value).collect()
    }

    fn value(&self, column: usize, cell: &Cell<'_>) -> Result<Option<Value>, FollowError> {
        match cell {
            Cell::Null => Ok(Some(Value::Null)),
            Cell::Unchanged => Ok(None),
            Cell::Text(bytes) => {
                let mapped = &self.mapping.columns[column];
                let wrong = |error: super::values::CellError| FollowError::Cell {
                    column: mapped.name.clone(),
                    reason: error.to_string(),
                };
                mapped.source.from_text(bytes).map(Some).map_err(wrong)
            }
        }
    }
}
