//! Everything that is amiss with a source at once, each with what mends it. Pure.

mod server;
mod table;

use super::inspect::{PublicationInfo, Server, SlotInfo, TableInfo};
use super::quote;
use super::resolve::{Wish, fatal, resolve};

/// Something amiss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What is so, and why that does not do.
    pub what: String,
    /// What mends it: SQL to run, or what to change in the configuration.
    pub mend: String,
    /// Whether nothing can be followed before it is mended.
    pub fatal: bool,
}

/// The names that the settings give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Names<'a> {
    /// The slot.
    pub slot: &'a str,
    /// The publication.
    pub publication: &'a str,
}

/// Lists what is amiss with the server, with the tables wished for (what [`resolve`] finds included), with the
/// publication and with the slot. A publication and a slot that are absent are no problem where they can be made.
///
/// Where one thing hides another, mending it and checking again tells the other.
#[must_use]
pub fn check(
    server: &Server,
    tables: &[TableInfo],
    publication: Option<&PublicationInfo>,
    slot: Option<&SlotInfo>,
    wishes: &[Wish],
    names: Names<'_>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    server::check(server, slot, names.slot, &mut problems);
    let mut found: Vec<&TableInfo> = Vec::new();
    for wish in wishes {
        let named = |table: &&TableInfo| table.schema == wish.schema && table.name == wish.table;
        let Some(table) = tables.iter().find(named) else {
            let what = format!("there is no table {}", quote::table(&wish.schema, &wish.table));
            problems.push(fatal(what, format!("correct `table` of the entity {:?} in the configuration", wish.name)));
            continue;
        };
        let before = problems.len();
        table::check(server, table, wish, &mut problems);
        // What is no table that can be followed is not published either.
        if problems.len() == before || table::is_publishable(table) {
            found.push(table);
        }
        match resolve(wish, table) {
            Ok((_, _, warnings)) => problems.extend(warnings),
            Err(amiss) => problems.extend(amiss),
        }
    }
    found.sort_unstable_by_key(|table| table.oid);
    found.dedup_by_key(|table| table.oid);
    match publication {
        Some(publication) => check_publication(publication, &found, names.publication, &mut problems),
        None => check_creation(server, &found, names.publication, &mut problems),
    }
    if let Some(slot) = slot {
        check_slot(server, slot, names.slot, &mut problems);
    }
    problems
}

/// The publication is not there: may the role create it?
fn check_creation(server: &Server, tables: &[&TableInfo], name: &str, problems: &mut Vec<Problem>) {
    let foreign: Vec<&str> = tables.iter().filter(|table| !table.owned).map(|table| table.name.as_str()).collect();
    let may_create = server.may_create && foreign.is_empty() && !server.in_recovery;
    if may_create || tables.is_empty() {
        return;
    }
    let why = match (server.in_recovery, server.may_create) {
        (true, _) => "a standby cannot create it: run this on its primary".to_owned(),
        (_, false) => format!("the role {} may not create one in the database {}", server.role, server.database),
        _ => format!("the role {} does not own {}", server.role, foreign.join(", ")),
    };
    let what = format!("there is no publication {name:?}, and {why}");
    problems.push(fatal(what, creation(name, tables.iter().map(|t| (t.schema.as_str(), t.name.as_str())))));
}

/// The statement that creates the publication for those tables (schema and name).
pub fn creation<'a>(name: &str, tables: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let tables: Vec<String> = tables.map(|(schema, table)| quote::only(schema, table)).collect();
    format!(
        "CREATE PUBLICATION {} FOR TABLE {} WITH (publish_via_partition_root = true);",
        quote::identifier(name),
        tables.join(", ")
    )
}

fn check_publication(publication: &PublicationInfo, tables: &[&TableInfo], name: &str, problems: &mut Vec<Problem>) {
    let has_partitioned = tables.iter().any(|table| table.kind == 'p');
    problems.extend(check_published(publication, has_partitioned, name));
    for table in tables {
        check_member(publication, table, name, problems);
    }
}

