//! Values and rows as JSON text, the way every protocol of Tidegate writes them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use serde_json::value::RawValue;

use crate::{Entity, Order, Row, Value, ValueError, temporal};

/// Integers beyond ±2^53 go as strings: a JavaScript number could not hold them.
const SAFE_INTEGER: u64 = 1 << 53;

/// Appends one value.
pub fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(int) if int.unsigned_abs() <= SAFE_INTEGER => write_display(int, out),
        Value::Int(int) => quoted(out, |out| write_display(int, out)),
        Value::Float(float) if float.is_finite() => write_serialized(float, out),
        Value::Float(float) if float.is_nan() => out.extend_from_slice(b"\"NaN\""),
        Value::Float(float) => out.extend_from_slice(if *float > 0.0 { b"\"Infinity\"" } else { b"\"-Infinity\"" }),
        Value::Decimal(decimal) => quoted(out, |out| out.extend_from_slice(decimal.text().as_bytes())),
        Value::Text(text) => write_string(text, out),
        Value::Bytes(bytes) => quoted(out, |out| {
            let start = out.len();
            out.resize(start + bytes.len().div_ceil(3) * 4, 0);
            // The room is exact: padded base64 has 4 characters for every 3 bytes begun.
            let written = STANDARD.encode_slice(bytes, &mut out[start..]).unwrap_or(0);
            out.truncate(start + written);
        }),
        Value::Uuid(uuid) => quoted(out, |out| write_display(&uuid::Uuid::from_bytes(*uuid), out)),
        Value::Timestamp(micros) => {
            let mut text = String::with_capacity(32);
            temporal::write_timestamp(*micros, &mut text);
            write_string(&text, out);
        }
        Value::Date(days) => {
            let mut text = String::with_capacity(16);
            temporal::write_date(*days, &mut text);
            write_string(&text, out);
        }
        Value::Json(json) => out.extend_from_slice(json.text().as_bytes()),
        Value::Time(micros) => {
            let mut text = String::with_capacity(16);
            temporal::write_time(*micros, &mut text);
            write_string(&text, out);
        }
        Value::Interval(interval) => quoted(out, |out| write_display(interval, out)),
        Value::Enum(label) => write_string(&label.text, out),
        Value::Array(array) => array.write_json(out),
    }
}

/// Appends a JSON string.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    write_serialized(text, out);
}

/// Appends `row` as an object with the given columns, nulls included, in the order given.
pub fn write_row(entity: &Entity, columns: &[u16], row: &Row, out: &mut Vec<u8>) {
    out.push(b'{');
    for (i, column) in columns.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_string(&entity.column(*column).name, out);
        out.push(b':');
        write_value(row.value(*column), out);
    }
    out.push(b'}');
}

/// Appends the cursor at `row`: `{"values":[…]}` with a value per sort term, then the key.
pub fn write_cursor(order: &Order, row: &Row, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"values\":[");
    for (i, term) in order.terms().iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        write_value(row.value(term.column), out);
    }
    out.extend_from_slice(b"]}");
}

/// The key of `row` as text (`agg_id`): the value itself, or a JSON array in text for a composite key. Equal keys have
/// one text, however they were written.
#[must_use]
pub fn key_text(entity: &Entity, row: &Row) -> String {
    let mut out = Vec::new();
    if let [column] = entity.key() {
        match row.value(*column) {
            Value::Text(text) => return text.as_ref().to_owned(),
            Value::Enum(label) => return label.text.as_ref().to_owned(),
            value => write_key_value(value, &mut out),
        }
        // Types that are strings in JSON are bare in a key.
        if out.first() == Some(&b'"') {
            out.remove(0);
            out.pop();
        }
    } else {
        out.push(b'[');
        for (i, column) in entity.key().iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            write_key_value(row.value(*column), &mut out);
        }
        out.push(b']');
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// As [`write_value`], without what equal values may differ in: the sign of zero, zeros that end a fraction.
fn write_key_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Float(float) if *float == 0.0 => write_value(&Value::Float(0.0), out),
        Value::Decimal(decimal) if decimal.text().contains('.') => {
            write_serialized(decimal.text().trim_end_matches('0').trim_end_matches('.'), out);
        }
        value => write_value(value, out),
    }
}

