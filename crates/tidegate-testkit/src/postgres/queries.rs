//! Random live queries, each also as the SQL that means the same.

use rand::Rng;
use rand::seq::IndexedRandom as _;
use serde_json::{Value, json};

use super::tables::{Column, Table, quoted};
use super::wire::Wire;

/// One query in both languages.
#[derive(Debug, Clone)]
pub struct Question {
    /// For the gateway.
    pub query: Value,
    /// For the server: the selected columns, uncast, in order.
    pub sql: String,
    /// Which of the table's columns are selected, in the table's order.
    pub select: Vec<usize>,
    /// Compared as a set.
    pub streamed: bool,
}

impl Question {
    /// Any query over the table. A streamed one asks for every row, so that what its client knows is all that matches.
    pub fn random(random: &mut impl Rng, table: &Table) -> Self {
        let streamed = random.random_bool(0.25);
        let (wheres, condition) = conditions(random, table);
        let (sorts, order) = sort(random, table);
        let limit = if streamed { 500 } else { random.random_range(1..=12) };
        let select = selection(random, table);
        let mut query = json!({ "entity": table.name, "where": wheres, "limit": limit });
        let terms: Vec<String> = order.iter().map(|(column, desc)| term(column, *desc)).collect();
        let mut after = String::new();
        if streamed {
            query["mode"] = "streamed".into();
        } else {
            query["sort"] = sorts.into();
        }
        if !streamed && random.random_bool(0.3) {
            let (cursor, sql) = anchor(random, &order, table);
            query["cursor"] = json!({ "values": cursor });
            after = format!(" and {sql}");
        }
        if select.len() < table.columns.len() {
            query["select"] = select.iter().map(|at| Value::from(&*table.columns[*at].name)).collect();
        }
        let columns: Vec<_> = select.iter().map(|at| quoted(&table.columns[*at].name)).collect();
        let sql = format!(
            "select {} from {} where {} and {condition}{after} order by {} limit {limit}",
            columns.join(", "),
            quoted(&table.name),
            table.visible(),
            terms.join(", ")
        );
        Self { query, sql, select, streamed }
    }

    /// Everything in the table, in key order.
    #[must_use]
    pub fn everything(table: &Table, streamed: bool) -> Self {
        let select: Vec<usize> = (0..table.columns.len()).collect();
        let columns: Vec<_> = table.columns.iter().map(|column| quoted(&column.name)).collect();
        let key: Vec<_> = table.key().iter().map(|column| quoted(&column.name)).collect();
        let mut query = json!({ "entity": table.name, "limit": 500 });
        if streamed {
            query["mode"] = "streamed".into();
        }
        let (name, visible) = (quoted(&table.name), table.visible());
        let sql =
            format!("select {} from {name} where {visible} order by {} limit 500", columns.join(", "), key.join(", "));
        Self { query, sql, select, streamed }
    }

    /// A row as both sides can be compared by: the selected cells, normalised.
    ///
    /// # Errors
    /// What is wrong with a cell.
    pub fn row_of_wire(&self, table: &Table, row: &Value) -> Result<String, String> {
        let cell = |at: &usize| {
            let column = &table.columns[*at];
            let cell = row.get(&column.name).ok_or_else(|| format!("{:?} is missing in {row}", column.name))?;
            column.kind.wire.normal(cell).map_err(|wrong| format!("{:?}: {wrong}", column.name))
        };
        let cells = self.select.iter().map(cell).collect::<Result<Value, _>>()?;
        if row.as_object().is_none_or(|row| row.len() != self.select.len()) {
            return Err(format!("columns that were not asked for: {row}"));
        }
        Ok(cells.to_string())
    }

    /// The same of the server's rows; sorted where the client's order means nothing.
    ///
    /// # Panics
    /// Where the server's text is not of the column's kind.
    #[must_use]
    pub fn list_of_server(&self, table: &Table, rows: &[Vec<Option<String>>]) -> Vec<String> {
        let mut list: Vec<_> = rows.iter().map(|row| self.row_of_server(table, row)).collect();
        if self.streamed {
            list.sort();
        }
        list
    }

    fn row_of_server(&self, table: &Table, row: &[Option<String>]) -> String {
        let cell = |(at, text): (&usize, &Option<String>)| {
            let wire = table.columns[*at].kind.wire;
            let json = text.as_deref().map_or(Value::Null, |text| wire.json(text));
            wire.normal(&json).unwrap_or_else(|wrong| panic!("{wrong}"))
        };
        self.select.iter().zip(row).map(cell).collect::<Value>().to_string()
    }
}

fn selection(random: &mut impl Rng, table: &Table) -> Vec<usize> {
    let all: Vec<usize> = (0..table.columns.len()).collect();
    if random.random_bool(0.7) {
        return all;
    }
    let some: Vec<usize> = all.iter().copied().filter(|_| random.random_bool(0.5)).collect();
    if some.is_empty() { all } else { some }
}

fn term(column: &Column, desc: bool) -> String {
    format!("{}{}", quoted(&column.name), if desc { " desc" } else { "" })
}

