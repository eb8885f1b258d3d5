//! Pools of values, type by type.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;
use tidegate_model::{Array, Column, Detail, Element, Interval, Type, Value};

use super::LABELS;

/// 0001-01-01 to the end of 9999 in microseconds and in days: what every party to a comparison can write down.
const MICROS: std::ops::Range<i64> = -62_135_596_800_000_000..253_402_207_200_000_000;
const DAY_MICROS: i64 = 86_400_000_000;
const DAYS: std::ops::Range<i32> = -719_162..2_932_896;

/// Which text to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alphabet {
    /// Anything that UTF-8 holds.
    Any,
    /// What PostgreSQL can store (no NUL), without the few characters beyond ASCII whose lower case is ASCII.
    Postgres,
}

/// A value of the column, or null one time in six.
pub fn nullable(column: &Column, alphabet: Alphabet) -> BoxedStrategy<Value> {
    prop_oneof![1 => Just(Value::Null), 5 => value(column, alphabet)].boxed()
}

/// A value for a key column: from a pool of at most sixteen, so that rows come back.
pub fn key_value(column: &Column, alphabet: Alphabet) -> BoxedStrategy<Value> {
    match column.kind {
        Type::Int => (-4i64..8).prop_map(Value::Int).boxed(),
        Type::Timestamp => (-4i64..8).prop_map(Value::Timestamp).boxed(),
        Type::Date => (-4i32..8).prop_map(Value::Date).boxed(),
        Type::Uuid => (0u8..12).prop_map(|n| Value::Uuid([n.wrapping_mul(37); 16])).boxed(),
        Type::Time => (0i64..12).prop_map(Value::Time).boxed(),
        _ => known(column, alphabet),
    }
}

/// A value of the column: mostly one of the known troublemakers, now and then any.
pub fn value(column: &Column, alphabet: Alphabet) -> BoxedStrategy<Value> {
    prop_oneof![4 => known(column, alphabet), 1 => any_value(column, alphabet)].boxed()
}

/// A column whose values are the elements of `column`, an array.
pub(super) fn element_of(column: &Column, element: Element) -> Column {
    Column { kind: element.kind(), ..column.clone() }
}

/// Up to four elements in one dimension or two, with lower bounds that are mostly 1.
fn array(column: &Column, element: Element, alphabet: Alphabet) -> BoxedStrategy<Value> {
    let values = proptest::collection::vec(nullable(&element_of(column, element), alphabet), 0..=4);
    (values, prop_oneof![4 => Just(1), 1 => -1..3], 1u32..=2)
        .prop_map(move |(values, lower, rows)| {
            let len = values.len() as u32;
            let dims = match rows {
                1 => vec![(len, lower)],
                // An odd element is a row.
                rows if len.is_multiple_of(rows) => vec![(rows, lower), (len / rows, 1)],
                _ => vec![(len, 1), (1, lower)],
            };
            Value::Array(Arc::new(Array::new(element, &dims, values).expect("dimensions that fit")))
        })
        .boxed()
}

fn known(column: &Column, alphabet: Alphabet) -> BoxedStrategy<Value> {
    let kind = column.kind;
    match kind {
        Type::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Type::Int => select(vec![0, 1, 2, 3, -1, 255, 256, 1 << 53, (1 << 53) + 1, i64::MAX, i64::MAX - 1, i64::MIN])
            .prop_map(Value::Int)
            .boxed(),
        Type::Float => select(vec![
            0.0,
            -0.0,
            1.0,
            -1.0,
            0.1,
            0.5,
            1e300,
            f64::MIN_POSITIVE,
            5e-324,
            f64::MAX,
            f64::MIN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::NAN,
        ])
        .prop_map(Value::Float)
        .boxed(),
        Type::Decimal => texts(kind, DECIMALS),
        Type::Text if let Detail::Padded(len) = column.detail => {
            // Spaces sort before everything but control characters, which would not do here.
            let fits = |text: &&str| text.chars().count() <= len as usize && !text.contains(|c| c < ' ');
            let column = column.clone();
            let read = move |text| column.value_from_text(text).expect("a valid value");
            select(TEXTS.iter().copied().filter(fits).collect::<Vec<_>>()).prop_map(read).boxed()
        }
        Type::Text => {
            let nul = ["a\0", "\0", "a\0b", "\u{212A}", "İ"];
            let extra = if alphabet == Alphabet::Any { &nul[..] } else { &[] };
            select(TEXTS.iter().chain(extra).copied().collect::<Vec<_>>()).prop_map(Value::text).boxed()
        }
        Type::Bytes => {
            select(vec![&b""[..], b"\0", b"\0\0", b"\x01", b"a", b"a\0", b"ab", b"\xFF", b"\xFF\0", b"\xFF\xFF"])
                .prop_map(|bytes| Value::Bytes(bytes.into()))
                .boxed()
        }
        Type::Uuid => select(vec![
            [0; 16],
            [255; 16],
            [0x80; 16],
            *b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01",
        ])
        .prop_map(Value::Uuid)
        .boxed(),
        Type::Timestamp => select(vec![0, 1, -1, 999_999, 1_000_000, MICROS.start, MICROS.end, i64::MAX, i64::MIN])
            .prop_map(Value::Timestamp)
            .boxed(),
        Type::Date => {
            select(vec![0, 1, -1, 365, DAYS.start, DAYS.end, i32::MAX, i32::MIN]).prop_map(Value::Date).boxed()
        }
        Type::Time => select(vec![0, 1, 999_999, 1_000_000, DAY_MICROS - 1, DAY_MICROS]).prop_map(Value::Time).boxed(),
        Type::Interval => texts(kind, INTERVALS),
        Type::Enum => {
            let column = column.clone();
            select(&LABELS[..]).prop_map(move |text| column.value_from_text(text).expect("a label")).boxed()
        }
        Type::Json => texts(kind, DOCUMENTS),
        Type::Array(element) => array(column, element, alphabet),
    }
}

