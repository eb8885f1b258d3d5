//! Random tables of every kind of column, and the statements that random writers run against them.

use rand::Rng;
use rand::seq::IndexedRandom as _;

use super::kinds::{KINDS, Kind};

/// A column.
#[derive(Debug, Clone)]
pub struct Column {
    /// Its name; needs quotes in SQL.
    pub name: String,
    /// What it holds.
    pub kind: &'static Kind,
}

/// A table that is followed. Columns are the key, then the others, then `big`, a text that is stored out of line.
#[derive(Debug, Clone)]
pub struct Table {
    /// Of the table and of its entity.
    pub name: String,
    /// All columns.
    pub columns: Vec<Column>,
    /// How many of them, from the first on, are the key.
    pub keys: usize,
    /// Rows are in three partitions by hash of the key's first column.
    pub partitioned: bool,
    /// Writers truncate it now and then. Not beside the creation of a slot: of such a slot PostgreSQL 15 can say for
    /// ever that it "could not map filenode".
    pub truncated: bool,
    /// What updates and deletes log of the old row.
    pub identity_full: bool,
    /// The column that names the tenant: of the rows, strangers see those of the tenant `anonymous`.
    pub tenant: Option<usize>,
    /// A condition on rows, in SQL and in the configuration's words.
    pub row_filter: Option<(String, String)>,
}

/// A column's name as SQL.
#[must_use]
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

impl Table {
    /// Any table.
    pub fn random(random: &mut impl Rng, name: &str) -> Self {
        let keys = random.random_range(1..=2);
        let key_kinds: Vec<&Kind> = KINDS.iter().filter(|kind| kind.is_key()).collect();
        let mut kinds: Vec<&'static Kind> = (0..keys).filter_map(|_| key_kinds.choose(random).copied()).collect();
        kinds.extend((0..random.random_range(2..=7)).filter_map(|_| KINDS.choose(random)));
        kinds.push(Kind::named("text"));
        let last = kinds.len() - 1;
        // Names that need quotes, and one that sorts before the key's.
        let name_of = |at: usize| if at == last { "big".to_owned() } else { format!("c {}", 9 - at) };
        let columns: Vec<_> =
            kinds.into_iter().enumerate().map(|(at, kind)| Column { name: name_of(at), kind }).collect();
        let mut table = Self {
            name: name.to_owned(),
            columns,
            keys,
            partitioned: random.random_bool(0.2),
            truncated: true,
            identity_full: random.random_bool(0.2),
            tenant: None,
            row_filter: None,
        };
        table.restrict(random);
        table
    }

    /// A table of one column of a kind beside an integer key.
    #[must_use]
    pub fn of_kind(name: &str, kind: &'static Kind) -> Self {
        let columns = [("id", Kind::named("integer")), ("v", kind), ("w", kind), ("big", Kind::named("text"))];
        Self {
            name: name.to_owned(),
            columns: columns.map(|(name, kind)| Column { name: name.to_owned(), kind }).to_vec(),
            keys: 1,
            partitioned: false,
            truncated: true,
            identity_full: false,
            tenant: None,
            row_filter: None,
        }
    }

    /// Now and then: a tenant, or a filter on rows.
    fn restrict(&mut self, random: &mut impl Rng) {
        if random.random_bool(0.2) {
            self.tenant = Some(self.columns.len() - 1);
            self.columns.insert(self.columns.len() - 1, Column { name: "tenant".to_owned(), kind: &TENANT });
        }
        let filterable: Vec<&Column> = self.columns.iter().filter(|column| column.kind.filterable).collect();
        if random.random_bool(0.2)
            && let Some(column) = filterable.choose(random)
            && let Some(text) = column.kind.cells.choose(random)
        {
            let (value, name) = (column.kind.wire.json(text), quoted(&column.name));
            let sql = format!("{} <> {}", column.kind.operand(&name), column.kind.literal(text));
            let mut toml = format!("where = [{{ column = {name}, op = \"ne\", value = {} }}]", toml(&value));
            if value.is_array() || value.is_object() {
                toml = format!("where = [{{ column = {name}, op = \"isnotnull\" }}]");
                self.row_filter = Some((format!("{name} is not null"), toml));
            } else {
                self.row_filter = Some((sql, toml));
            }
        }
    }

    /// The key's columns.
    #[must_use]
    pub fn key(&self) -> &[Column] {
        &self.columns[..self.keys]
    }

    /// Which of its rows strangers see, as SQL.
    #[must_use]
    pub fn visible(&self) -> String {
        let tenant = self.tenant.map(|at| format!("{} = 'anonymous'", quoted(&self.columns[at].name)));
        let parts: Vec<_> = tenant.into_iter().chain(self.row_filter.as_ref().map(|(sql, _)| sql.clone())).collect();
        if parts.is_empty() { "true".to_owned() } else { format!("({})", parts.join(" and ")) }
    }

