//! Row filters with `"$claims.<name>"` where a literal may stand: filled in for each principal.

use serde_json::{Map, Value};
use tidegate_model::query::{ConditionJson, decode_conditions};
use tidegate_model::{Entity, Filter, Object, QueryError};

/// Begins a literal that stands for a claim.
const CLAIM: &str = "$claims.";
/// What nobody means as a literal, and so is a mistake wherever it is no claim.
const ALMOST: &str = "$claim";

/// The `where` of a permission, of which it is known where claims belong. Of no entity yet: one permission may name
/// several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// An array of conditions.
    conditions: Value,
    slots: Vec<Slot>,
}

/// A place for a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Slot {
    /// JSON pointer into the conditions.
    pointer: String,
    /// The claim's name.
    claim: Box<str>,
    /// It stands for the whole list of an `in` or `notin`.
    is_list: bool,
}

/// The rows of one entity that a permission is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rows {
    /// The same for everybody.
    Fixed(Filter),
    /// They follow from the principal's claims.
    ByClaims(Template),
}

impl Template {
    /// Finds the claims in a list of conditions.
    ///
    /// # Errors
    /// A claim where none may stand, with a path that starts with `where`.
    pub fn new(conditions: Vec<Value>) -> Result<Self, QueryError> {
        let mut slots = Vec::new();
        find_in_group(&conditions, "where", "", &mut slots)?;
        Ok(Self { conditions: Value::Array(conditions), slots })
    }

    /// The rows of `entity`. Null, which fits every column, stands for claims that are not known yet.
    ///
    /// # Errors
    /// A condition that does not fit the entity, with a path that starts with `where`.
    pub fn rows(&self, entity: &Entity) -> Result<Rows, QueryError> {
        let sample = |slot: &Slot| Some(if slot.is_list { Value::Array(vec![Value::Null]) } else { Value::Null });
        let filter = self.filled(entity, sample)?;
        Ok(if self.slots.is_empty() { Rows::Fixed(filter) } else { Rows::ByClaims(self.clone()) })
    }

    fn claims(&self) -> impl Iterator<Item = &str> {
        self.slots.iter().map(|slot| &*slot.claim)
    }

    /// A place for which there is no value stays as it is.
    fn filled(&self, entity: &Entity, value: impl Fn(&Slot) -> Option<Value>) -> Result<Filter, QueryError> {
        let mut conditions = self.conditions.clone();
        for slot in &self.slots {
            if let (Some(place), Some(value)) = (conditions.pointer_mut(&slot.pointer), value(slot)) {
                *place = value;
            }
        }
        let text = conditions.to_string();
        let wrong = |e: serde_json::Error| fault("where", &e.to_string());
        let decoded: Vec<Object<ConditionJson<'_>>> = serde_json::from_str(&text).map_err(wrong)?;
        decode_conditions(entity, &decoded)
    }
}

impl Rows {
    /// The claims that they follow from.
    pub(super) fn claims(&self) -> impl Iterator<Item = &str> {
        match self {
            Rows::Fixed(_) => None,
            Rows::ByClaims(template) => Some(template.claims()),
        }
        .into_iter()
        .flatten()
    }

    /// The filter for someone with these claims. `None`, which is no row, where one is missing or does not fit: a claim
    /// that is null would be equal to nothing, and different from nothing too.
    pub(super) fn filter(&self, entity: &Entity, claims: &Map<String, Value>) -> Option<Filter> {
        match self {
            Rows::Fixed(filter) => Some(filter.clone()),
            Rows::ByClaims(template) => {
                let known = |name: &str| claims.get(name).is_some_and(|claim| !claim.is_null());
                let value = |slot: &Slot| claims.get(&*slot.claim).cloned();
                template.claims().all(known).then(|| template.filled(entity, value).ok())?
            }
        }
    }
}

fn fault(path: &str, message: &str) -> QueryError {
    QueryError { path: path.to_owned(), message: message.to_owned() }
}

fn find_in_group(group: &[Value], path: &str, pointer: &str, slots: &mut Vec<Slot>) -> Result<(), QueryError> {
    for (i, condition) in group.iter().enumerate() {
        find(condition, &format!("{path}[{i}]"), &format!("{pointer}/{i}"), slots)?;
    }
    Ok(())
}

/// Finds the claims of one condition or group. One that is malformed is told when it is decoded.
fn find(condition: &Value, path: &str, pointer: &str, slots: &mut Vec<Slot>) -> Result<(), QueryError> {
    for group in ["or", "and"] {
        if let Some(Value::Array(inner)) = condition.get(group) {
            find_in_group(inner, &format!("{path}.{group}"), &format!("{pointer}/{group}"), slots)?;
        }
    }
    if let Some(inner) = condition.get("not") {
        find(inner, &format!("{path}.not"), &format!("{pointer}/not"), slots)?;
    }
    let Some(value) = condition.get("value") else { return Ok(()) };
    let (path, pointer) = (format!("{path}.value"), format!("{pointer}/value"));
    let op = condition.get("op").and_then(Value::as_str).unwrap_or_default();
    let before = slots.len();
    let mut literal = |literal: &Value, path: &str, pointer: String, is_list: bool| {
        if let Some(claim) = claim(literal, path)? {
            slots.push(Slot { pointer, claim, is_list });
        }
        Ok::<_, QueryError>(())
    };
    match value {
        Value::Array(literals) => {
            for (i, value) in literals.iter().enumerate() {
                literal(value, &format!("{path}[{i}]"), format!("{pointer}/{i}"), false)?;
            }
        }
        value => literal(value, &path, pointer, matches!(op, "in" | "notin"))?,
    }
    if slots.len() > before && matches!(op, "like" | "ilike" | "isnull" | "isnotnull") {
        return Err(fault(
            &path,
            &format!("{op} takes no claim: what it says would be read as a pattern, or not at all"),
        ));
    }
    Ok(())
}

/// The claim that a literal names.
fn claim(literal: &Value, path: &str) -> Result<Option<Box<str>>, QueryError> {
    let named = literal.as_str().filter(|text| text.starts_with(ALMOST));
    match named.map(|text| text.strip_prefix(CLAIM).filter(|name| !name.is_empty())) {
        Some(Some(name)) => Ok(Some(name.into())),
        None if !has_claims(literal) => Ok(None),
        _ => Err(fault(path, "a claim is named as \"$claims.<name>\", and is a whole value or one of a list")),
    }
}

/// Whether a text that looks like a claim is anywhere inside.
fn has_claims(literal: &Value) -> bool {
    match literal {
        Value::String(text) => text.starts_with(ALMOST),
        Value::Array(inner) => inner.iter().any(has_claims),
        Value::Object(members) => members.values().any(has_claims),
        _ => false,
    }
}
