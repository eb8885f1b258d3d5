//! Pools of values, type by type.

use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::select;
use tidegate_model::{Type, Value};

/// 0001-01-01 to the end of 9999 in microseconds and in days: what every party to a comparison can write down.
const MICROS: std::ops::Range<i64> = -62_135_596_800_000_000..253_402_207_200_000_000;
const DAYS: std::ops::Range<i32> = -719_162..2_932_896;

/// Which text to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alphabet {
    /// Anything that UTF-8 holds.
    Any,
    /// What PostgreSQL can store (no NUL), without the few characters beyond ASCII whose lower case is ASCII.
    Postgres,
}

/// A value of the type, or null one time in six.
pub fn nullable(kind: Type, alphabet: Alphabet) -> BoxedStrategy<Value> {
    prop_oneof![1 => Just(Value::Null), 5 => value(kind, alphabet)].boxed()
}

/// A value for a key column: from a pool of at most sixteen, so that rows come back.
pub fn key_value(kind: Type, alphabet: Alphabet) -> BoxedStrategy<Value> {
    match kind {
        Type::Int => (-4i64..8).prop_map(Value::Int).boxed(),
        Type::Timestamp => (-4i64..8).prop_map(Value::Timestamp).boxed(),
        Type::Date => (-4i32..8).prop_map(Value::Date).boxed(),
        Type::Uuid => (0u8..12).prop_map(|n| Value::Uuid([n.wrapping_mul(37); 16])).boxed(),
        kind => known(kind, alphabet),
    }
}

/// A value of the type: mostly one of the known troublemakers, now and then any.
pub fn value(kind: Type, alphabet: Alphabet) -> BoxedStrategy<Value> {
    prop_oneof![4 => known(kind, alphabet), 1 => any_value(kind, alphabet)].boxed()
}

fn known(kind: Type, alphabet: Alphabet) -> BoxedStrategy<Value> {
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
        Type::Json => texts(kind, DOCUMENTS),
    }
}

fn any_value(kind: Type, alphabet: Alphabet) -> BoxedStrategy<Value> {
    match kind {
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
