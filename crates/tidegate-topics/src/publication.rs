//! What subscribers are told: a record, and its encoded forms.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use crate::{ClientInfo, Topic, TopicError};

/// Arrays and objects within each other, in data: what common parsers take.
pub const JSON_DEPTH_MAX: usize = 128;

/// Encoded forms that a publication can carry. Which codec has which slot is the edge's business.
pub const SLOTS: usize = 8;

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// What somebody published.
    Message,
    /// Somebody subscribed: `client` says who.
    Join,
    /// Somebody no longer does.
    Leave,
    /// An ephemeral entry was set or cleared; the data says it, as JSON. In no history, without an offset.
    Ephemeral,
    /// A whole message of the application to those in a room, as the event protocol sends it.
    Event,
}

/// Why an ephemeral entry is no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cleared {
    /// Its owner cleared it.
    Explicit,
    /// Its owner's connection ended.
    Disconnect,
    /// Its time was over.
    Expired,
    /// The node that its owner was connected to is gone.
    NodeLost,
    /// Its owner was revoked.
    Revoked,
}

impl Cleared {
    /// As the wire and the metrics have it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Explicit => "explicit",
            Self::Disconnect => "disconnect",
            Self::Expired => "expired",
            Self::NodeLost => "node_lost",
            Self::Revoked => "revoked",
        }
    }
}

/// What is published: bytes, and whether they are a JSON value. Whoever makes one has checked that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Data {
    /// A JSON value in UTF-8, on one line: [`Data::json`] makes it so.
    Json(Bytes),
    /// Anything.
    Binary(Bytes),
}

impl Data {
    /// A JSON value, without the line breaks between its tokens: some protocols put them between messages. Within a string
    /// there are none, for there they are escaped.
    ///
    /// # Errors
    /// [`TopicError::TooDeep`] past [`JSON_DEPTH_MAX`].
    pub fn json(value: Bytes) -> Result<Self, TopicError> {
        if nests_deeper(&value, JSON_DEPTH_MAX) {
            return Err(TopicError::TooDeep(JSON_DEPTH_MAX));
        }
        let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
        Ok(Self::Json(match value.iter().any(is_break) {
            true => value.iter().filter(|byte| !is_break(byte)).copied().collect(),
            false => value,
        }))
    }

    /// As they were published.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Json(bytes) | Self::Binary(bytes) => bytes,
        }
    }
}

/// Whether valid JSON has more arrays and objects within each other.
#[must_use]
pub fn nests_deeper(json: &[u8], max: usize) -> bool {
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    json.iter().any(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'[' | b'{' if !quoted => depth += 1,
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > max
    })
}

/// One thing that happened in a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where.
    pub topic: Arc<Topic>,
    /// What.
    pub kind: Kind,
    /// From 1 on without a gap within an epoch; 0 where there is none.
    pub offset: u64,
    /// That epoch; empty where there is no offset.
    pub epoch: Arc<str>,
    /// Which value it replaces, in a topic that keeps the last of each key.
    pub key: Option<Box<str>>,
    /// Whether it removes that value.
    pub removed: bool,
    /// What was published.
    pub data: Data,
    /// Who published, joined or left. None for a server that did not say.
    pub client: Option<Arc<ClientInfo>>,
    /// What subscribers may filter by: names and values. Few.
    pub tags: Box<[(Box<str>, Box<str>)]>,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
}

impl Record {
    /// Bytes in memory, for every bound.
    #[must_use]
    pub fn size(&self) -> usize {
        let tags: usize = self.tags.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
        size_of::<Self>() + self.data.bytes().len() + self.key.as_ref().map_or(0, |key| key.len()) + tags
    }
}

/// A record on its way to subscribers, with its encoded forms: each made once, by whoever needs it first.
#[derive(Debug)]
pub struct Publication {
    /// What happened.
    pub record: Arc<Record>,
    /// The publication before it, of the same key, where the namespace tells differences.
    pub previous: Option<Arc<Record>>,
    forms: [OnceLock<Box<[u8]>>; SLOTS],
    /// Their compressed forms.
    packed: [OnceLock<Box<[u8]>>; SLOTS],
}

impl Publication {
    /// Of a record, with the one before it.
    #[must_use]
    pub fn new(record: Arc<Record>, previous: Option<Arc<Record>>) -> Self {
        Self { record, previous, forms: Default::default(), packed: Default::default() }
    }

    /// An encoded form, made by `encode` the first time. `slot` is below [`SLOTS`].
    pub fn form(&self, slot: usize, encode: impl FnOnce(&Self) -> Vec<u8>) -> &[u8] {
        self.forms[slot].get_or_init(|| encode(self).into())
    }

    /// The form of a slot, if it was asked for before.
    #[must_use]
    pub fn formed(&self, slot: usize) -> Option<&[u8]> {
        self.forms[slot].get().map(|form| &**form)
    }

    /// A form's compressed form, made by `compress` the first time.
    pub fn packed(&self, slot: usize, compress: impl FnOnce() -> Vec<u8>) -> &[u8] {
        self.packed[slot].get_or_init(|| compress().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_kept_as_it_is_on_one_line() {
        for (given, kept) in [
            (r#"{"b": 1.50,"a":"\n"}"#, r#"{"b": 1.50,"a":"\n"}"#),
            ("[1,\r\n 2,\n\n3]\n", "[1, 2,3]"),
            ("\"é\"", "\"é\""),
        ] {
            assert_eq!(Data::json(given.into()), Ok(Data::Json(kept.into())));
        }
    }
}
