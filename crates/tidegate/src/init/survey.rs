//! What was found: which tables can be followed and as what, and what stands in the way. Pure.

use tidegate_feed::postgres::check::{Names, Problem, check};
use tidegate_feed::postgres::inspect::{ColumnInfo, Member, PublicationInfo, Server, TableInfo};
use tidegate_feed::postgres::resolve::Wish;
use tidegate_feed::postgres::values::SourceType;
use tidegate_feed::postgres::{Inspection, Settings};

use super::InitError;

/// Names in a message are cut beyond this many.
const NAMES_SHOWN: usize = 30;
/// The model's longest name of an entity.
const NAME_BYTES_MAX: usize = 128;

/// What there is.
#[derive(Debug)]
pub(super) struct Survey<'a> {
    pub(super) server: &'a Server,
    pub(super) tables: Vec<Table<'a>>,
    /// What is amiss with server, role, publication and slot.
    pub(super) problems: Vec<Problem>,
}

/// A table, and the entity that it becomes.
#[derive(Debug)]
pub(super) struct Table<'a> {
    pub(super) info: &'a TableInfo,
    pub(super) wish: Wish,
    pub(super) columns: Vec<Column<'a>>,
    /// What is amiss with it; where something is fatal it cannot be followed as it is.
    pub(super) problems: Vec<Problem>,
}

/// A column, and what becomes of it.
#[derive(Debug)]
pub(super) struct Column<'a> {
    pub(super) info: &'a ColumnInfo,
    /// The model's type; absent where it is not replicated.
    pub(super) kind: Option<tidegate_model::Type>,
    /// What may not be done with it, and why.
    pub(super) note: Option<&'static str>,
}

impl Table<'_> {
    pub(super) fn is_fit(&self) -> bool {
        self.problems.iter().all(|problem| !problem.fatal)
    }
}

impl<'a> Survey<'a> {
    /// Of the tables named (`table` or `schema.table`), or of all but partitions.
    pub(super) fn new(inspection: &'a Inspection, settings: &Settings, wanted: &[String]) -> Result<Self, InitError> {
        let server = &inspection.server;
        let chosen = choose(server, &inspection.tables, wanted)?;
        let names = Names { slot: &settings.slot, publication: &settings.publication };
        let slot = inspection.slot.as_ref();
        // As if it were in order: what is amiss with the publication is told once, for all tables.
        let published = published(&inspection.tables);
        let looked = |wishes: &[Wish], publication: Option<&PublicationInfo>| {
            check(server, &inspection.tables, publication, slot, wishes, names)
        };
        let general = looked(&[], Some(&published));
        let mut tables: Vec<Table<'a>> = Vec::with_capacity(chosen.len());
        for info in chosen {
            let wish = Wish {
                name: entity_name(info, &tables),
                schema: info.schema.clone(),
                table: info.name.clone(),
                ..Wish::default()
            };
            let mut problems = looked(std::slice::from_ref(&wish), Some(&published));
            problems.retain(|problem| !general.contains(problem));
            problems.extend(unwritable(info));
            tables.push(Table { info, wish, columns: info.columns.iter().map(column).collect(), problems });
        }
        let fit: Vec<Wish> = tables.iter().filter(|table| table.is_fit()).map(|table| table.wish.clone()).collect();
        let mut problems = looked(&fit, inspection.publication.as_ref());
        problems.retain(|problem| tables.iter().all(|table| !table.problems.contains(problem)));
        Ok(Self { server, tables, problems })
    }
}

fn choose<'a>(server: &Server, tables: &'a [TableInfo], wanted: &[String]) -> Result<Vec<&'a TableInfo>, InitError> {
    let qualified = |table: &TableInfo| format!("{}.{}", table.schema, table.name);
    if tables.is_empty() {
        return Err(InitError::Empty { database: server.database.clone() });
    }
    if wanted.is_empty() {
        let mut all: Vec<&TableInfo> = tables.iter().filter(|table| !table.is_partition).collect();
        // Where names meet, those of the schema that nobody names keep theirs.
        all.sort_by_key(|table| table.schema != "public");
        return Ok(all);
    }
    let mut chosen: Vec<&TableInfo> = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        let exact = tables.iter().find(|table| qualified(table) == *wanted);
        let table = exact.or_else(|| tables.iter().find(|table| table.schema == "public" && table.name == *wanted));
        let table = table.ok_or_else(|| {
            let known: Vec<String> = tables.iter().take(NAMES_SHOWN).map(qualified).collect();
            let more = if tables.len() > NAMES_SHOWN { ", …" } else { "" };
            InitError::NoTable { wanted: wanted.clone(), known: known.join(", ") + more }
        })?;
        if chosen.iter().all(|other| other.oid != table.oid) {
            chosen.push(table);
        }
    }
    Ok(chosen)
}

/// A publication that has everything.
fn published(tables: &[TableInfo]) -> PublicationInfo {
    let member = |table: &TableInfo| Member { oid: table.oid, has_filter: false, has_columns: false };
    PublicationInfo {
        oid: 0,
        all_tables: true,
        insert: true,
        update: true,
        delete: true,
        truncate: true,
        via_root: true,
        owned: true,
        owner: String::new(),
        members: tables.iter().map(member).collect(),
        fingerprint: String::new(),
    }
}

/// What the configuration has no way to write.
fn unwritable(table: &TableInfo) -> Option<Problem> {
    let odd = table.schema.contains(['.', '"']) || table.name.contains('"');
    odd.then(|| Problem {
        what: "its name has a quote, or its schema's a dot, which the configuration cannot tell".to_owned(),
        mend: "rename it".to_owned(),
        fatal: true,
    })
}

/// The table's name as far as the model allows, made unlike all others.
fn entity_name(info: &TableInfo, others: &[Table<'_>]) -> String {
    let clean = |text: &str| {
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let mut name: String = text.chars().map(|c| if fits(c) { c } else { '_' }).take(NAME_BYTES_MAX - 12).collect();
        if !name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            name.insert(0, '_');
        }
        name
    };
    let is_free = |name: &String| others.iter().all(|table| table.wish.name != *name);
    let plain = clean(&info.name);
    let qualified = clean(&format!("{}_{}", info.schema, info.name));
    let numbered = (2u64..).map(|number| format!("{qualified}_{number}"));
    let mut names = [plain, qualified.clone()].into_iter().chain(numbered);
    names.find(is_free).unwrap_or(qualified)
}

fn column(info: &ColumnInfo) -> Column<'_> {
    if info.generated {
        return Column { info, kind: None, note: Some("generated: PostgreSQL does not replicate it") };
    }
    let source = SourceType::of(info);
    let note = if !source.is_comparable() {
        Some("travels as text, which compares otherwise than its type: no filter, no sort")
    } else if !source.kind.is_ordered() {
        Some("has no order: no sort")
    } else {
        None
    };
    Column { info, kind: Some(source.kind), note }
}
