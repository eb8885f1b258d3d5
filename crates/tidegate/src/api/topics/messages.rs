//! The bodies in which something is published, within their bounds.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use axum::http::StatusCode;
use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;
use tidegate_edge::ApiError;
use tidegate_topics::Data;

/// Publications of one request: as many as leave a worker room for those of others.
pub(in crate::api) const MESSAGES_MAX: usize = 1_000;
/// Longest idempotency key, in bytes.
const IDEMPOTENCY_KEY_BYTES_MAX: usize = 128;
/// Longest key of a value, in bytes.
const KEY_BYTES_MAX: usize = 255;
/// Tags of one publication, and the bytes of one's name and value.
const TAGS_MAX: usize = 16;
const TAG_BYTES_MAX: usize = 255;

/// One publication. Which of `topic` and `topics` it has depends on the route.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct Message<'a> {
    pub(in crate::api) topic: Option<String>,
    pub(in crate::api) topics: Option<AtMost<String>>,
    #[serde(borrow, default, deserialize_with = "given")]
    pub(in crate::api) data: Option<&'a RawValue>,
    pub(in crate::api) key: Option<String>,
    #[serde(default)]
    pub(in crate::api) removed: bool,
    #[serde(default)]
    pub(in crate::api) tags: BTreeMap<String, String>,
    pub(in crate::api) idempotency_key: Option<String>,
    #[serde(default)]
    pub(in crate::api) skip_history: bool,
    pub(in crate::api) tenant: Option<String>,
}

/// Several.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Batch<'a> {
    #[serde(borrow)]
    pub(super) publish: AtMost<Message<'a>>,
    /// For those that name none themselves.
    pub(super) tenant: Option<String>,
}

/// A list of 1 to [`MESSAGES_MAX`] items; of a longer one no more are looked at.
pub(in crate::api) struct AtMost<T>(pub(in crate::api) Vec<T>);

impl Message<'_> {
    /// What is to be published: `null` where a value is removed and nothing said about it.
    pub(super) fn data(&self) -> Result<Data, ApiError> {
        match self.data {
            // A copy of its own: the body around it may be much larger, and what is kept is counted.
            Some(data) => Ok(Data::json(Bytes::copy_from_slice(data.get().as_bytes()))?),
            None if self.removed => Ok(Data::Json(Bytes::from_static(b"null"))),
            None => Err(invalid("data", "is missing")),
        }
    }

    pub(super) fn tags(&self) -> Box<[(Box<str>, Box<str>)]> {
        self.tags.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect()
    }

    /// Whether everything but the data has its size.
    pub(in crate::api) fn check(&self) -> Result<(), ApiError> {
        if let Some(key) = &self.idempotency_key {
            check_length("idempotency_key", key, IDEMPOTENCY_KEY_BYTES_MAX)?;
        }
        if let Some(key) = &self.key {
            check_length("key", key, KEY_BYTES_MAX)?;
        }
        if self.removed && self.key.is_none() {
            return Err(invalid("removed", "needs a key: of what?"));
        }
        if self.tags.len() > TAGS_MAX {
            return Err(invalid("tags", format!("must be at most {TAGS_MAX}")));
        }
        let is_long = |(name, value): &(&String, &String)| name.len().max(value.len()) > TAG_BYTES_MAX;
        match self.tags.iter().find(is_long) {
            Some(_) => Err(invalid("tags", format!("must have names and values of at most {TAG_BYTES_MAX} bytes"))),
            None => Ok(()),
        }
    }
}

pub(in crate::api) fn decode<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|e| ApiError::new(StatusCode::BAD_REQUEST, "invalid_body", e.to_string()))
}

/// What is wrong with a field of the body.
pub(in crate::api) fn invalid(path: impl Into<String>, rule: impl Into<String>) -> ApiError {
    let path = Some(path.into());
    ApiError { path, ..ApiError::new(StatusCode::BAD_REQUEST, "invalid_body", rule) }
}

fn check_length(path: &str, text: &str, max: usize) -> Result<(), ApiError> {
    if (1..=max).contains(&text.len()) {
        return Ok(());
    }
    Err(invalid(path, format!("must have 1 to {max} bytes")))
}

/// A null that is given is data; `Option` alone would take it for none.
pub(in crate::api) fn given<'de: 'a, 'a, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for AtMost<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Items<T> {
            type Value = AtMost<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of 1 to {MESSAGES_MAX}")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<AtMost<T>, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    if items.len() == MESSAGES_MAX {
                        return Err(A::Error::custom(format!("more than {MESSAGES_MAX} items; send several requests")));
                    }
                    items.push(item);
                }
                if items.is_empty() {
                    return Err(A::Error::invalid_length(0, &self));
                }
                Ok(AtMost(items))
            }
        }
        deserializer.deserialize_seq(Items(PhantomData))
    }
}
