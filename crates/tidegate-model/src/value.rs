//! One cell of a row: its equality, and how it comes out of JSON text.
//!
//! Equality here is the equality of the order (`NaN = NaN`, `-0 = 0`, decimals by value, JSON by content). SQL's
//! "null compares as unknown" is the business of [`crate::Predicate`], not of this type.

use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use serde::{Deserialize, Serialize};

use crate::{Array, Interval, Type, canonical, decimal::Decimal, temporal};

/// A JSON document: the text as it was given, and a canonical form that decides equality.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Json {
    text: Box<str>,
    canonical: Box<str>,
}

impl Json {
    /// The document as it was written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Key order, white space, duplicate keys and the spelling of numbers removed: equal documents have equal
    /// canonical text, as with PostgreSQL's `jsonb`.
    #[must_use]
    pub fn canonical(&self) -> &str {
        &self.canonical
    }
}

impl FromStr for Json {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let canonical = canonical::canonical_json(text)?;
        // A control character in a valid document is white space between tokens; as a space it can end no line of a
        // line-based protocol.
        let text = text.trim().replace(['\n', '\r', '\t'], " ");
        Ok(Self { text: text.into(), canonical: canonical.into() })
    }
}

/// A label of an enum. Within its column the ordinal decides equality and order.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Label {
    /// Its place among the column's labels, from 0.
    pub ordinal: u32,
    /// What it is called.
    pub text: Arc<str>,
}

/// One cell. 24 bytes; cloning copies a pointer at most. Rows are stored by the variants' order: a new one goes last.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Value {
    /// Absent.
    Null,
    /// See [`Type::Bool`].
    Bool(bool),
    /// See [`Type::Int`].
    Int(i64),
    /// See [`Type::Float`].
    Float(f64),
    /// See [`Type::Decimal`].
    Decimal(Arc<Decimal>),
    /// See [`Type::Text`].
    Text(Arc<str>),
    /// See [`Type::Bytes`].
    Bytes(Arc<[u8]>),
    /// See [`Type::Uuid`].
    Uuid([u8; 16]),
    /// Microseconds; `i64::MIN` and `i64::MAX` are the infinities.
    Timestamp(i64),
    /// Days; `i32::MIN` and `i32::MAX` are the infinities.
    Date(i32),
    /// See [`Type::Json`].
    Json(Arc<Json>),
    /// Microseconds of the day, 0 to 86,400,000,000.
    Time(i64),
    /// See [`Type::Interval`].
    Interval(Arc<Interval>),
    /// See [`Type::Enum`].
    Enum(Arc<Label>),
    /// See [`Type::Array`].
    Array(Arc<Array>),
}

/// A value that is not of its column's type. The message says what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ValueError(pub String);

impl ValueError {
    pub(crate) fn expected(kind: Type, form: &str) -> Self {
        Self(format!("expected {form} for type {kind}"))
    }
}

impl Value {
    /// Text from anything string-like.
    pub fn text(text: impl AsRef<str>) -> Self {
        Value::Text(text.as_ref().into())
    }

    /// Whether this is [`Value::Null`].
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The type, or `None` for null.
    #[must_use]
    pub fn kind(&self) -> Option<Type> {
        Some(match self {
            Value::Null => return None,
            Value::Bool(_) => Type::Bool,
            Value::Int(_) => Type::Int,
            Value::Float(_) => Type::Float,
            Value::Decimal(_) => Type::Decimal,
            Value::Text(_) => Type::Text,
            Value::Bytes(_) => Type::Bytes,
            Value::Uuid(_) => Type::Uuid,
            Value::Timestamp(_) => Type::Timestamp,
            Value::Date(_) => Type::Date,
            Value::Json(_) => Type::Json,
            Value::Time(_) => Type::Time,
            Value::Interval(_) => Type::Interval,
            Value::Enum(_) => Type::Enum,
            Value::Array(array) => Type::Array(array.element()),
        })
    }

    /// Bytes on the heap that belong to this value, for byte bounds. An estimate: shared text is counted each time.
    #[must_use]
    pub fn heap_size(&self) -> usize {
        match self {
            Value::Text(text) => text.len() + 16,
            Value::Bytes(bytes) => bytes.len() + 16,
            Value::Decimal(decimal) => decimal.text().len() + decimal.key().len() + 48,
            Value::Json(json) => json.text.len() + json.canonical.len() + 48,
            Value::Interval(_) => 32,
            Value::Enum(label) => label.text.len() + 56,
            Value::Array(array) => array.heap_size(),
            _ => 0,
        }
    }

    /// Reads a value of type `kind` from one JSON value's text.
    ///
    /// Numbers are taken as a JSON number or as a string; decimals and big integers are read from the text itself and
    /// never pass through a float. An enum's labels are its column's: see [`crate::Column::value_from_json`].
    ///
    /// # Errors
    /// [`ValueError`] where the text is no JSON or not of the type; the message names the expected form.
    pub fn from_json(kind: Type, raw: &str) -> Result<Self, ValueError> {
        let raw = raw.trim();
        match raw.as_bytes().first() {
            Some(b'n') if raw == "null" => Ok(Value::Null),
            _ if kind == Type::Json => Ok(Value::Json(Arc::new(raw.parse()?))),
            _ if let Type::Array(element) = kind => Ok(Value::Array(Arc::new(Array::from_json(element, raw)?))),
            Some(b't' | b'f') if kind == Type::Bool => match raw {
                "true" => Ok(Value::Bool(true)),
                "false" => Ok(Value::Bool(false)),
                _ => Err(ValueError::expected(kind, "true or false")),
            },
            Some(b'"') => {
                let text: String = serde_json::from_str(raw).map_err(|e| ValueError(format!("not valid JSON: {e}")))?;
                Self::from_text(kind, &text)
            }
            Some(b'-' | b'0'..=b'9') => match kind {
                Type::Int | Type::Float | Type::Decimal => Self::from_text(kind, raw),
                _ => Err(ValueError::expected(kind, kind.form())),
            },
            _ => Err(ValueError::expected(kind, kind.form())),
        }
    }

