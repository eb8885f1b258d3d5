//! Which type a column has, from every one of its values.
//!
//! Each column begins with every type that can be told from a value and loses those that a value does not fit; what is left is chosen by
//! [`PREFERENCE`]. A type fits a value only if the value reads back as it was written: `007` is no number, and a
//! fraction that a double would round is a decimal.

use std::str::FromStr as _;

use tidegate_model::{Decimal, Type, Value};

use super::records::{Cell, Record};

/// The types looked for, from the narrowest. The last two are settled by where the value came from: in a CSV file
/// everything is text too, in JSON everything is JSON too.
const PREFERENCE: [Type; 9] = [
    Type::Bool,
    Type::Int,
    Type::Float,
    Type::Decimal,
    Type::Uuid,
    Type::Date,
    Type::Timestamp,
    Type::Text,
    Type::Json,
];

/// What is known of one column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// Of [`PREFERENCE`], those that do not fit.
    excluded: Vec<Type>,
    /// Values that are not null.
    pub(crate) values: u64,
    json: bool,
    /// The first value, shortened, to show.
    pub(crate) example: String,
}

/// What is known of every column.
#[derive(Debug, Default)]
pub(crate) struct Inference {
    pub(crate) columns: Vec<Evidence>,
    pub(crate) records: u64,
}

impl Inference {
    /// Takes one record into account.
    pub(crate) fn observe(&mut self, record: &Record) {
        self.records += 1;
        for (column, cell) in &record.cells {
            if self.columns.len() <= *column {
                self.columns.resize_with(column + 1, Evidence::default);
            }
            self.columns[*column].observe(cell);
        }
    }
}

impl Evidence {
    fn observe(&mut self, cell: &Cell) {
        self.values += 1;
        self.json |= matches!(cell, Cell::Json(_));
        if self.example.is_empty() {
            let text = match cell {
                Cell::Plain(text) => text,
                Cell::Json(raw) => raw.get(),
            };
            self.example = text.chars().take(24).collect();
        }
        for kind in PREFERENCE {
            if !self.excluded.contains(&kind) && !fits(kind, cell) {
                self.excluded.push(kind);
            }
        }
    }

    /// The narrowest type that every value fits. Text where there is no value.
    pub(crate) fn kind(&self) -> Type {
        let last = if self.json { [Type::Text, Type::Json] } else { [Type::Json, Type::Text] };
        let fitting = |kind: &Type| !self.excluded.contains(kind);
        if self.values == 0 {
            return Type::Text;
        }
        PREFERENCE[..7].iter().copied().chain(last).find(fitting).unwrap_or(last[1])
    }
}

fn fits(kind: Type, cell: &Cell) -> bool {
    match cell {
        Cell::Plain(text) => match kind {
            Type::Text => true,
            Type::Json => text.starts_with(['{', '[']) && Value::from_text(kind, text).is_ok(),
            _ => text_fits(kind, text),
        },
        Cell::Json(raw) => match (kind, raw.get().as_bytes().first()) {
            (Type::Json, _) => Value::from_json(kind, raw.get()).is_ok(),
            (Type::Bool, Some(b't' | b'f')) => true,
            (Type::Int | Type::Float | Type::Decimal, Some(b'-' | b'0'..=b'9')) => text_fits(kind, raw.get()),
            (Type::Text, Some(b'"')) => true,
            (Type::Uuid | Type::Date | Type::Timestamp, Some(b'"')) => {
                serde_json::from_str::<String>(raw.get()).is_ok_and(|text| text_fits(kind, &text))
            }
            _ => false,
        },
    }
}

fn text_fits(kind: Type, text: &str) -> bool {
    match kind {
        Type::Bool => matches!(text, "true" | "false"),
        Type::Int => is_number(text) && text.parse::<i64>().is_ok(),
        Type::Float => is_float(text),
        Type::Decimal => is_number(text) && Value::from_text(kind, text).is_ok(),
        // The other spellings of a UUID would not come back as they went in.
        Type::Uuid => text.len() == 36 && Value::from_text(kind, text).is_ok(),
        Type::Date | Type::Timestamp => Value::from_text(kind, text).is_ok(),
        _ => false,
    }
}

/// Whether a double keeps every digit.
fn is_float(text: &str) -> bool {
    if matches!(text, "NaN" | "Infinity" | "-Infinity") {
        return true;
    }
    let Ok(Value::Float(float)) = Value::from_text(Type::Float, text) else { return false };
    is_number(text)
        && matches!((Decimal::from_str(text), Decimal::from_str(&format!("{float:e}"))), (Ok(a), Ok(b)) if a == b)
}

