//! Guards: which rows and columns a writer may change.

use crate::{Filter, Row};

/// What a writer may change: each change must be within one of the alternatives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guard {
    /// None permits nothing.
    pub alternatives: Box<[Changeable]>,
}

/// Rows and columns of which a change may be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changeable {
    /// The rows: as they were and as they become.
    pub rows: Filter,
    /// The columns that may be named, a bit each. What makes up a row's identity may always be.
    pub columns: u128,
}

impl Guard {
    /// Whether a change that names these columns (a bit each, none of the row's identity) may be made of a row that is
    /// `old` to one that is `new`; what is absent is not asked about.
    #[must_use]
    pub fn permits(&self, named: u128, old: Option<&Row>, new: Option<&Row>) -> bool {
        self.alternatives.iter().any(|changeable| {
            named & !changeable.columns == 0 && [old, new].into_iter().flatten().all(|row| changeable.rows.matches(row))
        })
    }

    /// Bytes in memory, for byte bounds: an estimate.
    #[must_use]
    pub fn size(&self) -> usize {
        self.alternatives.iter().map(|changeable| size_of::<Changeable>() + changeable.rows.size()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Comparison, Position, Value};

    #[test]
    fn one_alternative_has_to_cover_all_of_a_change() {
        let is = |value: &str| Filter::compare(0, Comparison::Eq, Value::text(value));
        let guard = Guard {
            alternatives: Box::new([
                Changeable { rows: is("a"), columns: 0b011 },
                Changeable { rows: is("b"), columns: 0b110 },
            ]),
        };
        let row = |value: &str| Row::new(Position(1), vec![Value::text(value), Value::Null, Value::Null]);
        let (a, b, c) = (row("a"), row("b"), row("c"));
        assert!(guard.permits(0b010, Some(&a), Some(&a)) && guard.permits(0b010, Some(&b), None));
        assert!(!guard.permits(0b010, Some(&a), Some(&b)), "in by one and out by the other");
        assert!(!guard.permits(0b100, Some(&a), Some(&a)), "a column that the row's alternative does not have");
        assert!(!guard.permits(0, None, Some(&c)) && !guard.permits(0, Some(&c), None));
        assert!(guard.permits(0, None, None) && !guard.permits(0b101, None, None));
    }
}
