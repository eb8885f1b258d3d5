//! A batch from the JSON of `POST /v1/entities/{entity}/changes`:
//! `{"changes":[{"upsert":{…},"if_version":12},{"delete":{"id":"a-20"}}]}`.
//!
//! Each cell is typed from its own text, so no number passes through a float. Counts are bounded while reading.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use tidegate_model::{COLUMNS_MAX, Entity, Object, Value};

use crate::request::at_cell;
use crate::{ChangeOp, RowChange, WriteError, WriteErrorCode};

/// Bounds of a batch. The bytes of the body are bounded by whoever reads it.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Changes in one batch. Default 10,000.
    pub changes_max: usize,
    /// Bytes of one change's JSON. Default 1 MiB.
    pub row_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { changes_max: 10_000, row_bytes_max: 1 << 20 }
    }
}

const FORM: &str = "must be {\"upsert\":{column: value, …}} or {\"delete\":{key column: value, …}}, with \"if_version\" \
                    where wanted";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BodyJson<'a> {
    #[serde(borrow)]
    changes: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeJson<'a> {
    #[serde(borrow)]
    upsert: Option<Cells<'a>>,
    #[serde(borrow)]
    delete: Option<Cells<'a>>,
    if_version: Option<VersionJson>,
}

/// A version is a number on the wire; as a position it is a string, and both are taken.
#[derive(Deserialize)]
#[serde(untagged)]
enum VersionJson {
    Number(u64),
    Text(String),
}

/// The members of an object, in order.
struct Cells<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Cells<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for Members<'a> {
            type Value = Cells<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an object with at most {COLUMNS_MAX} members")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Cells<'a>, A::Error> {
                let mut cells = Vec::new();
                while let Some(cell) = map.next_entry::<String, &RawValue>()? {
                    if cells.len() == COLUMNS_MAX {
                        return Err(serde::de::Error::invalid_length(cells.len() + 1, &self));
                    }
                    cells.push(cell);
                }
                Ok(Cells(cells))
            }
        }
        deserializer.deserialize_map(Members(PhantomData))
    }
}

/// Decodes a batch for `entity`. Whether keys are complete and rows fit is decided where the batch is applied.
///
/// # Errors
/// [`WriteError`] with the path at fault.
pub fn decode_changes(entity: &Entity, body: &[u8], limits: Limits) -> Result<Vec<RowChange>, WriteError> {
    let invalid = |message: String| WriteError::new(WriteErrorCode::InvalidBody, message);
    let Object(body): Object<BodyJson<'_>> = serde_json::from_slice(body).map_err(|e| {
        invalid(format!(
            "must be a JSON object {{\"changes\":[…]}}: not so at line {}, column {}",
            e.line(),
            e.column()
        ))
    })?;
    let mut decoded = Ok(Vec::new());
    let list = Changes { entity, limits, decoded: &mut decoded };
    let read = serde_json::Deserializer::from_str(body.changes.get()).deserialize_seq(list);
    match (decoded, read) {
        (Ok(_), Err(_)) => Err(invalid("must be an array".to_owned()).at("changes")),
        (decoded, _) => decoded,
    }
}

/// Decodes each change as it is read. A fault of a change goes to `decoded`, and ends the reading.
struct Changes<'e> {
    entity: &'e Entity,
    limits: Limits,
    decoded: &'e mut Result<Vec<RowChange>, WriteError>,
}

impl<'de> Visitor<'de> for Changes<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of changes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut changes = Vec::new();
        while let Some(raw) = seq.next_element::<&RawValue>()? {
            match decode_change(self.entity, changes.len(), raw.get(), self.limits) {
                Ok(change) => changes.push(change),
                Err(error) => {
                    *self.decoded = Err(error);
                    return Err(serde::de::Error::custom("refused"));
                }
            }
        }
        *self.decoded = Ok(changes);
        Ok(())
    }
}

fn decode_change(entity: &Entity, index: usize, raw: &str, limits: Limits) -> Result<RowChange, WriteError> {
    let path = format!("changes[{index}]");
    if index >= limits.changes_max {
        let message = format!("a batch may have at most {} changes; send several", limits.changes_max);
        return Err(WriteError::new(WriteErrorCode::TooManyChanges, message).at(path));
    }
    if raw.len() > limits.row_bytes_max {
        let message = format!(
            "entity {:?}: has {} bytes; at most {} are allowed",
            entity.name(),
            raw.len(),
            limits.row_bytes_max
        );
        return Err(WriteError::new(WriteErrorCode::InvalidRow, message).at(path));
    }
    let form = || WriteError::new(WriteErrorCode::InvalidBody, FORM).at(path.clone());
    let Object(change): Object<ChangeJson<'_>> = serde_json::from_str(raw).map_err(|_| form())?;
    let (op, cells) = match (change.upsert, change.delete) {
        (Some(cells), None) => (ChangeOp::Upsert, cells),
        (None, Some(cells)) => (ChangeOp::Delete, cells),
        _ => return Err(form()),
    };
    let version = |version| match version {
        VersionJson::Number(number) => Ok(number),
        VersionJson::Text(text) => text.parse().map_err(|_| {
            WriteError::new(WriteErrorCode::InvalidBody, "must be a version, a whole number from 0")
                .at(format!("{path}.if_version"))
        }),
    };
    let if_version = change.if_version.map(version).transpose()?;
    Ok(RowChange { op, cells: decode_cells(entity, index, op, &cells.0)?, if_version })
}

fn decode_cells(
    entity: &Entity,
    index: usize,
    op: ChangeOp,
    members: &[(String, &RawValue)],
) -> Result<Vec<(u16, Value)>, WriteError> {
    let mut cells: Vec<(u16, Value)> = Vec::with_capacity(members.len());
    for (name, raw) in members {
        let Some(column) = entity.column_index(name) else {
            // A name may be as long as the body; the error is not.
            let name: String = name.chars().take(64).collect();
            let message = format!("entity {:?} has no column {name:?}", entity.name());
            let path = format!("changes[{index}].{}.{name}", op.name());
            return Err(WriteError::new(WriteErrorCode::UnknownColumn, message).at(path));
        };
        let invalid = |rule: &str| at_cell(entity, index, op, column, rule);
        if cells.iter().any(|(other, _)| *other == column) {
            return Err(invalid("is named twice"));
        }
        if op == ChangeOp::Delete && !entity.is_required(column) {
            return Err(invalid("a delete names the key, and the tenant where need be, and nothing else"));
        }
        cells.push((column, entity.column(column).value_from_json(raw.get()).map_err(|e| invalid(&e.0))?));
    }
    Ok(cells)
}
