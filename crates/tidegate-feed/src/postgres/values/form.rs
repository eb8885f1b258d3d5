//! The cells of one type, as text and as binary.

use std::sync::Arc;

use tidegate_model::{Element, Interval, Type, Value};

use super::{CellError, calendar, numeric};
use crate::postgres::reader::Reader;

pub(super) const NOT_UTF8: CellError = CellError::Expected("text in UTF-8");

/// How the cells of a type are written. Integers of every width are one form, and so are timestamps with and without
/// a zone: the cell shows which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Bool,
    Int,
    Float4,
    Float8,
    Numeric,
    Text,
    /// `char(n)`: text whose spaces at the end mean nothing.
    Padded,
    Bytea,
    Uuid,
    Date,
    Time,
    Timestamp,
    Interval,
    Json,
    Jsonb,
}

impl Form {
    /// The form of a base type by its oid, which PostgreSQL never changes for the types it brings along.
    pub(super) fn of(oid: u32) -> Option<Self> {
        Some(match oid {
            16 => Form::Bool,
            17 => Form::Bytea,
            20 | 21 | 23 => Form::Int,
            19 | 25 | 1043 => Form::Text,
            114 => Form::Json,
            700 => Form::Float4,
            701 => Form::Float8,
            1042 => Form::Padded,
            1082 => Form::Date,
            1083 => Form::Time,
            1114 | 1184 => Form::Timestamp,
            1186 => Form::Interval,
            1700 => Form::Numeric,
            2950 => Form::Uuid,
            3802 => Form::Jsonb,
            _ => return None,
        })
    }

    pub(super) fn kind(self) -> Type {
        match self {
            Form::Bool => Type::Bool,
            Form::Int => Type::Int,
            Form::Float4 | Form::Float8 => Type::Float,
            Form::Numeric => Type::Decimal,
            Form::Text | Form::Padded => Type::Text,
            Form::Bytea => Type::Bytes,
            Form::Uuid => Type::Uuid,
            Form::Date => Type::Date,
            Form::Time => Type::Time,
            Form::Timestamp => Type::Timestamp,
            Form::Interval => Type::Interval,
            Form::Json | Form::Jsonb => Type::Json,
        }
    }

    /// Of an array of it, where there are such arrays.
    pub(super) fn element(self) -> Option<Element> {
        Element::ALL.into_iter().find(|element| element.kind() == self.kind())
    }

    pub(super) fn text(self, bytes: &[u8]) -> Result<Value, CellError> {
        let text = std::str::from_utf8(bytes).map_err(|_| NOT_UTF8)?;
        let value = match self {
            Form::Bool => match text {
                "t" => Some(Value::Bool(true)),
                "f" => Some(Value::Bool(false)),
                _ => None,
            },
            Form::Int => text.parse().ok().map(Value::Int),
            Form::Float4 => number(text).and_then(|text| text.parse().ok()).map(widened),
            Form::Float8 => number(text).and_then(|text| text.parse().ok()).map(Value::Float),
            Form::Numeric => text.parse().ok().map(|decimal| Value::Decimal(Arc::new(decimal))),
            Form::Text | Form::Padded => Some(Value::text(text)),
            Form::Bytea => hex(bytes).map(|bytes| Value::Bytes(bytes.into())),
            Form::Uuid | Form::Json | Form::Jsonb => return Ok(Value::from_text(self.kind(), text)?),
            Form::Date => calendar::date_from_text(text).map(Value::Date),
            Form::Time => calendar::time_from_text(text).map(Value::Time),
            Form::Timestamp => calendar::timestamp_from_text(text).map(Value::Timestamp),
            Form::Interval => text.parse().ok().map(|interval| Value::Interval(Arc::new(interval))),
        };
        value.ok_or_else(|| self.expected())
    }

    pub(super) fn binary(self, bytes: &[u8]) -> Result<Value, CellError> {
        let value = match self {
            Form::Text | Form::Padded | Form::Json => return self.text(bytes),
            Form::Jsonb => match bytes.split_first() {
                Some((1, text)) => return self.text(text),
                _ => None,
            },
            Form::Numeric => numeric::numeric_from_binary(bytes).map(|decimal| Value::Decimal(Arc::new(decimal))),
            Form::Bytea => Some(Value::Bytes(bytes.into())),
            Form::Uuid => bytes.try_into().ok().map(Value::Uuid),
            _ => {
                let mut reader = Reader(bytes);
                let value = self.fixed(&mut reader);
                value.filter(|_| reader.is_empty())
            }
        };
        value.ok_or_else(|| self.expected())
    }

    /// The types of a fixed length.
    fn fixed(self, reader: &mut Reader<'_>) -> Option<Value> {
        match self {
            Form::Bool => match reader.u8()? {
                0 => Some(Value::Bool(false)),
                1 => Some(Value::Bool(true)),
                _ => None,
            },
            Form::Int => match reader.0.len() {
                2 => reader.i16().map(i64::from),
                4 => reader.i32().map(i64::from),
                _ => reader.i64(),
            }
            .map(Value::Int),
            Form::Float4 => reader.u32().map(f32::from_bits).map(widened),
            Form::Float8 => reader.u64().map(f64::from_bits).map(Value::Float),
            Form::Date => reader.i32().map(calendar::date_from_binary).map(Value::Date),
            Form::Time => reader.i64().and_then(calendar::time_from_binary).map(Value::Time),
            Form::Timestamp => reader.i64().map(calendar::timestamp_from_binary).map(Value::Timestamp),
            Form::Interval => {
                let (micros, days, months) = (reader.i64()?, reader.i32()?, reader.i32()?);
                Some(Value::Interval(Arc::new(Interval { months, days, micros })))
            }
            _ => None,
        }
    }

    fn expected(self) -> CellError {
        CellError::Expected(match self {
            Form::Bool => "a bool",
            Form::Int => "an integer of 64 bits at most",
            Form::Float4 | Form::Float8 => "a floating-point number",
            Form::Numeric => "a numeric",
            Form::Text | Form::Padded => "text",
            Form::Bytea => "a bytea (as text in hex: bytea_output must be hex)",
            Form::Uuid => "a uuid",
            Form::Date => "a date (as text in ISO style: DateStyle must be ISO)",
            Form::Time => "a time",
            Form::Timestamp => "a timestamp (as text in ISO style: DateStyle must be ISO)",
            Form::Interval => "an interval (as text in ISO 8601: IntervalStyle must be iso_8601)",
            Form::Json => "a json",
            Form::Jsonb => "a jsonb of version 1",
        })
    }
}

/// A `real` is the number that its shortest decimal text is: 0.1, not 0.10000000149011612. Both ways the text is made
/// here, since PostgreSQL's need not be the shortest.
fn widened(float: f32) -> Value {
    // What Rust prints of a float it reads.
    Value::Float(float.to_string().parse().unwrap_or(f64::from(float)))
}

/// Only what PostgreSQL prints: Rust would read `inf` and more.
fn number(text: &str) -> Option<&str> {
    let printed = |b: u8| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e');
    (matches!(text, "NaN" | "Infinity" | "-Infinity") || text.bytes().all(printed)).then_some(text)
}

fn hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let (pairs, rest) = text.strip_prefix(b"\\x")?.as_chunks::<2>();
    // Two digits fit a byte.
    let bytes = pairs.iter().map(|[high, low]| Some((digit(*high)? << 4 | digit(*low)?) as u8));
    if rest.is_empty() { bytes.collect() } else { None }
}
