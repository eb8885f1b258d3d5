//! The one evaluator of filters.

use crate::filter::{InList, compare};
use crate::{Comparison, Filter, Row, Value};

/// A filter ready to be held against rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Predicate(Filter);

/// SQL's truth: `and` is the minimum, `or` the maximum, `not` the mirror image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Truth {
    False,
    Unknown,
    True,
}

impl From<bool> for Truth {
    fn from(truth: bool) -> Self {
        if truth { Truth::True } else { Truth::False }
    }
}

impl Predicate {
    /// A predicate that holds where `filter` is true.
    #[must_use]
    pub fn new(filter: Filter) -> Self {
        Self(filter)
    }

    /// The filter it was made from.
    #[must_use]
    pub fn filter(&self) -> &Filter {
        &self.0
    }

    /// Whether the row is a member: the filter is true, not false and not unknown. No allocation.
    #[must_use]
    #[inline]
    pub fn matches(&self, row: &Row) -> bool {
        self.0.matches(row)
    }
}

impl Filter {
    /// Whether the row is a member: see [`Predicate::matches`].
    #[must_use]
    #[inline]
    pub fn matches(&self, row: &Row) -> bool {
        evaluate(self, row) == Truth::True
    }
}

fn evaluate(filter: &Filter, row: &Row) -> Truth {
    match filter {
        Filter::Compare { column, op, value } => compare_cell(row.value(*column), *op, value),
        Filter::All(filters) => {
            let mut truth = Truth::True;
            for filter in filters {
                truth = truth.min(evaluate(filter, row));
                if truth == Truth::False {
                    break;
                }
            }
            truth
        }
        Filter::Any(filters) => {
            let mut truth = Truth::False;
            for filter in filters {
                truth = truth.max(evaluate(filter, row));
                if truth == Truth::True {
                    break;
                }
            }
            truth
        }
        Filter::Not(filter) => match evaluate(filter, row) {
            Truth::True => Truth::False,
            Truth::Unknown => Truth::Unknown,
            Truth::False => Truth::True,
        },
        Filter::In(list) => is_in(list, row.value(list.column)),
        Filter::Contains(list) => match row.value(list.column) {
            Value::Array(array) => has_all(list, array.values()).into(),
            _ => Truth::Unknown,
        },
        Filter::Overlaps(list) => match row.value(list.column) {
            Value::Array(array) => array.values().iter().any(|value| has(&list.values, value).is_ok()).into(),
            _ => Truth::Unknown,
        },
        Filter::Like { column, pattern } => match row.value(*column) {
            Value::Text(text) => pattern.matches(text).into(),
            _ => Truth::Unknown,
        },
        Filter::IsNull { column } => row.value(*column).is_null().into(),
    }
}

#[inline]
fn compare_cell(cell: &Value, op: Comparison, value: &Value) -> Truth {
    match (cell, value) {
        (Value::Null, _) | (_, Value::Null) => Truth::Unknown,
        // Equality of text needs no order: lengths differ first.
        (Value::Text(a), Value::Text(b)) if op == Comparison::Eq => (a == b).into(),
        (a, b) => op.holds(compare(a, b)).into(),
    }
}

fn is_in(list: &InList, cell: &Value) -> Truth {
    if cell.is_null() {
        Truth::Unknown
    } else if has(&list.values, cell).is_ok() {
        Truth::True
    } else if list.has_null {
        Truth::Unknown
    } else {
        Truth::False
    }
}

/// The place of `value` among sorted values, none of them null.
#[inline]
fn has(sorted: &[Value], value: &Value) -> Result<usize, usize> {
    sorted.binary_search_by(|other| compare(other, value))
}

/// Whether every value of the list is among `elements`. Those found are marked, 64 at a time, so that a long array is
/// not read once for each value of a long list.
fn has_all(list: &InList, elements: &[Value]) -> bool {
    let all_found = |wanted: &[Value]| {
        let all = u64::MAX >> (64 - wanted.len());
        let mut found = 0;
        elements.iter().any(|element| {
            if let Ok(at) = has(wanted, element) {
                found |= 1 << at;
            }
            found == all
        })
    };
    !list.has_null && list.values.chunks(64).all(all_found)
}
