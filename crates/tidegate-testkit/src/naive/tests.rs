use proptest::prelude::*;
use tidegate_model::{Position, Predicate};

use super::*;
use crate::strategies::{self, Alphabet};

/// The two evaluators and the two orders have nothing in common but their answers.
fn agrees(entity: &Arc<tidegate_model::Entity>, cells: Vec<Vec<Value>>, plan: &strategies::QueryPlan) {
    let rows: Vec<_> = cells.into_iter().map(|cells| Row::new(Position(1), cells)).collect();
    let mut table = Table::default();
    rows.iter().for_each(|row| drop(table.upsert(entity, row.clone())));
    let rows = table.rows();
    let (query, cursor) = plan.settle(entity, &rows);
    let predicate = Predicate::new(query.filter.clone());
    let mut keyed: Vec<_> = rows
        .iter()
        .filter(|row| predicate.matches(row))
        .map(|row| (query.order.key(row), row.clone()))
        .filter(|(key, _)| query.after.as_ref().is_none_or(|after| key > after))
        .collect();
    keyed.sort_by(|a, b| a.0.cmp(&b.0));
    keyed.truncate(query.limit as usize);
    let engine: Vec<_> = keyed.into_iter().map(|(_, row)| row).collect();
    assert_eq!(expected(&rows, &query, cursor.as_deref()), engine, "{query:?} {cursor:?}");
}

fn history() -> impl Strategy<Value = (Arc<tidegate_model::Entity>, Vec<Vec<Value>>, Vec<strategies::QueryPlan>)> {
    strategies::entity().prop_flat_map(|entity| {
        let rows = proptest::collection::vec(strategies::cells(&entity, Alphabet::Any), 0..16);
        let plans = proptest::collection::vec(strategies::query_plan(&entity, Alphabet::Any), 1..6);
        (Just(entity), rows, plans)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_model_and_the_program_agree((entity, cells, plans) in history()) {
        for plan in &plans {
            agrees(&entity, cells.clone(), plan);
        }
    }
}

#[test]
fn truth_has_three_values() {
    let row = Row::new(Position(1), vec![Value::Int(1), Value::Null]);
    let is = |column, value| Filter::compare(column, Comparison::Eq, value);
    let not = |filter| Filter::Not(Box::new(filter));
    let unknown = || is(1, Value::Int(1));
    assert!(matches(&is(0, Value::Int(1)), &row));
    assert!(!matches(&unknown(), &row) && !matches(&not(unknown()), &row));
    assert!(matches(&Filter::Any(Box::new([unknown(), is(0, Value::Int(1))])), &row));
    assert!(matches(&not(Filter::All(Box::new([unknown(), is(0, Value::Int(2))]))), &row));
    let list = |values| Filter::In(Arc::new(tidegate_model::InList::new(0, values)));
    assert!(!matches(&not(list(vec![Value::Int(2), Value::Null])), &row));
    assert!(matches(&not(list(vec![Value::Int(2)])), &row));
}

#[test]
fn decimals_compare_by_value() {
    use std::cmp::Ordering::{Equal, Greater, Less};
    for (a, b, expected) in [
        ("1.0", "1.00", Equal),
        ("-0.0", "0", Equal),
        ("9", "10", Less),
        ("-9", "-10", Greater),
        ("0.09", "0.1", Less),
        ("1e1", "10", Equal),
        ("15e-3", "0.015", Equal),
        ("Infinity", "NaN", Less),
        ("-Infinity", "-1", Less),
    ] {
        assert_eq!(super::number::compare(a, b), expected, "{a} {b}");
    }
}
