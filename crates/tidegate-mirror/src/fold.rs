//! What a transaction has touched so far, in memory: each row as it was before and as it is now.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::Connection;
use tidegate_model::{Change, EntityId, Position, Row, Tenant, Value};

use crate::table::{Table, partition};
use crate::{ApplyError, MirrorError, Refusal};

/// What a touched row weighs beside its images: its entries in the fold and its change.
const TOUCHED_BYTES: usize = 256;

/// A row that the transaction touched.
pub(crate) struct Touched {
    entity: EntityId,
    pk: Vec<u8>,
    old: Option<Arc<Row>>,
    new: Option<Arc<Row>>,
    /// The stored form of `new` where it is not `old`.
    data: Vec<u8>,
}

impl Touched {
    fn bytes(&self) -> usize {
        let images = [&self.old, &self.new].into_iter().flatten().map(|row| row.size()).sum::<usize>();
        TOUCHED_BYTES + 2 * self.pk.len() + self.data.len() + images
    }
}

/// A transaction being folded. A row is known by its entity, its partition and its key; a row of a sourced entity by
/// its key alone, and stands under the common tenant here.
pub(crate) struct Fold {
    pub(crate) position: Position,
    touched: Vec<Touched>,
    places: HashMap<(EntityId, Tenant, Vec<u8>), usize>,
    bytes: usize,
}

/// A row that passed every check and may take its place.
pub(crate) struct Checked {
    row: Arc<Row>,
    data: Vec<u8>,
}

impl Checked {
    pub(crate) fn row(&self) -> &Row {
        &self.row
    }
}

impl Fold {
    pub(crate) fn new(position: Position) -> Self {
        Self { position, touched: Vec::new(), places: HashMap::new(), bytes: 0 }
    }

    /// Rows touched.
    pub(crate) fn len(&self) -> usize {
        self.touched.len()
    }

    /// Bytes in memory, an estimate.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The entities of which rows were touched, with repetitions.
    pub(crate) fn entities(&self) -> impl Iterator<Item = EntityId> {
        self.touched.iter().map(|touched| touched.entity)
    }

    /// Where the row stands; the first touch reads it.
    pub(crate) fn place(
        &mut self,
        entity: EntityId,
        tenant: &Tenant,
        pk: Vec<u8>,
        read: impl FnOnce(&[u8]) -> Result<Option<Arc<Row>>, MirrorError>,
    ) -> Result<usize, MirrorError> {
        let identity = (entity, tenant.clone(), pk);
        if let Some(place) = self.places.get(&identity) {
            return Ok(*place);
        }
        let old = read(&identity.2)?;
        let place = self.touched.len();
        let touched = Touched { entity, pk: identity.2.clone(), new: old.clone(), old, data: Vec::new() };
        self.bytes += touched.bytes();
        self.touched.push(touched);
        self.places.insert(identity, place);
        Ok(place)
    }

    /// The row as it is now.
    pub(crate) fn row(&self, place: usize) -> Option<&Arc<Row>> {
        self.touched[place].new.as_ref()
    }

    /// Checks what the row is to be. One that is again as it was before the transaction has its version again.
    pub(crate) fn check(&self, place: usize, values: Box<[Value]>, bytes_max: usize) -> Result<Checked, FoldError> {
        if let Some(old) = self.touched[place].old.as_ref().filter(|old| *old.values() == *values) {
            return Ok(Checked { row: old.clone(), data: Vec::new() });
        }
        encoded(self.position, values, bytes_max).map(|(row, data)| Checked { row, data })
    }

    /// Gives the row its new image; `None` is a row that is gone.
    pub(crate) fn set(&mut self, place: usize, checked: Option<Checked>) {
        let touched = &mut self.touched[place];
        self.bytes -= touched.bytes();
        (touched.new, touched.data) = match checked {
            Some(Checked { row, data }) => (Some(row), data),
            None => (None, Vec::new()),
        };
        self.bytes += touched.bytes();
    }

