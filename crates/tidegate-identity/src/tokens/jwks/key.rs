//! One set of keys, read: which of them can verify what.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::Algorithm;

/// Keys of one set that are looked at; what comes after is passed over.
const KEYS_MAX: usize = 256;
const KID_BYTES_MAX: usize = 256;
/// Bits of an RSA modulus: less is broken, more takes too long to verify.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
const RSA_EXPONENT_BYTES_MAX: usize = 8;

/// A key that fits.
pub(super) struct Key {
    pub(super) kid: Option<Box<str>>,
    pub(super) key: Arc<DecodingKey>,
}

/// What is of use in a set.
pub(super) struct Set {
    pub(super) keys: Vec<Key>,
    /// How many are of none.
    pub(super) passed_over: u64,
}

/// A key as it is written (RFC 7517 section 4, RFC 7518 section 6, RFC 8037 section 2). Members that are not named here, such
/// as certificates, say nothing that is used.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// The private part of whatever kind of key.
    d: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Written<'a> {
    /// Each of them is read by itself. As many as fit into what may be fetched.
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

/// Reads a set and keeps what fits the algorithm, in the set's order.
///
/// # Errors
/// It is no JWK set; says where, and nothing of what is in it.
pub(super) fn read(body: &[u8], algorithm: Algorithm) -> Result<Set, String> {
    let written: Written<'_> = serde_json::from_slice(body)
        .map_err(|error| format!("the answer is no JWK set: line {}, column {}", error.line(), error.column()))?;
    let fitting = |raw: &&RawValue| key(&serde_json::from_str(raw.get()).ok()?, algorithm);
    let keys: Vec<_> = written.keys.iter().take(KEYS_MAX).filter_map(fitting).collect();
    Ok(Set { passed_over: (written.keys.len() - keys.len()) as u64, keys })
}

fn key(jwk: &Jwk, algorithm: Algorithm) -> Option<Key> {
    let is_meant = jwk.purpose.as_deref().is_none_or(|purpose| purpose == "sig")
        && jwk.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|operation| operation == "verify"))
        && jwk.alg.as_deref().is_none_or(|name| names(name, algorithm));
    let is_named = jwk.kid.as_ref().is_none_or(|kid| kid.len() <= KID_BYTES_MAX);
    if !is_meant || !is_named || jwk.d.is_some() {
        return None;
    }
    let key = match algorithm {
        Algorithm::Rs256
        | Algorithm::Rs384
        | Algorithm::Rs512
        | Algorithm::Ps256
        | Algorithm::Ps384
        | Algorithm::Ps512 => rsa(jwk)?,
        Algorithm::Es256 => curve(jwk, "P-256", 32)?,
        Algorithm::Es384 => curve(jwk, "P-384", 48)?,
        Algorithm::EdDsa => edwards(jwk)?,
        // What both sides must keep secret is not fetched.
        Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => return None,
    };
    Some(Key { kid: jwk.kid.as_deref().map(Into::into), key: Arc::new(key) })
}

/// RFC 9864 calls EdDSA with this curve by the curve's name.
fn names(name: &str, algorithm: Algorithm) -> bool {
    name.parse() == Ok(algorithm) || (algorithm == Algorithm::EdDsa && name == "Ed25519")
}

fn rsa(jwk: &Jwk) -> Option<DecodingKey> {
    let (modulus, exponent) = (number(jwk.n.as_deref()?)?, number(jwk.e.as_deref()?)?);
    let bits = modulus.len() * 8 - modulus.first()?.leading_zeros() as usize;
    // With an exponent of 1 every padded text is its own signature.
    let is_sound = exponent.len() <= RSA_EXPONENT_BYTES_MAX && exponent.last()? % 2 == 1 && exponent != [1];
    let is_it = jwk.kty == "RSA" && RSA_BITS.contains(&bits);
    (is_it && is_sound).then(|| DecodingKey::from_rsa_raw_components(&modulus, &exponent))
}

fn curve(jwk: &Jwk, name: &str, length: usize) -> Option<DecodingKey> {
    let is_it = jwk.kty == "EC" && jwk.crv.as_deref() == Some(name);
    let (x, y) = (decode(jwk.x.as_deref()?)?, decode(jwk.y.as_deref()?)?);
    let is_sound = x.len() == length && y.len() == length;
    // An uncompressed point (SEC 1 section 2.3.3). Whether it is on the curve is seen when it is used.
    (is_it && is_sound).then(|| DecodingKey::from_ec_der(&[&[4], &x[..], &y[..]].concat()))
}

fn edwards(jwk: &Jwk) -> Option<DecodingKey> {
    let is_it = jwk.kty == "OKP" && jwk.crv.as_deref() == Some("Ed25519");
    let x = decode(jwk.x.as_deref()?)?;
    (is_it && x.len() == 32).then(|| DecodingKey::from_ed_der(&x))
}

/// A positive number, without the zeros that some put in front.
fn number(text: &str) -> Option<Vec<u8>> {
    let bytes = decode(text)?;
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    (zeros < bytes.len()).then(|| bytes[zeros..].to_vec())
}

fn decode(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}
