//! The naive model of a live query: all rows, filtered, sorted, cut, by definition and without any cleverness.
//!
//! It takes apart the plain types (`Filter`, `Value`, the terms of an order) and never calls the program's predicate,
//! key encoding, pattern or decimal comparison.

mod json;
mod like;
mod number;
mod order;

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate_model::{Comparison, Entity, Filter, Query, Row, SortKey, Value};

pub use like::like;
pub use order::{compare, compare_rows};

/// The window's rows: of `rows` (one partition, in any order) those that match, after `cursor` (one value per term of
/// the order; `None` is the head), in order, at most the limit. The query's own encoded anchor is not looked at.
#[must_use]
pub fn expected(rows: &[Arc<Row>], query: &Query, cursor: Option<&[Value]>) -> Vec<Arc<Row>> {
    let terms = query.order.terms();
    let mut list = matching(rows, &query.filter);
    list.retain(|row| cursor.is_none_or(|cursor| order::compare_with_cursor(row, cursor, terms) == Ordering::Greater));
    list.sort_by(|a, b| compare_rows(a, b, terms));
    list.truncate(query.limit as usize);
    list
}

/// The rows that `filter` is true for.
#[must_use]
pub fn matching(rows: &[Arc<Row>], filter: &Filter) -> Vec<Arc<Row>> {
    rows.iter().filter(|row| matches(filter, row)).cloned().collect()
}

/// Whether `filter` is true (not false, not unknown) for `row`.
#[must_use]
pub fn matches(filter: &Filter, row: &Row) -> bool {
    truth(filter, row) == Some(true)
}

/// The cursor at `row`: one value per term.
#[must_use]
pub fn cursor_at(row: &Row, terms: &[SortKey]) -> Vec<Value> {
    terms.iter().map(|term| row.value(term.column).clone()).collect()
}

/// Whether two rows are one row of the entity: their key columns are equal.
#[must_use]
pub fn same_key(entity: &Entity, a: &Row, b: &Row) -> bool {
    entity.key().iter().all(|column| compare(a.value(*column), b.value(*column)) == Ordering::Equal)
}

/// SQL's truth; `None` is unknown.
fn truth(filter: &Filter, row: &Row) -> Option<bool> {
    match filter {
        Filter::All(filters) => {
            let truths: Vec<_> = filters.iter().map(|filter| truth(filter, row)).collect();
            match () {
                () if truths.contains(&Some(false)) => Some(false),
                () if truths.contains(&None) => None,
                () => Some(true),
            }
        }
        Filter::Any(filters) => {
            let truths: Vec<_> = filters.iter().map(|filter| truth(filter, row)).collect();
            match () {
                () if truths.contains(&Some(true)) => Some(true),
                () if truths.contains(&None) => None,
                () => Some(false),
            }
        }
        Filter::Not(filter) => truth(filter, row).map(|truth| !truth),
        Filter::Compare { column, op, value } => compared(row.value(*column), *op, value),
        // `x in (a, b, null)` is `x = a or x = b or x = null`.
        Filter::In(list) => {
            let cell = row.value(list.column);
            let mut truths: Vec<_> = list.values.iter().map(|value| compared(cell, Comparison::Eq, value)).collect();
            truths.extend(list.has_null.then_some(None));
            match () {
                () if truths.contains(&Some(true)) => Some(true),
                () if truths.contains(&None) => None,
                () => Some(false),
            }
        }
        Filter::Contains(list) => elements(row.value(list.column)).map(|elements| {
            let is_element = |value: &Value| elements.iter().any(|element| compare(element, value) == Ordering::Equal);
            !list.has_null && list.values.iter().all(is_element)
        }),
        Filter::Overlaps(list) => elements(row.value(list.column)).map(|elements| {
            let is_wanted = |element: &Value| list.values.iter().any(|v| compare(element, v) == Ordering::Equal);
            elements.iter().any(is_wanted)
        }),
        Filter::Like { column, pattern } => match row.value(*column) {
            Value::Null => None,
            Value::Text(text) => Some(like(text, pattern.text(), pattern.folds_case())),
            other => panic!("like on {other:?}"),
        },
        Filter::IsNull { column } => Some(matches!(row.value(*column), Value::Null)),
    }
}

/// The elements of a cell; `None` for null.
fn elements(cell: &Value) -> Option<&[Value]> {
    match cell {
        Value::Null => None,
        Value::Array(array) => Some(array.values()),
        other => panic!("{other:?} has no elements"),
    }
}

fn compared(cell: &Value, op: Comparison, value: &Value) -> Option<bool> {
    if matches!(cell, Value::Null) || matches!(value, Value::Null) {
        return None;
    }
    let ordering = compare(cell, value);
    Some(match op {
        Comparison::Eq => ordering == Ordering::Equal,
        Comparison::Ne => ordering != Ordering::Equal,
        Comparison::Gt => ordering == Ordering::Greater,
        Comparison::Gte => ordering != Ordering::Less,
        Comparison::Lt => ordering == Ordering::Less,
        Comparison::Lte => ordering != Ordering::Greater,
    })
}

/// A partition's rows by key, as transactions leave them: what a test's history keeps beside the engine.
#[derive(Debug, Clone, Default)]
pub struct Table {
    rows: BTreeMap<OrderedKey, Arc<Row>>,
}

impl Table {
    /// The row of that key.
    #[must_use]
    pub fn get(&self, key: &[Value]) -> Option<&Arc<Row>> {
        self.rows.get(&OrderedKey(key.to_vec()))
    }

    /// Puts a row in the place of its key; gives the row that was there.
    pub fn upsert(&mut self, entity: &Entity, row: Arc<Row>) -> Option<Arc<Row>> {
        let key = entity.key().iter().map(|column| row.value(*column).clone()).collect();
        self.rows.insert(OrderedKey(key), row)
    }

    /// Takes out the row of that key.
    pub fn delete(&mut self, key: &[Value]) -> Option<Arc<Row>> {
        self.rows.remove(&OrderedKey(key.to_vec()))
    }

    /// All rows, in key order.
    #[must_use]
    pub fn rows(&self) -> Vec<Arc<Row>> {
        self.rows.values().cloned().collect()
    }
}

/// Key values under the naive order.
#[derive(Debug, Clone)]
struct OrderedKey(Vec<Value>);

impl Ord for OrderedKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let pairs = self.0.iter().zip(&other.0);
        pairs.map(|(a, b)| compare(a, b)).find(|ordering| ordering.is_ne()).unwrap_or(Ordering::Equal)
    }
}

impl PartialOrd for OrderedKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for OrderedKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for OrderedKey {}

#[cfg(test)]
mod tests;
