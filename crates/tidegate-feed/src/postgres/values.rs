//! How a column's cells become values: from the text of the stream and from the binary of a copy, to the same value.
//!
//! The text is what the types' output functions print in a session pinned to `DateStyle = ISO`,
//! `IntervalStyle = iso_8601`, `TimeZone = UTC`, `extra_float_digits = 3`, `bytea_output = hex` and
//! `client_encoding = UTF8`. A type that has no value of its own here travels as that text, both ways.

mod array;
mod calendar;
mod numeric;

use std::collections::HashMap;
use std::sync::Arc;

use tidegate_model::{Type, Value, ValueError};

use super::inspect::ColumnInfo;
use super::reader::Reader;

/// A column's type in the source: the model's type of its values, and how its cells are decoded.
#[derive(Debug, Clone)]
pub struct SourceType {
    /// What the values are.
    pub kind: Type,
    form: Form,
}

/// A cell that does not decode. Says what was expected and nothing of the cell, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CellError {
    /// Not of the type's form.
    #[error("expected {0}")]
    Expected(&'static str),
    /// An enum's label that is not among those it had when it was looked up: the type has been altered since.
    #[error("a label that the enum did not have when the table was looked at")]
    Label,
    /// Of the type, but no value of the model's.
    #[error(transparent)]
    Value(#[from] ValueError),
}

/// How the cells of one type are written. Integers and timestamps of every kind are one form: their width, and
/// whether they have a zone, shows.
#[derive(Debug, Clone)]
enum Form {
    Bool,
    Int,
    Float4,
    Float8,
    Numeric,
    Text,
    Bytea,
    Uuid,
    Date,
    Timestamp,
    Json,
    Jsonb,
    /// As text, whatever the type.
    Printed,
}

impl Form {
    /// The form of a base type by its oid, which PostgreSQL never changes for the types it brings along.
    fn of(oid: u32) -> Option<Self> {
        Some(match oid {
            16 => Form::Bool,
            17 => Form::Bytea,
            20 | 21 | 23 => Form::Int,
            19 | 25 | 1042 | 1043 => Form::Text,
            114 => Form::Json,
            700 => Form::Float4,
            701 => Form::Float8,
            1082 => Form::Date,
            1114 | 1184 => Form::Timestamp,
            1700 => Form::Numeric,
            2950 => Form::Uuid,
            3802 => Form::Jsonb,
            _ => return None,
        })
    }

    fn kind(&self) -> Type {
        match self {
            Form::Bool => Type::Bool,
            Form::Int => Type::Int,
            Form::Float4 | Form::Float8 => Type::Float,
            Form::Numeric => Type::Decimal,
            Form::Text | Form::Printed => Type::Text,
            Form::Bytea => Type::Bytes,
            Form::Uuid => Type::Uuid,
            Form::Date => Type::Date,
            Form::Timestamp => Type::Timestamp,
            Form::Json | Form::Jsonb => Type::Json,
        }
    }
}

impl SourceType {
    /// The type of that column: its domain's base type; text where there is no value for it.
    #[must_use]
    pub fn of(column: &ColumnInfo) -> Self {
        let form = Form::of(column.base_oid).unwrap_or(Form::Printed);
        Self { kind: form.kind(), form }
    }

    /// Text, whatever the column's type.
    #[must_use]
    pub fn printed() -> Self {
        Self { kind: Type::Text, form: Form::Printed }
    }

    /// Whether comparing its values means what it means in the source. False for a type that travels as text.
    #[must_use]
    pub fn is_comparable(&self) -> bool {
        !matches!(self.form, Form::Printed)
    }

    /// Reads what the type's output function printed.
    ///
    /// # Errors
    /// [`CellError`] where it is not of the type.
    pub fn from_text(&self, bytes: &[u8]) -> Result<Value, CellError> {
        let _ = bytes;
        Err(CellError::Expected("nothing"))
    }

    /// Reads what the type's send function wrote, of the column under [`SourceType::copy_expression`].
    ///
    /// # Errors
    /// [`CellError`] where it is not of the type.
    pub fn from_binary(&self, bytes: &[u8]) -> Result<Value, CellError> {
        let _ = bytes;
        Err(CellError::Expected("nothing"))
    }

    /// What to select in a binary copy for a column, whose name is quoted: itself, or its text where its binary form
    /// is not read here.
    #[must_use]
    pub fn copy_expression(&self, quoted_column: &str) -> String {
        match self.form {
            // `format` calls the output function, as replication does; a cast to text may do something else (inet,
            // or whatever a user defined). IS DISTINCT FROM, as a row of nulls IS NULL.
            Form::Printed => {
                format!("CASE WHEN {quoted_column} IS DISTINCT FROM NULL THEN format('%s', {quoted_column}) END")
            }
            _ => quoted_column.to_owned(),
        }
    }
}
