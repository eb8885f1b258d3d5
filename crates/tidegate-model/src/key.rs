//! The total order as bytes: sort values become keys whose `memcmp` is the order.
//!
//! A value encodes ascending as a tag (`1` value, `2` null, so nulls come last) and a prefix-free payload: integers
//! big-endian with the sign flipped, floats with the usual monotone bit trick (one NaN, one zero), text and bytes with
//! `00` escaped as `00 FF` and ended by `00 00`, labels by their place, the rest at fixed width. Types without an order have
//! an encoding for equality. Descending is the complement of all of it,
//! which puts nulls first, as PostgreSQL does. The primary key ascending always follows.

use std::sync::Arc;

use crate::{Entity, Row, Type, Value, decimal};

/// An encoded sort key with the primary key at its end: unique within a partition.
pub type Key = Arc<[u8]>;

const TAG_VALUE: u8 = 1;
const TAG_NULL: u8 = 2;

/// One term of a sort.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SortKey {
    /// Index into the entity's columns.
    pub column: u16,
    /// Descending, nulls first.
    pub desc: bool,
}

/// A total order over an entity's rows: the sort terms, then the primary key ascending.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Order {
    terms: Box<[SortKey]>,
    kinds: Box<[Type]>,
    sorted: usize,
}

impl Order {
    /// The order of `sort`, then the key of `entity`.
    #[must_use]
    pub fn new(entity: &Entity, sort: &[SortKey]) -> Self {
        let key = entity.key().iter().map(|column| SortKey { column: *column, desc: false });
        let terms: Box<[SortKey]> = sort.iter().copied().chain(key).collect();
        let kinds = terms.iter().map(|term| entity.column(term.column).kind).collect();
        Self { terms, kinds, sorted: sort.len() }
    }

    /// The sort terms and after them the key columns: what a cursor has a value for.
    #[must_use]
    pub fn terms(&self) -> &[SortKey] {
        &self.terms
    }

    /// The sort terms without the key.
    #[must_use]
    pub fn sort(&self) -> &[SortKey] {
        &self.terms[..self.sorted]
    }

    /// Appends the key of `row` to `out`. Reuse the buffer: nothing else is allocated.
    pub fn encode(&self, row: &Row, out: &mut Vec<u8>) {
        for term in &*self.terms {
            encode(row.value(term.column), term.desc, out);
        }
    }

    /// The key of `row`.
    #[must_use]
    pub fn key(&self, row: &Row) -> Key {
        let mut out = Vec::with_capacity(self.terms.len() * 10);
        self.encode(row, &mut out);
        out.into()
    }

    /// The key of one value per term, as a cursor gives them.
    #[must_use]
    pub fn key_of_values(&self, values: &[Value]) -> Key {
        let mut out = Vec::with_capacity(self.terms.len() * 10);
        for (term, value) in self.terms.iter().zip(values) {
            encode(value, term.desc, &mut out);
        }
        out.into()
    }

    /// Splits a key into one **ascending** encoding per term, or `None` if the bytes are no key of this order.
    #[must_use]
    pub fn split(&self, mut key: &[u8]) -> Option<Vec<Vec<u8>>> {
        let mut parts = Vec::with_capacity(self.terms.len());
        for (term, kind) in self.terms.iter().zip(&self.kinds) {
            // Complementing is undone on a copy of what is left; keys are short.
            let ascending: Vec<u8> = if term.desc { key.iter().map(|b| !b).collect() } else { key.to_vec() };
            let len = encoded_len(*kind, &ascending)?;
            parts.push(ascending.get(..len)?.to_vec());
            key = &key[len..];
        }
        key.is_empty().then_some(parts)
    }
}

/// Appends one value in the direction given.
pub fn encode(value: &Value, desc: bool, out: &mut Vec<u8>) {
    let start = out.len();
    encode_ascending(value, out);
    if desc {
        out[start..].iter_mut().for_each(|b| *b = !*b);
    }
}

/// The ascending encoding of one value.
#[must_use]
pub fn encoded(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(16);
    encode_ascending(value, &mut out);
    out
}

