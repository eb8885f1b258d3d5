//! A token taken apart. Of its header three members say how it would have to be verified; keys and addresses of keys that
//! it may bring along (`jwk`, `jku`, `x5c`, `x5u`) are never looked at.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use tidegate_model::Object;

use super::fault::Fault;
use crate::Algorithm;

/// Longest header, in base64url: room for a chain of certificates, which is not read.
const HEADER_BYTES_MAX: usize = 4 << 10;

/// A token of which nothing is verified.
pub(super) struct Unverified<'a> {
    pub(super) algorithm: Algorithm,
    /// The key's name (`kid`).
    pub(super) key: Option<Box<str>>,
    /// What the signature is over: header and payload as they came.
    signed: &'a str,
    payload: &'a str,
    signature: &'a str,
}

#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    kid: Option<Box<str>>,
    typ: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "is_there")]
    crit: bool,
}

fn is_there<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

impl<'a> Unverified<'a> {
    pub(super) fn read(token: &'a str, bytes_max: usize) -> Result<Self, Fault> {
        if token.len() > bytes_max {
            return Err(Fault::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Fault::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(Fault::Malformed)?;
        if payload.contains('.') || header.len() > HEADER_BYTES_MAX {
            return Err(Fault::Malformed);
        }
        let header = decoded(header)?;
        let Object(header) = serde_json::from_slice::<Object<Header<'_>>>(&header).map_err(|_| Fault::Malformed)?;
        if header.crit {
            return Err(Fault::Critical);
        }
        if header.typ.is_some_and(|typ| !gives_access(&typ)) {
            return Err(Fault::Kind);
        }
        let algorithm = header.alg.parse().map_err(|_| Fault::Algorithm)?;
        Ok(Self { algorithm, key: header.kid, signed, payload, signature })
    }

    /// Whether the key made the signature.
    pub(super) fn is_signed_with(&self, key: &jsonwebtoken::DecodingKey) -> bool {
        let (signed, algorithm) = (self.signed.as_bytes(), self.algorithm.into());
        jsonwebtoken::crypto::verify(self.signature, signed, key, algorithm).unwrap_or(false)
    }

    /// The payload's JSON: for whoever has verified the signature.
    pub(super) fn payload(&self) -> Result<Vec<u8>, Fault> {
        decoded(self.payload)
    }
}

/// RFC 8725, 3.11: what the same issuer signs for other ends (a logout, an event) is no token of access.
fn gives_access(typ: &str) -> bool {
    const PREFIX: &str = "application/";
    let bare = match typ.get(..PREFIX.len()) {
        Some(prefix) if prefix.eq_ignore_ascii_case(PREFIX) => &typ[PREFIX.len()..],
        _ => typ,
    };
    ["JWT", "at+jwt"].iter().any(|known| known.eq_ignore_ascii_case(bare))
}

fn decoded(part: &str) -> Result<Vec<u8>, Fault> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Fault::Malformed)
}
