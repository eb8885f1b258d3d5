//! A batch of changes on its way in, and what its rows become for the store.

use tidegate_mirror::{Refusal, RowOp, RowWrite};
use tidegate_model::{Entity, EntityId, Guard, Position, Tenant, Value};

use crate::{WriteError, WriteErrorCode};

/// A batch to be applied as one transaction.
#[derive(Debug, Clone)]
pub struct WriteRequest {
    /// The entity of all its rows.
    pub entity: EntityId,
    /// Whose rows.
    pub tenant: TenantScope,
    /// Which of their rows and columns may be changed; `None` is all.
    pub guard: Option<Guard>,
    /// In the order in which they are applied.
    pub changes: Vec<RowChange>,
    /// Makes asking again harmless.
    pub idempotency: Option<Idempotency>,
}

/// Which tenants a writer may write for. Of no meaning for an entity without a tenant column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantScope {
    /// A client: every row is its own tenant's, whatever it says.
    Own(Tenant),
    /// A server with an API key: each row names its tenant in the tenant column, or is the default's.
    Named(Option<Tenant>),
}

/// One change of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowChange {
    /// What to do.
    pub op: ChangeOp,
    /// Cells by column. An upsert leaves columns that are not named as they are, and null in a new row; a delete names
    /// the key, and where need be the tenant.
    pub cells: Vec<(u16, Value)>,
    /// Demands that the row is at this version; 0 that it does not exist.
    pub if_version: Option<u64>,
}

/// What a change does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeOp {
    /// Insert or update.
    Upsert,
    /// Delete; of a row that is not there, nothing.
    Delete,
}

impl ChangeOp {
    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Upsert => "upsert",
            Self::Delete => "delete",
        }
    }
}

/// An idempotency key with what it was used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// Within which the key is unique: who writes, and to what. Not a secret: it is stored.
    pub scope: String,
    /// The key, as the client chose it.
    pub key: String,
    /// SHA-256 of the body.
    pub hash: [u8; 32],
}

/// The answer to a write that is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Of its transaction.
    pub position: Position,
    /// For each change, in order: the version of its row after the batch; `None` for a row that is gone.
    pub versions: Vec<Option<u64>>,
    /// Answered from an idempotency key: the batch had been applied before.
    pub replayed: bool,
}

impl WriteRequest {
    /// Bytes in memory, for the bound of the queue: an estimate.
    pub(crate) fn size(&self) -> usize {
        let cell = |(_, value): &(u16, Value)| size_of::<(u16, Value)>() + value.heap_size();
        let change = |change: &RowChange| size_of::<RowWrite>() + change.cells.iter().map(cell).sum::<usize>();
        let guard = self.guard.as_ref().map_or(0, Guard::size);
        size_of::<Self>() + guard + self.changes.iter().map(change).sum::<usize>()
    }
}

/// What a change is for the store: its partition settled, its key in order.
pub(crate) fn row_write(
    entity: &Entity,
    scope: &TenantScope,
    index: usize,
    change: RowChange,
) -> Result<RowWrite, WriteError> {
    let cell = |column: u16| change.cells.iter().rev().find(|(cell, _)| *cell == column).map(|(_, value)| value);
    let tenant = match (entity.tenant(), scope) {
        (None, _) => Tenant::common(),
        (Some(_), TenantScope::Own(tenant)) => tenant.clone(),
        (Some(column), TenantScope::Named(default)) => match (cell(column), default) {
            (Some(Value::Text(name)), _) => Tenant::new(name),
            (None, Some(default)) => default.clone(),
            _ => return Err(at_cell(entity, index, change.op, column, "must name the row's tenant")),
        },
    };
    let op = match change.op {
        ChangeOp::Delete => {
            RowOp::Delete(entity.key().iter().map(|column| cell(*column).cloned().unwrap_or(Value::Null)).collect())
        }
        ChangeOp::Upsert => RowOp::Merge(change.cells),
    };
    Ok(RowWrite { entity: entity.id(), tenant, op, if_version: change.if_version })
}

/// An error at a cell of a change.
pub(crate) fn at_cell(entity: &Entity, index: usize, op: ChangeOp, column: u16, rule: &str) -> WriteError {
    let name = &entity.column(column).name;
    let message = format!("entity {:?}, column {name:?}: {rule}", &**entity.name());
    WriteError::new(WriteErrorCode::InvalidRow, message).at(format!("changes[{index}].{}.{name}", op.name()))
}

/// The store's refusal, in the client's terms.
pub(crate) fn refused(entity: &Entity, index: usize, op: ChangeOp, refusal: &Refusal) -> WriteError {
    match (refusal, refusal.column()) {
        (_, Some(column)) => at_cell(entity, index, op, column, &refusal.to_string()),
        (Refusal::Version { .. }, _) => {
            let message = format!("entity {:?}: {refusal}", &**entity.name());
            WriteError::new(WriteErrorCode::VersionConflict, message).at(format!("changes[{index}].if_version"))
        }
        (Refusal::Forbidden, _) => {
            let message = format!("entity {:?}: {refusal}", &**entity.name());
            WriteError::new(WriteErrorCode::Forbidden, message).at(format!("changes[{index}]"))
        }
        _ => {
            let message = format!("entity {:?}: {refusal}", &**entity.name());
            WriteError::new(WriteErrorCode::InvalidRow, message).at(format!("changes[{index}].{}", op.name()))
        }
    }
}
