//! Entities, rows and queries as SQL. A literal is typed and nothing else is cast, so the meaning is PostgreSQL's own.

use std::fmt::Write as _;
use std::sync::Arc;

use tidegate_model::{Comparison, Entity, Filter, Query, Row, Type, Value, json};

/// Leaves a transaction open, whose rollback removes the table.
pub(crate) fn create(entity: &Entity) -> String {
    let columns: Vec<_> =
        entity.columns().iter().map(|column| format!("{} {}", column.name, type_name(column.kind, true))).collect();
    let key: Vec<_> = entity.key().iter().map(|column| &*entity.column(*column).name).collect();
    format!(
        "rollback; begin; create temp table t (n bigint, {}, primary key ({})) on commit drop",
        columns.join(", "),
        key.join(", ")
    )
}

/// Of rows with equal keys the first stays.
pub(crate) fn insert(rows: &[Arc<Row>]) -> Option<String> {
    let row = |row: &Arc<Row>| {
        let cells: Vec<_> = row.values().iter().map(|value| literal(value, None)).collect();
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
    let typed = |column: &u16, value: &Value| literal(value, Some(entity.column(*column).kind));
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
        Filter::Like { column, pattern } => {
            let op = if pattern.folds_case() { "ilike" } else { "like" };
            format!("({} {op} {})", name(column), quoted(pattern.text()))
        }
        Filter::IsNull { column } => format!("({} is null)", name(column)),
    }
}

fn literal(value: &Value, kind: Option<Type>) -> String {
    let kind = value.kind().or(kind);
    let text = match value {
        Value::Null => return kind.map_or("null".to_owned(), |kind| format!("null::{}", type_name(kind, false))),
        Value::Text(text) => text.to_string(),
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
        other => {
            let mut out = Vec::new();
            json::write_value(other, &mut out);
            String::from_utf8(out).unwrap().trim_matches('"').to_owned()
        }
    };
    // A value that is not null has a type.
    format!("{}::{}", quoted(&text), type_name(kind.unwrap(), false))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn type_name(kind: Type, column: bool) -> &'static str {
    match kind {
        Type::Bool => "bool",
        Type::Int => "bigint",
        Type::Float => "float8",
        Type::Decimal => "numeric",
        Type::Text if column => "text collate \"C\"",
        Type::Text => "text",
        Type::Bytes => "bytea",
        Type::Uuid => "uuid",
        Type::Timestamp => "timestamptz",
        Type::Date => "date",
        Type::Json => "jsonb",
    }
}
