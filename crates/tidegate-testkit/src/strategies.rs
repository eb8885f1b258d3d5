//! Random schemas, rows, filters, orders and cursors, with the values that break things: nulls, NaN, -0, infinities,
//! ties, decimals of other scales, unicode, prefixes of one another, NULs. Everything shrinks.
//!
//! Pools are small on purpose: values must meet, keys must come again.

mod filters;
mod queries;
mod values;

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};
use tidegate_model::{Detail, Element, Entity, EntityBuilder, EntityId, Type, Value};

pub use filters::filter;
pub use queries::{CursorPlan, QueryPlan, cursor_plan, query_plan, sort};
pub use values::{Alphabet, key_value, nullable, value};

/// The labels of every enum, in an order that is not the alphabet's.
pub const LABELS: [&str; 4] = ["new", "in work", "done", "it's \"odd\\"];
/// The length of every `char(n)`.
pub const PADDED: u32 = 3;

/// A description of an entity named `e` with 1 to 6 columns `c0`…, one or two of them the key, perhaps a tenant column
/// `t`, everything filterable and sortable, `max_window` 50. Some text is padded to [`PADDED`].
pub fn entity_builder() -> impl Strategy<Value = EntityBuilder> {
    let key = vec(ordered_type(), 1..=2);
    let (scalars, arrays) = Type::ALL.split_at(Type::ALL.len() - Element::ALL.len());
    let rest = vec(prop_oneof![3 => proptest::sample::select(scalars), 2 => proptest::sample::select(arrays)], 0..=4);
    let padded = proptest::bits::u8::ANY;
    (key, rest, any::<bool>(), padded).prop_map(|(key, rest, tenant, padded)| {
        let named = |(index, kind): (usize, Type)| (format!("c{index}"), kind);
        let keys = (0..key.len()).map(|index| format!("c{index}")).collect();
        let mut columns: Vec<_> = key.into_iter().chain(rest).enumerate().map(named).collect();
        let detail = |(index, (name, kind)): (usize, &(String, Type))| match kind {
            Type::Enum => Some((name.clone(), Detail::Labels(LABELS.map(Arc::from).into()))),
            Type::Text | Type::Array(Element::Text) if padded >> index & 3 == 1 => {
                Some((name.clone(), Detail::Padded(PADDED)))
            }
            _ => None,
        };
        let details = columns.iter().enumerate().filter_map(detail).collect();
        columns.extend(tenant.then(|| ("t".to_owned(), Type::Text)));
        EntityBuilder {
            name: "e".into(),
            columns,
            details,
            key: keys,
            tenant: tenant.then(|| "t".into()),
            max_window: Some(50),
            ..EntityBuilder::default()
        }
    })
}

/// What [`entity_builder`] describes, as the first of its catalog.
pub fn entity() -> impl Strategy<Value = Arc<Entity>> {
    entity_builder().prop_map(|builder| Arc::new(builder.build(EntityId(0)).expect("a valid description")))
}

/// All cells of a row: the key from a small pool, the tenant one of `""`, `"a"` and `"b"`, anything else from the pools.
pub fn cells(entity: &Entity, alphabet: Alphabet) -> BoxedStrategy<Vec<Value>> {
    let strategies: Vec<BoxedStrategy<Value>> = (0..)
        .zip(entity.columns())
        .map(|(index, column)| match column {
            _ if entity.tenant() == Some(index) => {
                proptest::sample::select(vec!["a", "b", ""]).prop_map(Value::text).boxed()
            }
            column if entity.key().contains(&index) => key_value(column, alphabet),
            column => nullable(column, alphabet),
        })
        .collect();
    strategies.boxed()
}

/// Another content for a row: `cells` with the key and tenant of `row` put in, and only some columns changed.
pub fn changed_cells(entity: &Arc<Entity>, row: Vec<Value>, alphabet: Alphabet) -> BoxedStrategy<Vec<Value>> {
    let free: Vec<usize> = (0..row.len()).filter(|index| !entity.is_required(*index as u16)).collect();
    let count = free.len();
    (cells(entity, alphabet), subsequence(free, 0..=count))
        .prop_map(move |(new, changed)| {
            let mut cells = row.clone();
            for index in changed {
                cells[index] = new[index].clone();
            }
            cells
        })
        .boxed()
}

/// A place in a list whose length is known only later.
pub fn place() -> impl Strategy<Value = Index> {
    any::<Index>()
}

fn ordered_type() -> impl Strategy<Value = Type> {
    proptest::sample::select(Type::ALL.iter().copied().filter(|kind| kind.is_ordered()).collect::<Vec<_>>())
}