    /// Reads a value of type `kind` from plain text: a CSV field, a JSON string's content, a configuration value. A JSON
    /// document and an array are JSON there too.
    ///
    /// # Errors
    /// [`ValueError`] naming the expected form.
    pub fn from_text(kind: Type, text: &str) -> Result<Self, ValueError> {
        let wrong = || ValueError::expected(kind, kind.form());
        Ok(match kind {
            Type::Bool => match text {
                "true" | "t" => Value::Bool(true),
                "false" | "f" => Value::Bool(false),
                _ => return Err(wrong()),
            },
            Type::Int => Value::Int(parse_int(text).ok_or_else(wrong)?),
            Type::Float => Value::Float(parse_float(text).ok_or_else(wrong)?),
            Type::Decimal => Value::Decimal(Arc::new(text.parse::<Decimal>().map_err(|e| ValueError(e.to_string()))?)),
            Type::Text => Value::Text(text.into()),
            Type::Bytes => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(text).map_err(|_| wrong())?;
                Value::Bytes(bytes.into())
            }
            Type::Uuid => Value::Uuid(uuid::Uuid::try_parse(text).map_err(|_| wrong())?.into_bytes()),
            Type::Timestamp => Value::Timestamp(temporal::parse_timestamp(text).ok_or_else(wrong)?),
            Type::Date => Value::Date(temporal::parse_date(text).ok_or_else(wrong)?),
            Type::Time => Value::Time(temporal::parse_time(text).ok_or_else(wrong)?),
            Type::Interval => Value::Interval(Arc::new(text.parse()?)),
            Type::Enum => return Err(wrong()),
            Type::Array(element) => Value::Array(Arc::new(Array::from_json(element, text)?)),
            // One null: a document that is `null` would look like an absent one and not match `isnull`.
            Type::Json if text.trim() == "null" => Value::Null,
            Type::Json => Value::Json(Arc::new(text.parse()?)),
        })
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Int(a), Value::Int(b))
            | (Value::Timestamp(a), Value::Timestamp(b))
            | (Value::Time(a), Value::Time(b)) => a == b,
            (Value::Float(a), Value::Float(b)) => a == b || (a.is_nan() && b.is_nan()),
            (Value::Decimal(a), Value::Decimal(b)) => a == b,
            (Value::Text(a), Value::Text(b)) => a == b,
            (Value::Bytes(a), Value::Bytes(b)) => a == b,
            (Value::Uuid(a), Value::Uuid(b)) => a == b,
            (Value::Date(a), Value::Date(b)) => a == b,
            (Value::Json(a), Value::Json(b)) => a.canonical == b.canonical,
            (Value::Interval(a), Value::Interval(b)) => a == b,
            (Value::Enum(a), Value::Enum(b)) => a.ordinal == b.ordinal,
            (Value::Array(a), Value::Array(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

fn parse_int(text: &str) -> Option<i64> {
    if let Ok(int) = text.parse() {
        return Some(int);
    }
    // `12.0` and `1e3` are whole numbers too; the exact path decides, so nothing passes through a float.
    text.parse::<Decimal>().ok()?.to_i64()
}

fn parse_float(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" | "infinity" => Some(f64::INFINITY),
        "-Infinity" | "-infinity" => Some(f64::NEG_INFINITY),
        _ if text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E')) => {
            // A literal past the range of a double is refused, as PostgreSQL does, not turned into infinity.
            text.parse::<f64>().ok().filter(|float| float.is_finite())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_three_words() {
        assert_eq!(size_of::<Value>(), 24);
    }

    #[test]
    fn integers_never_pass_through_a_float() {
        assert_eq!(Value::from_json(Type::Int, "9007199254740993").unwrap(), Value::Int(9_007_199_254_740_993));
        assert_eq!(Value::from_json(Type::Int, "\"9223372036854775807\"").unwrap(), Value::Int(i64::MAX));
        assert_eq!(Value::from_json(Type::Int, "12.0").unwrap(), Value::Int(12));
        assert!(Value::from_json(Type::Int, "12.5").is_err());
        assert!(Value::from_json(Type::Int, "9223372036854775808").is_err());
    }

    #[test]
    fn arrays_objects_and_negatives_are_errors_not_panics() {
        for kind in [Type::Bool, Type::Int, Type::Float, Type::Decimal, Type::Text, Type::Uuid, Type::Date] {
            for raw in ["[1]", "{\"a\":1}", "-", "", "\"", "nul", "-1e999999999999"] {
                assert!(Value::from_json(kind, raw).is_err(), "{kind} {raw}");
            }
        }
    }

    #[test]
    fn json_documents_compare_by_content() {
        let json = |text: &str| Value::from_json(Type::Json, text).unwrap();
        assert_eq!(json("{\"a\":1,\"b\":[1.0]}"), json(" {\"b\":[1], \"a\":1.00} "));
        assert_ne!(json("[1,2]"), json("[2,1]"));
        assert_eq!(json("{\"a\":1,\"a\":2}"), json("{\"a\":2}"));
    }
}
