//! Decimals compared as one learns at school: signs, then digits aligned at the point.

use std::cmp::Ordering;

/// The order of two numbers in text: `[-]digits[.digits][e[+-]digits]`, `NaN` (greatest), `Infinity`, `-Infinity`.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (Number::parse(a), Number::parse(b));
    a.class().cmp(&b.class()).then_with(|| match a.class() {
        Class::Positive => a.compare_magnitude(&b),
        Class::Negative => b.compare_magnitude(&a),
        _ => Ordering::Equal,
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    NegativeInfinity,
    Negative,
    Zero,
    Positive,
    Infinity,
    NaN,
}

enum Number {
    Special(Class),
    Finite { negative: bool, whole: Vec<u8>, fraction: Vec<u8> },
}

impl Number {
    fn parse(text: &str) -> Self {
        match text {
            "NaN" => return Self::Special(Class::NaN),
            "Infinity" => return Self::Special(Class::Infinity),
            "-Infinity" => return Self::Special(Class::NegativeInfinity),
            _ => {}
        }
        let negative = text.starts_with('-');
        let text = text.trim_start_matches('-').to_ascii_lowercase();
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let (mut whole, mut fraction) = (whole.as_bytes().to_vec(), fraction.as_bytes().to_vec());
        let exponent: i32 = exponent.parse().expect("a decimal's exponent");
        for _ in 0..exponent.abs() {
            // Move the point by one digit.
            if exponent > 0 {
                whole.push(if fraction.is_empty() { b'0' } else { fraction.remove(0) });
            } else {
                fraction.insert(0, whole.pop().unwrap_or(b'0'));
            }
        }
        while whole.first() == Some(&b'0') {
            whole.remove(0);
        }
        while fraction.last() == Some(&b'0') {
            fraction.pop();
        }
        Self::Finite { negative, whole, fraction }
    }

    fn class(&self) -> Class {
        match self {
            Self::Special(class) => *class,
            Self::Finite { whole, fraction, .. } if whole.is_empty() && fraction.is_empty() => Class::Zero,
            Self::Finite { negative: true, .. } => Class::Negative,
            Self::Finite { negative: false, .. } => Class::Positive,
        }
    }

    fn compare_magnitude(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Finite { whole: a, fraction: x, .. }, Self::Finite { whole: b, fraction: y, .. }) => {
                a.len().cmp(&b.len()).then_with(|| a.cmp(b)).then_with(|| x.cmp(y))
            }
            _ => unreachable!("only finite numbers have a magnitude to compare"),
        }
    }
}
