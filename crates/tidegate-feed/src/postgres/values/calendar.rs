//! Dates and times as PostgreSQL prints and sends them: any year, BC, `24:00:00`, infinities.

/// Days from 1970-01-01 to 2000-01-01, where PostgreSQL counts from.
const EPOCH_DAYS: i64 = 10_957;
const DAY_MICROS: i64 = 86_400_000_000;

/// The days since 1970 of a date in `DateStyle = ISO`.
pub(super) fn date_from_text(text: &str) -> Option<i32> {
    match text {
        "infinity" => Some(i32::MAX),
        "-infinity" => Some(i32::MIN),
        _ => {
            let (text, before_christ) = era(text);
            days(text, before_christ).map(finite_date)
        }
    }
}

/// The days since 1970 of a date as sent: days since 2000.
pub(super) fn date_from_binary(days: i32) -> i32 {
    match days {
        i32::MIN | i32::MAX => days,
        _ => finite_date(i64::from(days) + EPOCH_DAYS),
    }
}

/// The microseconds since 1970 UTC of a timestamp in `DateStyle = ISO`; without an offset it is taken as UTC.
pub(super) fn timestamp_from_text(text: &str) -> Option<i64> {
    match text {
        "infinity" => return Some(i64::MAX),
        "-infinity" => return Some(i64::MIN),
        _ => {}
    }
    let (text, before_christ) = era(text);
    let (date, rest) = text.split_once(' ')?;
    let (time, offset) = match rest.find(['+', '-']) {
        Some(at) => (&rest[..at], offset_seconds(&rest[at..])?),
        None => (rest, 0),
    };
    let micros = i128::from(days(date, before_christ)?) * i128::from(DAY_MICROS) + i128::from(time_from_text(time)?);
    Some(finite_timestamp(micros - i128::from(offset) * 1_000_000))
}

/// The microseconds since 1970 UTC of a timestamp as sent: microseconds since 2000.
pub(super) fn timestamp_from_binary(micros: i64) -> i64 {
    match micros {
        i64::MIN | i64::MAX => micros,
        _ => finite_timestamp(i128::from(micros) + i128::from(EPOCH_DAYS) * i128::from(DAY_MICROS)),
    }
}

/// The microseconds of the day, up to and with `24:00:00`.
pub(super) fn time_from_text(text: &str) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = whole.split(':').map(|part| if part.len() == 2 { number(part) } else { None });
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    if parts.next().is_some() || hour > 24 || minute > 59 || second > 59 || fraction.len() > 6 {
        return None;
    }
    let mut micros = if fraction.is_empty() { 0 } else { number(fraction)? };
    for _ in fraction.len()..6 {
        micros *= 10;
    }
    time_from_binary(((hour * 60 + minute) * 60 + second) * 1_000_000 + micros)
}

/// The microseconds of the day as sent, where they are of a day.
pub(super) fn time_from_binary(micros: i64) -> Option<i64> {
    (0..=DAY_MICROS).contains(&micros).then_some(micros)
}

fn era(text: &str) -> (&str, bool) {
    match text.strip_suffix(" BC") {
        Some(text) => (text, true),
        None => (text, false),
    }
}

/// PostgreSQL's last years (from 294,247) are past what 64 bits of microseconds since 1970 hold: they become the last
/// moment that is not infinity.
fn finite_timestamp(micros: i128) -> i64 {
    // The clamp makes it fit.
    micros.clamp(i128::from(i64::MIN) + 1, i128::from(i64::MAX) - 1) as i64
}

fn finite_date(days: i64) -> i32 {
    // The clamp makes it fit.
    days.clamp(i64::from(i32::MIN) + 1, i64::from(i32::MAX) - 1) as i32
}

