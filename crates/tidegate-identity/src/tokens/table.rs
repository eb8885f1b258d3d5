//! The table of issuers: which keys may have signed a token, and what its claims are held against.

use std::ops::RangeInclusive;
use std::sync::Arc;

use aws_lc_rs::rsa;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey};
use http::Uri;
use jsonwebtoken::DecodingKey;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;
use tokio::runtime::Handle;

use super::claims::{Expected, Rules};
use super::fault::Fault;
use super::header::Unverified;
use super::jwks::{Jwks, JwksMetrics};
use super::{CHECKS_MAX, json};
use crate::fetch::Fetch;
use crate::{Algorithm, Clock, Issuer, Keys, Principal, Settings};

/// Of an RSA key's modulus: what is verified at all.
const RSA_BYTES: RangeInclusive<usize> = 256..=1024;

/// Why no tokens can be verified.
#[derive(Debug, thiserror::Error)]
pub enum TokensError {
    /// An issuer can't be used as configuration has it.
    #[error("identity.issuer[{index}].{key} {reason}")]
    Issuer {
        /// The issuer's place in the table.
        index: usize,
        /// Its key at fault.
        key: &'static str,
        /// What is wrong, without the value.
        reason: &'static str,
    },
    /// The build's cryptography knows no version of TLS.
    #[error("TLS cannot be set up")]
    Tls,
}

pub(super) struct Table {
    rows: Box<[Row]>,
    rules: Rules,
    token_bytes_max: usize,
    clock: Clock,
}

struct Row {
    issuer: Box<str>,
    audience: Option<Box<str>>,
    algorithm: Algorithm,
    keys: Held,
}

enum Held {
    One(Arc<DecodingKey>),
    Set(Arc<Jwks>),
}

/// No principal.
pub(super) struct Missed {
    pub(super) fault: Fault,
    /// The sets that may have got a key since that makes one of it.
    pub(super) sets: Vec<Arc<Jwks>>,
}

impl Table {
    pub(super) fn new(
        settings: &Settings,
        fetch: &Fetch,
        runtime: &Handle,
        clock: Clock,
        metrics: &Arc<JwksMetrics>,
    ) -> Result<Self, TokensError> {
        let set = |url: &Uri, algorithm| {
            let Settings { jwks_floor, jwks_max_age, jwks_timeout, .. } = *settings;
            let (fetch, runtime, clock, metrics) = (fetch.clone(), runtime.clone(), clock.clone(), metrics.clone());
            Jwks::new(url.clone(), algorithm, fetch, jwks_floor, jwks_max_age, jwks_timeout, runtime, clock, metrics)
        };
        let row = |(index, issuer): (usize, &Issuer)| {
            let wrong = |(key, reason): Wrong| TokensError::Issuer { index, key, reason };
            check(issuer).map_err(wrong)?;
            let keys = match &issuer.keys {
                Keys::Secret(secret) => Held::One(DecodingKey::from_secret(secret.expose().as_bytes()).into()),
                Keys::Pem(pem) => Held::One(public_key(pem, issuer.algorithm).map_err(wrong)?.into()),
                Keys::Jwks(url) => Held::Set(set(url, issuer.algorithm)),
            };
            let (name, audience) = (issuer.issuer.as_str().into(), issuer.audience.as_deref().map(Box::from));
            Ok(Row { issuer: name, audience, algorithm: issuer.algorithm, keys })
        };
        let rows = settings.issuers.iter().enumerate().map(row).collect::<Result<_, _>>()?;
        Ok(Self { rows, rules: Rules::new(settings), token_bytes_max: settings.max_token_bytes, clock })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whom the token speaks of, as far as the keys that are held can tell.
    pub(super) fn principal(&self, token: &str, named: &[Box<str>]) -> Result<Principal, Missed> {
        let token = Unverified::read(token, self.token_bytes_max)?;
        let now_ms = (self.clock)();
        let mut missed = Missed::from(Fault::Algorithm);
        let mut checks_left = CHECKS_MAX;
        for row in self.rows.iter().filter(|row| row.algorithm == token.algorithm) {
            let keys = row.keys(token.key.as_deref());
            missed.nearer(if keys.is_empty() { Fault::Key } else { Fault::Signature });
            let tried = keys.iter().take(checks_left);
            checks_left -= tried.len();
            if tried.into_iter().any(|key| token.is_signed_with(key)) {
                let claims = json::members(&token.payload()?).map_err(|_| Fault::Malformed)?;
                match self.rules.principal(&claims, &row.expected(), now_ms, named) {
                    Ok(principal) => return Ok(principal),
                    Err(fault) => missed.nearer(fault),
                }
            } else if let Held::Set(set) = &row.keys
                && (keys.is_empty() || token.key.is_none())
            {
                missed.sets.push(set.clone());
            }
        }
        Err(missed)
    }
}

impl Row {
    /// The keys that may have made a signature. One that is written down in configuration has no name.
    fn keys(&self, name: Option<&str>) -> Vec<Arc<DecodingKey>> {
        match &self.keys {
            Held::One(key) => vec![key.clone()],
            Held::Set(set) => set.cached(name),
        }
    }

