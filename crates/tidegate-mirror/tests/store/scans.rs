//! Scans against a naive filter and sort that share no code with the store but the types.

use std::cmp::Ordering;
use std::sync::Arc;

use proptest::prelude::*;
use tidegate_mirror::{Mirror, Options};
use tidegate_model::{
    Comparison, Entity, Filter, InList, Order, Pattern, Predicate, Row, ScanRequest, SortKey, Tenant, Type, Value,
};

use super::{ENTITY, apply, catalog, entity, put, scan};

const COLUMNS: [(&str, Type); 7] = [
    ("id", Type::Text),
    ("part", Type::Int),
    ("kind", Type::Text),
    ("n", Type::Int),
    ("temp", Type::Float),
    ("price", Type::Decimal),
    ("flag", Type::Bool),
];
const KEYS: [&[&str]; 3] = [&["id"], &["part", "id"], &["id", "part"]];
const INDEXES: [&[&str]; 6] = [&["n"], &["temp"], &["kind", "n"], &["kind"], &["n", "temp"], &["price", "flag"]];

fn cell(kind: Type) -> BoxedStrategy<Value> {
    match kind {
        Type::Text => prop_oneof![Just(Value::Null), "(|a|ab|b|\u{0}|a\u{0}|ü|Z)".prop_map(Value::text)].boxed(),
        Type::Int => {
            prop_oneof![Just(Value::Null), (-2i64..3).prop_map(Value::Int), Just(Value::Int(i64::MAX))].boxed()
        }
        Type::Float => {
            let floats = prop::sample::select(vec![f64::NAN, 0.0, -0.0, 1.5, -1.5, f64::INFINITY, f64::NEG_INFINITY]);
            prop_oneof![Just(Value::Null), floats.prop_map(Value::Float)].boxed()
        }
        Type::Decimal => {
            let texts = prop::sample::select(vec!["0", "1.0", "1.00", "-2.5", "10", "NaN", "Infinity"]);
            let decimal = texts.prop_map(|text| Value::from_text(Type::Decimal, text).unwrap());
            prop_oneof![Just(Value::Null), decimal].boxed()
        }
        _ => prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::Bool)].boxed(),
    }
}

fn row(distinct: bool) -> impl Strategy<Value = Vec<Value>> {
    let id = if distinct { "[a-z\u{0}]{1,3}" } else { "[a-c]{1,2}" };
    (id, 0i64..3, cell(Type::Text), cell(Type::Int), cell(Type::Float), cell(Type::Decimal), cell(Type::Bool)).prop_map(
        |(id, part, kind, n, temp, price, flag)| vec![Value::text(id), Value::Int(part), kind, n, temp, price, flag],
    )
}

fn filter() -> impl Strategy<Value = Filter> {
    let column = 0u16..COLUMNS.len() as u16;
    let leaf = column.prop_flat_map(|column| {
        let kind = COLUMNS[usize::from(column)].1;
        let ops = [Comparison::Eq, Comparison::Ne, Comparison::Gt, Comparison::Gte, Comparison::Lt, Comparison::Lte];
        let compare = (prop::sample::select(ops.to_vec()), cell(kind))
            .prop_map(move |(op, value)| Filter::compare(column, op, value));
        let equal = cell(kind).prop_map(move |value| Filter::compare(column, Comparison::Eq, value));
        let list = prop::collection::vec(cell(kind), 1..4)
            .prop_map(move |values| Filter::In(Arc::new(InList::new(column, values))));
        let like = prop::sample::select(vec!["a%", "%b", "a_", "%", "ab"])
            .prop_map(|text| Filter::Like { column: 2, pattern: Arc::new(Pattern::new(text, false).unwrap()) });
        prop_oneof![3 => compare, 3 => equal, 2 => list, 1 => like, 1 => Just(Filter::IsNull { column })]
    });
    let leaf = leaf.boxed();
    let tree = leaf.clone().prop_recursive(2, 6, 3, |inner| {
        let list = prop::collection::vec(inner.clone(), 1..3);
        prop_oneof![
            list.prop_map(|filters| Filter::Any(filters.into())),
            inner.prop_map(|filter| Filter::Not(Box::new(filter)))
        ]
    });
    prop_oneof![1 => Just(Filter::everything()), 4 => prop::collection::vec(prop_oneof![3 => leaf, 1 => tree], 1..4).prop_map(Filter::all)]
}

fn sort() -> impl Strategy<Value = Vec<SortKey>> {
    prop::sample::subsequence((0..COLUMNS.len() as u16).collect::<Vec<_>>(), 0..4).prop_shuffle().prop_flat_map(
        |columns| {
            prop::collection::vec(any::<bool>(), columns.len()).prop_map(move |desc| {
                columns.iter().zip(desc).map(|(column, desc)| SortKey { column: *column, desc }).collect()
            })
        },
    )
}

