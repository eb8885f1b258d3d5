//! Times on the wire: RFC 3339 in UTC, and milliseconds since 1970 inside. jiff does the calendar.

use std::io::Write;

use jiff::SignedDuration;
use jiff::civil::DateTime;

/// The last moment that has a spelling: 9999-12-31T23:59:59.999Z.
pub const LAST_MS: u64 = 253_402_300_799_999;

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
/// `2026-05-13T23:42:00`
const SECONDS_LEN: usize = 19;
/// `.123456789`
const FRACTION_LEN_MAX: usize = 10;

/// Appends `2026-05-13T23:42:00.000Z`: 24 bytes, nothing is allocated beside them. What is later than [`LAST_MS`] is that.
pub fn write(ms: u64, out: &mut Vec<u8>) {
    let since = SignedDuration::from_millis(ms.min(LAST_MS).cast_signed());
    let at = EPOCH.saturating_add(since);
    // A Vec takes all.
    let _ = write!(out, "{at:.3}Z");
}

/// Reads `2026-05-13T23:42:00Z`: a date, a time with up to nine digits of a fraction (less than a millisecond is cut off), and `Z` or
/// `+00:00`, no other offset. What is before 1970 is 0.
#[must_use]
pub fn read(text: &str) -> Option<u64> {
    let utc = text.strip_suffix(['Z', 'z']).or_else(|| text.strip_suffix("+00:00"))?;
    let (seconds, fraction) = utc.split_at_checked(SECONDS_LEN)?;
    let form = seconds.bytes().zip(*b"0000-00-00T00:00:00").all(|(byte, form)| match form {
        b'0' => byte.is_ascii_digit(),
        b'T' => byte.eq_ignore_ascii_case(&b'T'),
        _ => byte == form,
    });
    let digits = fraction.strip_prefix('.').unwrap_or("0");
    let is_fraction = fraction.is_empty() || (fraction.starts_with('.') && fraction.len() <= FRACTION_LEN_MAX);
    if !form || !is_fraction || digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let at: DateTime = utc.parse().ok()?;
    Some(u64::try_from(at.duration_since(EPOCH).as_millis()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(ms: u64) -> String {
        let mut out = Vec::new();
        write(ms, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_are_utc_with_milliseconds() {
        assert_eq!(written(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(written(1_778_715_720_000), "2026-05-13T23:42:00.000Z");
        assert_eq!(written(951_782_400_007), "2000-02-29T00:00:00.007Z");
        assert_eq!(written(LAST_MS), "9999-12-31T23:59:59.999Z");
        assert_eq!(written(u64::MAX), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn other_spellings_of_utc_are_read() {
        let ms = 1_778_715_720_000;
        for text in ["2026-05-13T23:42:00Z", "2026-05-13t23:42:00z", "2026-05-13T23:42:00+00:00"] {
            assert_eq!(read(text), Some(ms), "{text}");
        }
        assert_eq!(read("2026-05-13T23:42:00.123999+00:00"), Some(ms + 123));
        assert_eq!(read("2026-05-13T23:42:00.1Z"), Some(ms + 100));
        assert_eq!(read("9999-12-31T23:59:59.999999Z"), Some(LAST_MS));
        assert_eq!(read("1969-12-31T23:59:59Z"), Some(0));
        assert_eq!(read("0001-01-01T00:00:00Z"), Some(0));
    }

    #[test]
    fn what_is_no_time_in_utc_is_not_read() {
        let bad = [
            "",
            "Z",
            "2026",
            "2026-05-13",
            "2026-05-13T23:42:00",
            "2026-05-13T23:42Z",
            "2026-05-13 23:42:00Z",
            "2026-05-13T23:42:00+01:00",
            "2026-05-13T23:42:00-00:00",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-05-13T24:00:00Z",
            "2026-05-13T23:42:00.Z",
            "2026-05-13T23:42:00.1234567890Z",
            "20260513T234200Z",
            "2026-05-13T23:42:00[UTC]Z",
            "12026-05-13T23:42:00Z",
            "2026-05-13T23:42:0éZ",
            "2026-05-13T23:42:00,5Z",
        ];
        for text in bad {
            assert_eq!(read(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(ms in 0..=LAST_MS) {
            let text = written(ms);
            prop_assert_eq!(text.len(), 24);
            prop_assert_eq!(read(&text), Some(ms));
        }

        #[test]
        fn any_text_is_read_or_not(text in "\\PC{0,40}") {
            let _ = read(&text);
        }
    }
}
