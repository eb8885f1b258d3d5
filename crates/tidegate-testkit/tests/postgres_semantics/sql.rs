//! Entities, rows and queries as SQL. A literal is typed and nothing else is cast, so the meaning is PostgreSQL's own.

use std::fmt::Write as _;
use std::sync::Arc;

use tidegate_model::{
    Array, Column, Comparison, Detail, Element, Entity, Filter, InList, Query, Row, Type, Value, json,
};
use tidegate_testkit::strategies::{LABELS, PADDED};

/// Leaves a transaction open, whose rollback removes the table.
pub(crate) fn create(entity: &Entity) -> String {
    let columns: Vec<_> =
        entity.columns().iter().map(|column| format!("{} {}", column.name, type_name(column, true))).collect();
    let key: Vec<_> = entity.key().iter().map(|column| &*entity.column(*column).name).collect();
    format!(
        "rollback; begin; create temp table t (n bigint, {}, primary key ({})) on commit drop",
        columns.join(", "),
        key.join(", ")
    )
}

/// Of rows with equal keys the first stays.
pub(crate) fn insert(entity: &Entity, rows: &[Arc<Row>]) -> Option<String> {
    let row = |row: &Arc<Row>| {
        let pairs = entity.columns().iter().zip(row.values());
        let cells: Vec<_> = pairs.map(|(column, value)| literal(column, value)).collect();
        format!("({}, {})", row.version(), cells.join(", "))
    };
    let rows: Vec<_> = rows.iter().map(row).collect();
    (!rows.is_empty()).then(|| format!("insert into t values {} on conflict do nothing", rows.join(", ")))
}

pub(crate) fn select(entity: &Entity, query: &Query) -> String {
    let terms = query.order.terms().iter();
    let order: Vec<_> = terms
        .map(|term| format!("{}{}", entity.column(term.column).name, if term.desc { " desc" } else { "" }))
        .collect();
    format!("select n from t where {} order by {}", condition(entity, &query.filter), order.join(", "))
}

fn condition(entity: &Entity, filter: &Filter) -> String {
    let group = |filters: &[Filter], word: &str, none: &str| match filters {
        [] => none.to_owned(),
        filters => {
            let parts: Vec<_> = filters.iter().map(|filter| condition(entity, filter)).collect();
            format!("({})", parts.join(word))
        }
    };
    let name = |column: &u16| &entity.column(*column).name;
    let typed = |column: &u16, value: &Value| literal(entity.column(*column), value);
    match filter {
        Filter::All(filters) => group(filters, " and ", "true"),
        Filter::Any(filters) => group(filters, " or ", "false"),
        Filter::Not(filter) => format!("(not {})", condition(entity, filter)),
        Filter::Compare { column, op, value } => {
            let op = match op {
                Comparison::Eq => "=",
                Comparison::Ne => "<>",
                Comparison::Gt => ">",
                Comparison::Gte => ">=",
                Comparison::Lt => "<",
                Comparison::Lte => "<=",
            };
            format!("({} {op} {})", name(column), typed(column, value))
        }
        Filter::In(list) => {
            let null = list.has_null.then_some(Value::Null);
            let values: Vec<_> = list.values.iter().chain(&null).map(|value| typed(&list.column, value)).collect();
            format!("({} in ({}))", name(&list.column), values.join(", "))
        }
        Filter::Contains(list) => format!("({} @> {})", name(&list.column), elements(entity, list)),
        Filter::Overlaps(list) => format!("({} && {})", name(&list.column), elements(entity, list)),
        Filter::Like { column, pattern } => {
            let op = if pattern.folds_case() { "ilike" } else { "like" };
            format!("({} {op} {})", name(column), quoted(pattern.text()))
        }
        Filter::IsNull { column } => format!("({} is null)", name(column)),
    }
}