/// Reads back what [`key_text`] wrote: one value per key column.
///
/// # Errors
/// [`ValueError`] where the text is no key of the entity.
pub fn parse_key_text(entity: &Entity, text: &str) -> Result<Vec<Value>, ValueError> {
    if let [column] = entity.key() {
        return Ok(vec![entity.column(*column).value_from_text(text)?]);
    }
    let parts: Vec<&RawValue> = serde_json::from_str(text)
        .map_err(|_| ValueError(format!("expected a JSON array of the {} key columns", entity.key().len())))?;
    if parts.len() != entity.key().len() {
        return Err(ValueError(format!("expected {} key values, found {}", entity.key().len(), parts.len())));
    }
    entity.key().iter().zip(parts).map(|(column, raw)| entity.column(*column).value_from_json(raw.get())).collect()
}

fn quoted(out: &mut Vec<u8>, content: impl FnOnce(&mut Vec<u8>)) {
    out.push(b'"');
    content(out);
    out.push(b'"');
}

fn write_display(value: &impl std::fmt::Display, out: &mut Vec<u8>) {
    use std::io::Write as _;
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{value}");
}

fn write_serialized<T: serde::Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    // A string or a finite float always serialises, and a Vec takes every byte.
    let _ = serde_json::to_writer(out, value);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::sync::Arc;

    use super::*;
    use crate::{Array, Element, Interval, Type};

    fn written(value: &Value) -> String {
        let mut out = Vec::new();
        write_value(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_have_the_form_of_the_contract() {
        let cases: &[(Type, &str, &str)] = &[
            (Type::Int, "9007199254740992", "9007199254740992"),
            (Type::Int, "9007199254740993", "\"9007199254740993\""),
            (Type::Int, "-9223372036854775808", "\"-9223372036854775808\""),
            (Type::Float, "0.1", "0.1"),
            (Type::Float, "\"NaN\"", "\"NaN\""),
            (Type::Float, "\"-Infinity\"", "\"-Infinity\""),
            (Type::Decimal, "1.50", "\"1.50\""),
            (Type::Decimal, "\"NaN\"", "\"NaN\""),
            (Type::Text, "\"a\\u0000\\n\\\"é\"", "\"a\\u0000\\n\\\"é\""),
            (Type::Bytes, "\"AAH/\"", "\"AAH/\""),
            (Type::Bytes, "\"\"", "\"\""),
            (Type::Uuid, "\"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11\"", "\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\""),
            (Type::Timestamp, "\"2018-01-31T17:10:09.5+01:00\"", "\"2018-01-31T16:10:09.500000Z\""),
            (Type::Date, "\"2018-01-31\"", "\"2018-01-31\""),
            (Type::Json, " {\"b\": [1.0]}", "{\"b\": [1.0]}"),
            (Type::Time, "\"24:00:00\"", "\"24:00:00.000000\""),
            (Type::Interval, "\"P1Y14M3DT-4H5.50S\"", "\"P2Y2M3DT-3H-59M-54.5S\""),
            (Type::Array(Element::Int), " [ 1, \"9007199254740993\",null ]", "[1,\"9007199254740993\",null]"),
            (Type::Array(Element::Text), "[[\"a\\n\"],[\"\"]]", "[[\"a\\n\"],[\"\"]]"),
            (Type::Array(Element::Date), "[]", "[]"),
            (Type::Bool, "true", "true"),
            (Type::Bool, "null", "null"),
        ];
        for (kind, given, expected) in cases {
            assert_eq!(written(&Value::from_json(*kind, given).unwrap()), *expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(int: i64, time in 0..=86_400_000_000_i64, interval: (i32, i32, i64), rows in 1..4u32, float: f64, text: String, bytes: Vec<u8>, uuid: [u8; 16], days in -700_000..2_000_000, micros in -60_000_000_000_000_000_i64..200_000_000_000_000_000) {
            let (months, days_apart, span) = interval;
            let ints = vec![Value::Int(int), Value::Null, Value::Int(span), Value::Int(0), Value::Null, Value::Int(1)];
            let dims = [(6 / rows, 1), (rows, 1)];
            let values = [
                Value::Time(time),
                Value::Interval(Arc::new(Interval { months, days: days_apart, micros: span })),
                Value::Array(Arc::new(Array::new(Element::Int, &dims, ints).unwrap())),
                Value::Array(Arc::new(Array::flat(Element::Text, vec![Value::text(&text), Value::Null]).unwrap())),
                Value::Int(int), Value::Float(float), Value::text(&text), Value::Bytes(bytes.into()), Value::Uuid(uuid),
                Value::Date(days), Value::Timestamp(micros),
            ];
            for value in values {
                prop_assert_eq!(Value::from_json(value.kind().unwrap(), &written(&value)), Ok(value));
            }
        }
    }
}
