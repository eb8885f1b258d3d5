//! The configuration, with a comment wherever a person has something to decide.

use std::fmt::Write as _;

use tidegate_feed::postgres::check::Problem;
use tidegate_feed::postgres::{Endpoint, Settings, TlsMode};

use super::survey::{Column, Survey, Table};

pub(super) fn text(survey: &Survey<'_>, settings: &Settings) -> String {
    let mut out = String::new();
    let (database, version) = (&survey.server.database, version(survey.server.version_num));
    let _ = writeln!(out, "# Follows the database {database:?} (PostgreSQL {version}); written by `tidegate init`.");
    out += "# `tidegate config show` lists every setting with its default; `tidegate serve` starts the gateway.\n\n";
    if !survey.problems.is_empty() {
        out += "# AMISS in the database; what begins with ! has to be mended before anything can be followed:\n";
        problems(&mut out, &survey.problems);
        out += "\n";
    }
    source(&mut out, &settings.url);
    out += "\n[identity]\n\
            # Keys of your servers, which may read everything. Better as TIDEGATE_IDENTITY_API_KEYS.\n\
            # api_keys = [\"a-long-random-key\"]\n\
            # Whether strangers may connect; then say in [[permission]] below what they may see.\n\
            anonymous = false\n\n\
            # [[permission]]\n\
            # roles = [\"anonymous\"]\n";
    let example = survey.tables.iter().find(|table| table.is_fit()).map_or("…", |table| table.wish.name.as_str());
    let _ = writeln!(out, "# entities = [{}]\n# may = [\"read\"]", quoted(example));
    for table in &survey.tables {
        out += "\n";
        entity(&mut out, table);
    }
    out
}

fn source(out: &mut String, url: &Endpoint) {
    let whole = |password: &str| {
        let (user, host) = (encoded(url.user()), encoded_host(&url.host()));
        let mode = tls_mode(url.tls());
        format!("postgres://{user}{password}@{host}:{}/{}?sslmode={mode}", url.port(), encoded(url.database()))
    };
    out.push_str("[source]\nkind = \"postgres\"\n");
    out.push_str(
        "# Without a password: this file may be read by many. Give it with the whole URL in the environment,\n",
    );
    out.push_str("# where it wins over this one:\n");
    let _ = writeln!(out, "#   TIDEGATE_SOURCE_URL='{}'", whole(":PASSWORD"));
    let _ = writeln!(out, "url = {}", quoted(&whole("")));
    if let Some(file) = url.root_certificate() {
        let _ = writeln!(out, "root_certificate = {}", quoted(&file.to_string_lossy()));
    }
    out.push_str(
        "# slot = \"\"                  # one for each gateway that follows the database; empty: tidegate_<database>\n",
    );
    out.push_str("# publication = \"tidegate\"   # made if it is not there\n");
}

fn entity(out: &mut String, table: &Table<'_>) {
    let (schema, name) = (&table.info.schema, &table.info.name);
    let rows = if table.info.estimated_rows > 0.0 {
        format!("about {} rows", table.info.estimated_rows as u64)
    } else {
        "number of rows unknown".to_owned()
    };
    let what = if table.info.kind == 'p' { ", partitioned" } else { "" };
    comment(out, &format!("{schema}.{name}: {rows}{what}"));
    problems(out, &table.problems);
    // What cannot be followed is there to be opened once it is mended.
    let off = if table.is_fit() { "" } else { "# " };
    let _ = writeln!(out, "{off}[[entity]]\n{off}name = {}", quoted(&table.wish.name));
    if schema != "public" || *name != table.wish.name {
        let _ = writeln!(out, "{off}table = {}", quoted(&format!("{schema}.{name}")));
    }
    columns(out, table);
    let _ = writeln!(out, "# columns = [\"…\"]             # to take only some");
    let is_text = |column: &&Column<'_>| column.kind == Some(tidegate_model::Type::Text) && column.note.is_none();
    let text = table.columns.iter().find(is_text);
    if let Some(column) = text {
        let name = quoted(&column.info.name);
        let _ = writeln!(out, "# tenant = {name:<20} # whose value says to which tenant a row belongs");
        let _ =
            writeln!(out, "# where = [{{ column = {name}, op = \"eq\", value = \"…\" }}]   # to take only some rows");
    }
}

fn columns(out: &mut String, table: &Table<'_>) {
    let width = |of: fn(&Column<'_>) -> usize| table.columns.iter().map(of).max().unwrap_or_default();
    let (names, types) = (width(|c| c.info.name.chars().count()), width(|c| c.info.type_name.chars().count()));
    for column in &table.columns {
        let kind = column.kind.map_or_else(|| "left out".to_owned(), |kind| kind.to_string());
        let key = if table.info.primary_key.contains(&column.info.name) { "key" } else { "" };
        let note = column.note.unwrap_or_default();
        let (name, type_name) = (&column.info.name, &column.info.type_name);
        let line = format!("  {name:<names$}  {type_name:<types$}  {kind:<11} {key:<4} {note}");
        comment(out, line.trim_end());
    }
}

fn problems(out: &mut String, problems: &[Problem]) {
    for problem in problems {
        let mark = if problem.fatal { "!" } else { "-" };
        comment(out, &format!("{mark} {}", problem.what));
        comment(out, &format!("    {}", problem.mend));
    }
}

/// Names may have line breaks in them; a comment may not.
fn comment(out: &mut String, text: &str) {
    let _ = writeln!(out, "# {}", text.replace(char::is_control, " "));
}

/// A string of one line, so that it can stand in a comment. A line break would otherwise become a string of several
/// lines, whose others are no comment.
fn quoted(text: &str) -> String {
    if !text.contains(char::is_control) {
        return toml::Value::String(text.to_owned()).to_string();
    }
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// For a part of a URL.
fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    text.bytes().fold(String::new(), |mut out, b| {
        if plain(b) {
            out.push(char::from(b));
        } else {
            let _ = write!(out, "%{b:02X}");
        }
        out
    })
}

fn encoded_host(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { encoded(host) }
}

fn tls_mode(mode: TlsMode) -> &'static str {
    match mode {
        TlsMode::Disable => "disable",
        TlsMode::Prefer => "prefer",
        TlsMode::Require => "require",
        TlsMode::VerifyCa => "verify-ca",
        TlsMode::VerifyFull => "verify-full",
    }
}

/// `150004` is 15.4.
pub(super) fn version(number: i32) -> String {
    format!("{}.{}", number / 10_000, number % 10_000)
}
