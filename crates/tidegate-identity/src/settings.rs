//! Everything that configuration says about identity, with the defaults and their reasons.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Uri};

use crate::Secret;

/// How identities are settled. [`Settings::default`] lets nobody in.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whether strangers are let in. Default no.
    pub anonymous: bool,
    /// A bearer token that counts as a stranger's: the demo's.
    pub guest_token: Option<Arc<str>>,
    /// Keys of servers.
    pub api_keys: Vec<Secret>,
    /// Whose tokens are accepted.
    pub issuers: Vec<Issuer>,
    /// Where things are in a token.
    pub claims: ClaimNames,
    /// Claims that a token must have beside those that are looked for anyway. Default `exp`.
    pub required_claims: Vec<String>,
    /// By how much clocks may differ, for `exp`, `nbf` and `iat`. Default 30 s.
    pub leeway: Duration,
    /// Longest token, in bytes. Default 8 KiB: what fits into a head beside everything else.
    pub max_token_bytes: usize,
    /// Between two fetches of an issuer's keys at least. Default 30 s.
    pub jwks_floor: Duration,
    /// After which an issuer's keys are fetched again. Default 10 min.
    pub jwks_max_age: Duration,
    /// For one fetch. Default 5 s.
    pub jwks_timeout: Duration,
    /// Device sessions.
    pub sessions: SessionsSettings,
    /// Proof of possession.
    pub proof: ProofSettings,
    /// The application's connect hook.
    pub hook: Option<HookSettings>,
}

/// One row of the table of issuers.
#[derive(Debug, Clone)]
pub struct Issuer {
    /// What `iss` must be.
    pub issuer: String,
    /// What `aud` must be or contain. `None`: a token with an `aud` is refused.
    pub audience: Option<String>,
    /// The only one accepted.
    pub algorithm: Algorithm,
    /// What its signatures are verified with.
    pub keys: Keys,
}

/// Signature algorithms (RFC 7518, RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the standard's")]
pub enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

/// Where an issuer's keys are.
#[derive(Debug, Clone)]
pub enum Keys {
    /// For HS*: the bytes of this text.
    Secret(Secret),
    /// A public key, SPKI in PEM.
    Pem(String),
    /// A JWK set, fetched.
    Jwks(Uri),
}

/// Names of claims; a name that is none of a token's claims is tried as a path with dots.
#[derive(Debug, Clone)]
pub struct ClaimNames {
    /// Default `sub`. A token without it is refused.
    pub user: String,
    /// Default `tenant`.
    pub tenant: String,
    /// Default `sid`.
    pub session: String,
    /// A text (separated by spaces) or an array of texts. Default `roles`.
    pub roles: String,
}

/// Device sessions.
#[derive(Debug, Clone)]
pub struct SessionsSettings {
    /// Where they are.
    pub store: SessionStore,
    /// Whether a token must name one that is known. With Redis always; default no.
    pub required: bool,
    /// Sessions held in memory; past it those that are not revoked go first. Default 1,000,000: 250 MB at most.
    pub cache_max: usize,
    /// For one look-up. Default 500 ms.
    pub lookup_timeout: Duration,
    /// Out of step for longer, nothing cached is believed any more. Default 60 s.
    pub max_stale: Duration,
    /// Whether live connections end then. Default no.
    pub close_when_stale: bool,
}

/// Where device sessions are.
#[derive(Debug, Clone)]
pub enum SessionStore {
    /// In a file of this gateway.
    Embedded(PathBuf),
    /// Announced on a stream in Redis.
    Redis(RedisSettings),
}

/// How the Redis with the sessions is reached and read.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// `redis://` or `rediss://` (TLS 1.2 or later), with user, password and database where need be.
    pub url: Secret,
    /// Certificates to trust for `rediss://`, PEM; default the public ones.
    pub root_certificate: Option<PathBuf>,
    /// The stream. Default `session_events`.
    pub stream: String,
    /// A session's hash is this and its id. Default `session:`.
    pub key_prefix: String,
    /// Longest wait for entries. Default 5 s.
    pub read_block: Duration,
    /// The file with the users and tenants that were revoked here: Redis knows sessions alone.
    pub marks: PathBuf,
}

/// Proof of possession.
#[derive(Debug, Clone)]
pub struct ProofSettings {
    /// Whether users must prove that they hold the key of their session; one without a session is refused. Default no.
    pub required: bool,
    /// How long a challenge may be answered. Default 30 s.
    pub challenge_ttl: Duration,
    /// Answered challenges that are remembered; past it challenges are refused until one is past its time. Default 100,000.
    pub answered_max: usize,
}

/// An endpoint of the application that says who is there.
#[derive(Debug, Clone)]
pub struct HookSettings {
    /// Where.
    pub url: Uri,
    /// Signs what is asked.
    pub secret: Secret,
    /// Headers of the handshake that it is told. Default `cookie`.
    pub headers: Vec<HeaderName>,
    /// For one answer. Default 2 s.
    pub timeout: Duration,
    /// Questions under way at once; past it 503. Default 256.
    pub asked_max: usize,
    /// Answers that are kept for as long as they say. Default 10,000.
    pub cache_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            anonymous: false,
            guest_token: None,
            api_keys: Vec::new(),
            issuers: Vec::new(),
            claims: ClaimNames::default(),
            required_claims: vec!["exp".to_owned()],
            leeway: Duration::from_secs(30),
            max_token_bytes: 8 << 10,
            jwks_floor: Duration::from_secs(30),
            jwks_max_age: Duration::from_secs(600),
            jwks_timeout: Duration::from_secs(5),
            sessions: SessionsSettings::default(),
            proof: ProofSettings::default(),
            hook: None,
        }
    }
}

impl Default for ClaimNames {
    fn default() -> Self {
        let [user, tenant, session, roles] = ["sub", "tenant", "sid", "roles"].map(str::to_owned);
        Self { user, tenant, session, roles }
    }
}

impl Default for SessionsSettings {
    fn default() -> Self {
        Self {
            store: SessionStore::Embedded("sessions.db".into()),
            required: false,
            cache_max: 1_000_000,
            lookup_timeout: Duration::from_millis(500),
            max_stale: Duration::from_secs(60),
            close_when_stale: false,
        }
    }
}

impl Default for ProofSettings {
    fn default() -> Self {
        Self { required: false, challenge_ttl: Duration::from_secs(30), answered_max: 100_000 }
    }
}
