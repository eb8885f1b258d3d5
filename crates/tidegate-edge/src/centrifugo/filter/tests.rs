use proptest::prelude::*;

use super::*;

fn filter(json: &str) -> Result<Filter, ErrorCode> {
    Filter::new(serde_json::from_str(json).unwrap())
}

fn takes(json: &str, tags: &[(&str, &str)]) -> bool {
    let tags: Vec<(Box<str>, Box<str>)> = tags.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    filter(json).unwrap().takes(&tags)
}

#[test]
fn each_comparison() {
    let tags = [("ticker", "BTC"), ("price", "50000.10"), ("empty", "")];
    for (node, expected) in [
        (r#"{"key":"ticker","cmp":"eq","val":"BTC"}"#, true),
        (r#"{"key":"ticker","cmp":"eq","val":"ETH"}"#, false),
        (r#"{"key":"none","cmp":"eq","val":""}"#, false),
        (r#"{"key":"empty","cmp":"eq"}"#, true),
        (r#"{"key":"ticker","cmp":"neq","val":"ETH"}"#, true),
        (r#"{"key":"none","cmp":"neq","val":"ETH"}"#, true),
        (r#"{"key":"ticker","cmp":"in","vals":["X","BTC","A"]}"#, true),
        (r#"{"key":"none","cmp":"in","vals":["",""]}"#, false),
        (r#"{"key":"ticker","cmp":"nin","vals":["X","BTC"]}"#, false),
        (r#"{"key":"none","cmp":"nin","vals":["X"]}"#, true),
        (r#"{"key":"ticker","cmp":"ex"}"#, true),
        (r#"{"key":"none","cmp":"ex"}"#, false),
        (r#"{"key":"none","cmp":"nex"}"#, true),
        (r#"{"key":"ticker","cmp":"sw","val":"BT"}"#, true),
        (r#"{"key":"ticker","cmp":"ew","val":"TC"}"#, true),
        (r#"{"key":"ticker","cmp":"ct","val":"T"}"#, true),
        (r#"{"key":"ticker","cmp":"ct","val":"t"}"#, false),
        (r#"{"key":"price","cmp":"gt","val":"50000"}"#, true),
        (r#"{"key":"price","cmp":"gte","val":"50000.1"}"#, true),
        (r#"{"key":"price","cmp":"lt","val":"50000.1"}"#, false),
        (r#"{"key":"price","cmp":"lte","val":"+050000.100"}"#, true),
        (r#"{"key":"ticker","cmp":"gt","val":"0"}"#, false),
        (r#"{"key":"none","cmp":"lt","val":"0"}"#, false),
        (r#"{"op":"and","nodes":[{"key":"ticker","cmp":"ex"},{"key":"none","cmp":"ex"}]}"#, false),
        (r#"{"op":"or","nodes":[{"key":"ticker","cmp":"ex"},{"key":"none","cmp":"ex"}]}"#, true),
        (r#"{"op":"not","nodes":[{"key":"none","cmp":"ex"}]}"#, true),
    ] {
        assert_eq!(takes(node, &tags), expected, "{node}");
    }
}

#[test]
fn what_is_no_filter_is_refused() {
    for node in [
        "{}",
        r#"{"key":"a"}"#,
        r#"{"cmp":"eq","val":"a"}"#,
        r#"{"key":"a","cmp":"like","val":"a"}"#,
        r#"{"key":"a","cmp":"lt","val":"1e3"}"#,
        r#"{"key":"a","cmp":"lt","val":""}"#,
        r#"{"key":"a","cmp":"in"}"#,
        r#"{"key":"a","cmp":"in","val":"a"}"#,
        r#"{"key":"a","cmp":"eq","vals":["a"]}"#,
        r#"{"op":"and"}"#,
        r#"{"op":"xor","nodes":[{"key":"a","cmp":"ex"}]}"#,
        r#"{"op":"not","nodes":[{"key":"a","cmp":"ex"},{"key":"a","cmp":"ex"}]}"#,
        r#"{"op":"and","key":"a","nodes":[{"key":"a","cmp":"ex"}]}"#,
        r#"{"key":"a","cmp":"ex","nodes":[{"key":"a","cmp":"ex"}]}"#,
    ] {
        assert_eq!(filter(node), Err(ErrorCode::BadRequest), "{node}");
    }
}

#[test]
fn each_bound() {
    let leaf = || FilterNode { key: "a".into(), cmp: "ex".into(), ..FilterNode::default() };
    let nest = |inner| FilterNode { op: "not".into(), nodes: vec![inner], ..FilterNode::default() };
    let wide = |n| FilterNode { op: "or".into(), nodes: vec![leaf(); n], ..FilterNode::default() };
    let values = |n| FilterNode { cmp: "in".into(), vals: vec!["v".into(); n], ..leaf() };
    let long = |n| FilterNode { cmp: "eq".into(), val: "v".repeat(n), ..leaf() };
    let deep = |n| (1..n).fold(leaf(), |inner, _| nest(inner));
    for (fits, too_much) in [
        (deep(DEPTH_MAX), deep(DEPTH_MAX + 1)),
        (wide(NODES_MAX - 1), wide(NODES_MAX)),
        (values(VALUES_MAX), values(VALUES_MAX + 1)),
        (long(TEXT_BYTES_MAX), long(TEXT_BYTES_MAX + 1)),
    ] {
        assert!(Filter::new(fits).is_ok());
        assert_eq!(Filter::new(too_much), Err(ErrorCode::BadRequest));
    }
}

fn nodes() -> impl Strategy<Value = FilterNode> {
    let text = || prop_oneof![Just(String::new()), "[a-c0-9.-]{0,3}"];
    let ops = prop::sample::select(vec!["", "", "and", "or", "not", "?"]);
    let compares = prop::sample::select(vec![
        "eq", "neq", "in", "nin", "ex", "nex", "sw", "ew", "ct", "lt", "lte", "gt", "gte", "?",
    ]);
    let leaf =
        (ops, text(), compares, text(), prop::collection::vec(text(), 0..3)).prop_map(|(op, key, cmp, val, vals)| {
            FilterNode { op: op.into(), key, cmp: cmp.into(), val, vals, nodes: vec![] }
        });
    leaf.prop_recursive(6, 40, 4, |inner| {
        (prop::sample::select(vec!["and", "or", "not"]), prop::collection::vec(inner, 0..4))
            .prop_map(|(op, nodes)| FilterNode { op: op.into(), nodes, ..FilterNode::default() })
    })
}

proptest! {
    #[test]
    fn no_filter_panics_and_not_turns_it_round(node in nodes(), tags in prop::collection::vec(("[a-c]", "[a-c0-9.-]{0,3}"), 0..4)) {
        let tags: Vec<(Box<str>, Box<str>)> = tags.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        if let Ok(filter) = Filter::new(node) {
            let taken = filter.takes(&tags);
            prop_assert_eq!(Filter::Not(Box::new(filter)).takes(&tags), !taken);
        }
    }

    #[test]
    fn numbers_compare_as_numbers(a in -100_000i64..100_000, b in -100_000i64..100_000, scale in 0usize..4) {
        let text = |n: i64| {
            let digits = format!("{:0width$}", n.unsigned_abs(), width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            let sign = if n < 0 { "-" } else { "" };
            if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}00{whole}.{fraction}0") }
        };
        prop_assert_eq!(compare(&text(a), &text(b)), Some(a.cmp(&b)), "{} {}", text(a), text(b));
    }
}

#[test]
fn numbers_beyond_machine_words_compare_exactly() {
    let (a, b) = ("123456789012345678901234567890.1", "123456789012345678901234567890.2");
    assert_eq!(compare(a, b), Some(Ordering::Less));
    assert_eq!(compare("-0", "0.00"), Some(Ordering::Equal));
    for none in ["", "-", ".", "1.", ".5", "1e3", "0x1", "1 ", "NaN", "١"] {
        assert_eq!(compare(none, "1"), None, "{none}");
    }
}
