//! `docs/arcp-conformance.md`: all statements, and what shows each.

use std::fmt::Write as _;
use std::path::Path;

use crate::statements::{Level, Proof, STATEMENTS, Statement};

const HEAD: &str = "# ARCP 1.1: what holds, statement by statement

Every MUST, SHOULD and MAY of sections 4 to 12 and 14 of the public draft, in our words; what it says without such a word
(*is*); and what it leaves open or clients read differently, as it is settled here (*settled*). Each names the test of
`crates/tidegate/tests/arcp` that shows it, over a socket against a whole gateway. `cargo test -p tidegate --test arcp` runs
them; beside what each looks for, its client checks every message that comes: the envelope, ids, numbers without a gap,
times, nulls, codes, sizes. This page is written by that run: `UPDATE_DOCS=1 cargo test -p tidegate --test arcp the_page`.
";

/// What is not proven is not claimed.
fn page() -> String {
    let count = |is: fn(&Statement) -> bool| STATEMENTS.iter().filter(|statement| is(statement)).count();
    let shown = count(|statement| matches!(statement.proof, Proof::Test(_)));
    let none = count(|statement| matches!(statement.proof, Proof::Not(_)));
    let open = count(|statement| matches!(statement.proof, Proof::Open(_)));
    let mut page = format!(
        "{HEAD}\n{} statements: {shown} shown by tests, {none} for which nothing is to be shown here, {open} open.\n",
        STATEMENTS.len()
    );
    let mut section = "";
    for statement in STATEMENTS {
        if statement.section != section {
            section = statement.section;
            let title = if section.starts_with(|first: char| first.is_ascii_digit()) { "Section " } else { "" };
            let _ = write!(page, "\n## {title}{section}\n\n| | statement | shown by |\n|---|---|---|\n");
        }
        let level = match statement.level {
            Level::Must => "MUST",
            Level::MustNot => "MUST NOT",
            Level::Should => "SHOULD",
            Level::May => "MAY",
            Level::Is => "is",
            Level::Settled => "settled",
        };
        let proof = match statement.proof {
            Proof::Test(name) => format!("`{name}`"),
            Proof::Not(why) => format!("nothing to show: {why}"),
            Proof::Open(why) => format!("**open**: {why}"),
        };
        let _ = writeln!(page, "| {level} | {} | {proof} |", statement.says);
    }
    page
}

#[test]
fn the_page_is_what_the_tests_are() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/arcp-conformance.md");
    let page = page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(there == page, "{} is another; UPDATE_DOCS=1 writes it", path.display());
}
