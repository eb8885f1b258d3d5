//! What SQL is told may leave in too much, never too little.

use proptest::prelude::*;
use tidegate_model::Pattern;

use super::*;

const OPS: [Comparison; 6] =
    [Comparison::Eq, Comparison::Ne, Comparison::Gt, Comparison::Gte, Comparison::Lt, Comparison::Lte];

fn holds(bounds: &Bounds, encoded: &[u8]) -> bool {
    bounds.low.as_deref().is_none_or(|low| low <= encoded) && bounds.high.as_deref().is_none_or(|high| encoded < high)
}

fn range(filters: &[Filter]) -> Bounds {
    Conjuncts(filters).range(0).unwrap_or_default()
}

proptest! {
    #[test]
    fn bounds_are_exactly_the_comparisons(cell in -3i64..4, a in -3i64..4, b in -3i64..4, ops in (0usize..6, 0usize..6)) {
        let (x, y) = (OPS[ops.0], OPS[ops.1]);
        let bounds = range(&[Filter::compare(0, x, Value::Int(a)), Filter::compare(0, y, Value::Int(b))]);
        let narrow = |op: Comparison, value| op == Comparison::Ne || op.holds(cell.cmp(&value));
        prop_assert_eq!(holds(&bounds, &key::encoded(&Value::Int(cell))), narrow(x, a) && narrow(y, b));
    }

    #[test]
    fn a_prefix_bounds_exactly_what_starts_with_it(prefix in "[ab\u{0}ÿ\u{10FFFF}]{1,3}", text in "[ab\u{0}ÿ\u{10FFFF}]{0,5}") {
        let pattern = Pattern::new(&format!("{prefix}%"), false).unwrap();
        let bounds = range(&[Filter::Like { column: 0, pattern: pattern.into() }]);
        prop_assert_eq!(holds(&bounds, &key::encoded(&Value::text(&text))), text.starts_with(&prefix));
    }

    #[test]
    fn a_successor_is_past_all_that_start_with_it(payload: Vec<u8>, tail: Vec<u8>) {
        let prefix = [&[1], &*payload].concat();
        prop_assert!(successor(prefix.clone()) > [&*prefix, &tail].concat());
    }
}

#[test]
fn nulls_lie_outside_every_comparison_but_isnull() {
    for op in OPS {
        let bounds = range(&[Filter::compare(0, op, Value::Int(1))]);
        assert_eq!(holds(&bounds, NULL), op == Comparison::Ne, "{op:?}");
    }
    assert_eq!(Conjuncts(&[Filter::IsNull { column: 0 }]).equal(0).as_deref(), Some(NULL));
}