fn encode_ascending(value: &Value, out: &mut Vec<u8>) {
    let fixed = |out: &mut Vec<u8>, payload: &[u8]| {
        out.push(TAG_VALUE);
        out.extend_from_slice(payload);
    };
    match value {
        Value::Null => out.push(TAG_NULL),
        Value::Bool(bool) => fixed(out, &[u8::from(*bool)]),
        Value::Int(int) | Value::Timestamp(int) | Value::Time(int) => {
            fixed(out, &((*int as u64) ^ (1 << 63)).to_be_bytes());
        }
        Value::Date(days) => fixed(out, &((*days as u32) ^ (1 << 31)).to_be_bytes()),
        Value::Float(float) => fixed(out, &float_bits(*float).to_be_bytes()),
        Value::Decimal(decimal) => fixed(out, decimal.key()),
        Value::Uuid(uuid) => fixed(out, uuid),
        Value::Text(text) => escaped(out, text.as_bytes()),
        Value::Bytes(bytes) => escaped(out, bytes),
        // JSON has no order, only equality; its canonical text serves the equality index.
        Value::Json(json) => escaped(out, json.canonical().as_bytes()),
        Value::Enum(label) => fixed(out, &label.ordinal.to_be_bytes()),
        // Neither an interval nor an array has an order that a query may ask for: like JSON's, these serve equality.
        Value::Interval(interval) => fixed(out, &((interval.span() as u128) ^ (1 << 127)).to_be_bytes()),
        Value::Array(array) => {
            // At most DIMENSIONS_MAX.
            fixed(out, &[array.dims().len() as u8]);
            for (len, lower) in array.dims() {
                out.extend_from_slice(&len.to_be_bytes());
                out.extend_from_slice(&lower.to_be_bytes());
            }
            array.values().iter().for_each(|value| encode_ascending(value, out));
        }
    }
}

/// Bits whose unsigned order is the float's: -0 is 0, every NaN is one and the greatest.
fn float_bits(float: f64) -> u64 {
    let float = if float.is_nan() {
        return u64::MAX;
    } else if float == 0.0 {
        0.0
    } else {
        float
    };
    let bits = float.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | (1 << 63) }
}

fn escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + 3);
    out.push(TAG_VALUE);
    let mut rest = bytes;
    while let Some(at) = memchr::memchr(0, rest) {
        out.extend_from_slice(&rest[..=at]);
        out.push(0xFF);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(&[0, 0]);
}

/// Bytes of the ascending encoding at the start of `bytes`, or `None` if it is cut short or no encoding of `kind`.
fn encoded_len(kind: Type, bytes: &[u8]) -> Option<usize> {
    match *bytes.first()? {
        TAG_NULL => return Some(1),
        TAG_VALUE => {}
        _ => return None,
    }
    let payload = &bytes[1..];
    Some(
        1 + match kind {
            Type::Bool => 1,
            Type::Int | Type::Float | Type::Timestamp | Type::Time => 8,
            Type::Date | Type::Enum => 4,
            Type::Uuid | Type::Interval => 16,
            Type::Array(element) => array_len(element.kind(), payload)?,
            Type::Decimal => decimal::key_len(payload)?,
            Type::Text | Type::Bytes | Type::Json => {
                let mut at = 0;
                loop {
                    at += memchr::memchr(0, payload.get(at..)?)?;
                    if *payload.get(at + 1)? == 0 {
                        break at + 2;
                    }
                    at += 2;
                }
            }
        },
    )
}