#[derive(Debug, Clone)]
struct Ask {
    filter: Filter,
    sort: Vec<SortKey>,
    /// Cells to go on after, and which of them come from an existing row.
    after: Option<(Vec<Value>, Option<prop::sample::Index>)>,
    want: usize,
}

fn ask() -> impl Strategy<Value = Ask> {
    let after = prop::option::of((row(false), prop::option::weighted(0.8, any::<prop::sample::Index>())));
    (filter(), sort(), after, 1usize..20).prop_map(|(filter, sort, after, want)| Ask { filter, sort, after, want })
}

/// The order as LIVE states it.
fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Greater,
        (_, Value::Null) => Ordering::Less,
        (Value::Text(a), Value::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Float(a), Value::Float(b)) => number(*a).partial_cmp(&number(*b)).unwrap(),
        (Value::Decimal(a), Value::Decimal(b)) => {
            let number = |text: &str| number(text.parse().unwrap());
            number(a.text()).partial_cmp(&number(b.text())).unwrap()
        }
        other => panic!("{other:?}"),
    }
}

/// NaN after everything.
fn number(float: f64) -> (bool, f64) {
    (float.is_nan(), if float.is_nan() { 0.0 } else { float })
}

fn compare_terms(order: &Order, a: &[Value], b: &[Value]) -> Ordering {
    let mut result = Ordering::Equal;
    for term in order.terms() {
        let cells = compare(&a[usize::from(term.column)], &b[usize::from(term.column)]);
        result = result.then(if term.desc { cells.reverse() } else { cells });
    }
    result
}

/// SQL's truth as an option: unknown is `None`.
fn truth(filter: &Filter, row: &[Value]) -> Option<bool> {
    let cell = |column: &u16| &row[usize::from(*column)];
    match filter {
        Filter::All(all) => match all.iter().map(|f| truth(f, row)).collect::<Vec<_>>() {
            truths if truths.contains(&Some(false)) => Some(false),
            truths if truths.contains(&None) => None,
            _ => Some(true),
        },
        Filter::Any(any) => match any.iter().map(|f| truth(f, row)).collect::<Vec<_>>() {
            truths if truths.contains(&Some(true)) => Some(true),
            truths if truths.contains(&None) => None,
            _ => Some(false),
        },
        Filter::Not(inner) => truth(inner, row).map(|truth| !truth),
        Filter::Compare { column, op, value } => {
            (!cell(column).is_null() && !value.is_null()).then(|| op.holds(compare(cell(column), value)))
        }
        Filter::In(list) => match cell(&list.column) {
            Value::Null => None,
            value if list.values.iter().any(|other| compare(other, value).is_eq()) => Some(true),
            _ if list.has_null => None,
            _ => Some(false),
        },
        Filter::Like { column, pattern } => match cell(column) {
            Value::Text(text) => Some(match pattern.text() {
                "a%" => text.starts_with('a'),
                "%b" => text.ends_with('b'),
                "a_" => text.starts_with('a') && text.chars().count() == 2,
                "%" => true,
                _ => **text == *"ab",
            }),
            _ => None,
        },
        Filter::IsNull { column } => Some(cell(column).is_null()),
        Filter::Contains(_) | Filter::Overlaps(_) => unreachable!("no column is an array"),
    }
}