/// Days since 1970 of `YYYY-MM-DD`, the year of four to seven digits. Howard Hinnant's calculation of the proleptic
/// Gregorian calendar.
fn days(text: &str, before_christ: bool) -> Option<i64> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || !(4..=7).contains(&year.len()) || month.len() != 2 || day.len() != 2 {
        return None;
    }
    let (year, month, day) = (number(year)?, number(month)?, number(day)?);
    // The year before 1 AD is 1 BC.
    let year = if before_christ { 1 - year } else { year };
    if !(1..=12).contains(&month) || !(1..=days_of(year, month)).contains(&day) {
        return None;
    }
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    Some(era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468)
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year.rem_euclid(4) == 0 && (year.rem_euclid(100) != 0 || year.rem_euclid(400) == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// `+HH`, `+HH:MM` or `+HH:MM:SS` in seconds.
fn offset_seconds(text: &str) -> Option<i64> {
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let mut seconds = 0;
    let mut unit = 3_600;
    for part in text.get(1..)?.split(':') {
        if part.len() != 2 || unit == 0 {
            return None;
        }
        seconds += number(part)? * unit;
        unit /= 60;
    }
    Some(sign * seconds)
}

fn number(digits: &str) -> Option<i64> {
    if digits.len() <= 18 && digits.bytes().all(|b| b.is_ascii_digit()) { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_year_of_either_era() {
        for (text, days) in [
            ("1970-01-01", 0),
            ("1969-12-31", -1),
            ("2000-01-01", 10_957),
            ("2000-02-29", 11_016),
            ("0001-01-01", -719_162),
            ("0001-12-31 BC", -719_163),
            ("0001-02-29 BC", -719_469),
            ("4714-11-24 BC", -2_440_588),
            ("5874897-12-31", 2_145_042_905),
            ("infinity", i32::MAX),
            ("-infinity", i32::MIN),
        ] {
            assert_eq!(date_from_text(text), Some(days), "{text}");
        }
        for wrong in ["", "1970-1-01", "1970-02-30", "1900-02-29", "1970-13-01", "+970-01-01", "1970-01-01-01", "BC"] {
            assert_eq!(date_from_text(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn timestamps_with_and_without_an_offset() {
        for (text, micros) in [
            ("1970-01-01 00:00:00", 0),
            ("1970-01-01 00:00:00.1", 100_000),
            ("1969-12-31 23:59:59.999999+00", -1),
            ("1970-01-01 05:30:15+05:30:15", 0),
            ("1969-12-31 23:00:00-01", 0),
            ("4714-11-24 00:00:00+00 BC", -210_866_803_200_000_000),
            ("294276-12-31 23:59:59.999999", i64::MAX - 1),
            ("infinity", i64::MAX),
            ("-infinity", i64::MIN),
        ] {
            assert_eq!(timestamp_from_text(text), Some(micros), "{text}");
        }
        for wrong in ["", "1970-01-01", "1970-01-01T00:00:00", "1970-01-01 0:00:00", "1970-01-01 00:00:00+0"] {
            assert_eq!(timestamp_from_text(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_day_ends_with_24_hours() {
        assert_eq!(time_from_text("24:00:00"), Some(DAY_MICROS));
        assert_eq!(time_from_text("23:59:59.999999"), Some(DAY_MICROS - 1));
        assert_eq!(time_from_text("00:00:00.5"), Some(500_000));
        for wrong in ["", "24:00:00.000001", "12:60:00", "12:00", "12:00:00.1234567", "-1:00:00", "00:00:00.-1"] {
            assert_eq!(time_from_text(wrong), None, "{wrong}");
        }
        assert_eq!(time_from_binary(-1), None);
    }

    #[test]
    fn what_is_sent_past_the_last_year_is_not_infinity() {
        assert_eq!(timestamp_from_binary(i64::MAX), i64::MAX);
        assert_eq!(timestamp_from_binary(i64::MAX - 1), i64::MAX - 1);
        assert_eq!(timestamp_from_binary(0), 946_684_800_000_000);
        assert_eq!(date_from_binary(i32::MAX - 1), i32::MAX - 1);
        assert_eq!(date_from_binary(i32::MIN), i32::MIN);
    }
}
