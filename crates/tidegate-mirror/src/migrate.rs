//! Bringing the tables to the configuration: everything in one SQL transaction, with bounded memory.
//!
//! What a table was made for is stored beside it. Where that differs from the configuration in any way, a new table is
//! filled from the old one, row by row, and takes its place; so there is one way through, whatever changed.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _};
use serde::{Deserialize, Serialize};
use tidegate_model::{Catalog, Column, Detail, Entity, Position, Row, Type, Value, json};

use crate::MirrorError;
use crate::copy::{self, State};
use crate::table::{Table, blob};

/// What a table was made for, as it is stored.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Definition {
    columns: Vec<(String, Type)>,
    key: Vec<String>,
    tenant: Option<String>,
    indexes: Vec<Vec<String>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    sourced: bool,
    /// The row filter, in its canonical form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    row_filter: Vec<u8>,
    /// By column; those without one are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    details: Vec<(String, Detail)>,
}

impl Definition {
    fn of(entity: &Entity) -> Self {
        let name = |column: &u16| entity.column(*column).name.to_string();
        let mut row_filter = Vec::new();
        entity.row_filter().into_iter().for_each(|filter| filter.canonical(&mut row_filter));
        Self {
            columns: entity.columns().iter().map(|column| (column.name.to_string(), column.kind)).collect(),
            key: entity.key().iter().map(name).collect(),
            tenant: entity.tenant().as_ref().map(name),
            indexes: entity.indexes().iter().map(|index| index.iter().map(name).collect()).collect(),
            sourced: entity.is_sourced(),
            row_filter,
            details: entity
                .columns()
                .iter()
                .filter(|column| column.detail != Detail::None)
                .map(|column| (column.name.to_string(), column.detail.clone()))
                .collect(),
        }
    }
}

/// Makes or migrates the table of every entity.
pub(crate) fn prepare(db: &Connection, catalog: &Catalog) -> Result<Arc<[Table]>, MirrorError> {
    let tx = db.unchecked_transaction()?;
    let tables = catalog.entities().iter().map(|entity| prepare_one(&tx, entity)).collect::<Result<_, _>>()?;
    let mut names = tx.prepare("SELECT name FROM entity")?;
    for name in names.query_map([], |row| row.get::<_, String>(0))? {
        let name = name?;
        if catalog.by_name(&name).is_none() {
            tracing::warn!(entity = name, "the store has rows of an entity that is not configured; they are kept");
        }
    }
    drop(names);
    tx.commit()?;
    Ok(tables)
}