fn any_value(column: &Column, alphabet: Alphabet) -> BoxedStrategy<Value> {
    let kind = column.kind;
    match kind {
        Type::Enum | Type::Array(_) => known(column, alphabet),
        Type::Text if column.detail != Detail::None => known(column, alphabet),
        Type::Time => (0..=DAY_MICROS).prop_map(Value::Time).boxed(),
        Type::Interval => (-100_000..100_000, -1_000_000..1_000_000, -1_000_000_000_000_000i64..1_000_000_000_000_000)
            .prop_map(|(months, days, micros)| Value::Interval(Arc::new(Interval { months, days, micros })))
            .boxed(),
        Type::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Type::Int => any::<i64>().prop_map(Value::Int).boxed(),
        Type::Float => any::<f64>().prop_map(Value::Float).boxed(),
        Type::Decimal => "-?[0-9]{1,25}(\\.[0-9]{1,25})?".prop_map(move |text| read(kind, &text)).boxed(),
        Type::Text => match alphabet {
            Alphabet::Any => ".{0,6}",
            Alphabet::Postgres => "[ -~éßЖ漢🦀]{0,6}",
        }
        .prop_map(Value::text)
        .boxed(),
        Type::Bytes => proptest::collection::vec(any::<u8>(), 0..6).prop_map(|b| Value::Bytes(b.into())).boxed(),
        Type::Uuid => any::<[u8; 16]>().prop_map(Value::Uuid).boxed(),
        Type::Timestamp => MICROS.prop_map(Value::Timestamp).boxed(),
        Type::Date => DAYS.prop_map(Value::Date).boxed(),
        Type::Json => document().prop_map(move |text| read(kind, &text)).boxed(),
    }
}

fn document() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|b| b.to_string()),
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,4})?(e[-+]?[0-9])?",
        "[a-cé]{0,2}".prop_map(|text| format!("{text:?}")),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("[{}]", items.join(", "))),
            proptest::collection::vec(("[ab]", inner), 0..3).prop_map(|members| {
                let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\": {value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

fn texts(kind: Type, pool: &'static [&'static str]) -> BoxedStrategy<Value> {
    let values: Arc<[Value]> = pool.iter().map(|text| read(kind, text)).collect();
    any::<proptest::sample::Index>().prop_map(move |index| index.get(&values).clone()).boxed()
}

fn read(kind: Type, text: &str) -> Value {
    Value::from_text(kind, text).expect("a valid value")
}

const INTERVALS: &[&str] = &[
    "PT0S",
    "P1M",
    "P30D",
    "PT720H",
    "P29DT24H",
    "P1M-30D",
    "P1D",
    "PT24H",
    "PT86400S",
    "P1Y",
    "P12M",
    "P360D",
    "P365D",
    "P-1M",
    "P-30D",
    "PT0.000001S",
    "PT-0.000001S",
    "P1DT-24H",
    "P1Y2M3DT4H5M6.7S",
    "P-1Y-2M3DT-4H-5M-6.7S",
    "P100000000Y",
];

const TEXTS: &[&str] = &[
    "", "a", "A", "aa", "ab", "aB", "AB", "b", "a%", "a_", "a\\", "%", "_", "\\", "é", "É", "ae", "z", "漢", "🦀",
    "a\u{1}", "a\u{7f}", "ß", " a", "a ", "north-07", "North-7", "10", "9", "ÿ", "\u{ffff}", "'", "\"", "$1",
    "e\u{301}",
];

const DECIMALS: &[&str] = &[
    "0",
    "0.0",
    "-0.00",
    "1",
    "1.0",
    "1.00",
    "1.01",
    "-1",
    "-1.0",
    "-1.01",
    "10",
    "9",
    "9.99",
    "0.1",
    "0.01",
    "0.001",
    "-0.1",
    "-0.01",
    "99",
    "100",
    "100.000",
    "123456789012345678901234567890.123456789",
    "123456789012345678901234567890.12345678900",
    "123456789012345678901234567890.1234567891",
    "1e30",
    "1e-30",
    "-1e30",
    "NaN",
    "Infinity",
    "-Infinity",
];

const DOCUMENTS: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-0",
    "1",
    "1.0",
    "1e0",
    "10",
    "1e1",
    "0.1",
    "\"\"",
    "\"1\"",
    "\"a\"",
    "\"\\u0061\"",
    "[]",
    "[ ]",
    "{}",
    "[1,2]",
    "[2,1]",
    "[1.0, 2.00]",
    "{\"a\":1}",
    "{ \"a\" : 1.0 }",
    "{\"a\":1,\"b\":null}",
    "{\"b\":null,\"a\":1}",
    "{\"a\":2,\"a\":1}",
    "[[[[1]]]]",
    "9007199254740993",
    "9007199254740992",
    "123456789012345678901234567890",
];
