//! Columns: a name, a type, and what else is needed to read a value.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Array, Label, Type, Value, ValueError};

/// Most labels of an enum.
pub const LABELS_MAX: usize = 4_096;
/// Longest label of an enum, in bytes.
pub const LABEL_BYTES_MAX: usize = 128;
/// Greatest length that values are padded to: a short query must not become a long one.
pub const PADDED_MAX: u32 = 1_024;

/// A column of an entity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// Unique within the entity.
    pub name: Arc<str>,
    /// What its cells are; every cell may also be null, but for key and tenant columns.
    pub kind: Type,
    /// May stand in a filter.
    pub filterable: bool,
    /// May stand in a sort.
    pub sortable: bool,
    /// What the type alone does not say.
    pub detail: Detail,
}

/// What a column's type alone does not say about its values.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Detail {
    /// The type says it all.
    #[default]
    None,
    /// Of an enum, and every enum has it: the labels in the order they are declared in, at most [`LABELS_MAX`].
    Labels(Arc<[Arc<str>]>),
    /// Of text, or an array of it, that is PostgreSQL's `char(n)`: values have spaces at their end up to this many code
    /// points, at most [`PADDED_MAX`]. What a filter or cursor names is padded likewise; a `like` pattern is not.
    Padded(u32),
}

impl Column {
    /// Reads a value of this column from one JSON value's text. See [`Value::from_json`].
    ///
    /// # Errors
    /// [`ValueError`] where the text is no JSON or not of the column's type; the message names the expected form.
    pub fn value_from_json(&self, raw: &str) -> Result<Value, ValueError> {
        self.detail.value_from_json(self.kind, raw)
    }

    /// Reads a value of this column from plain text. See [`Value::from_text`].
    ///
    /// # Errors
    /// [`ValueError`] naming the expected form.
    pub fn value_from_text(&self, text: &str) -> Result<Value, ValueError> {
        self.detail.value_from_text(self.kind, text)
    }
}

impl Detail {
    /// As [`Column::value_from_json`], of a column with this detail.
    ///
    /// # Errors
    /// As [`Column::value_from_json`].
    pub fn value_from_json(&self, kind: Type, raw: &str) -> Result<Value, ValueError> {
        match self {
            Detail::Labels(labels) => match Value::from_json(Type::Text, raw).map_err(|_| unknown(labels))? {
                Value::Text(text) => label(labels, &text),
                null => Ok(null),
            },
            Detail::Padded(_) | Detail::None => self.padded(Value::from_json(kind, raw)?),
        }
    }

    /// As [`Column::value_from_text`], of a column with this detail.
    ///
    /// # Errors
    /// As [`Column::value_from_text`].
    pub fn value_from_text(&self, kind: Type, text: &str) -> Result<Value, ValueError> {
        match self {
            Detail::Labels(labels) => label(labels, text),
            Detail::Padded(_) | Detail::None => self.padded(Value::from_text(kind, text)?),
        }
    }

    fn padded(&self, value: Value) -> Result<Value, ValueError> {
        let Detail::Padded(len) = self else { return Ok(value) };
        let pad = |text: &str| Value::text(pad(text, *len as usize));
        Ok(match value {
            Value::Text(text) => pad(&text),
            Value::Array(array) => {
                let values = array.values().iter().map(|value| match value {
                    Value::Text(text) => pad(text),
                    other => other.clone(),
                });
                Value::Array(Arc::new(Array::new(array.element(), array.dims(), values.collect())?))
            }
            other => other,
        })
    }

    /// Why the detail is no detail of that type, or of no type at all.
    pub(crate) fn fault(&self, kind: Type) -> Option<String> {
        match (self, kind) {
            (Detail::Labels(labels), Type::Enum) => {
                let mut sorted: Vec<&Arc<str>> = labels.iter().collect();
                sorted.sort_unstable();
                if labels.len() > LABELS_MAX || labels.iter().any(|label| label.len() > LABEL_BYTES_MAX) {
                    let rule = format!("may have {LABELS_MAX} labels of {LABEL_BYTES_MAX} bytes at most");
                    return Some(rule);
                }
                sorted.windows(2).any(|pair| pair[0] == pair[1]).then(|| "has a label twice".to_owned())
            }
            (_, Type::Enum) => Some("has type enum, which needs its labels".to_owned()),
            (Detail::Labels(_), _) => Some(format!("has type {kind}; labels are an enum's")),
            (Detail::Padded(len), Type::Text | Type::Array(crate::Element::Text)) => {
                (*len > PADDED_MAX).then(|| format!("is padded to {len} code points; at most {PADDED_MAX} are allowed"))
            }
            (Detail::Padded(_), _) => Some(format!("has type {kind}; only text is padded")),
            (Detail::None, _) => None,
        }
    }
}

