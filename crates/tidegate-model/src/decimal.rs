//! Exact decimals, as far as Tidegate needs them: the text is kept, and an order-preserving key decides comparison.
//! Nothing is ever calculated with a decimal, so no arithmetic library is carried.
//!
//! Key: a class byte (`-∞ < negative < 0 < positive < ∞ < NaN`), then for finite non-zero values the exponent and the
//! significant digits in pairs, complemented for negatives. Trailing zeros are not part of it, so `1.0` and `1.00` have
//! one key.

use std::cmp::Ordering;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Most digits before and after the point together: PostgreSQL's bound for `numeric`.
pub const DIGITS_MAX: usize = 131_072 + 16_383;
/// Most zeros that exponent notation may stand for: a short text must not become a long one.
const EXPANSION_MAX: u64 = 1_000;

const NEGATIVE_INFINITY: u8 = 1;
const NEGATIVE: u8 = 2;
const ZERO: u8 = 3;
const POSITIVE: u8 = 4;
const INFINITY: u8 = 5;
const NAN: u8 = 6;

/// A decimal: its text and its key.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Decimal {
    text: Box<str>,
    key: Box<[u8]>,
}

/// Text that is no decimal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// Not of the form `[-+]digits[.digits][e[-+]digits]`, `NaN`, `Infinity`.
    #[error("expected a decimal number (as a string to keep every digit) for type decimal")]
    Form,
    /// More than [`DIGITS_MAX`] digits, or an exponent that stands for more than 1,000 zeros.
    #[error("a decimal may have at most {DIGITS_MAX} digits, and an exponent of at most {EXPANSION_MAX} zeros")]
    Size,
}

impl Decimal {
    /// The number in plain notation, with the zeros it was written with.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Prefix-free bytes whose `memcmp` is the order of the numbers.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The number as an integer, where it is whole and fits.
    #[must_use]
    pub fn to_i64(&self) -> Option<i64> {
        let whole = match self.text.split_once('.') {
            Some((whole, fraction)) if fraction.bytes().all(|b| b == b'0') => whole,
            Some(_) => return None,
            None => &self.text,
        };
        whole.parse().ok()
    }

    /// The greatest integer not above the number (saturating), and whether the number is that integer. `None` for NaN.
    #[must_use]
    pub fn floor(&self) -> Option<(i64, bool)> {
        match self.key[0] {
            NAN => None,
            NEGATIVE_INFINITY => Some((i64::MIN, false)),
            INFINITY => Some((i64::MAX, false)),
            _ => {
                if let Some(int) = self.to_i64() {
                    return Some((int, true));
                }
                let negative = self.key[0] == NEGATIVE;
                let whole = self.text.split_once('.').map_or(&*self.text, |(whole, _)| whole);
                Some(match whole.parse::<i64>() {
                    Ok(int) if negative => (int.saturating_sub(1), false),
                    Ok(int) => (int, false),
                    Err(_) if negative => (i64::MIN, false),
                    Err(_) => (i64::MAX, false),
                })
            }
        }
    }

    fn special(text: &str, class: u8) -> Self {
        Self { text: text.into(), key: Box::new([class]) }
    }
}

impl FromStr for Decimal {
    type Err = DecimalError;

    fn from_str(text: &str) -> Result<Self, DecimalError> {
        match text {
            "NaN" => return Ok(Self::special("NaN", NAN)),
            "Infinity" | "infinity" => return Ok(Self::special("Infinity", INFINITY)),
            "-Infinity" | "-infinity" => return Ok(Self::special("-Infinity", NEGATIVE_INFINITY)),
            _ => {}
        }
        if text.len() > DIGITS_MAX + 16 {
            return Err(DecimalError::Size);
        }
        let (negative, unsigned) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits_only = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !digits_only(whole) || !digits_only(fraction) {
            return Err(DecimalError::Form);
        }
        let mut digits = String::with_capacity(whole.len() + fraction.len());
        digits.push_str(whole);
        digits.push_str(fraction);
        // The value is 0.digits × 10^point.
        let point = whole.len() as i64 + exponent;
        Ok(Self { text: plain(negative, &digits, point), key: key_of(negative, &digits, point) })
    }
}

fn parse_exponent(text: &str) -> Result<i64, DecimalError> {
    let exponent: i64 = text.parse().map_err(|_| DecimalError::Form)?;
    if exponent.unsigned_abs() > EXPANSION_MAX { Err(DecimalError::Size) } else { Ok(exponent) }
}

