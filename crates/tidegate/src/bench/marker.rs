//! The mark that a message carries: which publication it is of, and when that was sent. So that a receiver needs to know
//! nothing but the clock that it shares with the sender.

use std::time::Instant;

use memchr::memmem::Finder;

/// `tg:` and two numbers of fixed width.
const PREFIX: &str = "tg:";
const NUMBER_DIGITS: usize = 8;
const NANOS_DIGITS: usize = 15;
/// Length of a mark, in bytes.
pub(crate) const MARK_BYTES: usize = PREFIX.len() + NUMBER_DIGITS + 1 + NANOS_DIGITS;
/// Publications of a run: what the digits hold.
pub(crate) const NUMBER_MAX: u64 = 99_999_999;

/// The clock of a run, for senders and receivers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Nanoseconds since the start.
    pub(crate) fn nanos(self) -> u64 {
        self.0.elapsed().as_nanos() as u64
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) number: u32,
    pub(crate) sent: u64,
}

impl Mark {
    pub(crate) fn text(self) -> String {
        format!("{PREFIX}{:0NUMBER_DIGITS$}:{:0NANOS_DIGITS$}", self.number, self.sent)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let rest = bytes.get(PREFIX.len()..MARK_BYTES)?;
        let (number, sent) = (&rest[..NUMBER_DIGITS], &rest[NUMBER_DIGITS + 1..]);
        Some(Self { number: digits(number)? as u32, sent: digits(sent)? })
    }
}

fn digits(bytes: &[u8]) -> Option<u64> {
    bytes.iter().try_fold(0, |number: u64, byte| {
        byte.is_ascii_digit().then(|| number.wrapping_mul(10).wrapping_add(u64::from(byte - b'0')))
    })
}

/// Finds marks in bytes.
pub(crate) struct Marks(Finder<'static>);

impl Marks {
    pub(crate) fn new() -> Self {
        Self(Finder::new(PREFIX))
    }

    pub(crate) fn find<'a>(&'a self, bytes: &'a [u8]) -> impl Iterator<Item = Mark> + 'a {
        self.0.find_iter(bytes).filter_map(|at| Mark::parse(&bytes[at..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_wherever_they_stand() {
        let (one, two) = (Mark { number: 7, sent: 123 }, Mark { number: 99_999_999, sent: 999_999_999_999_999 });
        assert_eq!(one.text().len(), MARK_BYTES);
        let text = format!(r#"{{"a":"{}","tg:b":"tg:{}"}} tg:00"#, one.text(), two.text());
        assert_eq!(Marks::new().find(text.as_bytes()).collect::<Vec<_>>(), [one, two]);
        assert_eq!(Marks::new().find(b"tg:0000000x:000000000000000").count(), 0);
    }
}
