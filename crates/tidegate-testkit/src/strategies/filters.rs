//! Filters of every operator, nested.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tidegate_model::{Column, Comparison, Detail, Entity, Filter, InList, Pattern, Type, Value};

use super::values::{Alphabet, element_of, nullable, value};

/// A filter over the entity's columns: everything, one condition, or groups up to three deep.
pub fn filter(entity: &Entity, alphabet: Alphabet) -> BoxedStrategy<Filter> {
    let columns = (0u16..).zip(entity.columns());
    let condition = proptest::strategy::Union::new(columns.map(|(index, column)| condition(index, column, alphabet)));
    let nested = condition.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 1..4).prop_map(|filters| Filter::Any(filters.into())),
            vec(inner.clone(), 0..4).prop_map(Filter::all),
            inner.prop_map(|filter| Filter::Not(Box::new(filter))),
        ]
    });
    prop_oneof![1 => Just(Filter::everything()), 5 => nested].boxed()
}

fn condition(column: u16, meta: &Column, alphabet: Alphabet) -> BoxedStrategy<Filter> {
    let compare = (comparison(meta.kind), nullable_rarely(meta, alphabet))
        .prop_map(move |(op, value)| Filter::compare(column, op, value));
    let list =
        vec(nullable(meta, alphabet), 1..5).prop_map(move |values| Filter::In(Arc::new(InList::new(column, values))));
    let is_null = Just(Filter::IsNull { column });
    let not_null = Just(Filter::Not(Box::new(Filter::IsNull { column })));
    match meta.kind {
        Type::Array(element) => {
            let list = vec(nullable_rarely(&element_of(meta, element), alphabet), 0..4)
                .prop_map(move |values| Arc::new(InList::new(column, values)));
            let contains = list.clone().prop_map(Filter::Contains);
            let overlaps = list.prop_map(Filter::Overlaps);
            prop_oneof![3 => compare, 1 => is_null, 1 => not_null, 4 => contains, 4 => overlaps].boxed()
        }
        Type::Text => {
            let like = pattern().prop_map(move |pattern| Filter::Like { column, pattern: Arc::new(pattern) });
            prop_oneof![4 => compare, 2 => list, 4 => like, 1 => is_null, 1 => not_null].boxed()
        }
        _ => prop_oneof![5 => compare, 2 => list, 1 => is_null, 1 => not_null].boxed(),
    }
}

fn comparison(kind: Type) -> impl Strategy<Value = Comparison> {
    use Comparison::{Eq, Gt, Gte, Lt, Lte, Ne};
    select(if kind.is_ordered() { vec![Eq, Eq, Ne, Gt, Gte, Lt, Lte] } else { vec![Eq, Ne] })
}

fn nullable_rarely(column: &Column, alphabet: Alphabet) -> BoxedStrategy<Value> {
    let value = match (column.kind, &column.detail) {
        // A filter may name what no cell has room for.
        (Type::Text, Detail::Padded(_)) => {
            let longer = select(vec!["a  b", "aaaa", "abcd"]).prop_map(Value::text);
            prop_oneof![7 => value(column, alphabet), 1 => longer].boxed()
        }
        _ => value(column, alphabet),
    };
    prop_oneof![1 => Just(Value::Null), 15 => value].boxed()
}

/// Patterns of few characters, so that they match something; an `ilike` keeps to ASCII, where every party agrees.
fn pattern() -> impl Strategy<Value = Pattern> {
    let like = "([aAbBé%_]|\\\\[a%_\\\\]){0,5}".prop_map(|text| (text, false));
    let ilike = "([aAbBnN7%_-]|\\\\[a%_\\\\]){0,5}".prop_map(|text| (text, true));
    prop_oneof![like, ilike].prop_map(|(text, fold)| Pattern::new(&text, fold).expect("a valid pattern"))
}
