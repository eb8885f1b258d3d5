//! The types that a column may have.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ValueError;

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub enum Type {
    /// `false < true`.
    Bool,
    /// 64-bit signed.
    Int,
    /// IEEE 754 double; NaN is one value, greater than infinity.
    Float,
    /// Exact decimal of any scale, with NaN and infinities.
    Decimal,
    /// UTF-8, ordered by bytes.
    Text,
    /// Opaque bytes; base64 in JSON.
    Bytes,
    /// 128 bits, ordered by bytes.
    Uuid,
    /// Microseconds since 1970-01-01 UTC, with infinities.
    Timestamp,
    /// Days since 1970-01-01, with infinities.
    Date,
    /// Microseconds of a day, `24:00:00` being one of them.
    Time,
    /// Months, days and microseconds: equality only.
    Interval,
    /// One of the labels that its column has, in the order they are declared in.
    Enum,
    /// A JSON document: equality only.
    Json,
    /// Values of one type in up to [`crate::array::DIMENSIONS_MAX`] dimensions: equality, `contains` and `overlaps`.
    Array(Element),
}

/// The type of an array's elements. Arrays of labels are arrays of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each is the type of the same name")]
pub enum Element {
    Bool,
    Int,
    Float,
    Decimal,
    Text,
    Bytes,
    Uuid,
    Timestamp,
    Date,
    Time,
}

impl Element {
    /// Every element type.
    pub const ALL: [Element; 10] = [
        Element::Bool,
        Element::Int,
        Element::Float,
        Element::Decimal,
        Element::Text,
        Element::Bytes,
        Element::Uuid,
        Element::Timestamp,
        Element::Date,
        Element::Time,
    ];

    /// The type of the elements that are not null.
    #[must_use]
    pub fn kind(self) -> Type {
        match self {
            Element::Bool => Type::Bool,
            Element::Int => Type::Int,
            Element::Float => Type::Float,
            Element::Decimal => Type::Decimal,
            Element::Text => Type::Text,
            Element::Bytes => Type::Bytes,
            Element::Uuid => Type::Uuid,
            Element::Timestamp => Type::Timestamp,
            Element::Date => Type::Date,
            Element::Time => Type::Time,
        }
    }
}

impl Type {
    /// Every type: the scalars, then the arrays.
    pub const ALL: [Type; 23] = [
        Type::Bool,
        Type::Int,
        Type::Float,
        Type::Decimal,
        Type::Text,
        Type::Bytes,
        Type::Uuid,
        Type::Timestamp,
        Type::Date,
        Type::Time,
        Type::Interval,
        Type::Enum,
        Type::Json,
        Type::Array(Element::Bool),
        Type::Array(Element::Int),
        Type::Array(Element::Float),
        Type::Array(Element::Decimal),
        Type::Array(Element::Text),
        Type::Array(Element::Bytes),
        Type::Array(Element::Uuid),
        Type::Array(Element::Timestamp),
        Type::Array(Element::Date),
        Type::Array(Element::Time),
    ];

    /// Whether the type has an order (and so may be sorted on and compared with `gt`, `lt` and so on).
    #[must_use]
    pub fn is_ordered(self) -> bool {
        !matches!(self, Type::Json | Type::Interval | Type::Array(_))
    }

    /// The name used in configuration, in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Type::Bool => "bool",
            Type::Int => "int",
            Type::Float => "float",
            Type::Decimal => "decimal",
            Type::Text => "text",
            Type::Bytes => "bytes",
            Type::Uuid => "uuid",
            Type::Timestamp => "timestamp",
            Type::Date => "date",
            Type::Time => "time",
            Type::Interval => "interval",
            Type::Enum => "enum",
            Type::Json => "json",
            Type::Array(Element::Bool) => "bool[]",
            Type::Array(Element::Int) => "int[]",
            Type::Array(Element::Float) => "float[]",
            Type::Array(Element::Decimal) => "decimal[]",
            Type::Array(Element::Text) => "text[]",
            Type::Array(Element::Bytes) => "bytes[]",
            Type::Array(Element::Uuid) => "uuid[]",
            Type::Array(Element::Timestamp) => "timestamp[]",
            Type::Array(Element::Date) => "date[]",
            Type::Array(Element::Time) => "time[]",
        }
    }

    /// What a value of the type looks like, for messages.
    pub(crate) fn form(self) -> &'static str {
        match self {
            Type::Bool => "true or false",
            Type::Int => "a whole number between -9223372036854775808 and 9223372036854775807",
            Type::Float => "a number, \"NaN\", \"Infinity\" or \"-Infinity\"",
            Type::Decimal => "a decimal number (as a string to keep every digit)",
            Type::Text => "a string",
            Type::Bytes => "a base64 string",
            Type::Uuid => "a UUID string",
            Type::Timestamp => "an RFC 3339 timestamp with its offset, \"infinity\" or \"-infinity\"",
            Type::Date => "a date as YYYY-MM-DD, \"infinity\" or \"-infinity\"",
            Type::Time => "a time of day as HH:MM:SS, with up to six digits after a point",
            Type::Interval => "an ISO 8601 duration such as P1Y2M3DT4H5M6.7S",
            Type::Enum => "one of the column's labels",
            Type::Json => "a JSON document",
            Type::Array(_) => "an array, nested evenly",
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Type {
    type Err = ValueError;

    /// Reads a [`Type::name`].
    fn from_str(text: &str) -> Result<Self, ValueError> {
        Type::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
            let names: Vec<&str> = Type::ALL.iter().map(|kind| kind.name()).collect();
            ValueError(format!("must be one of {}", names.join(", ")))
        })
    }
}

impl From<Type> for &'static str {
    fn from(kind: Type) -> Self {
        kind.name()
    }
}

impl TryFrom<String> for Type {
    type Error = ValueError;

    fn try_from(text: String) -> Result<Self, ValueError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_name_of_its_own() {
        for kind in Type::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
        }
        let arrays: Vec<Type> = Element::ALL.into_iter().map(Type::Array).collect();
        assert_eq!(arrays, Type::ALL[13..]);
        assert!(
            Element::ALL
                .into_iter()
                .all(|element| { Type::Array(element).name().strip_suffix("[]") == Some(element.kind().name()) })
        );
    }
}
