//! From what configuration wishes and what a table is, to the entity and to how its rows are read. Pure.

use tidegate_model::{Detail, EntityBuilder, EntityId, Type};

use super::check::Problem;
use super::inspect::{ColumnInfo, TableInfo};
pub use super::mapping::{Drift, MappedColumn, Mapping};
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
    /// The columns taken, each with the type it must have, or text for anything; absent means all that are replicated.
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

/// Makes the entity and its mapping, with whatever is amiss but not fatal.
///
/// # Errors
/// Everything amiss, where something is fatal. A table without any key is told of by [`super::check::check`] alone and
/// gives an empty list here.
pub fn resolve(wish: &Wish, table: &TableInfo) -> Result<(EntityBuilder, Mapping, Vec<Problem>), Vec<Problem>> {
    let mut problems = Vec::new();
    let columns = columns(wish, table, &mut problems);
    let key = wish.key.clone().unwrap_or_else(|| table.primary_key.clone());
    check_key(wish, &columns, &key, &mut problems);
    check_text(wish, &columns, &mut problems);
    let builder = builder(wish, &columns, &key);
    if !key.is_empty()
        && problems.iter().all(|problem| !problem.fatal)
        && let Err(error) = builder.build(EntityId(0))
    {
        let mend = format!("correct `{}` of the entity {:?} in the configuration", error.key, wish.name);
        problems.push(fatal(error.to_string(), mend));
    }
    if key.is_empty() || problems.iter().any(|problem| problem.fatal) {
        return Err(problems);
    }
    let signature = signature(wish, table, &columns, &key);
    let mapping = Mapping {
        oid: table.oid,
        schema: table.schema.clone(),
        table: table.name.clone(),
        is_partitioned: table.kind == 'p',
        columns,
        takes_all: wish.columns.is_none(),
        signature,
    };
    Ok((builder, mapping, problems))
}

/// The columns in the entity's order: as wished, or as in the table.
fn columns(wish: &Wish, table: &TableInfo, problems: &mut Vec<Problem>) -> Vec<MappedColumn> {
    let named = wish.columns.is_some();
    let wished: Vec<(&str, Option<Type>)> = match &wish.columns {
        Some(columns) => columns.iter().map(|(name, kind)| (name.as_str(), *kind)).collect(),
        None => table.columns.iter().map(|column| (column.name.as_str(), None)).collect(),
    };
    let mut columns = Vec::with_capacity(wished.len());
    for (name, kind) in wished {
        let Some(column) = table.columns.iter().find(|column| column.name == name) else {
            let what = format!("{:?} has no column {name:?}", table.name);
            problems.push(fatal(what, format!("take {name:?} out of `columns` of the entity {:?}", wish.name)));
            continue;
        };
        if column.generated {
            let what =
                format!("the column {name:?} of {:?} is generated, and PostgreSQL does not replicate it", table.name);
            let mend = format!("leave {name:?} out of `columns` of the entity {:?}", wish.name);
            problems.push(Problem { what, mend, fatal: named });
            continue;
        }
        let source = source(wish, column, kind, problems);
        columns.push(MappedColumn {
            name: name.to_owned(),
            number: column.number,
            type_oid: column.type_oid,
            typmod: column.typmod,
            source,
        });
    }
    columns
}

fn source(wish: &Wish, column: &ColumnInfo, kind: Option<Type>, problems: &mut Vec<Problem>) -> SourceType {
    let own = SourceType::of(column);
    match kind {
        // `char(n)` as text keeps its spaces, which then mean something.
        Some(Type::Text) if own.kind != Type::Text || own.detail != Detail::None => SourceType::printed(),
        Some(kind) if kind != own.kind => {
            let what = format!(
                "the column {:?} is of type {}, which is {}, not {kind}",
                column.name, column.type_name, own.kind
            );
            let mend = format!(
                "write {:?} or \"text\" for {:?} in `columns` of the entity {:?}",
                own.kind.name(),
                column.name,
                wish.name
            );
            problems.push(fatal(what, mend));
            own
        }
        _ => own,
    }
}