/// Bytes of an array's payload: dimensions, then elements.
fn array_len(element: Type, payload: &[u8]) -> Option<usize> {
    let dims = usize::from(*payload.first()?);
    let mut count = usize::from(dims > 0);
    for dim in payload.get(1..1 + dims * 8)?.chunks_exact(8) {
        let len = u32::from_be_bytes(dim[..4].try_into().ok()?);
        count = count.checked_mul(usize::try_from(len).ok()?)?;
    }
    let mut at = 1 + dims * 8;
    // Every element has a byte at least: what is cut short ends this.
    for _ in 0..count {
        at += encoded_len(element, payload.get(at..)?)?;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use proptest::prelude::*;

    use super::*;
    use crate::{Array, Element, Interval, Label};

    fn ascending(value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        encode(value, false, &mut out);
        out
    }

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            prop_oneof![any::<f64>(), Just(f64::NAN), Just(-0.0), Just(0.0)].prop_map(Value::Float),
            "[\\x00\\x01a-c]{0,4}".prop_map(Value::text),
            proptest::collection::vec(prop_oneof![Just(0u8), Just(255u8), any::<u8>()], 0..4)
                .prop_map(|b| Value::Bytes(b.into())),
            "-?[0-9]{1,4}(\\.[0-9]{1,3})?".prop_map(|d| Value::Decimal(Arc::new(d.parse().unwrap()))),
            (0..=86_400_000_000i64).prop_map(Value::Time),
            (0..4u32)
                .prop_map(|ordinal| Value::Enum(Arc::new(Label { ordinal, text: "zyxw"[ordinal as usize..].into() }))),
            interval(),
            array(),
        ]
    }

    /// Mostly of few lengths, spelt in several ways.
    fn interval() -> impl Strategy<Value = Value> {
        let interval = |(months, days, micros)| Value::Interval(Arc::new(Interval { months, days, micros }));
        let few = (-1..=1, (-1..=1).prop_map(|n| n * 30), (-1..=1i64).prop_map(|n| n * 30 * 86_400_000_000));
        prop_oneof![few.prop_map(interval), any::<(i32, i32, i64)>().prop_map(interval)]
    }

    fn array() -> impl Strategy<Value = Value> {
        let element = prop_oneof![Just(Value::Null), "[\\x00a]{0,2}".prop_map(Value::text)];
        (proptest::collection::vec(element, 0..4), 0..2, any::<bool>()).prop_map(|(values, lower, nested)| {
            let flat = (values.len() as u32, lower);
            let dims = if nested { &[(1, 1), flat][..] } else { &[flat] };
            Value::Array(Arc::new(Array::new(Element::Text, dims, values).unwrap()))
        })
    }

    /// The order as LIVE states it, written without the encoding.
    fn naive(a: &Value, b: &Value) -> Option<Ordering> {
        Some(match (a, b) {
            (Value::Null, Value::Null) => Ordering::Equal,
            (Value::Null, _) => Ordering::Greater,
            (_, Value::Null) => Ordering::Less,
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Int(a), Value::Int(b)) => a.cmp(b),
            (Value::Float(a), Value::Float(b)) => match (a.is_nan(), b.is_nan()) {
                (false, false) => a.partial_cmp(b)?,
                (a, b) => a.cmp(&b),
            },
            (Value::Text(a), Value::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Value::Bytes(a), Value::Bytes(b)) => a.cmp(b),
            (Value::Time(a), Value::Time(b)) => a.cmp(b),
            // The texts are in the opposite order.
            (Value::Enum(a), Value::Enum(b)) => b.text.len().cmp(&a.text.len()),
            (Value::Interval(a), Value::Interval(b)) => {
                let days = |i: &Interval| i128::from(i.months) * 30 + i128::from(i.days);
                (days(a) * 86_400_000_000 + i128::from(a.micros))
                    .cmp(&(days(b) * 86_400_000_000 + i128::from(b.micros)))
            }
            (Value::Decimal(a), Value::Decimal(b)) => {
                a.text().parse::<f64>().ok()?.partial_cmp(&b.text().parse::<f64>().ok()?)?
            }
            _ => return None,
        })
    }

    proptest! {
        #[test]
        fn memcmp_is_the_order(a in value(), b in value()) {
            if let Some(order) = naive(&a, &b) {
                prop_assert_eq!(ascending(&a).cmp(&ascending(&b)), order);
                let (mut x, mut y) = (Vec::new(), Vec::new());
                encode(&a, true, &mut x);
                encode(&b, true, &mut y);
                prop_assert_eq!(x.cmp(&y), order.reverse());
                prop_assert_eq!(order == Ordering::Equal, a == b);
            }
        }

        /// What has no order has its equality in the encoding, which is all that an index of values needs.
        #[test]
        fn equal_arrays_have_one_encoding(a in array(), b in array()) {
            let (Value::Array(x), Value::Array(y)) = (&a, &b) else { unreachable!() };
            let equal = x.dims() == y.dims() && x.values() == y.values();
            prop_assert_eq!(ascending(&a) == ascending(&b), equal);
            prop_assert_eq!(a == b, equal);
        }

        #[test]
        fn a_length_is_read_from_any_bytes(bytes in proptest::collection::vec(prop_oneof![Just(1u8), Just(2), any::<u8>()], 0..40)) {
            for kind in Type::ALL {
                let _ = encoded_len(kind, &bytes);
            }
        }

        #[test]
        fn no_encoding_is_a_prefix_of_another(a in value(), b in value()) {
            if let (Some(x), Some(y)) = (a.kind(), b.kind()) && x == y && a != b {
                prop_assert!(!ascending(&a).starts_with(&ascending(&b)));
            }
        }

        #[test]
        fn a_length_is_read_back(a in value(), tail in proptest::collection::vec(any::<u8>(), 0..4)) {
            let mut bytes = ascending(&a);
            let len = bytes.len();
            bytes.extend(tail);
            prop_assert_eq!(encoded_len(a.kind().unwrap_or(Type::Int), &bytes), Some(len));
        }
    }
}
