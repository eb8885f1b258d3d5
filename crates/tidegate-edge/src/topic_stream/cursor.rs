//! Where a client is in each of the topics of one stream, as the id of an event. Opaque to clients, and compared, never
//! trusted: what is wrong in it is found out by the epoch.
//!
//! A byte for the form; then for each topic that has a position, in the order of their marks: the mark (4 bytes), the offset
//! (8), the length of the epoch (1) and the epoch. In base64 for addresses: 32 topics are some 1,300 characters.

use std::fmt;

use base64::Engine as _;
use base64::display::Base64Display;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tidegate_topics::{Published, Since};

/// Topics of one stream.
pub(super) const TOPICS_MAX: usize = 32;
/// Longest epoch that a cursor carries, in bytes; a topic with a longer one begins anew.
const EPOCH_BYTES_MAX: usize = 64;
const PLACE_BYTES_MIN: usize = 13;
/// Longest that is looked at.
const BYTES_MAX: usize = 1 + TOPICS_MAX * (PLACE_BYTES_MIN + EPOCH_BYTES_MAX);
const FORM: u8 = 1;

/// Positions, ordered by the marks of their topics.
#[derive(Debug, Default)]
pub(super) struct Cursor(Vec<(u32, Since)>);

impl Cursor {
    /// As the client has it; `None` if it is none of ours.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        if text.len() > BYTES_MAX.div_ceil(3) * 4 {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let mut rest = bytes.strip_prefix(&[FORM])?;
        let mut places: Vec<(u32, Since)> = Vec::new();
        while !rest.is_empty() {
            let (mark, after) = rest.split_first_chunk()?;
            let (offset, after) = after.split_first_chunk()?;
            let (length, after) = after.split_first()?;
            let (epoch, after) = after.split_at_checked(usize::from(*length))?;
            let (mark, offset) = (u32::from_be_bytes(*mark), u64::from_be_bytes(*offset));
            if places.len() == TOPICS_MAX || places.last().is_some_and(|(last, _)| *last >= mark) {
                return None;
            }
            places.push((mark, Since { epoch: std::str::from_utf8(epoch).ok()?.into(), offset }));
            rest = after;
        }
        Some(Self(places))
    }

    /// The position in a topic.
    pub(super) fn find(&self, topic: &str) -> Option<&Since> {
        let at = self.0.binary_search_by_key(&mark(topic), |(mark, _)| *mark).ok()?;
        self.0.get(at).map(|(_, since)| since)
    }
}

/// Positions on their way to the client.
#[derive(Debug)]
pub(super) struct Written(Vec<u8>);

impl Written {
    /// Of topics in the order of their marks. One without an epoch has no position.
    pub(super) fn of<'a>(places: impl Iterator<Item = (&'a str, &'a Published)>) -> Self {
        let (mut bytes, mut last) = (vec![FORM], None);
        for (topic, at) in places {
            let mark = mark(topic);
            let Ok(length) = u8::try_from(at.epoch.len()) else { continue };
            // Of two topics of the same mark the second begins anew.
            if length == 0 || usize::from(length) > EPOCH_BYTES_MAX || last == Some(mark) {
                continue;
            }
            last = Some(mark);
            bytes.extend_from_slice(&mark.to_be_bytes());
            bytes.extend_from_slice(&at.offset.to_be_bytes());
            bytes.push(length);
            bytes.extend_from_slice(at.epoch.as_bytes());
        }
        Self(bytes)
    }
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Base64Display::new(&self.0, &URL_SAFE_NO_PAD).fmt(f)
    }
}

/// What a cursor knows a topic by: FNV-1a, the same wherever it is computed.
pub(super) fn mark(topic: &str) -> u32 {
    topic.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(places: &[(String, Published)]) -> String {
        let mut places: Vec<_> = places.iter().map(|(topic, at)| (&**topic, at)).collect();
        places.sort_by_key(|(topic, _)| mark(topic));
        Written::of(places.into_iter()).to_string()
    }

    fn at(epoch: &str, offset: u64) -> Published {
        Published { epoch: epoch.into(), offset }
    }

    #[test]
    fn a_position_comes_back_for_each_topic_that_has_one() {
        let places: Vec<_> =
            (0..TOPICS_MAX as u64).map(|n| (format!("t\u{e9}:{n}"), at(&format!("epoch{n}"), n << 40))).collect();
        let text = written(&places);
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')), "{text}");
        let cursor = Cursor::parse(text.as_bytes()).unwrap();
        for (topic, at) in &places {
            assert_eq!(cursor.find(topic), Some(&Since { epoch: (*at.epoch).into(), offset: at.offset }));
        }
        assert_eq!(cursor.find("another"), None);
        let without = [("a".to_owned(), at("", 0)), ("b".to_owned(), at(&"x".repeat(65), 1))];
        assert_eq!(Cursor::parse(written(&without).as_bytes()).unwrap().0.len(), 0);
    }

    #[test]
    fn what_is_none_of_ours_is_no_cursor() {
        let good = written(&[("a".to_owned(), at("e", 7))]);
        assert!(Cursor::parse(good.as_bytes()).is_some());
        let twice = URL_SAFE_NO_PAD.decode(&good).unwrap();
        let twice = URL_SAFE_NO_PAD.encode([&twice[..], &twice[1..]].concat());
        let long = "A".repeat(1 << 20);
        for bad in ["", "7", "k3f9.q7mz.0/16B3748", &good[..good.len() - 1], &twice, &long, "\u{e9}", "AQ=="] {
            assert!(Cursor::parse(bad.as_bytes()).is_none(), "{bad:.40}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_sent_harms(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Cursor::parse(&bytes);
            if let Some(cursor) = Cursor::parse(URL_SAFE_NO_PAD.encode([&[FORM], &bytes[..]].concat()).as_bytes()) {
                prop_assert!(cursor.0.len() <= TOPICS_MAX);
                prop_assert!(cursor.0.is_sorted_by(|a, b| a.0 < b.0));
            }
        }
    }
}