    /// Its entity's section of the configuration.
    #[must_use]
    pub fn toml(&self) -> String {
        let tenant = self.tenant.map(|at| format!("tenant = {:?}\n", self.columns[at].name)).unwrap_or_default();
        let filter = self.row_filter.as_ref().map(|(_, toml)| format!("{toml}\n")).unwrap_or_default();
        format!("[[entity]]\nname = {:?}\n{tenant}{filter}", self.name)
    }

    /// Makes it.
    #[must_use]
    pub fn create(&self) -> String {
        let name = quoted(&self.name);
        let columns = self.definitions();
        let by = if self.partitioned {
            format!(" partition by hash ({})", quoted(&self.columns[0].name))
        } else {
            String::new()
        };
        let mut sql = format!("create table {name} ({columns}){by};");
        let leaves: Vec<String> = match self.partitioned {
            true => (0..3).map(|leaf| quoted(&format!("{}{LEAF}{leaf}", self.name))).collect(),
            false => vec![name.clone()],
        };
        for (remainder, leaf) in leaves.iter().enumerate() {
            if self.partitioned {
                sql += &format!(
                    " create table {leaf} partition of {name} for values with (modulus 3, remainder {remainder});"
                );
            }
            sql += &format!(" alter table {leaf} alter column big set storage external;");
            if self.identity_full {
                sql += &format!(" alter table {leaf} replica identity full;");
            }
        }
        if self.partitioned && self.identity_full {
            sql += &format!(" alter table {name} replica identity full;");
        }
        sql
    }

    /// Makes a plain table of the same columns.
    #[must_use]
    pub fn create_plain(&self) -> String {
        format!("create table {} ({});", quoted(&self.name), self.definitions())
    }

    fn definitions(&self) -> String {
        let columns = self.columns.iter().map(|column| format!("{} {}", quoted(&column.name), column.kind.sql));
        let key: Vec<_> = self.key().iter().map(|column| quoted(&column.name)).collect();
        format!("{}, primary key ({})", columns.collect::<Vec<_>>().join(", "), key.join(", "))
    }

    /// The values that a column takes: few for the key, so that rows come back.
    #[must_use]
    pub fn cells(&self, at: usize) -> &'static [&'static str] {
        let all = self.columns[at].kind.cells;
        let most = if self.keys == 1 { 12 } else { 5 };
        if at < self.keys { &all[..all.len().min(most)] } else { all }
    }

    /// Where every key column has a value from the pool.
    pub fn random_key(&self, random: &mut impl Rng) -> String {
        let mut equal = |(at, column): (usize, &Column)| {
            let text = self.cells(at).choose(random)?;
            Some(format!("{} = {}", quoted(&column.name), column.kind.literal(text)))
        };
        let parts: Vec<String> = self.key().iter().enumerate().filter_map(&mut equal).collect();
        parts.join(" and ")
    }

    /// A cell of that column, as SQL.
    pub fn random_cell(&self, random: &mut impl Rng, at: usize) -> String {
        let column = &self.columns[at];
        if column.name == "big" && random.random_bool(0.5) {
            return format!("repeat(md5('{}'), 100)", random.random_range(0..5));
        }
        match self.cells(at).choose(random) {
            Some(text) if at < self.keys || random.random_bool(0.85) => {
                column.kind.literal(text).replace("::jsonb", "")
            }
            _ => "null".to_owned(),
        }
    }

    /// One row of values.
    pub fn random_row(&self, random: &mut impl Rng) -> String {
        let cells: Vec<_> = (0..self.columns.len()).map(|at| self.random_cell(random, at)).collect();
        format!("({})", cells.join(", "))
    }

    /// One statement of a writer.
    pub fn random_statement(&self, random: &mut impl Rng) -> String {
        let name = quoted(&self.name);
        let set = |random: &mut _, from: usize| {
            let at = rand::Rng::random_range(random, from..self.columns.len());
            format!("{} = {}", quoted(&self.columns[at].name), self.random_cell(random, at))
        };
        match random.random_range(0..100) {
            0..=34 => {
                let rows: Vec<_> = (0..random.random_range(1..=4)).map(|_| self.random_row(random)).collect();
                format!("insert into {name} values {} on conflict do nothing", rows.join(", "))
            }
            35..=64 => {
                format!("update {name} set {} where {}", set(random, self.keys), self.random_key(random))
            }
            65..=74 => format!("update {name} set {} where {}", set(random, 0), self.random_key(random)),
            75..=78 => format!("update {name} set {}", set(random, self.keys)),
            79..=96 => format!("delete from {name} where {}", self.random_key(random)),
            99 if self.truncated => format!("truncate {name}"),
            _ => format!("delete from {name}"),
        }
    }
}

/// Stands between a partitioned table's name and a leaf's number.
pub(super) const LEAF: &str = "__leaf";

const TENANT: Kind = Kind {
    sql: "text",
    wire: super::wire::Wire::Text,
    filterable: true,
    ordered: true,
    cells: &["anonymous", "anonymous", "anonymous", "other", ""],
};

/// A JSON scalar as TOML.
fn toml(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => toml_text(text),
        other => other.to_string(),
    }
}

fn toml_text(text: &str) -> String {
    // JSON's escapes are TOML's, but for the ones that TOML does not have.
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}
