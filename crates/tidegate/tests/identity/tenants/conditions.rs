//! Conditions as they are written in questions and permissions, made at random and evaluated by definition.

use std::collections::BTreeSet;

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use serde_json::{Value, json};

use super::plan::{MARKED, Row, USERS};

/// A condition on any column; its literals are claims at times, or what is in `rows`.
pub(super) fn condition(random: &mut StdRng, may_claim: bool, rows: &[Row], depth: usize) -> Value {
    let claim = |random: &mut StdRng, name: &str, otherwise: Value| {
        if may_claim && random.random() { json!(format!("$claims.{name}")) } else { otherwise }
    };
    let user = json!(USERS.choose(random).unwrap());
    let number = json!(random.random_range(0..4));
    // The last two hold others.
    match random.random_range(0..if depth > 0 { 9 } else { 7 }) {
        0 | 1 => {
            let op = ["eq", "eq", "ne", "gt", "lte"].choose(random).unwrap();
            json!({ "column": "owner", "op": op, "value": claim(random, "sub", user) })
        }
        2 | 3 => {
            let op = ["eq", "ne", "lt", "gte"].choose(random).unwrap();
            json!({ "column": "team", "op": op, "value": claim(random, "team", number) })
        }
        4 => {
            let op = ["in", "notin"].choose(random).unwrap();
            json!({ "column": "team", "op": op, "value": claim(random, "teams", json!([number, 1])) })
        }
        5 => {
            let (column, op) =
                (["team", "owner"].choose(random).unwrap(), ["isnull", "isnotnull"].choose(random).unwrap());
            json!({ "column": column, "op": op })
        }
        6 => {
            // The oracle: what is asked about is there, in somebody's row.
            let column = *MARKED.choose(random).unwrap();
            let there = rows.choose(random).and_then(|row| row.get(column)).filter(|value| !value.is_null());
            let fallback = if column == "stamp" { json!(5) } else { json!("MARK") };
            let op = ["eq", "gt", "lte"].choose(random).unwrap();
            json!({ "column": column, "op": op, "value": there.cloned().unwrap_or(fallback) })
        }
        7 => json!({ "not": condition(random, may_claim, rows, depth - 1) }),
        _ => {
            json!({ "or": [condition(random, may_claim, rows, depth - 1), condition(random, may_claim, rows, depth - 1)] })
        }
    }
}

/// With the claims in their places; `None` where one is missing.
pub(super) fn filled(condition: &Value, claims: &Row) -> Option<Value> {
    Some(match condition {
        Value::String(text) => match text.strip_prefix("$claims.") {
            Some(name) => claims.get(name).filter(|claim| !claim.is_null())?.clone(),
            None => condition.clone(),
        },
        Value::Array(inner) => Value::Array(inner.iter().map(|inner| filled(inner, claims)).collect::<Option<_>>()?),
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| Some((name.clone(), filled(value, claims)?));
            Value::Object(members.iter().map(member).collect::<Option<_>>()?)
        }
        other => other.clone(),
    })
}

pub(super) fn named(condition: &Value, columns: &mut BTreeSet<String>) {
    match condition {
        Value::Object(members) => {
            columns.extend(members.get("column").and_then(Value::as_str).map(ToOwned::to_owned));
            ["or", "and", "not"].iter().filter_map(|group| members.get(*group)).for_each(|inner| named(inner, columns));
        }
        Value::Array(inner) => inner.iter().for_each(|inner| named(inner, columns)),
        _ => {}
    }
}

pub(super) fn holds(conditions: &[Value], row: &Row) -> bool {
    conditions.iter().all(|condition| truth(condition, row) == Some(true))
}

/// SQL's truth; `None` is unknown.
fn truth(condition: &Value, row: &Row) -> Option<bool> {
    if let Some(inner) = condition.get("not") {
        return truth(inner, row).map(|truth| !truth);
    }
    if let Some(inner) = condition.get("or").and_then(Value::as_array) {
        let truths: Vec<_> = inner.iter().map(|inner| truth(inner, row)).collect();
        return if truths.contains(&Some(true)) { Some(true) } else { (!truths.contains(&None)).then_some(false) };
    }
    let cell = &row[condition["column"].as_str().unwrap()];
    let value = &condition["value"];
    let op = condition["op"].as_str().unwrap();
    match op {
        "isnull" => return Some(cell.is_null()),
        "isnotnull" => return Some(!cell.is_null()),
        _ if cell.is_null() => return None,
        _ => {}
    }
    let order = || compare(cell, value);
    Some(match op {
        "eq" => order().is_eq(),
        "ne" => order().is_ne(),
        "gt" => order().is_gt(),
        "gte" => order().is_ge(),
        "lt" => order().is_lt(),
        "lte" => order().is_le(),
        "in" => value.as_array().unwrap().contains(cell),
        "notin" => !value.as_array().unwrap().contains(cell),
        other => panic!("{other}"),
    })
}

/// Whole numbers by value, text by bytes, null after everything.
pub(super) fn compare(a: &Value, b: &Value) -> std::cmp::Ordering {
    match (a, b) {
        (Value::Null, _) | (_, Value::Null) => a.is_null().cmp(&b.is_null()),
        (Value::Number(a), Value::Number(b)) => a.as_i64().cmp(&b.as_i64()),
        (Value::String(a), Value::String(b)) => a.cmp(b),
        other => panic!("{other:?}"),
    }
}

/// As an inline value of TOML.
pub(super) fn toml(value: &Value) -> String {
    match value {
        Value::Array(inner) => format!("[{}]", inner.iter().map(toml).collect::<Vec<_>>().join(", ")),
        Value::Object(members) => {
            let members: Vec<String> =
                members.iter().map(|(name, value)| format!("{name} = {}", toml(value))).collect();
            format!("{{ {} }}", members.join(", "))
        }
        plain => plain.to_string(),
    }
}
