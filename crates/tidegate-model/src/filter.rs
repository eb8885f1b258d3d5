//! Filters: which rows a query is about, with typed values and column numbers.
//!
//! A [`Filter`] is what a query's `where` decodes to. It is plain data, so that an index can look inside and a test can
//! evaluate it in its own way; [`crate::Predicate`] is how the program evaluates it.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::{Pattern, Value, key};

/// A comparison operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Comparison {
    /// `=`
    Eq,
    /// `<>`
    Ne,
    /// `>`
    Gt,
    /// `>=`
    Gte,
    /// `<`
    Lt,
    /// `<=`
    Lte,
}

impl Comparison {
    /// Whether an ordering satisfies the operator.
    #[must_use]
    pub fn holds(self, ordering: Ordering) -> bool {
        match self {
            Comparison::Eq => ordering.is_eq(),
            Comparison::Ne => ordering.is_ne(),
            Comparison::Gt => ordering.is_gt(),
            Comparison::Gte => ordering.is_ge(),
            Comparison::Lt => ordering.is_lt(),
            Comparison::Lte => ordering.is_le(),
        }
    }
}

/// A condition over a row. Columns are indexes into the entity; values have the column's type or are null.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Filter {
    /// Every one; true for none.
    All(Box<[Filter]>),
    /// At least one; false for none.
    Any(Box<[Filter]>),
    /// Three-valued negation.
    Not(Box<Filter>),
    /// Unknown if either side is null.
    Compare {
        /// Left side.
        column: u16,
        /// Operator.
        op: Comparison,
        /// Right side.
        value: Value,
    },
    /// SQL's `in`.
    In(Arc<InList>),
    /// PostgreSQL's `@>`: the column is an array that has every one of the values among its elements. A null is no
    /// element, so where the list has one this is false.
    Contains(Arc<InList>),
    /// PostgreSQL's `&&`: the column is an array that has one of the values, a null not counted, among its elements.
    Overlaps(Arc<InList>),
    /// SQL's `like`, or `ilike` where the pattern folds case.
    Like {
        /// A text column.
        column: u16,
        /// The compiled pattern.
        pattern: Arc<Pattern>,
    },
    /// Never unknown.
    IsNull {
        /// The column looked at.
        column: u16,
    },
}

/// The right side of an `in`: sorted, without repetitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InList {
    /// Left side.
    pub column: u16,
    /// Sorted by value, never null.
    pub values: Box<[Value]>,
    /// The list held a null: what is not found is unknown instead of false.
    pub has_null: bool,
}

impl InList {
    /// A list for `column`; nulls are taken out and remembered.
    #[must_use]
    pub fn new(column: u16, values: Vec<Value>) -> Self {
        let has_null = values.iter().any(Value::is_null);
        let mut values: Vec<Value> = values.into_iter().filter(|value| !value.is_null()).collect();
        values.sort_by(compare);
        values.dedup();
        Self { column, values: values.into(), has_null }
    }
}

impl Filter {
    /// The filter that every row matches.
    #[must_use]
    pub fn everything() -> Self {
        Filter::All(Box::new([]))
    }

    /// All of `filters`, flattened by one level.
    #[must_use]
    pub fn all(filters: Vec<Filter>) -> Self {
        let mut flat = Vec::with_capacity(filters.len());
        for filter in filters {
            match filter {
                Filter::All(inner) => flat.extend(inner),
                other => flat.push(other),
            }
        }
        match flat.len() {
            1 => flat.remove(0),
            _ => Filter::All(flat.into()),
        }
    }

    /// `column op value` for a value of the column's own type.
    #[must_use]
    pub fn compare(column: u16, op: Comparison, value: Value) -> Self {
        Filter::Compare { column, op, value }
    }

    /// The conjuncts at the top: the filter is true exactly where each of them is.
    #[must_use]
    pub fn conjuncts(&self) -> &[Filter] {
        match self {
            Filter::All(filters) => filters,
            other => std::slice::from_ref(other),
        }
    }

    /// The set of columns that the filter looks at, a bit each.
    #[must_use]
    pub fn columns(&self) -> u128 {
        match self {
            Filter::All(filters) | Filter::Any(filters) => filters.iter().fold(0, |set, filter| set | filter.columns()),
            Filter::Not(filter) => filter.columns(),
            Filter::Compare { column, .. } | Filter::Like { column, .. } | Filter::IsNull { column } => 1 << column,
            Filter::In(list) | Filter::Contains(list) | Filter::Overlaps(list) => 1 << list.column,
        }
    }

