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
        Filter::In(list) => contains(list, row.value(list.column)),
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

fn contains(list: &InList, cell: &Value) -> Truth {
    if cell.is_null() {
        Truth::Unknown
    } else if list.values.binary_search_by(|value| compare(value, cell)).is_ok() {
        Truth::True
    } else if list.has_null {
        Truth::Unknown
    } else {
        Truth::False
    }
}
