//! Timestamps, dates and times of day as integers, and back as text. jiff reads and writes the calendar; the infinities are ours.

use jiff::civil;

const INFINITY: &str = "infinity";
const NEGATIVE_INFINITY: &str = "-infinity";
const DAY_MICROS: i64 = 24 * 60 * 60 * 1_000_000;

pub(crate) fn parse_timestamp(text: &str) -> Option<i64> {
    match text {
        INFINITY => Some(i64::MAX),
        NEGATIVE_INFINITY => Some(i64::MIN),
        _ => match text.parse::<jiff::Timestamp>() {
            Ok(timestamp) => Some(timestamp.as_microsecond()),
            Err(_) => parse_utc(text),
        },
    }
}

/// What jiff's calendar, which ends just before the year 10000 does, has no place for.
fn parse_utc(text: &str) -> Option<i64> {
    let (day, clock) = text.strip_suffix('Z')?.split_once('T')?;
    let days = match parse_far_day(day) {
        Some(days) => days,
        None => i64::from(parse_date(day)?),
    };
    let micros = days.checked_mul(DAY_MICROS)?.checked_add(parse_time(clock)?)?;
    (micros != i64::MAX && micros != i64::MIN).then_some(micros)
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
        _ => i32::try_from(parse_far_day(text)?).ok().filter(|days| *days != i32::MAX && *days != i32::MIN),
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

/// RFC 3339 in UTC with microseconds. Years before 0 and after 9999 have a sign and at least six digits, as in ISO 8601.
pub(crate) fn write_timestamp(micros: i64, out: &mut String) {
    match micros {
        i64::MAX => out.push_str(INFINITY),
        i64::MIN => out.push_str(NEGATIVE_INFINITY),
        _ => {
            write_day(micros.div_euclid(DAY_MICROS), out);
            out.push('T');
            write_time(micros.rem_euclid(DAY_MICROS), out);
            out.push('Z');
        }
    }
}

/// `YYYY-MM-DD`. Years before 0 and after 9999 as in [`write_timestamp`].
pub(crate) fn write_date(days: i32, out: &mut String) {
    match days {
        i32::MAX => out.push_str(INFINITY),
        i32::MIN => out.push_str(NEGATIVE_INFINITY),
        _ => write_day(i64::from(days), out),
    }
}

fn write_day(days: i64, out: &mut String) {
    use std::fmt::Write as _;
    let (year, month, day) = civil_of_days(days);
    let _ = match year {
        0..=9999 => write!(out, "{year:04}-{month:02}-{day:02}"),
        _ => write!(out, "{year:+07}-{month:02}-{day:02}"),
    };
}

/// Days of 400 years, after which the calendar repeats.
const ERA_DAYS: i64 = 146_097;
/// 1970-01-01, counted from the 1st of March of the year 0.
const EPOCH_DAYS: i64 = 719_468;

/// Year, month and day, in the proleptic Gregorian calendar. Years begin in March here, so that a leap day ends one.
fn civil_of_days(days: i64) -> (i64, i64, i64) {
    let days = days + EPOCH_DAYS;
    let (era, of_era) = (days.div_euclid(ERA_DAYS), days.rem_euclid(ERA_DAYS));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + i64::from(month <= 2), month, day)
}

fn days_of_civil(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    era * ERA_DAYS + of_era * 365 + of_era / 4 - of_era / 100 + (153 * month + 2) / 5 + day - 1 - EPOCH_DAYS
}

/// A day in the form that years of more than four digits have: a sign, six or seven digits.
fn parse_far_day(text: &str) -> Option<i64> {
    let (year, rest) = text.get(1..)?.split_once('-')?;
    let (month, day) = rest.split_once('-')?;
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let form = text.starts_with(['+', '-'])
        && matches!(year.len(), 6 | 7)
        && (month.len(), day.len()) == (2, 2)
        && [year, month, day].into_iter().all(digits);
    if !form {
        return None;
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let (year, month, day) = (sign * year.parse::<i64>().ok()?, month.parse().ok()?, day.parse().ok()?);
    let days = days_of_civil(year, month, day);
    // Only a day that there is comes out as it went in.
    (civil_of_days(days) == (year, month, day)).then_some(days)
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
    fn far_days_and_instants_come_back_as_they_went() {
        let dates = ["-004712-11-24", "-000001-12-31", "0000-01-01", "9999-12-31", "+010000-01-01", "+5874897-12-31"];
        for text in dates {
            let mut out = String::new();
            write_date(parse_date(text).unwrap(), &mut out);
            assert_eq!(out, text);
        }
        for day in dates.iter().filter(|day| day.len() < 14) {
            let text = format!("{day}T23:59:59.999999Z");
            let mut out = String::new();
            write_timestamp(parse_timestamp(&text).unwrap(), &mut out);
            assert_eq!(out, text);
        }
        for bad in [
            "+010000-13-01",
            "+010000-02-30",
            "+10000-01-01",
            "010000-01-01",
            "+01000é-01-01",
            "+",
            "-00471-1-24",
            "+9999999-12-31T00:00:00Z",
        ] {
            assert_eq!((parse_date(bad), parse_timestamp(bad)), (None, None), "{bad}");
        }
    }

    #[test]
    fn the_calendar_is_jiffs() {
        for days in (-719_528..2_932_896).step_by(97) {
            let mut out = String::new();
            write_date(days, &mut out);
            assert_eq!(parse_date(&out), Some(days));
        }
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