/// A number as a machine writes it: no sign but minus, and no leading zero, which is the mark of an identifier.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
    digits.first().is_some_and(u8::is_ascii_digit) && !matches!(digits, [b'0', b'0'..=b'9', ..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::*;

    fn inferred(cells: &[Cell]) -> Type {
        let mut evidence = Evidence::default();
        cells.iter().for_each(|cell| evidence.observe(cell));
        evidence.kind()
    }

    fn csv(values: &[&str]) -> Type {
        inferred(&values.iter().map(|value| Cell::Plain((*value).to_owned())).collect::<Vec<_>>())
    }

    fn json(values: &[&str]) -> Type {
        let raw = |value: &&str| Cell::Json(RawValue::from_string((*value).to_owned()).unwrap());
        inferred(&values.iter().map(raw).collect::<Vec<_>>())
    }

    #[test]
    fn every_type_is_found_in_csv() {
        assert_eq!(csv(&["true", "false"]), Type::Bool);
        assert_eq!(csv(&["1", "-20", "0"]), Type::Int);
        assert_eq!(csv(&["1", "2.5", "-1e3", "NaN"]), Type::Float);
        assert_eq!(csv(&["1", "9223372036854775808"]), Type::Decimal);
        assert_eq!(csv(&["0.12345678901234567890"]), Type::Decimal);
        assert_eq!(csv(&["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]), Type::Uuid);
        assert_eq!(csv(&["2018-01-31"]), Type::Date);
        assert_eq!(csv(&["2018-01-31T01:49:59.650Z", "2018-01-31T01:49:59+01:00"]), Type::Timestamp);
        assert_eq!(csv(&["{\"a\":1}", "[]"]), Type::Json);
        assert_eq!(csv(&["a", "1"]), Type::Text);
        assert_eq!(csv(&[]), Type::Text);
    }

    #[test]
    fn identifiers_that_look_like_numbers_stay_text() {
        assert_eq!(csv(&["007", "12"]), Type::Text);
        assert_eq!(csv(&["+49301234567"]), Type::Text);
        assert_eq!(csv(&["t", "f"]), Type::Text);
        assert_eq!(csv(&["a0eebc999c0b4ef8bb6d6bb9bd380a11"]), Type::Text);
    }

    #[test]
    fn json_says_itself_what_is_text() {
        assert_eq!(json(&["\"1\"", "\"2\""]), Type::Text);
        assert_eq!(json(&["1", "2"]), Type::Int);
        assert_eq!(json(&["1", "\"2\""]), Type::Json);
        assert_eq!(json(&["true"]), Type::Bool);
        assert_eq!(json(&["{}", "\"a\"", "3"]), Type::Json);
        assert_eq!(json(&["\"2018-01-31\""]), Type::Date);
    }

    fn a_field() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<i64>().prop_map(|i| i.to_string()),
            any::<f64>().prop_map(|f| f.to_string()),
            any::<bool>().prop_map(|b| b.to_string()),
            "-?[0-9]{1,25}(\\.[0-9]{1,25})?(e-?[0-9]{1,3})?",
            "[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)?",
            "[\\[{\"a-z0-9,:}\\]]{1,8}",
            ".{1,12}",
        ]
    }

    proptest! {
        #[test]
        fn every_value_reads_back_by_the_inferred_type(one_kind in prop::collection::vec(a_field(), 1..4)) {
            let fields: Vec<&str> = one_kind.iter().map(String::as_str).collect();
            let kind = csv(&fields);
            for field in fields {
                let value = Value::from_text(kind, field);
                prop_assert!(value.is_ok(), "{field:?} as {kind}: {value:?}");
                let mut out = Vec::new();
                tidegate_model::json::write_value(&value.clone().unwrap(), &mut out);
                prop_assert_eq!(Value::from_json(kind, std::str::from_utf8(&out).unwrap()), value);
            }
        }

        #[test]
        fn every_json_value_reads_back_by_the_inferred_type(fields in prop::collection::vec(a_field(), 1..4)) {
            let quoted = |field: &String| serde_json::Value::from(field.as_str()).to_string();
            let valid = |field: &String| if RawValue::from_string(field.clone()).is_ok() { field.trim().to_owned() } else { quoted(field) };
            let values: Vec<String> = fields.iter().map(valid).filter(|v| v != "null").collect();
            let kind = json(&values.iter().map(String::as_str).collect::<Vec<_>>());
            for value in &values {
                prop_assert!(Value::from_json(kind, value).is_ok(), "{value} as {kind}");
            }
        }
    }
}