/// Up to two terms, and the whole order with the key behind them.
fn sort<'a>(random: &mut impl Rng, table: &'a Table) -> (Vec<Value>, Vec<(&'a Column, bool)>) {
    let sortable: Vec<&Column> = table.columns.iter().filter(|column| column.kind.ordered).collect();
    let count = random.random_range(0..=2);
    let mut order: Vec<(&Column, bool)> =
        sortable.choose_multiple(random, count).map(|column| (*column, false)).collect();
    for (_, desc) in &mut order {
        *desc = random.random();
    }
    let sorts = order.iter().map(|(column, desc)| json!({ "column": column.name, "desc": desc })).collect();
    order.extend(table.key().iter().map(|column| (column, false)));
    (sorts, order)
}

/// A place in the order, which need not be any row's, and what is strictly after it.
fn anchor(random: &mut impl Rng, order: &[(&Column, bool)], table: &Table) -> (Vec<Value>, String) {
    let (mut values, mut branches, mut equal) = (Vec::new(), Vec::new(), String::from("true"));
    for (column, desc) in order {
        let name = quoted(&column.name);
        let is_key = table.key().iter().any(|key| key.name == column.name);
        let text = column.kind.cells.choose(random).filter(|_| is_key || random.random_bool(0.85));
        let (after, same) = match (text.map(|text| column.kind.literal(text)), desc) {
            (Some(value), false) => (format!("({name} > {value} or {name} is null)"), format!("{name} = {value}")),
            (Some(value), true) => (format!("{name} < {value}"), format!("{name} = {value}")),
            (None, false) => ("false".to_owned(), format!("{name} is null")),
            (None, true) => (format!("{name} is not null"), format!("{name} is null")),
        };
        values.push(text.map_or(Value::Null, |text| column.kind.wire.json(text)));
        branches.push(format!("({equal} and {after})"));
        equal = format!("{equal} and {same}");
    }
    (values, format!("({})", branches.join(" or ")))
}

/// None, one or two conditions.
fn conditions(random: &mut impl Rng, table: &Table) -> (Vec<Value>, String) {
    let count = [0, 1, 1, 2].choose(random).copied().unwrap_or(0);
    let (json, sql): (Vec<_>, Vec<_>) = (0..count).map(|_| condition(random, table, 2)).unzip();
    let sql = if sql.is_empty() { "true".to_owned() } else { sql.join(" and ") };
    (json, sql)
}

fn condition(random: &mut impl Rng, table: &Table, depth: u32) -> (Value, String) {
    if depth > 0 && random.random_bool(0.3) {
        let (json, sql): (Vec<_>, Vec<_>) =
            (0..random.random_range(1..=3)).map(|_| condition(random, table, depth - 1)).unzip();
        return match random.random_range(0..3) {
            0 => (json!({ "or": json }), format!("({})", sql.join(" or "))),
            1 => (json!({ "and": json }), format!("({})", sql.join(" and "))),
            _ => (json!({ "not": json[0] }), format!("(not {})", sql[0])),
        };
    }
    let filterable: Vec<&Column> = table.columns.iter().filter(|column| column.kind.filterable).collect();
    let column = filterable.choose(random).copied().expect("a key can be filtered");
    comparison(random, column)
}

/// One condition on a column that may be filtered.
pub fn comparison(random: &mut impl Rng, column: &Column) -> (Value, String) {
    let kind = column.kind;
    let operand = kind.operand(&quoted(&column.name));
    let mut operators = vec!["eq", "eq", "ne", "in", "notin", "isnull", "isnotnull"];
    if kind.ordered {
        operators.extend(["gt", "gte", "lt", "lte", "gt", "lt"]);
    }
    match kind.wire {
        Wire::Text if kind.sql != "mood" => operators.extend(["like", "ilike"]),
        Wire::Array(_) => operators.extend(["contains", "overlaps", "contains", "overlaps"]),
        _ => {}
    }
    let op = operators.choose(random).copied().unwrap_or("isnull");
    let mut value = || match kind.cells.choose(random).filter(|_| random.random_bool(0.95)) {
        Some(text) => (kind.wire.json(text), kind.literal(text)),
        None => (Value::Null, "null".to_owned()),
    };
    let (json, sql) = match op {
        "isnull" => return (json!({ "column": column.name, "op": op }), format!("({operand} is null)")),
        "isnotnull" => return (json!({ "column": column.name, "op": op }), format!("({operand} is not null)")),
        "in" | "notin" => {
            let (json, sql): (Vec<_>, Vec<_>) = (0..3).map(|_| value()).unzip();
            (json.into(), format!("({})", sql.join(", ")))
        }
        "like" | "ilike" => {
            let pattern =
                ["a%", "%a%", "_", "%", "A_", "%\\%", "north-__", "", "%b"].choose(random).copied().unwrap_or("%");
            (json!(pattern), format!("'{pattern}'"))
        }
        _ => value(),
    };
    let word = match op {
        "eq" => "=",
        "ne" => "<>",
        "gt" => ">",
        "gte" => ">=",
        "lt" => "<",
        "lte" => "<=",
        "notin" => "not in",
        "contains" => "@>",
        "overlaps" => "&&",
        word => word,
    };
    (json!({ "column": column.name, "op": op, "value": json }), format!("({operand} {word} {sql})"))
}