/// The values of `contains` and `overlaps`, now in one dimension, now in two: it must not matter.
fn elements(entity: &Entity, list: &InList) -> String {
    let column = entity.column(list.column);
    let Type::Array(element) = column.kind else { panic!("{column:?} is no array") };
    let null = list.has_null.then_some(Value::Null);
    let values: Vec<_> = list.values.iter().chain(&null).cloned().collect();
    let len = values.len() as u32;
    let dims = if len % 2 == 1 { vec![(len, 1)] } else { vec![(1, 1), (len, 1)] };
    literal(column, &Value::Array(Arc::new(Array::new(element, &dims, values).unwrap())))
}

fn literal(column: &Column, value: &Value) -> String {
    let kind = type_name(column, false);
    match text(column, value) {
        Some(text) => format!("{}::{kind}", quoted(&text)),
        None => format!("null::{kind}"),
    }
}

/// A value as PostgreSQL reads it; `None` for null.
fn text(column: &Column, value: &Value) -> Option<String> {
    Some(match value {
        Value::Null => return None,
        // The database knows by the type that spaces at the end mean nothing.
        Value::Text(text) if column.detail != Detail::None => text.trim_end_matches(' ').to_owned(),
        Value::Text(text) => text.to_string(),
        Value::Enum(label) => label.text.to_string(),
        Value::Float(float) if float.is_infinite() => {
            if *float > 0.0 {
                "Infinity".to_owned()
            } else {
                "-Infinity".to_owned()
            }
        }
        // Unlike JSON's, this form keeps the sign of zero.
        Value::Float(float) => format!("{float:?}"),
        Value::Bytes(bytes) => bytes.iter().fold("\\x".to_owned(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        }),
        Value::Json(json) => json.text().to_owned(),
        Value::Array(array) => {
            let bounds: String = array
                .dims()
                .iter()
                .map(|(len, lower)| format!("[{lower}:{}]", i64::from(*len) + i64::from(*lower) - 1))
                .collect();
            let elements: Vec<String> = array.values().iter().map(|value| element(column, value)).collect();
            match array.dims() {
                [] => "{}".to_owned(),
                dims => format!("{bounds}={}", braced(dims, &elements)),
            }
        }
        other => {
            let mut out = Vec::new();
            json::write_value(other, &mut out);
            String::from_utf8(out).unwrap().trim_matches('"').to_owned()
        }
    })
}

fn element(column: &Column, value: &Value) -> String {
    match text(column, value) {
        Some(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        None => "NULL".to_owned(),
    }
}

fn braced(dims: &[(u32, i32)], elements: &[String]) -> String {
    let parts: Vec<String> = match dims {
        [(len, _), inner @ ..] if !inner.is_empty() => {
            elements.chunks(elements.len() / *len as usize).map(|part| braced(inner, part)).collect()
        }
        _ => elements.to_vec(),
    };
    format!("{{{}}}", parts.join(","))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The type of a column, or of a literal that is held against it.
fn type_name(column: &Column, is_column: bool) -> String {
    let padded = column.detail != Detail::None;
    let name = match column.kind {
        Type::Bool => "bool",
        Type::Int => "bigint",
        Type::Float => "float8",
        Type::Decimal => "numeric",
        Type::Text if padded && is_column => return format!("char({PADDED}) collate \"C\""),
        Type::Text if padded => "bpchar",
        Type::Text if is_column => "text collate \"C\"",
        Type::Text => "text",
        Type::Bytes => "bytea",
        Type::Uuid => "uuid",
        Type::Timestamp => "timestamptz",
        Type::Date => "date",
        Type::Time => "time",
        Type::Interval => "interval",
        Type::Enum => "label",
        Type::Json => "jsonb",
        Type::Array(Element::Text) if padded && is_column => return format!("char({PADDED})[]"),
        Type::Array(element) => {
            let of = Column { kind: element.kind(), ..column.clone() };
            return format!("{}[]", type_name(&of, false));
        }
    };
    name.to_owned()
}

/// The type of every enum.
pub(crate) fn create_labels() -> String {
    format!("create type label as enum ({})", LABELS.map(quoted).join(", "))
}