/// Asks page after page and holds each against the expectation.
fn check(mirror: &Mirror, entity: &Entity, rows: &[Vec<Value>], ask: &Ask) {
    let order = Arc::new(Order::new(entity, &ask.sort));
    let after: Option<Vec<Value>> = ask.after.as_ref().map(|(cells, row)| match row {
        Some(index) if !rows.is_empty() => index.get(rows).clone(),
        _ => cells.clone(),
    });
    let mut expected: Vec<&Vec<Value>> = rows
        .iter()
        .filter(|row| truth(&ask.filter, row) == Some(true))
        .filter(|row| after.as_ref().is_none_or(|after| compare_terms(&order, row, after).is_gt()))
        .collect();
    expected.sort_by(|a, b| compare_terms(&order, a, b));
    let mut request = ScanRequest {
        entity: ENTITY,
        tenant: Tenant::common(),
        predicate: Arc::new(Predicate::new(ask.filter.clone())),
        after: after.map(|cells| order.key(&Row::new(tidegate_model::Position(0), cells))),
        want: ask.want,
        order,
    };
    let whole = mirror.page(request.clone()).unwrap();
    let first: Vec<&[Value]> = whole.rows.iter().map(|(_, row)| row.values()).collect();
    assert_eq!(first, expected.iter().take(ask.want).map(|row| &***row).collect::<Vec<_>>());
    let mut seen = 0;
    loop {
        let page = scan(mirror, request.clone()).unwrap();
        assert!(page.rows.len() <= ask.want);
        for (key, row) in &page.rows {
            assert_eq!(row.values(), &**expected[seen], "row {seen}");
            assert_eq!(*key, request.order.key(row));
            assert!(page.upto.as_ref().is_none_or(|upto| key <= upto));
            seen += 1;
        }
        let Some(upto) = page.upto else { break };
        assert!(request.after.as_ref().is_none_or(|after| *after < upto), "a page makes progress");
        if let Some(next) = expected.get(seen) {
            assert!(
                request.order.key(&Row::new(tidegate_model::Position(0), next.to_vec())) > upto,
                "nothing is skipped"
            );
        }
        request.after = Some(upto);
    }
    assert_eq!(seen, expected.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn pages_are_the_filter_and_sort(
        rows in prop_oneof![prop::collection::vec(row(true), 0..120), prop::collection::vec(row(false), 0..30)],
        key in prop::sample::select(KEYS.to_vec()),
        indexes in prop::sample::subsequence(INDEXES.to_vec(), 0..=INDEXES.len()),
        asks in prop::collection::vec(ask(), 24),
        page_rows in 1usize..40,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let catalog = catalog(&entity(&COLUMNS, key, &indexes));
        let options = Options { scan_rows_max: page_rows, readers: 1, ..Options::default() };
        let (mirror, mut writer) = Mirror::open(dir.path(), &catalog, &options).unwrap();
        let writes: Vec<_> = rows.iter().map(|row| put(&Tenant::common(), row.clone())).collect();
        apply(&mut writer, &writes).unwrap();
        let entity = catalog.entity(ENTITY);
        // Later rows of a key replace earlier ones.
        let order = Order::new(entity, &[]);
        let mut unique: Vec<Vec<Value>> = Vec::new();
        for row in rows.into_iter().rev() {
            if !unique.iter().any(|other| compare_terms(&order, other, &row).is_eq()) {
                unique.push(row);
            }
        }
        for ask in &asks {
            check(&mirror, entity, &unique, ask);
        }
    }
}

/// Found by the test above: the filter holds a column of the key that is not its first, and no index narrows it.
#[test]
fn pages_go_on_where_the_filter_holds_a_part_of_the_key() {
    for key in [["part", "id"], ["id", "part"]] {
        check_held_key(&key);
    }
}

fn check_held_key(key: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let catalog = catalog(&entity(&[("part", Type::Int), ("id", Type::Text)], key, &[]));
    let options = Options { scan_rows_max: 1, ..Options::default() };
    let (mirror, mut writer) = Mirror::open(dir.path(), &catalog, &options).unwrap();
    let rows: Vec<Vec<Value>> =
        (0..12).map(|i| vec![Value::Int(i / 4), Value::text(["a", "b", "c", "d"][(i % 4) as usize])]).collect();
    apply(&mut writer, &rows.iter().map(|row| put(&Tenant::common(), row.clone())).collect::<Vec<_>>()).unwrap();
    for id in ["", "b", "c", "z"] {
        for desc in [(0, false), (0, true), (1, false), (1, true), (2, true)] {
            let columns = (0..2u16).map(|column| SortKey { column, desc: desc.1 });
            let sort = if desc.0 == 2 { columns.collect() } else { vec![SortKey { column: desc.0, desc: desc.1 }] };
            let filter = Filter::compare(1, Comparison::Eq, Value::text(id));
            for after in [None, Some((rows[5].clone(), None)), Some((rows[6].clone(), None))] {
                let ask = Ask { filter: filter.clone(), sort: sort.clone(), after, want: 2 };
                check(&mirror, catalog.entity(ENTITY), &rows, &ask);
            }
        }
    }
}

#[test]
fn another_tenants_rows_are_never_seen() {
    let dir = tempfile::tempdir().unwrap();
    let mut builder = entity(&[("id", Type::Text), ("org", Type::Text), ("n", Type::Int)], &["id"], &[&["n"]]);
    builder.tenant = Some("org".into());
    let catalog = catalog(&builder);
    let (mirror, mut writer) = super::open(dir.path(), &catalog);
    let (a, b) = (Tenant::new("a"), Tenant::new("b"));
    let row = |n| vec![Value::text("same"), Value::Null, Value::Int(n)];
    apply(&mut writer, &[put(&a, row(1)), put(&b, row(2))]).unwrap();
    for (tenant, n) in [(&a, 1), (&b, 2)] {
        for sort in [vec![], vec![SortKey { column: 2, desc: true }], vec![SortKey { column: 1, desc: true }]] {
            let request = ScanRequest {
                entity: ENTITY,
                tenant: tenant.clone(),
                order: Arc::new(Order::new(catalog.entity(ENTITY), &sort)),
                predicate: Arc::new(Predicate::new(Filter::everything())),
                after: None,
                want: 10,
            };
            let page = scan(&mirror, request).unwrap();
            assert_eq!(page.rows.len(), 1);
            assert_eq!(page.rows[0].1.values(), [Value::text("same"), Value::text(tenant.name()), Value::Int(n)]);
        }
    }
}