/// Key columns need an order; so does whatever the primary key happens to be.
fn check_key(wish: &Wish, columns: &[MappedColumn], key: &[String], problems: &mut Vec<Problem>) {
    for name in key {
        match columns.iter().find(|column| column.name == *name) {
            Some(column) if !column.source.kind.is_ordered() => {
                let what = format!("the key column {name:?} is of type {}, which has no order", column.source.kind);
                problems.push(fatal(what, as_text(wish, name)));
            }
            Some(_) => {}
            None => {
                let what = format!("the key column {name:?} is not among the columns of the entity {:?}", wish.name);
                problems.push(fatal(what, format!("add {name:?} to `columns` of the entity {:?}", wish.name)));
            }
        }
    }
}

/// What may be text only, and what may not be text that stands for something else.
fn check_text(wish: &Wish, columns: &[MappedColumn], problems: &mut Vec<Problem>) {
    let named = |name: &str| columns.iter().find(|column| column.name == name);
    if let Some(tenant) = &wish.tenant
        && let Some(column) = named(tenant)
        && (column.source.kind != Type::Text || column.source.detail != Detail::None)
    {
        let what = format!("the tenant column {tenant:?} is of type {}; a tenant is plain text", column.source.kind);
        problems.push(fatal(what, as_text(wish, tenant)));
    }
    for (list, names) in [("filterable", &wish.filterable), ("sortable", &wish.sortable)] {
        for name in names.iter().flatten() {
            if named(name).is_some_and(|column| !column.source.is_comparable()) {
                let what = format!(
                    "the column {name:?} travels as text, which compares otherwise than its type, so it may not be {list}"
                );
                problems.push(fatal(what, format!("take {name:?} out of `{list}` of the entity {:?}", wish.name)));
            }
        }
    }
}

fn as_text(wish: &Wish, column: &str) -> String {
    format!("write \"text\" for {column:?} in `columns` of the entity {:?}", wish.name)
}

fn builder(wish: &Wish, columns: &[MappedColumn], key: &[String]) -> EntityBuilder {
    let all_compare = columns.iter().all(|column| column.source.is_comparable());
    let names = |ordered: bool| {
        let fits =
            |column: &&MappedColumn| column.source.is_comparable() && (!ordered || column.source.kind.is_ordered());
        columns.iter().filter(fits).map(|column| column.name.clone()).collect::<Vec<_>>()
    };
    let narrowed = |list: &Option<Vec<String>>, ordered| match list {
        Some(list) => Some(list.clone()),
        None if all_compare => None,
        None => Some(names(ordered)),
    };
    EntityBuilder {
        name: wish.name.clone(),
        columns: columns.iter().map(|column| (column.name.clone(), column.source.kind)).collect(),
        details: columns
            .iter()
            .filter(|column| column.source.detail != Detail::None)
            .map(|column| (column.name.clone(), column.source.detail.clone()))
            .collect(),
        key: key.to_vec(),
        tenant: wish.tenant.clone(),
        filterable: narrowed(&wish.filterable, false),
        sortable: narrowed(&wish.sortable, true),
        max_window: wish.max_window,
        // A list of sortable columns that nobody wrote is no wish for their indexes.
        indexes: wish.indexes.clone().or_else(|| wish.sortable.is_none().then(Vec::new)),
        sourced: true,
        row_filter: wish.row_filter.clone(),
    }
}

fn signature(wish: &Wish, table: &TableInfo, columns: &[MappedColumn], key: &[String]) -> String {
    use std::fmt::Write as _;
    let mut text = format!("table {} key {key:?} tenant {:?} where {:?}", table.oid, wish.tenant, wish.row_filter);
    for MappedColumn { name, number, type_oid, typmod, source } in columns {
        let _ = write!(text, "\n{name:?} {number} {type_oid} {typmod} {} {:?}", source.kind, source.detail);
        if !source.is_comparable() {
            text.push_str(" as text");
        }
    }
    text
}

pub(super) fn fatal(what: String, mend: String) -> Problem {
    Problem { what, mend, fatal: true }
}