    /// Forgets what was done to the entity.
    pub(crate) fn forget(&mut self, entity: EntityId) {
        if self.entities().all(|touched| touched != entity) {
            return;
        }
        // Each place moves to where its row has gone.
        let moved: Vec<Option<usize>> = self
            .touched
            .iter()
            .scan(0, |next, touched| {
                let kept = touched.entity != entity;
                *next += usize::from(kept);
                Some(kept.then(|| *next - 1))
            })
            .collect();
        self.places.retain(|_, place| moved[*place].map(|to| *place = to).is_some());
        self.touched.retain(|touched| touched.entity != entity);
        self.bytes = self.touched.iter().map(Touched::bytes).sum();
    }

    /// Writes every row that ends otherwise than it began, and returns the changes that anybody may be told.
    pub(crate) fn write(self, db: &Connection, tables: &[Table]) -> Result<Written, MirrorError> {
        let mut written = Written { rows: 0, changes: Vec::with_capacity(self.touched.len()) };
        for touched in self.touched {
            let is_same = match (&touched.old, &touched.new) {
                (None, None) => true,
                (Some(old), Some(new)) => Arc::ptr_eq(old, new),
                _ => false,
            };
            if !is_same {
                written.rows += 1;
                touched.write(db, &tables[touched.entity.0 as usize], &mut written.changes)?;
            }
        }
        Ok(written)
    }
}

/// What writing a fold came to.
pub(crate) struct Written {
    pub(crate) rows: u64,
    pub(crate) changes: Vec<Change>,
}

impl Touched {
    fn write(&self, db: &Connection, table: &Table, changes: &mut Vec<Change>) -> Result<(), MirrorError> {
        let Self { entity, pk, old, new, data } = self;
        let tenant_of = |row: &Option<Arc<Row>>| row.as_deref().map(|row| table.tenant_of(row));
        let (from, to) = (tenant_of(old), tenant_of(new));
        if let (Some(from), Some(to)) = (&from, &to)
            && from == to
        {
            if let Some(new) = new {
                table.put(db, partition(to.as_ref()), pk, old.as_deref(), new, data)?;
            }
            let change = |tenant: &Tenant| Change {
                entity: *entity,
                tenant: tenant.clone(),
                old: old.clone(),
                new: new.clone(),
            };
            changes.extend(to.as_ref().map(change));
            return Ok(());
        }
        // A row that changes its partition leaves the one before it enters the other: a key stands once.
        if let Some(from) = from {
            table.remove(db, partition(from.as_ref()), pk)?;
            changes.extend(from.map(|tenant| Change { entity: *entity, tenant, old: old.clone(), new: None }));
        }
        if let (Some(to), Some(new)) = (to, new) {
            table.put(db, partition(to.as_ref()), pk, None, new, data)?;
            changes.extend(to.map(|tenant| Change { entity: *entity, tenant, old: None, new: Some(new.clone()) }));
        }
        Ok(())
    }
}

/// A row with its stored form, which is not larger than allowed.
pub(crate) fn encoded(
    position: Position,
    values: Box<[Value]>,
    bytes_max: usize,
) -> Result<(Arc<Row>, Vec<u8>), FoldError> {
    let row = Row::new(position, values);
    let data = Table::encode(&row)?;
    match data.len() {
        bytes if bytes > bytes_max => Err(Refusal::RowSize { bytes, max: bytes_max }.into()),
        _ => Ok((row, data)),
    }
}

/// One write that could not be folded.
pub(crate) enum FoldError {
    Refused(Refusal),
    Store(MirrorError),
}

impl From<Refusal> for FoldError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<MirrorError> for FoldError {
    fn from(error: MirrorError) -> Self {
        Self::Store(error)
    }
}

impl FoldError {
    /// As the error of the write at `index`.
    pub(crate) fn at(self, index: usize) -> ApplyError {
        match self {
            FoldError::Refused(refusal) => ApplyError::Refused { index, refusal },
            FoldError::Store(error) => ApplyError::Store(error),
        }
    }
}