fn plain(negative: bool, digits: &str, point: i64) -> Box<str> {
    let mut out = String::with_capacity(digits.len() + 3);
    let (whole, fraction) = match usize::try_from(point) {
        Ok(point) if point >= digits.len() => (format!("{digits}{}", "0".repeat(point - digits.len())), String::new()),
        Ok(point) => (digits[..point].to_owned(), digits[point..].to_owned()),
        Err(_) => (String::new(), format!("{}{digits}", "0".repeat(point.unsigned_abs() as usize))),
    };
    let whole = whole.trim_start_matches('0');
    // PostgreSQL prints no negative zero.
    if negative && !(whole.is_empty() && fraction.bytes().all(|b| b == b'0')) {
        out.push('-');
    }
    out.push_str(if whole.is_empty() { "0" } else { whole });
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(&fraction);
    }
    out.into()
}

fn key_of(negative: bool, digits: &str, point: i64) -> Box<[u8]> {
    let leading = digits.len() - digits.trim_start_matches('0').len();
    let significant = digits.trim_matches('0').as_bytes();
    if significant.is_empty() {
        return Box::new([ZERO]);
    }
    let mut key = Vec::with_capacity(significant.len() / 2 + 7);
    key.push(if negative { NEGATIVE } else { POSITIVE });
    // |exponent| is at most DIGITS_MAX + EXPANSION_MAX: it fits, and the bias makes it unsigned.
    let exponent = (point - leading as i64) as i32;
    key.extend_from_slice(&((exponent as u32) ^ 0x8000_0000).to_be_bytes());
    for pair in significant.chunks(2) {
        let low = pair.get(1).map_or(0, |b| b - b'0');
        key.push((pair[0] - b'0') * 10 + low + 1);
    }
    key.push(0);
    if negative {
        key[1..].iter_mut().for_each(|b| *b = !*b);
    }
    key.into()
}

impl PartialEq for Decimal {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Decimal {}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key.cmp(&other.key)
    }
}

/// Bytes of the decimal key at the start of `bytes` (not complemented), or `None` if it is cut short.
pub(crate) fn key_len(bytes: &[u8]) -> Option<usize> {
    match *bytes.first()? {
        POSITIVE => bytes.get(5..)?.iter().position(|b| *b == 0).map(|end| end + 6),
        NEGATIVE => bytes.get(5..)?.iter().position(|b| *b == 0xFF).map(|end| end + 6),
        _ => Some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn d(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn order_is_by_value_and_text_is_kept() {
        let sorted = [
            "-Infinity",
            "-1000",
            "-99.5",
            "-9.95",
            "-1",
            "-0.5",
            "-0.05",
            "0",
            "0.0001",
            "0.01",
            "0.1",
            "0.11",
            "1",
            "1.01",
            "9",
            "10",
            "99",
            "100",
            "123456789012345678901234567890",
            "Infinity",
            "NaN",
        ];
        for (i, a) in sorted.iter().enumerate() {
            for (j, b) in sorted.iter().enumerate() {
                assert_eq!(d(a).cmp(&d(b)), i.cmp(&j), "{a} {b}");
            }
        }
        assert_eq!(d("1.0"), d("1.00"));
        assert_eq!(d("1.00").text(), "1.00");
        assert_eq!(d("-0.0"), d("0"));
        assert_eq!(d("-0.0").text(), "0.0");
        assert_eq!(d("1.5e3").text(), "1500");
        assert_eq!(d("15e-3").text(), "0.015");
        assert_eq!(d("007.50").text(), "7.50");
    }

    #[test]
    fn a_short_text_never_becomes_a_long_one() {
        assert_eq!("1e100000".parse::<Decimal>(), Err(DecimalError::Size));
        assert_eq!("1e-9223372036854775808".parse::<Decimal>(), Err(DecimalError::Size));
        assert_eq!("1e99999999999999999999".parse::<Decimal>(), Err(DecimalError::Form));
        for bad in ["", "-", ".", "1.2.3", "1e", "0x10", "١"] {
            assert!(bad.parse::<Decimal>().is_err(), "{bad}");
        }
    }

    #[test]
    fn floor_of_fractions() {
        assert_eq!(d("2.5").floor(), Some((2, false)));
        assert_eq!(d("-2.5").floor(), Some((-3, false)));
        assert_eq!(d("-0.5").floor(), Some((-1, false)));
        assert_eq!(d("3.0").floor(), Some((3, true)));
        assert_eq!(d("99999999999999999999").floor(), Some((i64::MAX, false)));
    }
}
