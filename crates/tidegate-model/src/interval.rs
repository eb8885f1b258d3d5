//! Intervals: months, days and microseconds, as PostgreSQL keeps them.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Type, ValueError};

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_MINUTE: i64 = 60 * MICROS_PER_SECOND;
const MICROS_PER_HOUR: i64 = 60 * MICROS_PER_MINUTE;
const MICROS_PER_DAY: i128 = 24 * MICROS_PER_HOUR as i128;
const DAYS_PER_MONTH: i64 = 30;

/// A length of time. The three parts are kept apart, since months and days differ in length.
///
/// Equality is PostgreSQL's: a month is 30 days, and a day 24 hours. All parts at their greatest are PostgreSQL 17's
/// `infinity`, all at their least its `-infinity`.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Interval {
    /// Whole months, 12 to a year.
    pub months: i32,
    /// Whole days.
    pub days: i32,
    /// Microseconds.
    pub micros: i64,
}

impl Interval {
    const INFINITY: (i32, i32, i64) = (i32::MAX, i32::MAX, i64::MAX);
    const NEGATIVE_INFINITY: (i32, i32, i64) = (i32::MIN, i32::MIN, i64::MIN);

    /// The length in microseconds, with 30 days to a month and 24 hours to a day: what equality goes by.
    #[must_use]
    pub fn span(&self) -> i128 {
        let days = i64::from(self.months) * DAYS_PER_MONTH + i64::from(self.days);
        i128::from(self.micros) + i128::from(days) * MICROS_PER_DAY
    }

    fn parts(&self) -> (i32, i32, i64) {
        (self.months, self.days, self.micros)
    }
}

impl PartialEq for Interval {
    fn eq(&self, other: &Self) -> bool {
        self.span() == other.span()
    }
}

impl Eq for Interval {}

impl PartialOrd for Interval {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Interval {
    fn cmp(&self, other: &Self) -> Ordering {
        self.span().cmp(&other.span())
    }
}

/// ISO 8601 with designators, each part with its own sign, as PostgreSQL's `intervalstyle` `iso_8601` writes it.
impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parts() {
            Self::INFINITY => return f.write_str("infinity"),
            Self::NEGATIVE_INFINITY => return f.write_str("-infinity"),
            (0, 0, 0) => return f.write_str("PT0S"),
            _ => {}
        }
        let part = |f: &mut fmt::Formatter<'_>, number: i64, designator: char| match number {
            0 => Ok(()),
            number => write!(f, "{number}{designator}"),
        };
        f.write_str("P")?;
        part(f, i64::from(self.months / 12), 'Y')?;
        part(f, i64::from(self.months % 12), 'M')?;
        part(f, i64::from(self.days), 'D')?;
        if self.micros != 0 {
            f.write_str("T")?;
        }
        part(f, self.micros / MICROS_PER_HOUR, 'H')?;
        part(f, self.micros % MICROS_PER_HOUR / MICROS_PER_MINUTE, 'M')?;
        let seconds = self.micros % MICROS_PER_MINUTE;
        if seconds != 0 {
            let (sign, seconds) = (if seconds < 0 { "-" } else { "" }, seconds.unsigned_abs());
            write!(f, "{sign}{}", seconds / MICROS_PER_SECOND as u64)?;
            let fraction = seconds % MICROS_PER_SECOND as u64;
            if fraction != 0 {
                write!(f, ".{}", format!("{fraction:06}").trim_end_matches('0'))?;
            }
            f.write_str("S")?;
        }
        Ok(())
    }
}

impl FromStr for Interval {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        parse(text).ok_or_else(|| ValueError::expected(Type::Interval, Type::Interval.form()))
    }
}

