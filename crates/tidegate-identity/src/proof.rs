//! Proof of possession: a challenge, signed with the key of the device session.
//!
//! # What is exchanged
//! A challenge is the base64url of 16 random bytes, the end of its time (milliseconds since 1970, 8 bytes, big-endian) and an
//! HMAC-SHA256 over both, so nothing is kept of one until it is answered. The proof is `<challenge>.<signature>`: an Ed25519
//! signature (RFC 8032) in base64url, made with the session's private key over the bytes
//!
//! ```text
//! tidegate-proof:v1:<length of the session's id in bytes, decimal>:<the session's id>:<challenge>
//! ```
//!
//! # Invariants
//! - **Once.** A challenge that was answered well is remembered until its time is over; a proof is worth nothing a second time.
//! - **Here.** The HMAC's key is made at the start and kept nowhere: no other process takes the challenge.
//! - **Bounded.** Only valid proofs are remembered, and no more than configuration says; past that none is accepted.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{ED25519, ED25519_PUBLIC_KEY_LEN, UnparsedPublicKey};
use base64::Engine as _;
use base64::alphabet::{Alphabet, STANDARD, URL_SAFE};
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::{Clock, ProofSettings, Refusal};

const NONCE_BYTES: usize = 16;
const EXPIRY_BYTES: usize = 8;
const MAC_BYTES: usize = 32;
const CHALLENGE_BYTES: usize = NONCE_BYTES + EXPIRY_BYTES + MAC_BYTES;
const SIGNATURE_BYTES: usize = 64;
/// What stands before an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Gives challenges and checks the proofs that answer them.
pub struct Proofs {
    key: hmac::Key,
    ttl_ms: u64,
    answered_max: usize,
    /// The end of its time and the random bytes of each challenge that was answered.
    answered: Mutex<BTreeSet<(u64, [u8; NONCE_BYTES])>>,
    clock: Clock,
}

/// Something to sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Opaque to clients; 75 characters of base64url.
    pub text: String,
    /// How long it may be answered, in milliseconds.
    pub expires_in_ms: u64,
}

impl Proofs {
    /// Makes the key; challenges of another one are not known to this.
    #[must_use]
    pub fn new(settings: &ProofSettings, clock: Clock) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &rand::random::<[u8; 32]>()),
            ttl_ms: u64::try_from(settings.challenge_ttl.as_millis()).unwrap_or(u64::MAX),
            answered_max: settings.answered_max,
            answered: Mutex::default(),
            clock,
        }
    }

    /// A new challenge, for whoever asks.
    #[must_use]
    pub fn challenge(&self) -> Challenge {
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let expires_ms = (self.clock)().saturating_add(self.ttl_ms);
        let mut bytes = Vec::with_capacity(CHALLENGE_BYTES);
        bytes.extend(nonce);
        bytes.extend(expires_ms.to_be_bytes());
        bytes.extend(hmac::sign(&self.key, &authenticated(&nonce, expires_ms)).as_ref());
        Challenge { text: URL_SAFE_NO_PAD.encode(bytes), expires_in_ms: self.ttl_ms }
    }

    /// Whether the proof answers a challenge of this, in time and for the first time, with the key of the session.
    ///
    /// # Errors
    /// 401 where it does not; 503 where no more answers can be remembered.
    pub fn check(&self, proof: &str, session: &str, public_key: &str) -> Result<(), Refusal> {
        let now_ms = (self.clock)();
        let malformed = || Refusal::unauthenticated("the proof is malformed");
        let (challenge, signature) = proof.split_once('.').ok_or_else(malformed)?;
        let signature: [u8; SIGNATURE_BYTES] = decoded(signature).ok_or_else(malformed)?;
        let (expires_ms, nonce) = self
            .known(challenge)
            .ok_or_else(|| Refusal::unauthenticated("the challenge is not one of this gateway"))?;
        if expires_ms <= now_ms {
            return Err(Refusal::unauthenticated("the challenge is past its time"));
        }
        let key = ed25519_key(public_key)
            .ok_or_else(|| Refusal::unauthenticated("the session has no key that a proof could be checked with"))?;
        UnparsedPublicKey::new(&ED25519, key)
            .verify(&signed_text(session, challenge), &signature)
            .map_err(|_| Refusal::unauthenticated("the proof is not made with the session's key"))?;
        self.answer(now_ms, (expires_ms, nonce))
    }

    /// The end of its time and the random bytes of a challenge that this gave.
    fn known(&self, challenge: &str) -> Option<(u64, [u8; NONCE_BYTES])> {
        let bytes: [u8; CHALLENGE_BYTES] = decoded(challenge)?;
        let (nonce, rest) = bytes.split_first_chunk()?;
        let (expires_ms, mac) = rest.split_first_chunk()?;
        let expires_ms = u64::from_be_bytes(*expires_ms);
        hmac::verify(&self.key, &authenticated(nonce, expires_ms), mac).ok()?;
        Some((expires_ms, *nonce))
    }

    fn answer(&self, now_ms: u64, challenge: (u64, [u8; NONCE_BYTES])) -> Result<(), Refusal> {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        while answered.first().is_some_and(|(expires_ms, _)| *expires_ms <= now_ms) {
            answered.pop_first();
        }
        if answered.contains(&challenge) {
            return Err(Refusal::unauthenticated("the challenge was answered before"));
        }
        if answered.len() >= self.answered_max {
            return Err(Refusal::unavailable("too many proofs are being given now"));
        }
        answered.insert(challenge);
        Ok(())
    }
}

impl fmt::Debug for Proofs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proofs").finish_non_exhaustive()
    }
}

/// Each part with its length in front, so that no two lists of parts are the same bytes.
fn authenticated(nonce: &[u8], expires_ms: u64) -> Vec<u8> {
    let parts = [b"tidegate-challenge:v1".as_slice(), nonce, &expires_ms.to_be_bytes()];
    parts.iter().flat_map(|part| (part.len() as u64).to_be_bytes().into_iter().chain(part.iter().copied())).collect()
}

fn signed_text(session: &str, challenge: &str) -> Vec<u8> {
    format!("tidegate-proof:v1:{}:{session}:{challenge}", session.len()).into_bytes()
}

/// Exactly `N` bytes in base64url, without padding.
fn decoded<const N: usize>(text: &str) -> Option<[u8; N]> {
    // Three bytes more than fit: what decodes to more is refused without being allocated.
    let mut bytes = [0; 66];
    let len = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
    bytes.get(..len)?.try_into().ok()
}

/// 32 bytes, or a SubjectPublicKeyInfo of them, in either base64, padded or not.
fn ed25519_key(text: &str) -> Option<[u8; ED25519_PUBLIC_KEY_LEN]> {
    let alphabet: &Alphabet = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
    let lenient = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let mut bytes = [0; SPKI_PREFIX.len() + ED25519_PUBLIC_KEY_LEN + 4];
    let len = GeneralPurpose::new(alphabet, lenient).decode_slice(text, &mut bytes).ok()?;
    let bytes = bytes.get(..len)?;
    bytes.strip_prefix(&SPKI_PREFIX).unwrap_or(bytes).try_into().ok()
}

#[cfg(test)]
mod tests;
