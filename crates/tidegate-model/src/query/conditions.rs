//! The `where` of a query or a permission: conditions and groups of them, decoded to a filter.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{QueryError, column, limits};
use crate::filter::InList;
use crate::{Column, Comparison, Entity, Filter, Object, Pattern, Type, Value, ValueError};

/// One condition or group as it stands in JSON (and in a permission's `where`).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConditionJson<'a> {
    column: Option<String>,
    op: Option<String>,
    #[serde(borrow, default, deserialize_with = "present")]
    value: Option<&'a RawValue>,
    #[serde(borrow)]
    or: Option<Vec<Object<ConditionJson<'a>>>>,
    #[serde(borrow)]
    and: Option<Vec<Object<ConditionJson<'a>>>>,
    #[serde(borrow)]
    not: Option<Box<Object<ConditionJson<'a>>>>,
}

/// `null` is a value here, and not the same as no value.
fn present<'de: 'a, 'a, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Decodes a conjunction of conditions as configuration has them (the `where` of a permission or of an entity): on any
/// column, since what is filterable says what clients may ask.
///
/// # Errors
/// [`QueryError`] with a path that starts with `where`.
pub fn decode_conditions(entity: &Entity, conditions: &[Object<ConditionJson<'_>>]) -> Result<Filter, QueryError> {
    decode(entity, conditions, false)
}

/// Decodes the `where` of a client's query: on filterable columns.
pub(super) fn decode_asked(entity: &Entity, conditions: &[Object<ConditionJson<'_>>]) -> Result<Filter, QueryError> {
    decode(entity, conditions, true)
}

fn decode(entity: &Entity, conditions: &[Object<ConditionJson<'_>>], is_asked: bool) -> Result<Filter, QueryError> {
    let mut decoder = Decoder { entity, is_asked, left: limits::CONDITIONS_MAX };
    decoder.group(conditions, "where", limits::DEPTH_MAX).map(Filter::all)
}

struct Decoder<'a> {
    entity: &'a Entity,
    /// By a client: only what is filterable.
    is_asked: bool,
    left: usize,
}

impl Decoder<'_> {
    fn group(
        &mut self,
        conditions: &[Object<ConditionJson<'_>>],
        path: &str,
        depth: usize,
    ) -> Result<Vec<Filter>, QueryError> {
        let numbered = conditions.iter().enumerate();
        numbered.map(|(i, Object(condition))| self.condition(condition, &format!("{path}[{i}]"), depth)).collect()
    }

    fn condition(&mut self, json: &ConditionJson<'_>, path: &str, depth: usize) -> Result<Filter, QueryError> {
        let depth = depth
            .checked_sub(1)
            .ok_or_else(|| QueryError::new(path, format!("groups may nest at most {} deep", limits::DEPTH_MAX)))?;
        match json {
            ConditionJson { column: Some(column), op: Some(op), value, or: None, and: None, not: None } => {
                self.left = self.left.checked_sub(1).ok_or_else(|| {
                    QueryError::new(path, format!("at most {} conditions are allowed", limits::CONDITIONS_MAX))
                })?;
                self.comparison(column, op, *value, path)
            }
            ConditionJson { column: None, op: None, value: None, or: Some(any), and: None, not: None } => {
                let branches = self.group(any, &format!("{path}.or"), depth)?;
                if branches.is_empty() {
                    return Err(QueryError::new(format!("{path}.or"), "must have at least one condition"));
                }
                Ok(Filter::Any(branches.into()))
            }
            ConditionJson { column: None, op: None, value: None, or: None, and: Some(all), not: None } => {
                Ok(Filter::all(self.group(all, &format!("{path}.and"), depth)?))
            }
            ConditionJson { column: None, op: None, value: None, or: None, and: None, not: Some(inner) } => {
                Ok(Filter::Not(Box::new(self.condition(&inner.0, &format!("{path}.not"), depth)?)))
            }
            _ => Err(QueryError::new(path, "must be {column, op, value} or one of {or: […]}, {and: […]}, {not: {…}}")),
        }
    }

    fn comparison(&self, name: &str, op: &str, value: Option<&RawValue>, path: &str) -> Result<Filter, QueryError> {
        let index = column(self.entity, name, &format!("{path}.column"))?;
        let meta = self.entity.column(index);
        if self.is_asked && !meta.filterable {
            return Err(QueryError::new(format!("{path}.column"), format!("{name:?} is not filterable")));
        }
        let value_path = format!("{path}.value");
        let needed =
            || value.map(RawValue::get).ok_or_else(|| QueryError::new(&*value_path, format!("{op} needs a value")));
        let unordered = |op: &str| {
            Err(QueryError::new(
                format!("{path}.op"),
                format!("{op} is not defined for type {}, which has no order", meta.kind),
            ))
        };
        let comparison = match op {
            "isnull" => return Ok(Filter::IsNull { column: index }),
            "isnotnull" => return Ok(Filter::Not(Box::new(Filter::IsNull { column: index }))),
            "like" | "ilike" if meta.kind != Type::Text => {
                return Err(QueryError::new(
                    format!("{path}.op"),
                    format!("{op} is defined for type text, not {}", meta.kind),
                ));
            }
            "like" | "ilike" => return like(index, needed()?, op == "ilike", &value_path),
            "in" => return in_list(index, meta, needed()?, &value_path),
            "notin" => return Ok(Filter::Not(Box::new(in_list(index, meta, needed()?, &value_path)?))),
            "contains" | "overlaps" => return elements(index, meta, op, needed()?, path),
            "eq" => Comparison::Eq,
            "ne" => Comparison::Ne,
            "gt" | "gte" | "lt" | "lte" if !meta.kind.is_ordered() => return unordered(op),
            "gt" => Comparison::Gt,
            "gte" => Comparison::Gte,
            "lt" => Comparison::Lt,
            "lte" => Comparison::Lte,
            _ => {
                let known = "eq ne gt gte lt lte in notin contains overlaps like ilike isnull isnotnull";
                return Err(QueryError::new(format!("{path}.op"), format!("{op:?} is no operator; there are {known}")));
            }
        };
        compare(index, meta, comparison, needed()?).map_err(|e| QueryError::new(value_path, e.0))
    }
}

fn like(column: u16, raw: &str, fold: bool, path: &str) -> Result<Filter, QueryError> {
    match Value::from_json(Type::Text, raw).map_err(|e| QueryError::new(path, e.0))? {
        Value::Text(text) => {
            let pattern = Pattern::new(&text, fold).map_err(|e| QueryError::new(path, e.to_string()))?;
            Ok(Filter::Like { column, pattern: Arc::new(pattern) })
        }
        // A null pattern is a comparison with null: unknown for every row.
        _ => Ok(Filter::compare(column, Comparison::Eq, Value::Null)),
    }
}

fn in_list(column: u16, meta: &Column, raw: &str, path: &str) -> Result<Filter, QueryError> {
    let items: Vec<&RawValue> =
        serde_json::from_str(raw).map_err(|_| QueryError::new(path, "expected an array of values"))?;
    if items.is_empty() || items.len() > limits::LIST_MAX {
        return Err(QueryError::new(
            path,
            format!("has {} values; 1 to {} are allowed", items.len(), limits::LIST_MAX),
        ));
    }
    let mut values = Vec::with_capacity(items.len());
    for (i, item) in items.iter().enumerate() {
        let equal = compare(column, meta, Comparison::Eq, item.get());
        // A fraction equals no integer: it comes back as another filter and adds nothing to the list.
        if let Filter::Compare { op: Comparison::Eq, value, .. } =
            equal.map_err(|e| QueryError::new(format!("{path}[{i}]"), e.0))?
        {
            values.push(value);
        }
    }
    Ok(Filter::In(Arc::new(InList::new(column, values))))
}

/// `contains` and `overlaps`: what counts is the elements, whatever the dimensions they stand in.
fn elements(column: u16, meta: &Column, op: &str, raw: &str, path: &str) -> Result<Filter, QueryError> {
    if !matches!(meta.kind, Type::Array(_)) {
        return Err(QueryError::new(format!("{path}.op"), format!("{op} is defined for arrays, not {}", meta.kind)));
    }
    let path = format!("{path}.value");
    let Value::Array(array) = meta.value_from_json(raw).map_err(|e| QueryError::new(&*path, e.0))? else {
        // A comparison with null: unknown for every row.
        return Ok(Filter::compare(column, Comparison::Eq, Value::Null));
    };
    let count = array.values().len();
    if count > limits::LIST_MAX {
        return Err(QueryError::new(path, format!("has {count} values; at most {} are allowed", limits::LIST_MAX)));
    }
    let list = Arc::new(InList::new(column, array.values().to_vec()));
    Ok(if op == "contains" { Filter::Contains(list) } else { Filter::Overlaps(list) })
}

/// `column op literal`, with numbers compared by value: a fraction held against an integer column moves to the integers
/// on either side of it, so no integer is ever turned into a float.
fn compare(column: u16, meta: &Column, op: Comparison, raw: &str) -> Result<Filter, ValueError> {
    let exact = meta.value_from_json(raw);
    if meta.kind != Type::Int || exact.is_ok() {
        return Ok(Filter::compare(column, op, exact?));
    }
    let Ok(Value::Decimal(decimal)) = Value::from_json(Type::Decimal, raw) else {
        return Ok(Filter::compare(column, op, exact?));
    };
    let filter = |op, int| Filter::compare(column, op, Value::Int(int));
    let min: crate::Decimal =
        i64::MIN.to_string().parse().map_err(|e: crate::decimal::DecimalError| ValueError(e.to_string()))?;
    let (above, below) = match decimal.floor() {
        _ if *decimal < min => (filter(Comparison::Gte, i64::MIN), filter(Comparison::Lt, i64::MIN)),
        // NaN is greater than every number.
        None => (filter(Comparison::Gt, i64::MAX), filter(Comparison::Lte, i64::MAX)),
        Some((floor, _)) => (filter(Comparison::Gt, floor), filter(Comparison::Lte, floor)),
    };
    Ok(match op {
        Comparison::Gt | Comparison::Gte => above,
        Comparison::Lt | Comparison::Lte => below,
        Comparison::Eq => Filter::All(Box::new([above, below])),
        Comparison::Ne => Filter::Any(Box::new([above, below])),
    })
}