fn parse(text: &str) -> Option<Interval> {
    let of = |(months, days, micros)| Some(Interval { months, days, micros });
    match text {
        "infinity" => return of(Interval::INFINITY),
        "-infinity" => return of(Interval::NEGATIVE_INFINITY),
        _ => {}
    }
    let rest = text.strip_prefix('P')?;
    let (date, time) = match rest.split_once('T') {
        Some((_, "")) => return None,
        Some((date, time)) => (date, time),
        None if rest.is_empty() => return None,
        None => (rest, ""),
    };
    let [years, months, weeks, days] = components(date, *b"YMWD")?;
    let [hours, minutes, seconds] = components(time, *b"HMS")?;
    let whole = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<i64>().ok() };
    let sum = |a: i64, unit: i64, b: i64| a.checked_mul(unit)?.checked_add(b);
    let months = sum(whole(years)?, 12, whole(months)?)?;
    let days = sum(whole(weeks)?, 7, whole(days)?)?;
    let micros = sum(whole(minutes)?, MICROS_PER_MINUTE, micros_of_seconds(seconds)?)?;
    let micros = sum(whole(hours)?, MICROS_PER_HOUR, micros)?;
    of((i32::try_from(months).ok()?, i32::try_from(days).ok()?, micros))
}

/// The numbers before each designator, in the order of the designators; one that is not there is empty.
fn components<const N: usize>(mut text: &str, designators: [u8; N]) -> Option<[&str; N]> {
    let mut numbers = [""; N];
    for (number, designator) in numbers.iter_mut().zip(designators) {
        let end = text.bytes().position(|b| b.is_ascii_alphabetic());
        if let Some(end) = end.filter(|end| text.as_bytes()[*end] == designator) {
            if end == 0 {
                return None;
            }
            *number = &text[..end];
            text = &text[end + 1..];
        }
    }
    text.is_empty().then_some(numbers)
}

fn micros_of_seconds(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if text.is_empty() {
        return Some(0);
    }
    if fraction.len() > 6 || !fraction.bytes().all(|b| b.is_ascii_digit()) || text.ends_with('.') {
        return None;
    }
    let fraction: i64 = format!("{fraction:0<6}").parse().ok()?;
    let whole_micros = whole.parse::<i64>().ok()?.checked_mul(MICROS_PER_SECOND)?;
    // The sign is the text's: `-0.5` has no other.
    if whole.starts_with('-') { whole_micros.checked_sub(fraction) } else { whole_micros.checked_add(fraction) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Interval {
        text.parse().unwrap()
    }

    #[test]
    fn a_month_is_thirty_days_and_a_day_twenty_four_hours() {
        assert_eq!(read("P1M"), read("P30D"));
        assert_eq!(read("P1D"), read("PT24H"));
        assert_eq!(read("P1M-30D"), read("PT0S"));
        assert_eq!(read("P1W"), read("P7D"));
        assert_ne!(read("P1Y"), read("P365D"));
        assert_eq!(read("P1Y"), read("P360D"));
    }

    #[test]
    fn text_is_postgresqls() {
        for text in [
            "PT0S",
            "P1Y2M3DT4H5M6S",
            "P-1Y-2M3DT-4H-5M-6.7S",
            "PT-0.000001S",
            "P1D",
            "PT1M",
            "P-178956970Y-8M-2147483647DT-2562047788H-54.775808S",
            "infinity",
            "-infinity",
        ] {
            assert_eq!(read(text).to_string(), text);
        }
        for bad in
            ["", "P", "PT", "1D", "P1", "P1H", "PT1D", "PY", "P1DT", "PT1.S", "PT.5S", "P1.5D", "PT1.1234567S", "P1M1Y"]
        {
            assert!(bad.parse::<Interval>().is_err(), "{bad}");
        }
        for big in ["P9999999999Y", "PT9999999999H", "P99999999999999999999D", "PT9223372036855S"] {
            assert!(big.parse::<Interval>().is_err(), "{big}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(months: i32, days: i32, micros: i64) {
            let interval = Interval { months, days, micros };
            prop_assert_eq!(read(&interval.to_string()).parts(), interval.parts());
        }
    }
}
