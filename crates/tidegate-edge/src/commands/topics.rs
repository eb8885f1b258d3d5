//! What is to be done in a topic, decoded.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use tidegate_identity::TopicVerb;
use tidegate_topics::{Data, PresenceAsk, Range, Since};

use super::{Envelope, needed, parse};
use crate::ApiError;

/// What a page has at most where the client says nothing.
const PAGE: usize = 100;
/// What a page has at most whatever the client says.
const PAGE_MAX: usize = 1_000;
/// Tags of a publication.
const TAGS_MAX: usize = 16;
/// Bytes of a tag's name, and of its value.
const TAG_BYTES_MAX: usize = 128;

pub(crate) type Tags = Box<[(Box<str>, Box<str>)]>;

/// What is to be done in a topic.
#[derive(Debug)]
pub(crate) enum Act {
    Subscribe { since: Option<Since> },
    Unsubscribe,
    Publish(Box<Post>),
    Presence(PresenceAsk),
    History(Range),
    Values { after: Option<Box<str>>, limit: usize },
    Set { key: Box<str>, payload: Bytes, ttl_ms: i64 },
    Clear { key: Box<str> },
    List,
}

/// What is to be published.
#[derive(Debug)]
pub(crate) struct Post {
    pub(crate) data: Data,
    pub(crate) key: Option<Box<str>>,
    pub(crate) removed: bool,
    pub(crate) tags: Tags,
    pub(crate) idempotency_key: Option<Box<str>>,
}

impl Act {
    /// What one must be allowed to do for it; leaving is everybody's right.
    pub(crate) fn verb(&self) -> Option<TopicVerb> {
        match self {
            Self::Subscribe { .. } | Self::List => Some(TopicVerb::Subscribe),
            Self::Publish(_) | Self::Set { .. } | Self::Clear { .. } => Some(TopicVerb::Publish),
            Self::Presence(_) => Some(TopicVerb::Presence),
            Self::History(_) | Self::Values { .. } => Some(TopicVerb::History),
            Self::Unsubscribe => None,
        }
    }
}

/// All that any of these events may bring.
#[derive(Deserialize)]
struct Json<'a> {
    #[serde(borrow)]
    topic: Option<Cow<'a, str>>,
    #[serde(borrow)]
    since: Option<&'a RawValue>,
    #[serde(borrow)]
    after: Option<Cow<'a, str>>,
    limit: Option<usize>,
    reverse: Option<bool>,
    #[serde(borrow, default, deserialize_with = "given")]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    key: Option<Cow<'a, str>>,
    removed: Option<bool>,
    tags: Option<BTreeMap<Box<str>, Box<str>>>,
    #[serde(borrow)]
    idempotency_key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    payload: Option<Cow<'a, str>>,
    ttl_ms: Option<i64>,
}

#[derive(Deserialize)]
struct SinceJson {
    epoch: Box<str>,
    offset: u64,
}

/// Null is something that can be published.
fn given<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl<'a> Envelope<'a> {
    /// The topic's name, unchecked, and what is to be done there. `None` for an event that is not about a topic.
    pub(crate) fn topic(&self) -> Option<Result<(Cow<'a, str>, Act), ApiError>> {
        let decode: fn(Json<'a>) -> Result<Act, ApiError> = match &*self.event {
            "topic.subscribe" => |json| Ok(Act::Subscribe { since: json.since.map(since).transpose()? }),
            "topic.unsubscribe" => |_| Ok(Act::Unsubscribe),
            "topic.publish" => |json| post(json).map(Act::Publish),
            "topic.presence" => |json| {
                let since = json.since.map(|raw| number(raw, "since")).transpose()?;
                Ok(Act::Presence(PresenceAsk { since, after: owned(json.after), limit: page(json.limit) }))
            },
            "topic.history" => |json| {
                let since = json.since.map(since).transpose()?;
                let reverse = json.reverse.unwrap_or(false);
                Ok(Act::History(Range { since, limit: page(json.limit), reverse, bytes_max: 0 }))
            },
            "topic.values" => |json| Ok(Act::Values { after: owned(json.after), limit: page(json.limit) }),
            "ephemeral.set" => |json| {
                let payload = base64(&json.payload.ok_or_else(|| missing("payload"))?)?;
                Ok(Act::Set { key: key(json.key)?, payload, ttl_ms: json.ttl_ms.unwrap_or(0) })
            },
            "ephemeral.clear" => |json| Ok(Act::Clear { key: key(json.key)? }),
            "ephemeral.list" => |_| Ok(Act::List),
            _ => return None,
        };
        let decoded = parse(self.data()).and_then(|mut json: Json<'a>| {
            let topic = json.topic.take().ok_or_else(|| missing("topic"))?;
            Ok((topic, decode(json)?))
        });
        Some(decoded)
    }
}

