//! One table: whether it can be published without harm to those who write it, told apart by key, and read.

use super::Problem;
use crate::postgres::inspect::{Identity, Server, TableInfo};
use crate::postgres::quote;
use crate::postgres::resolve::{Wish, fatal};

/// Whether it may be in a publication at all.
pub(super) fn is_publishable(table: &TableInfo) -> bool {
    matches!(table.kind, 'r' | 'p') && table.persistence == 'p'
}

pub(super) fn check(server: &Server, table: &TableInfo, wish: &Wish, problems: &mut Vec<Problem>) {
    let path = quote::table(&table.schema, &table.name);
    if !matches!(table.kind, 'r' | 'p') {
        let what = format!("{path} is no table (a view or a foreign table has no changes of its own)");
        problems.push(fatal(what, format!("name a table for the entity {:?} in the configuration", wish.name)));
        return;
    }
    match table.persistence {
        'p' => {}
        'u' => {
            let what = format!("{path} is UNLOGGED, so its changes are not in the log");
            problems.push(fatal(what, format!("ALTER TABLE {path} SET LOGGED;")));
        }
        _ => {
            let what = format!("{path} is temporary, so its changes are not in the log");
            problems.push(fatal(what, format!("name a table that stays for the entity {:?}", wish.name)));
        }
    }
    check_key(table, wish, &path, problems);
    if !table.readable {
        let what = format!("the role {} may not read {path}", server.role);
        let (schema, role) = (quote::identifier(&table.schema), quote::identifier(&server.role));
        problems.push(fatal(
            what,
            format!("GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT SELECT ON TABLE {path} TO {role};"),
        ));
    }
    if table.row_security {
        let what =
            format!("row security may hide rows of {path} from the role {}, and a copy would miss them", server.role);
        problems.push(fatal(what, format!("ALTER ROLE {} BYPASSRLS;", quote::identifier(&server.role))));
    }
}

/// The key must tell rows apart, and an update or a delete must tell the key of the row it was.
fn check_key(table: &TableInfo, wish: &Wish, path: &str, problems: &mut Vec<Problem>) {
    let key = wish.key.as_ref().unwrap_or(&table.primary_key);
    if key.is_empty() {
        let what = format!("{path} has no primary key, and the entity {:?} names no key", wish.name);
        problems.push(fatal(what, primary_key(table, path)));
        return;
    }
    let nullable = |name: &&String| table.columns.iter().any(|column| column.name == **name && !column.not_null);
    if let Some(name) = key.iter().find(nullable) {
        let what = format!("the key column {name:?} of {path} may be null");
        problems
            .push(fatal(what, format!("ALTER TABLE {path} ALTER COLUMN {} SET NOT NULL;", quote::identifier(name))));
    }
    if !table.unique.iter().any(|columns| !columns.is_empty() && covers(key, columns)) {
        let what = format!("nothing keeps two rows of {path} from having the same key ({})", key.join(", "));
        problems.push(fatal(what, format!("ALTER TABLE {path} ADD UNIQUE ({});", list(key))));
    }
    check_identity(table, key, path, problems);
}

fn check_identity(table: &TableInfo, key: &[String], path: &str, problems: &mut Vec<Problem>) {
    // A deferrable primary key is no identity.
    let primary = Some(&table.primary_key).filter(|primary| !primary.is_empty() && table.unique.contains(primary));
    let default_does = primary.is_some_and(|primary| covers(primary, key));
    let mend = if default_does { "DEFAULT" } else { "FULL" };
    let fault = match &table.identity {
        Identity::Full => None,
        Identity::Default if default_does => None,
        Identity::Index(columns) if covers(columns, key) => None,
        Identity::Nothing => Some("is NOTHING, so that publishing it makes updates and deletes fail"),
        Identity::Default if primary.is_none() => Some(
            "is the primary key, and there is none that can be one, so that publishing it makes updates and deletes fail",
        ),
        Identity::Default | Identity::Index(_) => Some("does not have every column of the key"),
    };
    if let Some(fault) = fault {
        let what = format!("the replica identity of {path} {fault}");
        problems.push(fatal(what, format!("ALTER TABLE {path} REPLICA IDENTITY {mend};")));
    }
    for (schema, name) in &table.odd_partitions {
        let partition = quote::table(schema, name);
        let what = format!("the partition {partition} of {path} has a replica identity of its own");
        problems.push(fatal(what, format!("ALTER TABLE {partition} REPLICA IDENTITY {mend};")));
    }
}

/// A statement that gives the table a primary key: of columns that are one already, or of a new one.
fn primary_key(table: &TableInfo, path: &str) -> String {
    let required = |name: &String| table.columns.iter().any(|column| column.name == *name && column.not_null);
    let unique = table.unique.iter().find(|columns| !columns.is_empty() && columns.iter().all(required));
    if let Some(columns) = unique {
        return format!("ALTER TABLE {path} ADD PRIMARY KEY ({});", list(columns));
    }
    let free = |name: &&str| table.columns.iter().all(|column| column.name != **name);
    let name = ["id", "row_id", "tidegate_id"].into_iter().find(|name| free(name)).unwrap_or("tidegate_key");
    format!("ALTER TABLE {path} ADD COLUMN {name} bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY;")
}

fn covers(columns: &[String], needed: &[String]) -> bool {
    needed.iter().all(|name| columns.contains(name))
}

fn list(names: &[String]) -> String {
    names.iter().map(|name| quote::identifier(name)).collect::<Vec<_>>().join(", ")
}