fn prepare_one(db: &Connection, entity: &Arc<Entity>) -> Result<Table, MirrorError> {
    let wanted = Definition::of(entity);
    let text = serde_json::to_string(&wanted).map_err(|e| MirrorError::Damaged(e.to_string()))?;
    let sql = "SELECT number, definition FROM entity WHERE name = ?1";
    let stored: Option<(i64, String)> =
        db.query_row(sql, [&**entity.name()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let Some((number, stored)) = stored else {
        db.execute("INSERT INTO entity (name, definition) VALUES (?1, ?2)", (&**entity.name(), &text))?;
        let table = Table::new(entity.clone(), db.last_insert_rowid());
        create(db, &table)?;
        return Ok(table);
    };
    let stored: Definition = serde_json::from_str(&stored)
        .map_err(|e| MirrorError::Damaged(format!("the definition of entity {:?}: {e}", entity.name())))?;
    let table = Table::new(entity.clone(), number);
    if stored != wanted {
        if stored.sourced || wanted.sourced {
            tracing::info!(entity = &**entity.name(), "the entity was changed; its rows are copied again");
            empty(db, &table, &stored, &wanted)?;
        } else {
            tracing::info!(entity = &**entity.name(), "the entity was changed; its rows are migrated");
            rebuild(db, &table, &stored)?;
        }
        db.execute("UPDATE entity SET definition = ?1 WHERE number = ?2", (&text, number))?;
    }
    Ok(table)
}

/// Makes an empty table. That of a sourced entity waits for its rows.
fn create(db: &Connection, table: &Table) -> Result<(), MirrorError> {
    db.execute_batch(&table.create())?;
    db.execute_batch(&table.create_key_index())?;
    db.execute_batch(&table.create_indexes())?;
    let state = if table.entity.is_sourced() { State::Filling } else { State::Ready };
    copy::set_state(db, table.number, state)
}

/// Puts an empty table in the place of one whose rows are a source's copy. Rows are neither made a copy nor a copy
/// anybody's own: where there are any, that is refused.
fn empty(db: &Connection, table: &Table, stored: &Definition, wanted: &Definition) -> Result<(), MirrorError> {
    if stored.sourced != wanted.sourced && !table.is_empty(db)? {
        let (was, is) = if stored.sourced { ("a copy of a source's", "local") } else { ("local", "a source's") };
        let reason = format!("its rows are {was} and would become {is}; choose another data directory or another name");
        return Err(MirrorError::Migration { entity: table.entity.name().to_string(), reason });
    }
    db.execute_batch(&format!("DROP TABLE {}", table.name))?;
    copy::forget_pending(db, table.number)?;
    create(db, table)
}

/// Fills a new table from the old one and puts it in its place.
fn rebuild(db: &Connection, table: &Table, stored: &Definition) -> Result<(), MirrorError> {
    let (name, old_name) = (&table.name, format!("{}_old", table.name));
    // The old table's indexes go with it, and their names must be free before.
    for i in 0..stored.indexes.len() {
        db.execute_batch(&format!("DROP INDEX {}", table.index_name(i)))?;
    }
    db.execute_batch(&format!("ALTER TABLE {name} RENAME TO {old_name}"))?;
    db.execute_batch(&table.create())?;
    let source: Vec<Source> = table.entity.columns().iter().map(|column| Source::of(column, stored)).collect();
    let mut select = db.prepare(&format!("SELECT version, data FROM {old_name}"))?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let old: Vec<Value> = postcard::from_bytes(blob(row, 1)?)?;
        let refused = |reason| MirrorError::Migration { entity: table.entity.name().to_string(), reason };
        let row =
            migrated(table, &source, row.get(0)?, &old).map_err(|reason| refused(in_row(stored, &old, &reason)))?;
        put(db, table, &row)?.map_err(|reason| refused(in_row(stored, &old, &reason)))?;
    }
    drop(rows);
    drop(select);
    db.execute_batch(&format!("DROP TABLE {old_name}"))?;
    Ok(db.execute_batch(&table.create_indexes())?)
}

/// Where the cells of a column come from.
struct Source {
    old: Option<(usize, Type, Detail)>,
}

impl Source {
    fn of(column: &Column, stored: &Definition) -> Self {
        let old = stored.columns.iter().position(|(name, _)| **name == *column.name);
        let detail = stored.details.iter().find(|(name, _)| **name == *column.name);
        let detail = detail.map_or(Detail::None, |(_, detail)| detail.clone());
        Self { old: old.map(|index| (index, stored.columns[index].1, detail)) }
    }
}

fn migrated(table: &Table, source: &[Source], version: i64, old: &[Value]) -> Result<Arc<Row>, String> {
    let mut values = Vec::with_capacity(source.len());
    for (index, (column, source)) in (0u16..).zip(table.entity.columns().iter().zip(source)) {
        let cell = source.old.as_ref().and_then(|(index, kind, detail)| Some((old.get(*index)?, *kind, detail)));
        let value = match cell {
            None | Some((Value::Null, ..)) => Value::Null,
            Some((value, kind, detail)) if kind == column.kind && *detail == column.detail => value.clone(),
            Some((value, kind, detail)) => converted(value, kind, detail, column).ok_or_else(|| {
                format!("column {:?} holds {}, which is no exact {}", column.name, plain(value), column.kind)
            })?,
        };
        if value.is_null() && table.entity.is_required(index) {
            return Err(format!("column {:?} is part of the row's identity and would be null", column.name));
        }
        values.push(value);
    }
    Ok(Row::new(Position(version as u64), values))
}

/// The value as another type, through text; `None` where it would not come back the same. What a text becomes is the
/// other type's own reading of it.
fn converted(value: &Value, from: Type, detail: &Detail, to: &Column) -> Option<Value> {
    let new = to.value_from_text(&plain(value)).ok()?;
    let back = || detail.value_from_text(from, &plain(&new)).ok();
    (from == Type::Text || back().as_ref() == Some(value)).then_some(new)
}

/// A value as bare text.
fn plain(value: &Value) -> String {
    match value {
        Value::Text(text) => return text.to_string(),
        Value::Enum(label) => return label.text.to_string(),
        _ => {}
    }
    let mut out = Vec::new();
    json::write_value(value, &mut out);
    let text = String::from_utf8_lossy(&out);
    match value {
        Value::Json(_) | Value::Array(_) => text.into_owned(),
        // What is a string in JSON but no text holds nothing that JSON escapes.
        _ => text.trim_matches('"').to_owned(),
    }
}

/// Inserts a row into the new table; the inner error is a key that is there already.
fn put(db: &Connection, table: &Table, row: &Row) -> Result<Result<(), String>, MirrorError> {
    let tenant = row.tenant(&table.entity);
    let data = Table::encode(row)?;
    match table.put(db, tenant.name().as_bytes(), &table.key_of_row(row), None, row, &data) {
        Err(MirrorError::Sqlite(error))
            if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) =>
        {
            Ok(Err(format!("another row has the key {}", json::key_text(&table.entity, row))))
        }
        put => put.map(Ok),
    }
}

/// Names the row, by its old key.
fn in_row(stored: &Definition, old: &[Value], reason: &str) -> String {
    let cell = |name: &String| {
        let index = stored.columns.iter().position(|(column, _)| column == name);
        index.and_then(|index| old.get(index)).map_or_else(String::new, plain)
    };
    let key: Vec<String> = stored.key.iter().map(cell).collect();
    format!("row {}: {reason}", key.join(", "))
}
