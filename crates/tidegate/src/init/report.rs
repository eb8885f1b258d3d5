//! What was found, for a person at a terminal and for programs.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use tidegate_feed::postgres::check::Problem;

use super::file::version;
use super::survey::{Survey, Table};

/// For a person, after the file was written.
pub(super) fn text(survey: &Survey<'_>, written: &Path) -> String {
    let server = survey.server;
    let mut out = format!(
        "PostgreSQL {}, database {:?}, role {:?}\n{}\n",
        version(server.version_num),
        server.database,
        server.role,
        table(survey)
    );
    let all = survey.problems.iter().map(|problem| (None, problem));
    let of_tables = survey.tables.iter().flat_map(|table| table.problems.iter().map(move |p| (Some(table), p)));
    let problems: Vec<(Option<&Table<'_>>, &Problem)> = all.chain(of_tables).collect();
    if !problems.is_empty() {
        out += "\nAmiss, and what mends it (! has to be, or it cannot be followed):\n";
    }
    for (table, Problem { what, mend, fatal }) in problems {
        let mark = if *fatal { "!" } else { "-" };
        let of = table.map(|table| format!("{}: ", table.wish.name)).unwrap_or_default();
        let _ = writeln!(out, "{mark} {of}{what}\n    {mend}");
    }
    let (fit, all) = (survey.tables.iter().filter(|table| table.is_fit()).count(), survey.tables.len());
    let file = written.display();
    let _ = writeln!(out, "\nWrote {file}: {fit} of {all} tables; the password is not in it.");
    let _ = if fit == 0 {
        write!(out, "Nothing can be followed yet: mend the above, then run this again with --force.")
    } else if survey.problems.iter().any(|problem| problem.fatal) {
        write!(out, "Mend what is wrong with the database first, then: tidegate serve --config {file}")
    } else {
        write!(out, "Next: TIDEGATE_SOURCE_URL='postgres://…' tidegate serve --config {file}")
    };
    out
}

fn table(survey: &Survey<'_>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(["entity", "table", "rows", "key", "columns", "as text", ""]);
    for found in &survey.tables {
        let as_text = found.columns.iter().filter(|c| c.note.is_some_and(|note| note.starts_with("travels")));
        let as_text: Vec<&str> = as_text.map(|column| &*column.info.name).collect();
        table.add_row([
            found.wish.name.clone(),
            format!("{}.{}", found.info.schema, found.info.name),
            format!("{}", found.info.estimated_rows.max(0.0) as u64),
            found.info.primary_key.join(", "),
            found.columns.iter().filter(|column| column.kind.is_some()).count().to_string(),
            as_text.join(", "),
            (if found.is_fit() { "ok" } else { "not as it is" }).to_owned(),
        ]);
    }
    table.to_string()
}

/// For programs.
pub(super) fn json(survey: &Survey<'_>) -> Value {
    let server = survey.server;
    json!({
        "server": {
            "version": version(server.version_num), "database": server.database, "role": server.role,
            "wal_level": server.wal_level, "superuser": server.superuser, "may_replicate": server.may_replicate,
            "may_create": server.may_create, "in_recovery": server.in_recovery, "encoding": server.encoding,
        },
        "problems": problems(&survey.problems),
        "tables": survey.tables.iter().map(one).collect::<Vec<_>>(),
    })
}

fn one(table: &Table<'_>) -> Value {
    let columns = table.columns.iter().map(|column| {
        json!({
            "name": column.info.name, "source_type": column.info.type_name,
            "type": column.kind.map(|kind| kind.to_string()), "note": column.note,
        })
    });
    json!({
        "schema": table.info.schema, "table": table.info.name, "entity": table.wish.name,
        "key": table.info.primary_key, "estimated_rows": table.info.estimated_rows.max(0.0) as u64,
        "fit": table.is_fit(), "columns": columns.collect::<Vec<_>>(), "problems": problems(&table.problems),
    })
}

fn problems(problems: &[Problem]) -> Vec<Value> {
    let one = |Problem { what, mend, fatal }: &Problem| json!({ "what": what, "mend": mend, "fatal": fatal });
    problems.iter().map(one).collect()
}
