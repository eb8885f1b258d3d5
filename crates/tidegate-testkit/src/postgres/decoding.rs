//! What a server did, read from its log a second way: the text of its `test_decoding` plugin.

use super::session::{Session, lsn};

/// One committed transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Commit {
    /// The end of its commit record.
    pub end: u64,
    /// What it did to rows, in order.
    pub changes: Vec<Change>,
}

/// What happened to a row or to tables. Names are as the server prints them: quoted where they need to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// A new row.
    Insert(String, Vec<Cell>),
    /// The old key, where it changed, and the new row.
    Update(String, Option<Vec<Cell>>, Vec<Cell>),
    /// The key of a row.
    Delete(String, Vec<Cell>),
    /// All rows of these tables.
    Truncate(Vec<String>),
}

/// A column and what it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// The column's name, quoted where it needs to be.
    pub column: String,
    /// Its content.
    pub content: Content,
}

/// What a cell holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Nothing.
    Null,
    /// A large value that the update left alone.
    Unchanged,
    /// The server's text.
    Text(String),
}

/// Makes a slot of the plugin; everything that commits from now on will come out of it.
pub async fn create_slot(session: &Session, slot: &str) {
    session.run(&format!("select pg_create_logical_replication_slot('{slot}', 'test_decoding')")).await;
}

/// The next transactions, at least as many as make `changes_min` changes if there are so many. Each comes once.
///
/// # Panics
/// Where the plugin says something that this does not know.
pub async fn next_commits(session: &Session, slot: &str, changes_min: usize) -> Vec<Commit> {
    let options = "'include-xids', '0', 'skip-empty-xacts', '1'";
    let lines = session
        .rows(&format!("select lsn, data from pg_logical_slot_get_changes('{slot}', null, {changes_min}, {options})"))
        .await;
    let (mut commits, mut changes) = (Vec::new(), Vec::new());
    for mut line in lines {
        let (Some(data), Some(at)) = (line.pop().flatten(), line.pop().flatten()) else { panic!("a line has no text") };
        match &*data {
            "BEGIN" => changes.clear(),
            "COMMIT" => {
                let end = lsn(&at).unwrap_or_else(|| panic!("no LSN: {at}"));
                commits.push(Commit { end, changes: std::mem::take(&mut changes) });
            }
            // Barriers and the like.
            data if data.starts_with("message: ") => {}
            data => changes.push(change(data).unwrap_or_else(|| panic!("the plugin says {data:?}"))),
        }
    }
    commits
}

fn change(line: &str) -> Option<Change> {
    let rest = line.strip_prefix("table ")?;
    let (names, mut rest) = names(rest)?;
    if rest.starts_with("TRUNCATE: ") {
        return Some(Change::Truncate(names));
    }
    let [table] = <[String; 1]>::try_from(names).ok()?;
    if let Some(row) = rest.strip_prefix("INSERT: ") {
        return Some(Change::Insert(table, cells(row)?));
    }
    if let Some(key) = rest.strip_prefix("DELETE: ") {
        return Some(Change::Delete(table, cells(key)?));
    }
    rest = rest.strip_prefix("UPDATE: ")?;
    let Some(old) = rest.strip_prefix("old-key: ") else { return Some(Change::Update(table, None, cells(rest)?)) };
    // The old key ends where the new row begins, which is between two cells and never inside one.
    let (mut key, mut rest) = (Vec::new(), old);
    while !rest.starts_with("new-tuple: ") {
        let (cell, after) = one_cell(rest)?;
        key.push(cell);
        rest = after.strip_prefix(' ')?;
    }
    Some(Change::Update(table, Some(key), cells(rest.strip_prefix("new-tuple: ")?)?))
}

/// `a.b, "c.d".e: ` with what follows it.
fn names(text: &str) -> Option<(Vec<String>, &str)> {
    let mut quoted = false;
    let end = text.bytes().position(|byte| {
        quoted ^= byte == b'"';
        byte == b':' && !quoted
    })?;
    Some((text[..end].split(", ").map(str::to_owned).collect(), text[end + 1..].strip_prefix(' ')?))
}

fn cells(mut text: &str) -> Option<Vec<Cell>> {
    let mut cells = Vec::new();
    loop {
        let (cell, rest) = one_cell(text)?;
        cells.push(cell);
        if rest.is_empty() {
            return Some(cells);
        }
        text = rest.strip_prefix(' ')?;
    }
}

/// `name[type]:content`, with what follows it.
fn one_cell(text: &str) -> Option<(Cell, &str)> {
    let mut quoted = false;
    let open = text.bytes().position(|byte| {
        quoted ^= byte == b'"';
        byte == b'[' && !quoted
    })?;
    let column = text[..open].to_owned();
    let rest = &text[open..];
    let rest = &rest[rest.find("]:")? + 2..];
    let (content, rest) = content(rest)?;
    Some((Cell { column, content }, rest))
}

fn content(text: &str) -> Option<(Content, &str)> {
    // Bits are written as B'…'.
    if let Some(body) = text.strip_prefix('\'').or_else(|| text.strip_prefix("B'")) {
        let mut value = String::new();
        let mut rest = body;
        loop {
            let quote = rest.find('\'')?;
            value.push_str(&rest[..quote]);
            rest = &rest[quote + 1..];
            match rest.strip_prefix('\'') {
                Some(after) => {
                    value.push('\'');
                    rest = after;
                }
                None => return Some((Content::Text(value), rest)),
            }
        }
    }
    let end = text.find(' ').unwrap_or(text.len());
    let content = match &text[..end] {
        "null" => Content::Null,
        "unchanged-toast-datum" => Content::Unchanged,
        bare => Content::Text(bare.to_owned()),
    };
    Some((content, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(column: &str, text: &str) -> Cell {
        Cell { column: column.to_owned(), content: Content::Text(text.to_owned()) }
    }

    #[test]
    fn lines_of_the_plugin_are_read() {
        let read = change(
            "table public.t: UPDATE: old-key: \"a [b\"[integer[]]:'{1}' new-tuple: \"a [b\"[integer[]]:'{2}' n[numeric]:NaN s[text]:'it''s ]: new-tuple: ' big[text]:unchanged-toast-datum x[bit varying]:B'01' y[text]:null",
        );
        let new = vec![
            cell("\"a [b\"", "{2}"),
            cell("n", "NaN"),
            cell("s", "it's ]: new-tuple: "),
            Cell { column: "big".into(), content: Content::Unchanged },
            cell("x", "01"),
            Cell { column: "y".into(), content: Content::Null },
        ];
        assert_eq!(read, Some(Change::Update("public.t".into(), Some(vec![cell("\"a [b\"", "{1}")]), new)));
        let read = change("table public.a, public.\"b:c\": TRUNCATE: (no-flags)");
        assert_eq!(read, Some(Change::Truncate(vec!["public.a".into(), "public.\"b:c\"".into()])));
        let read = change("table public.t: DELETE: id[boolean]:true");
        assert_eq!(read, Some(Change::Delete("public.t".into(), vec![cell("id", "true")])));
    }
}