    fn expected(&self) -> Expected<'_> {
        Expected { issuer: &self.issuer, audience: self.audience.as_deref() }
    }
}

impl Missed {
    fn nearer(&mut self, fault: Fault) {
        if fault > self.fault {
            self.fault = fault;
        }
    }
}

impl From<Fault> for Missed {
    fn from(fault: Fault) -> Self {
        Self { fault, sets: Vec::new() }
    }
}

/// A key of an issuer, and what is wrong about it.
type Wrong = (&'static str, &'static str);

fn check(issuer: &Issuer) -> Result<(), Wrong> {
    let is_shared = matches!(issuer.algorithm, Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512);
    match &issuer.keys {
        _ if issuer.issuer.is_empty() => Err(("issuer", "is empty")),
        Keys::Secret(_) if !is_shared => {
            Err(("secret", "is for HS256, HS384 and HS512 alone; this algorithm has public keys"))
        }
        Keys::Secret(secret) if secret.expose().is_empty() => Err(("secret", "is empty")),
        Keys::Pem(_) if is_shared => Err(("public_key_file", "is for algorithms with public keys; HS* has a secret")),
        Keys::Jwks(_) if is_shared => Err(("jwks_url", "is for algorithms with public keys; HS* has a secret")),
        Keys::Jwks(url) if !matches!(url.scheme_str(), Some("https" | "http")) || url.host().is_none() => {
            Err(("jwks_url", "is no http:// or https:// address"))
        }
        _ => Ok(()),
    }
}

fn public_key(pem: &str, algorithm: Algorithm) -> Result<DecodingKey, Wrong> {
    let key = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes())
        .map_err(|_| ("public_key_file", "is no public key in PEM: it begins with -----BEGIN PUBLIC KEY-----"))?;
    if !fits(&key, algorithm) {
        let rule = "is no key of this algorithm (RSA of 2048 to 8192 bits, P-256, P-384 or Ed25519)";
        return Err(("public_key_file", rule));
    }
    Ok(match algorithm {
        Algorithm::Es256 | Algorithm::Es384 => DecodingKey::from_ec_der(&key),
        Algorithm::EdDsa => DecodingKey::from_ed_der(&key),
        _ => DecodingKey::from_rsa_der(&key),
    })
}

fn fits(key: &[u8], algorithm: Algorithm) -> bool {
    match algorithm {
        Algorithm::Es256 => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key).is_ok(),
        Algorithm::Es384 => ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key).is_ok(),
        Algorithm::EdDsa => ParsedPublicKey::new(&ED25519, key).is_ok(),
        _ => rsa::PublicKey::from_der(key).is_ok_and(|key| RSA_BYTES.contains(&key.modulus_len())),
    }
}
