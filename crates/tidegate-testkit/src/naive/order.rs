//! The order of values and rows, by definition.

use std::cmp::Ordering;

use tidegate_model::{Interval, Row, SortKey, Value};

use super::{json, number};

/// The order of two cells of one column, nulls last. For JSON, intervals and arrays,
/// which have no order, only equality means something.
#[must_use]
pub fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Greater,
        (_, Value::Null) => Ordering::Less,
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Float(a), Value::Float(b)) => compare_floats(*a, *b),
        (Value::Decimal(a), Value::Decimal(b)) => number::compare(a.text(), b.text()),
        (Value::Text(a), Value::Text(b)) => compare_bytes(a.as_bytes(), b.as_bytes()),
        (Value::Bytes(a), Value::Bytes(b)) => compare_bytes(a, b),
        (Value::Uuid(a), Value::Uuid(b)) => compare_bytes(a, b),
        (Value::Timestamp(a), Value::Timestamp(b)) => a.cmp(b),
        (Value::Date(a), Value::Date(b)) => a.cmp(b),
        (Value::Time(a), Value::Time(b)) => a.cmp(b),
        (Value::Enum(a), Value::Enum(b)) => a.ordinal.cmp(&b.ordinal),
        (Value::Interval(a), Value::Interval(b)) => length(a).cmp(&length(b)),
        (Value::Array(a), Value::Array(b)) => {
            let pairs = a.values().iter().zip(b.values()).map(|(a, b)| compare(a, b));
            a.dims().cmp(b.dims()).then(pairs.fold(Ordering::Equal, Ordering::then))
        }
        (Value::Json(a), Value::Json(b)) => json::parse(a.text()).cmp(&json::parse(b.text())),
        (a, b) => panic!("{a:?} and {b:?} stand in no one column"),
    }
}

/// The order of two rows under `terms` (which end with the key).
#[must_use]
pub fn compare_rows(a: &Row, b: &Row, terms: &[SortKey]) -> Ordering {
    let ordered = terms.iter().map(|term| directed(a.value(term.column), b.value(term.column), term.desc));
    ordered.fold(Ordering::Equal, Ordering::then)
}

/// Where `row` stands to a cursor: one value per term.
pub(super) fn compare_with_cursor(row: &Row, cursor: &[Value], terms: &[SortKey]) -> Ordering {
    assert_eq!(cursor.len(), terms.len(), "a cursor has one value per term");
    let pairs = terms.iter().zip(cursor);
    pairs.map(|(term, value)| directed(row.value(term.column), value, term.desc)).fold(Ordering::Equal, Ordering::then)
}

/// Descending turns everything round, nulls too: last ascending, first descending.
fn directed(a: &Value, b: &Value, desc: bool) -> Ordering {
    if desc { compare(b, a) } else { compare(a, b) }
}

fn compare_floats(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) if a < b => Ordering::Less,
        (false, false) if a > b => Ordering::Greater,
        (false, false) => Ordering::Equal,
    }
}

/// In microseconds: a month has 30 days, a day 24 hours.
fn length(interval: &Interval) -> i128 {
    let hours = 24 * (30 * i128::from(interval.months) + i128::from(interval.days));
    hours * 3_600 * 1_000_000 + i128::from(interval.micros)
}

fn compare_bytes(a: &[u8], b: &[u8]) -> Ordering {
    for (a, b) in a.iter().zip(b) {
        if a != b {
            return if a < b { Ordering::Less } else { Ordering::Greater };
        }
    }
    a.len().cmp(&b.len())
}
