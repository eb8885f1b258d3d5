//! What the application is asked, and what makes two questions the same.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::digest;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, header};

/// Names what decides about the answer, and shows nothing of it.
pub(super) type Key = [u8; 32];

pub(super) struct Question {
    pub(super) key: Key,
    /// The JSON that is posted.
    pub(super) body: Bytes,
    /// The claims that are kept of the answer.
    pub(super) named: Arc<[Box<str>]>,
}

impl Question {
    /// About somebody who shows these headers; `None` if none of those that are `forwarded` is there.
    pub(super) fn new(forwarded: &[HeaderName], headers: &HeaderMap, named: &Arc<[Box<str>]>) -> Option<Self> {
        let shown: BTreeMap<&str, String> = forwarded
            .iter()
            .map(|name| (name.as_str(), joined(headers, name)))
            .filter(|(_, value)| !value.trim().is_empty())
            .collect();
        if shown.is_empty() {
            return None;
        }
        let body = serde_json::to_vec(&BTreeMap::from([("headers", shown)])).ok()?;
        Some(Self { key: key(&body, named), body: body.into(), named: named.clone() })
    }
}

/// Several of one name as one text, as RFC 9110 (5.2) has it; of cookies as RFC 9113 (8.2.3) does.
fn joined(headers: &HeaderMap, name: &HeaderName) -> String {
    let separator = if name == header::COOKIE { "; " } else { ", " };
    let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
    values.collect::<Vec<_>>().join(separator)
}

/// The body is unambiguous about names and values; each text goes in behind its length, so that all of it is.
fn key(body: &[u8], named: &[Box<str>]) -> Key {
    let mut hash = digest::Context::new(&digest::SHA256);
    for text in std::iter::once(body).chain(named.iter().map(|name| name.as_bytes())) {
        hash.update(&(text.len() as u64).to_be_bytes());
        hash.update(text);
    }
    let mut key = Key::default();
    key.copy_from_slice(hash.finish().as_ref());
    key
}