/// Whether the publication leaves out kinds of changes, or tells those of a partitioned table under another's name. It
/// may be altered at any time, so each session looks.
pub(super) fn check_published(publication: &PublicationInfo, has_partitioned: bool, name: &str) -> Vec<Problem> {
    let mut problems = Vec::new();
    let quoted = quote::identifier(name);
    let PublicationInfo { insert, update, delete, truncate, via_root, .. } = *publication;
    if !(insert && update && delete && truncate) {
        let what = format!("the publication {name:?} leaves out some of INSERT, UPDATE, DELETE and TRUNCATE");
        let mend = format!("ALTER PUBLICATION {quoted} SET (publish = 'insert, update, delete, truncate');");
        problems.push(fatal(what, mend));
    }
    if !via_root && has_partitioned {
        let what = format!("the publication {name:?} tells of partitions and not of the partitioned table");
        problems.push(fatal(what, format!("ALTER PUBLICATION {quoted} SET (publish_via_partition_root = true);")));
    }
    problems
}

fn check_member(publication: &PublicationInfo, table: &TableInfo, name: &str, problems: &mut Vec<Problem>) {
    let (quoted, path) = (quote::identifier(name), quote::table(&table.schema, &table.name));
    let only = quote::only(&table.schema, &table.name);
    let is_member = |oid: &u32| publication.members.iter().any(|member| member.oid == *oid);
    match publication.members.iter().find(|member| member.oid == table.oid) {
        Some(member) if member.has_filter || member.has_columns => {
            let part = if member.has_filter { "some rows" } else { "some columns" };
            let what = format!(
                "the publication {name:?} has only {part} of {path}; filters and columns are for the configuration"
            );
            // Not SET TABLE, which would take all others out.
            let mend =
                format!("ALTER PUBLICATION {quoted} DROP TABLE {only}; ALTER PUBLICATION {quoted} ADD TABLE {only};");
            problems.push(fatal(what, mend));
        }
        Some(_) => {}
        None if publication.via_root && table.ancestors.iter().any(is_member) => {
            let what = format!("{path} is a partition, and its changes are published as the partitioned table's");
            problems.push(fatal(what, "name the partitioned table in the configuration".to_owned()));
        }
        // Its partitions are listed for it: told of above.
        None if table.kind == 'p' && !publication.via_root => {}
        None if publication.owned && table.owned => {}
        None => {
            let what =
                format!("the publication {name:?} of {} does not have {path} of {}", publication.owner, table.owner);
            problems.push(fatal(what, format!("ALTER PUBLICATION {quoted} ADD TABLE {only};")));
        }
    }
}

fn check_slot(server: &Server, slot: &SlotInfo, name: &str, problems: &mut Vec<Problem>) {
    let rename = || format!("set another `slot` under [source] in the configuration, such as \"{name}_2\"");
    let drop = || format!("SELECT pg_drop_replication_slot({});", quote::literal(name));
    if slot.plugin.as_deref() != Some("pgoutput") {
        let plugin = slot.plugin.as_deref().unwrap_or("none: it is a physical slot");
        problems.push(fatal(format!("the slot {name:?} is somebody else's: its plugin is {plugin}"), rename()));
    } else if slot.database.as_deref() != Some(&server.database) {
        let database = slot.database.as_deref().unwrap_or_default();
        problems.push(fatal(format!("the slot {name:?} is of another database, {database}"), rename()));
    } else if slot.temporary {
        problems.push(fatal(format!("the slot {name:?} is a session's temporary one"), rename()));
    } else if slot.is_lost() {
        let why =
            slot.invalidation.as_deref().unwrap_or("the log it needs was removed; max_slot_wal_keep_size is too small");
        let what = format!("the slot {name:?} is lost ({why}); every table is copied again through a new one");
        problems.push(Problem { what, mend: drop(), fatal: false });
    }
    // One in use may be so by ourselves; if it is not, sessions say so and wait.
}

#[cfg(test)]
mod tests;
