//! Records as rows, and rows into the store, in batches.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_channel::{Receiver, bounded};
use tidegate_feed::{ChangeOp, LocalFeed, RowChange, TenantScope, WriteError, WriteRequest, Written};
use tidegate_model::{Entity, Position, Value};

use super::ImportError;
use super::records::{Cell, Record, Records};

/// Rows of one transaction.
const BATCH: usize = 1_000;
/// Batches under way: the next is read while these are written.
const UNDER_WAY: usize = 4;

/// What an import came to.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Loaded {
    pub(crate) rows: u64,
    pub(crate) transactions: u64,
    pub(crate) position: Position,
}

struct Batch {
    lines: Vec<u64>,
    answer: Receiver<Result<Written, WriteError>>,
}

/// Writes every record as a row: columns that it does not name are null. `progress` is told the bytes read so far.
pub(crate) fn load(
    records: &mut Records,
    entity: &Arc<Entity>,
    feed: &LocalFeed,
    progress: impl Fn(u64),
) -> Result<Loaded, ImportError> {
    let mut loaded = Loaded::default();
    let mut under_way: VecDeque<Batch> = VecDeque::new();
    loop {
        let (lines, changes) = read_batch(records, entity)?;
        let done = lines.is_empty();
        if !done {
            let (reply, answer) = bounded(1);
            let request = WriteRequest {
                entity: entity.id(),
                tenant: TenantScope::Named(None),
                guard: None,
                changes,
                idempotency: None,
            };
            // Nobody listens only if the import has failed already.
            feed.submit(request, Box::new(move |written| drop(reply.send(written))));
            under_way.push_back(Batch { lines, answer });
        }
        while under_way.len() > if done { 0 } else { UNDER_WAY - 1 } {
            // The loop's condition says that there is one.
            let Some(batch) = under_way.pop_front() else { break };
            loaded.rows += batch.lines.len() as u64;
            loaded.transactions += 1;
            loaded.position = batch.finish(entity)?.position;
        }
        progress(records.bytes());
        if done {
            return Ok(loaded);
        }
    }
}

fn read_batch(records: &mut Records, entity: &Entity) -> Result<(Vec<u64>, Vec<RowChange>), ImportError> {
    let (mut lines, mut changes) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
    while lines.len() < BATCH {
        let Some(record) = records.next()? else { break };
        let cells = row(records.columns(), entity, &record)?;
        lines.push(record.line);
        changes.push(RowChange { op: ChangeOp::Upsert, cells, if_version: None });
    }
    Ok((lines, changes))
}

fn row(names: &[String], entity: &Entity, record: &Record) -> Result<Vec<(u16, Value)>, ImportError> {
    let wrong =
        |column: &str, rule: String| ImportError::Record { line: record.line, column: Some(column.to_owned()), rule };
    let mut values = vec![Value::Null; entity.columns().len()];
    for (column, cell) in &record.cells {
        let name = &names[*column];
        let index = entity
            .column_index(name)
            .ok_or_else(|| wrong(name, format!("entity {:?} has no such column", &**entity.name())))?;
        let column = entity.column(index);
        let value = match cell {
            Cell::Plain(text) => column.value_from_text(text),
            Cell::Json(raw) => column.value_from_json(raw.get()),
        };
        values[usize::from(index)] = value.map_err(|e| wrong(name, e.0))?;
    }
    let cells: Vec<(u16, Value)> = (0u16..).zip(values).collect();
    match cells.iter().find(|(column, value)| value.is_null() && entity.is_required(*column)) {
        Some((column, _)) => {
            let rule = "is empty, and it is part of the row's identity".to_owned();
            Err(wrong(&entity.column(*column).name, rule))
        }
        None => Ok(cells),
    }
}

impl Batch {
    fn finish(self, entity: &Entity) -> Result<Written, ImportError> {
        let ended = || ImportError::Store("the feed has ended".to_owned());
        self.answer.recv().map_err(|_| ended())?.map_err(|error| {
            let index = error.path.as_deref().and_then(changed);
            match index.and_then(|index| self.lines.get(index)) {
                Some(line) => ImportError::at(*line, format!("entity {:?}: {}", &**entity.name(), error.message)),
                None => ImportError::Store(error.message),
            }
        })
    }
}

/// Which change of a batch a path such as `changes[12].upsert.temp` is about.
fn changed(path: &str) -> Option<usize> {
    path.strip_prefix("changes[")?.split_once(']')?.0.parse().ok()
}