fn post(json: Json<'_>) -> Result<Box<Post>, ApiError> {
    Ok(Box::new(Post {
        data: Data::json(Bytes::copy_from_slice(needed(json.data, "data")?.get().as_bytes()))?,
        key: owned(json.key),
        removed: json.removed.unwrap_or(false),
        tags: tags(json.tags.unwrap_or_default())?,
        idempotency_key: owned(json.idempotency_key),
    }))
}

fn tags(tags: BTreeMap<Box<str>, Box<str>>) -> Result<Tags, ApiError> {
    let fits = |text: &str| text.len() <= TAG_BYTES_MAX;
    if tags.len() > TAGS_MAX || !tags.iter().all(|(name, value)| fits(name) && fits(value)) {
        let message = format!("must be at most {TAGS_MAX}, with names and values of at most {TAG_BYTES_MAX} bytes");
        return Err(at("tags", message));
    }
    Ok(tags.into_iter().collect())
}

fn since(raw: &RawValue) -> Result<Since, ApiError> {
    let SinceJson { epoch, offset } = parse(raw.get()).map_err(|error| at("since", error.message))?;
    Ok(Since { epoch, offset })
}

fn number(raw: &RawValue, field: &str) -> Result<u64, ApiError> {
    raw.get().parse().map_err(|_| at(field, "must be a whole number, 0 or more"))
}

fn base64(text: &str) -> Result<Bytes, ApiError> {
    STANDARD.decode(text).map(Into::into).map_err(|_| at("payload", "must be base64, with padding"))
}

fn key(key: Option<Cow<'_, str>>) -> Result<Box<str>, ApiError> {
    owned(key).ok_or_else(|| missing("key"))
}

fn owned(text: Option<Cow<'_, str>>) -> Option<Box<str>> {
    text.map(|text| text.into_owned().into())
}

fn page(limit: Option<usize>) -> usize {
    limit.unwrap_or(PAGE).min(PAGE_MAX)
}

fn missing(field: &str) -> ApiError {
    at(field, "is needed")
}

