//! Bearer tokens: JWT (RFC 7519) verified with the keys of a fixed table of issuers.
//!
//! # How a token is verified
//! 1. [`header`]: it is taken apart; its header says which algorithm, and by which name the key.
//! 2. [`table`]: the keys of the issuers whose one algorithm that is are tried, at most [`CHECKS_MAX`] of them. What the
//!    token says about its issuer has no part in this.
//! 3. [`json`], [`claims`]: only where a key made the signature is the payload read, and held against what the issuer
//!    *of that key* has to have written.
//!
//! Where no key fits, the issuers' JWK sets ([`jwks`]) are asked again, each at most as often as configuration says, and it
//! all starts over, once.

mod algorithm;
mod claims;
mod client;
mod fault;
mod header;
mod json;
mod jwks;
mod table;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::runtime::Handle;

pub use algorithm::UnknownAlgorithm;
pub use client::{ClientTokenError, ClientTokens, ConnectionToken, ServerSide, SubscriptionToken};
pub use jwks::JwksMetrics;
pub use table::TokensError;

use self::fault::Fault;
use self::jwks::Jwks;
use self::table::Table;
use crate::fetch::Fetch;
use crate::{Answer, Clock, Principal, Refusal, Settings};

/// Most signatures that are computed for one token.
const CHECKS_MAX: usize = 16;

/// Verifies tokens. Cheap to clone.
#[derive(Clone)]
pub struct Tokens {
    table: Arc<Table>,
    metrics: Arc<TokenMetrics>,
}

/// What became of tokens, in numbers that only grow.
#[derive(Debug, Default)]
pub struct TokenMetrics {
    /// Valid.
    pub accepted: AtomicU64,
    /// Refused: too long, no JWT, of a kind that gives no access, or with an extension (`crit`).
    pub malformed: AtomicU64,
    /// Refused: no issuer's algorithm.
    pub algorithm: AtomicU64,
    /// Refused: the key that it names is not known.
    pub key: AtomicU64,
    /// Refused: the signature is none of a key that fits.
    pub signature: AtomicU64,
    /// Refused: another issuer's than its key, or for another audience.
    pub addressee: AtomicU64,
    /// Refused: expired, not valid yet, or issued in the future.
    pub time: AtomicU64,
    /// Refused: a claim is missing or is not what it has to be.
    pub claim: AtomicU64,
    /// Not settled: keys could not be fetched.
    pub unavailable: AtomicU64,
    /// The fetches of keys.
    pub jwks: Arc<JwksMetrics>,
}

impl Tokens {
    /// The table of issuers that the settings name; keys of JWK sets are fetched by `fetch`, on `runtime`.
    ///
    /// # Errors
    /// The first issuer that can't be used as it is written.
    pub(crate) fn new(settings: &Settings, fetch: &Fetch, runtime: &Handle, clock: Clock) -> Result<Self, TokensError> {
        let metrics = Arc::new(TokenMetrics::default());
        let table = Arc::new(Table::new(settings, fetch, runtime, clock, &metrics.jwks)?);
        Ok(Self { table, metrics })
    }

    /// Tokens alone, for programs that only look at them.
    ///
    /// # Errors
    /// The first issuer that can't be used as it is written.
    pub fn alone(settings: &Settings, runtime: &Handle, clock: Clock) -> Result<Self, TokensError> {
        let fetch = Fetch::new(runtime.clone()).map_err(|_| TokensError::Tls)?;
        Self::new(settings, &fetch, runtime, clock)
    }

    /// Whom the token speaks of, with those of its claims that are `named`.
    pub fn verify(&self, token: &str, named: &Arc<[Box<str>]>) -> Answer<Arc<Principal>> {
        let missed = match self.table.principal(token, named) {
            Err(missed) if missed.fault.is_open() => missed,
            settled => return Answer::Now(self.told(settled.map_err(|missed| missed.fault))),
        };
        let fetches: Vec<_> = missed.sets.iter().filter_map(Jwks::refresh).collect();
        if fetches.is_empty() {
            return Answer::Now(self.told(Err(missed.fault)));
        }
        let (tokens, token, named) = (self.clone(), token.to_owned(), named.clone());
        Answer::Later(Box::pin(async move {
            let mut is_fetched = true;
            for fetch in fetches {
                is_fetched &= fetch.await.is_ok();
            }
            let principal = tokens.table.principal(&token, &named).map_err(|missed| match missed.fault {
                fault if fault.is_open() && !is_fetched => Fault::Unavailable,
                fault => fault,
            });
            tokens.told(principal)
        }))
    }

    /// Whether there is no issuer, so that every token is refused.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// What became of tokens.
    #[must_use]
    pub fn metrics(&self) -> &Arc<TokenMetrics> {
        &self.metrics
    }

    fn told(&self, answer: Result<Principal, Fault>) -> Result<Arc<Principal>, Refusal> {
        let counter = match &answer {
            Ok(_) => &self.metrics.accepted,
            Err(fault) => self.metrics.counter(fault),
        };
        counter.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(answer?))
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl TokenMetrics {
    fn counter(&self, fault: &Fault) -> &AtomicU64 {
        match fault {
            Fault::TooLong | Fault::Malformed | Fault::Critical | Fault::Kind => &self.malformed,
            Fault::Algorithm => &self.algorithm,
            Fault::Key => &self.key,
            Fault::Signature => &self.signature,
            Fault::Unavailable => &self.unavailable,
            Fault::Issuer | Fault::Audience => &self.addressee,
            Fault::Missing(_) | Fault::Claim(_) => &self.claim,
            Fault::Future | Fault::TooEarly | Fault::Expired => &self.time,
        }
    }
}