    /// Bytes in memory, for byte bounds: an estimate from the lengths of its values.
    #[must_use]
    pub fn size(&self) -> usize {
        size_of::<Self>()
            + match self {
                Filter::All(filters) | Filter::Any(filters) => filters.iter().map(Filter::size).sum(),
                Filter::Not(filter) => filter.size(),
                Filter::Compare { value, .. } => value.heap_size(),
                Filter::In(list) | Filter::Contains(list) | Filter::Overlaps(list) => {
                    list.values.iter().map(|value| size_of::<Value>() + value.heap_size()).sum()
                }
                Filter::Like { pattern, .. } => 4 * pattern.text().len(),
                Filter::IsNull { .. } => 0,
            }
    }

    /// Appends bytes that are equal for equal filters, whatever the order of their conjuncts and branches.
    pub fn canonical(&self, out: &mut Vec<u8>) {
        let group = |tag: u8, filters: &[Filter], out: &mut Vec<u8>| {
            let mut parts: Vec<Vec<u8>> = filters
                .iter()
                .map(|filter| {
                    let mut part = Vec::new();
                    filter.canonical(&mut part);
                    part
                })
                .collect();
            parts.sort();
            parts.dedup();
            out.push(tag);
            out.extend_from_slice(&(parts.len() as u32).to_be_bytes());
            for part in parts {
                out.extend_from_slice(&(part.len() as u32).to_be_bytes());
                out.extend_from_slice(&part);
            }
        };
        let in_list = |tag: u8, list: &InList, out: &mut Vec<u8>| {
            out.extend_from_slice(&[tag, u8::from(list.has_null)]);
            out.extend_from_slice(&list.column.to_be_bytes());
            out.extend_from_slice(&(list.values.len() as u32).to_be_bytes());
            for value in &list.values {
                key::encode(value, false, out);
            }
        };
        match self {
            Filter::All(filters) => group(1, filters, out),
            Filter::Any(filters) => group(2, filters, out),
            Filter::Not(filter) => group(3, std::slice::from_ref(filter), out),
            Filter::Compare { column, op, value } => {
                out.extend_from_slice(&[4, *op as u8]);
                out.extend_from_slice(&column.to_be_bytes());
                key::encode(value, false, out);
            }
            Filter::In(list) => in_list(5, list, out),
            Filter::Contains(list) => in_list(8, list, out),
            Filter::Overlaps(list) => in_list(9, list, out),
            Filter::Like { column, pattern } => {
                out.extend_from_slice(&[6, u8::from(pattern.folds_case())]);
                out.extend_from_slice(&column.to_be_bytes());
                key::encode(&Value::text(pattern.text()), false, out);
            }
            Filter::IsNull { column } => {
                out.push(7);
                out.extend_from_slice(&column.to_be_bytes());
            }
        }
    }
}

/// The order of two values of one type; nulls last. Values of different types do not meet: queries are typed when they
/// are decoded.
#[must_use]
pub(crate) fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Int(a), Value::Int(b))
        | (Value::Timestamp(a), Value::Timestamp(b))
        | (Value::Time(a), Value::Time(b)) => a.cmp(b),
        (Value::Float(a), Value::Float(b)) => a.partial_cmp(b).unwrap_or_else(|| a.is_nan().cmp(&b.is_nan())),
        (Value::Text(a), Value::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Decimal(a), Value::Decimal(b)) => a.cmp(b),
        (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
        (Value::Uuid(a), Value::Uuid(b)) => a.cmp(b),
        (Value::Date(a), Value::Date(b)) => a.cmp(b),
        (Value::Json(a), Value::Json(b)) => a.canonical().cmp(b.canonical()),
        (Value::Enum(a), Value::Enum(b)) => a.ordinal.cmp(&b.ordinal),
        (Value::Interval(a), Value::Interval(b)) => a.cmp(b),
        (Value::Array(a), Value::Array(b)) => a.cmp(b),
        (a, b) => a.is_null().cmp(&b.is_null()).then_with(|| a.kind().cmp(&b.kind())),
    }
}