fn at(field: &str, message: impl Into<String>) -> ApiError {
    ApiError { path: Some(field.to_owned()), ..ApiError::malformed(message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(event: &str, data: &str) -> Result<(String, Act), ApiError> {
        let text = format!(r#"{{"event":"{event}","data":{data}}}"#);
        let envelope = Envelope::parse(&text).unwrap();
        envelope.topic().unwrap().map(|(topic, act)| (topic.into_owned(), act))
    }

    fn act(event: &str, data: &str) -> Act {
        decode(event, data).unwrap().1
    }

    #[test]
    fn every_event_decodes() {
        let since = |epoch: &str, offset| Some(Since { epoch: epoch.into(), offset });
        let Act::Subscribe { since: given } =
            act("topic.subscribe", r#"{"topic":"a","since":{"epoch":"e","offset":7}}"#)
        else {
            panic!()
        };
        assert_eq!(given, since("e", 7));
        assert!(matches!(act("topic.subscribe", r#"{"topic":"a","since":null}"#), Act::Subscribe { since: None }));
        assert!(matches!(act("topic.unsubscribe", r#"{"topic":"a"}"#), Act::Unsubscribe));
        let Act::Presence(ask) = act("topic.presence", r#"{"topic":"a","since":3,"after":"c","limit":5}"#) else {
            panic!()
        };
        assert_eq!((ask.since, ask.after.as_deref(), ask.limit), (Some(3), Some("c"), 5));
        let Act::History(range) = act("topic.history", r#"{"topic":"a","limit":99999,"reverse":true}"#) else {
            panic!()
        };
        assert_eq!((range.since, range.limit, range.reverse), (None, PAGE_MAX, true));
        let Act::Values { after, limit } = act("topic.values", r#"{"topic":"a"}"#) else { panic!() };
        assert_eq!((after, limit), (None, PAGE));
        let Act::Set { key, payload, ttl_ms } =
            act("ephemeral.set", r#"{"topic":"a","key":"k","payload":"eyJ4IjoxfQ==","ttl_ms":-1}"#)
        else {
            panic!()
        };
        assert_eq!((&*key, &payload[..], ttl_ms), ("k", &b"{\"x\":1}"[..], -1));
        assert!(matches!(act("ephemeral.clear", r#"{"topic":"a","key":"k"}"#), Act::Clear { .. }));
        assert!(matches!(act("ephemeral.list", r#"{"topic":"a"}"#), Act::List));
        assert_eq!(decode("ephemeral.list", r#"{"topic":"a\u0000b"}"#).unwrap().0, "a\0b");
        assert!(Envelope::parse(r#"{"event":"topic.dance"}"#).unwrap().topic().is_none());
    }

    #[test]
    fn what_is_published_stays_as_it_is_on_one_line() {
        let post = |data: &str| match act("topic.publish", &format!(r#"{{"topic":"a","data":{data}}}"#)) {
            Act::Publish(post) => post,
            other => panic!("{other:?}"),
        };
        for (data, kept) in [
            (r#"{"b": 1.50,"a":"\n"}"#, r#"{"b": 1.50,"a":"\n"}"#),
            ("null", "null"),
            ("[1,\r\n 2,\n\n3]", "[1, 2,3]"),
            ("\"é\"", "\"é\""),
        ] {
            assert_eq!(post(data).data, Data::Json(kept.to_owned().into()), "{data}");
        }
        let post = post(r#"1,"key":"k","removed":true,"tags":{"b":"2","a":"1"},"idempotency_key":"i""#);
        assert_eq!((post.key.as_deref(), post.removed, post.idempotency_key.as_deref()), (Some("k"), true, Some("i")));
        assert_eq!(*post.tags, [("a".into(), "1".into()), ("b".into(), "2".into())]);
    }

    #[test]
    fn what_does_not_fit_is_malformed_and_says_where() {
        let many: Vec<_> = (0..=TAGS_MAX).map(|tag| format!("\"{tag}\":\"\"")).collect();
        let (many, long) = (many.join(","), "x".repeat(TAG_BYTES_MAX + 1));
        for (event, data, path) in [
            ("topic.subscribe", "null", ""),
            ("topic.subscribe", "[]", ""),
            ("topic.subscribe", "{}", "topic"),
            ("topic.subscribe", r#"{"topic":7}"#, ""),
            ("topic.subscribe", r#"{"topic":"a","topic":"b"}"#, ""),
            ("topic.subscribe", r#"{"topic":"a","since":7}"#, "since"),
            ("topic.subscribe", r#"{"topic":"a","since":["e",7]}"#, "since"),
            ("topic.subscribe", r#"{"topic":"a","since":{"epoch":"e"}}"#, "since"),
            ("topic.subscribe", r#"{"topic":"a","since":{"epoch":"e","offset":-1}}"#, "since"),
            ("topic.publish", r#"{"topic":"a"}"#, "data"),
            ("topic.publish", r#"{"topic":"a","data":1,"key":1}"#, ""),
            ("topic.publish", r#"{"topic":"a","data":1,"tags":{"a":1}}"#, ""),
            ("topic.publish", &format!(r#"{{"topic":"a","data":1,"tags":{{{many}}}}}"#), "tags"),
            ("topic.publish", &format!(r#"{{"topic":"a","data":1,"tags":{{"{long}":""}}}}"#), "tags"),
            ("topic.presence", r#"{"topic":"a","since":"1"}"#, "since"),
            ("topic.presence", r#"{"topic":"a","since":1e3}"#, "since"),
            ("topic.history", r#"{"topic":"a","limit":-1}"#, ""),
            ("topic.history", r#"{"topic":"a","reverse":1}"#, ""),
            ("ephemeral.set", r#"{"topic":"a","key":"k"}"#, "payload"),
            ("ephemeral.set", r#"{"topic":"a","payload":""}"#, "key"),
            ("ephemeral.set", r#"{"topic":"a","key":"k","payload":"e"}"#, "payload"),
            ("ephemeral.set", r#"{"topic":"a","key":"k","payload":"","ttl_ms":1.5}"#, ""),
            ("ephemeral.clear", r#"{"topic":"a"}"#, "key"),
        ] {
            let error = decode(event, data).unwrap_err();
            let told = (error.code, error.path.as_deref().unwrap_or_default());
            assert_eq!(told, ("malformed", path), "{event} {data}");
        }
    }
}