/// As PostgreSQL compares `char`: spaces at the end mean nothing, whatever their number.
fn pad(text: &str, len: usize) -> String {
    let text = text.trim_end_matches(' ');
    let spaces = len.saturating_sub(text.chars().count());
    format!("{text}{}", " ".repeat(spaces))
}

fn label(labels: &[Arc<str>], text: &str) -> Result<Value, ValueError> {
    let ordinal = labels.iter().position(|label| **label == *text).ok_or_else(|| unknown(labels))?;
    // LABELS_MAX fits.
    Ok(Value::Enum(Arc::new(Label { ordinal: ordinal as u32, text: labels[ordinal].clone() })))
}

fn unknown(labels: &[Arc<str>]) -> ValueError {
    const SHOWN: usize = 12;
    let more = if labels.len() > SHOWN { ", …" } else { "" };
    let shown: Vec<String> = labels.iter().take(SHOWN).map(|label| format!("{label:?}")).collect();
    ValueError(format!("expected one of {}{more}", shown.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_ordered_as_declared() {
        let detail = Detail::Labels(["new", "done", "null"].map(Arc::from).into());
        let read = |raw: &str| detail.value_from_json(Type::Enum, raw).unwrap();
        let Value::Enum(done) = read("\"done\"") else { panic!("no label") };
        assert_eq!((done.ordinal, &*done.text), (1, "done"));
        assert_eq!(read("null"), Value::Null);
        assert_eq!(detail.value_from_text(Type::Enum, "null"), Ok(read("\"null\"")));
        for bad in ["\"old\"", "1", "[]", "\"New\""] {
            let error = detail.value_from_json(Type::Enum, bad).unwrap_err();
            assert_eq!(error.0, "expected one of \"new\", \"done\", \"null\"");
        }
        assert!(Value::from_json(Type::Enum, "\"new\"").is_err());
    }

    #[test]
    fn a_detail_fits_its_column_and_is_part_of_the_schema() {
        let build = |kind, detail: Option<Detail>| {
            let builder = crate::EntityBuilder {
                name: "e".into(),
                columns: vec![("id".into(), Type::Int), ("c".into(), kind)],
                details: detail.map(|detail| ("c".to_owned(), detail)).into_iter().collect(),
                key: vec!["id".into()],
                ..crate::EntityBuilder::default()
            };
            builder.build(crate::EntityId(0)).map(|entity| entity.schema_version())
        };
        let labels = |labels: &[&str]| Some(Detail::Labels(labels.iter().copied().map(Arc::from).collect()));
        assert_ne!(build(Type::Enum, labels(&["a", "b"])).unwrap(), build(Type::Enum, labels(&["b", "a"])).unwrap());
        assert_ne!(build(Type::Text, None).unwrap(), build(Type::Text, Some(Detail::Padded(3))).unwrap());
        for (kind, detail) in [
            (Type::Enum, None),
            (Type::Enum, labels(&["a", "a"])),
            (Type::Enum, labels(&vec![""; LABELS_MAX + 1])),
            (Type::Enum, labels(&[&"a".repeat(LABEL_BYTES_MAX + 1)])),
            (Type::Text, labels(&["a"])),
            (Type::Int, Some(Detail::Padded(3))),
            (Type::Text, Some(Detail::Padded(PADDED_MAX + 1))),
        ] {
            assert_eq!(build(kind, detail).unwrap_err().key, "columns.c");
        }
    }

    #[test]
    fn padding_is_by_code_points() {
        let detail = Detail::Padded(3);
        let read = |text: &str| detail.value_from_text(Type::Text, text).unwrap();
        assert_eq!(read("é"), Value::text("é  "));
        assert_eq!(read("ab     "), Value::text("ab "));
        assert_eq!(read("abcd "), Value::text("abcd"));
        let tags = Type::Array(crate::Element::Text);
        assert_eq!(detail.value_from_json(tags, "[\"a\",null]"), Value::from_json(tags, "[\"a  \",null]"));
    }
}
