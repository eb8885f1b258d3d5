//! Timestamps, dates and times of day as integers, and back as text. jiff reads and writes the calendar; the infinities are ours.

use jiff::civil;
use jiff::tz::Offset;

const INFINITY: &str = "infinity";
const NEGATIVE_INFINITY: &str = "-infinity";
const DAY_MICROS: i64 = 24 * 60 * 60 * 1_000_000;

pub(crate) fn parse_timestamp(text: &str) -> Option<i64> {
    match text {
        INFINITY => Some(i64::MAX),
        NEGATIVE_INFINITY => Some(i64::MIN),
        _ => Some(text.parse::<jiff::Timestamp>().ok()?.as_microsecond()),
    }
}

pub(crate) fn parse_date(text: &str) -> Option<i32> {
    match text {
        INFINITY => Some(i32::MAX),
        NEGATIVE_INFINITY => Some(i32::MIN),
        _ if text.len() == 10 => {
            let date: civil::Date = text.parse().ok()?;
            let days = civil::date(1970, 1, 1).until(date).ok()?.get_days();
            Some(days)
        }
        _ => None,
    }
}

/// `HH:MM:SS`, with up to six digits of a second's fraction; the day ends with `24:00:00`.
pub(crate) fn parse_time(text: &str) -> Option<i64> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let two = |at: usize| clock.get(at..at + 2)?.parse::<i64>().ok();
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let form = clock.len() == 8
        && clock.bytes().enumerate().all(|(i, b)| if i % 3 == 2 { b == b':' } else { b.is_ascii_digit() });
    if !form || !digits(fraction) || fraction.len() > 6 || text.ends_with('.') {
        return None;
    }
    let (hours, minutes, seconds) = (two(0)?, two(3)?, two(6)?);
    let micros = ((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + format!("{fraction:0<6}").parse::<i64>().ok()?;
    (minutes < 60 && seconds < 60 && micros <= DAY_MICROS).then_some(micros)
}

/// `HH:MM:SS` with microseconds.
pub(crate) fn write_time(micros: i64, out: &mut String) {
    use std::fmt::Write as _;
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let _ = write!(out, "{:02}:{:02}:{:02}.{fraction:06}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
}

/// RFC 3339 in UTC with microseconds. A time outside the years -9999 to 9999 prints as the infinity on its side.
pub(crate) fn write_timestamp(micros: i64, out: &mut String) {
    use std::fmt::Write as _;
    match (micros, jiff::Timestamp::from_microsecond(micros)) {
        (i64::MIN.., Ok(timestamp)) => {
            let at = Offset::UTC.to_datetime(timestamp);
            let _ = write!(
                out,
                "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
                at.year(),
                at.month(),
                at.day(),
                at.hour(),
                at.minute(),
                at.second(),
                at.subsec_nanosecond() / 1_000
            );
        }
        (micros, Err(_)) => out.push_str(if micros > 0 { INFINITY } else { NEGATIVE_INFINITY }),
    }
}

pub(crate) fn write_date(days: i32, out: &mut String) {
    use std::fmt::Write as _;
    let span = jiff::Span::new().try_days(days);
    match span.and_then(|span| civil::date(1970, 1, 1).checked_add(span)) {
        Ok(date) => {
            let _ = write!(out, "{:04}-{:02}-{:02}", date.year(), date.month(), date.day());
        }
        Err(_) => out.push_str(if days > 0 { INFINITY } else { NEGATIVE_INFINITY }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_instants() {
        assert_eq!(parse_timestamp("1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(parse_timestamp("2018-01-31T16:10:09.5Z"), Some(1_517_415_009_500_000));
        assert_eq!(parse_timestamp("2018-01-31T16:10:09"), None);
        let mut out = String::new();
        write_timestamp(1_517_415_009_500_000, &mut out);
        assert_eq!(out, "2018-01-31T16:10:09.500000Z");
        out.clear();
        write_timestamp(-1, &mut out);
        assert_eq!(out, "1969-12-31T23:59:59.999999Z");
        out.clear();
        write_timestamp(i64::MAX, &mut out);
        assert_eq!(out, "infinity");
    }

    #[test]
    fn dates_are_days() {
        for text in ["1970-01-01", "2024-02-29", "0001-01-01", "9999-12-31", "infinity", "-infinity"] {
            let mut out = String::new();
            write_date(parse_date(text).unwrap(), &mut out);
            assert_eq!(out, text);
        }
        assert_eq!(parse_date("2024-02-30"), None);
        assert_eq!(parse_date("1969-12-31"), Some(-1));
    }
    #[test]
    fn times_are_microseconds_of_a_day() {
        for (text, micros) in [
            ("00:00:00.000000", 0),
            ("16:10:09.500000", 58_209_500_000),
            ("23:59:59.999999", DAY_MICROS - 1),
            ("24:00:00.000000", DAY_MICROS),
        ] {
            assert_eq!(parse_time(text), Some(micros));
            let mut out = String::new();
            write_time(micros, &mut out);
            assert_eq!(out, text);
        }
        assert_eq!(parse_time("16:10:09.5"), Some(58_209_500_000));
        assert_eq!(parse_time("16:10:09"), Some(58_209_000_000));
        for bad in [
            "",
            "16:10",
            "24:00:00.000001",
            "24:00:01",
            "25:00:00",
            "12:60:00",
            "12:00:60",
            "12:00:00.",
            "-1:00:00",
            "é2:00:0",
            "12:00:00.0000001",
        ] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }
}
