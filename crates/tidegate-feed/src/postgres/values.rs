//! How a column's cells become values: from the text of the stream and from the binary of a copy, to the same value.
//!
//! The text is what the types' output functions print in a session pinned to `DateStyle = ISO`,
//! `IntervalStyle = iso_8601`, `TimeZone = UTC`, `extra_float_digits = 3`, `bytea_output = hex` and
//! `client_encoding = UTF8`. A type that has no value of its own here travels as that text, both ways.

mod array;
mod calendar;
mod form;
mod numeric;

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_model::{Array, Detail, Element, LABELS_MAX, Label, PADDED_MAX, Type, Value, ValueError};

use super::inspect::ColumnInfo;
use array::RawArray;
use form::Form;

/// A column's type in the source: the model's type of its values, and how its cells are decoded.
#[derive(Debug, Clone)]
pub struct SourceType {
    /// What the values are.
    pub kind: Type,
    /// What else the model has to know of them.
    pub detail: Detail,
    cells: Cells,
}

/// A cell that does not decode. Says what was expected and nothing of the cell, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CellError {
    /// Not of the type's form.
    #[error("expected {0}")]
    Expected(&'static str),
    /// An enum's label that it did not have when it was looked up: the type has been altered since.
    #[error("the enum has a label that it did not have when the table was looked at")]
    Label,
    /// Of the type, but no value of the model's.
    #[error(transparent)]
    Value(#[from] ValueError),
}

#[derive(Debug, Clone)]
enum Cells {
    One(Form),
    /// By label.
    Enum(Arc<HashMap<Arc<str>, Value>>),
    Array(Element, Form),
    /// Text, whatever the type.
    Printed,
}

impl SourceType {
    /// The type of that column: its domain's base type; text where there is no value for it.
    #[must_use]
    pub fn of(column: &ColumnInfo) -> Self {
        // What compares in a way that the model's values do not is no value of theirs.
        if !column.deterministic {
            return Self::printed();
        }
        if column.type_kind == 'e' {
            return Self::labels(&column.labels).unwrap_or_else(Self::printed);
        }
        let base = if column.element_oid == 0 { column.base_oid } else { column.element_oid };
        let form = if column.element_kind == 'e' { Some(Form::Text) } else { Form::of(base) };
        let detail = match form {
            Some(Form::Padded) => match padded(column.base_typmod) {
                Some(detail) => detail,
                None => return Self::printed(),
            },
            _ => Detail::None,
        };
        let (kind, cells) = match (form, column.element_oid) {
            (Some(form), 0) => (form.kind(), Cells::One(form)),
            (Some(form), _) => match form.element() {
                Some(element) => (Type::Array(element), Cells::Array(element, form)),
                None => return Self::printed(),
            },
            (None, _) => return Self::printed(),
        };
        Self { kind, detail, cells }
    }

    /// Text, whatever the column's type.
    #[must_use]
    pub fn printed() -> Self {
        Self { kind: Type::Text, detail: Detail::None, cells: Cells::Printed }
    }

    fn labels(labels: &[String]) -> Option<Self> {
        if labels.len() > LABELS_MAX {
            return None;
        }
        let texts: Vec<Arc<str>> = labels.iter().map(|label| label.as_str().into()).collect();
        let value = |(ordinal, text): (u32, &Arc<str>)| {
            (text.clone(), Value::Enum(Arc::new(Label { ordinal, text: text.clone() })))
        };
        let cells = Cells::Enum(Arc::new((0..).zip(&texts).map(value).collect()));
        Some(Self { kind: Type::Enum, detail: Detail::Labels(texts.into()), cells })
    }

    /// Whether comparing its values means what it means in the source. False for a type that travels as text.
    #[must_use]
    pub fn is_comparable(&self) -> bool {
        !matches!(self.cells, Cells::Printed)
    }

    /// Reads what the type's output function printed.
    ///
    /// # Errors
    /// [`CellError`] where it is not of the type.
    pub fn from_text(&self, bytes: &[u8]) -> Result<Value, CellError> {
        match &self.cells {
            Cells::One(form) => form.text(bytes),
            Cells::Enum(values) => label(values, bytes),
            Cells::Array(element, form) => {
                let array = RawArray::from_text(bytes).ok_or(CellError::Expected("an array as {…}"))?;
                decode_array(*element, &array, |bytes| form.text(bytes))
            }
            Cells::Printed => Form::Text.text(bytes),
        }
    }

    /// Reads what the type's send function wrote, of the column under [`SourceType::copy_expression`].
    ///
    /// # Errors
    /// [`CellError`] where it is not of the type.
    pub fn from_binary(&self, bytes: &[u8]) -> Result<Value, CellError> {
        match &self.cells {
            Cells::One(form) => form.binary(bytes),
            Cells::Enum(values) => label(values, bytes),
            Cells::Array(element, form) => {
                let array = RawArray::from_binary(bytes).ok_or(CellError::Expected("an array in binary"))?;
                decode_array(*element, &array, |bytes| form.binary(bytes))
            }
            Cells::Printed => Form::Text.text(bytes),
        }
    }

    /// What to select in a binary copy for a column, whose name is quoted: itself, or its text where its binary form
    /// is not read here.
    #[must_use]
    pub fn copy_expression(&self, quoted_column: &str) -> String {
        match self.cells {
            // `format` calls the output function, as replication does; a cast to text may do something else (it does
            // for inet, and for whatever a user defined). IS DISTINCT FROM, as a row of nulls IS NULL.
            Cells::Printed => {
                format!("CASE WHEN {quoted_column} IS DISTINCT FROM NULL THEN format('%s', {quoted_column}) END")
            }
            _ => quoted_column.to_owned(),
        }
    }
}

/// Of `char(n)`, the modifier is n and the four bytes of a header.
fn padded(typmod: i32) -> Option<Detail> {
    u32::try_from(typmod.checked_sub(4)?).ok().filter(|length| (1..=PADDED_MAX).contains(length)).map(Detail::Padded)
}

fn label(values: &HashMap<Arc<str>, Value>, bytes: &[u8]) -> Result<Value, CellError> {
    let text = std::str::from_utf8(bytes).map_err(|_| form::NOT_UTF8)?;
    values.get(text).cloned().ok_or(CellError::Label)
}

fn decode_array(
    element: Element,
    array: &RawArray<'_>,
    decode: impl Fn(&[u8]) -> Result<Value, CellError>,
) -> Result<Value, CellError> {
    let values = array.elements.iter().map(|cell| cell.as_ref().map_or(Ok(Value::Null), |bytes| decode(bytes)));
    let values = values.collect::<Result<Vec<_>, _>>()?;
    Ok(Value::Array(Arc::new(Array::new(element, &array.dimensions, values)?)))
}

#[cfg(test)]
mod tests;
