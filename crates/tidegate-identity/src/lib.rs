//! Who is there, whether they still may be, and what they may do.
//!
//! # Place in the flow
//! The edge asks the [`Authority`] three things: who shows this credential ([`Authority::authenticate`]), whether that one
//! still stands ([`Authority::check`]), and what may be read, written, or done with a topic. The other way
//! [`Authority::revocations`] tells whose connections have to end. Rows and sockets are not known here: a permission becomes
//! a filter that is added to a query, a revocation is a name.
//!
//! ```text
//!  tokens ── issuers, keys, JWKS ─┐                         ┌─ permissions: rows, columns, topics, agents
//!  API keys, strangers, hook ─────┼─► Principal ─► Access ──┤
//!  proof of possession ───────────┘                 ▲       └─► revocations ─► the edge closes
//!  sessions ── Redis stream or embedded store ──────┘
//! ```
//!
//! # Invariants
//! - **Nothing unverified is used.** No claim of a token is looked at before its signature is verified with a key of the fixed
//!   table of issuers.
//! - **Fails closed.** A session that cannot be proven active is not: malformed entries, a place in the stream that was
//!   lost and a store that does not answer all end in a refusal or a close.
//! - **Register, then check.** A connection is registered before its session is checked, so no revocation falls between.
//! - **Secrets are never shown**: not by `Debug`, not in an error, a log line or a metric.

mod access;
mod answer;
mod authority;
mod credential;
#[cfg(test)]
mod endpoint;
mod fetch;
mod hook;
mod permissions;
mod principal;
mod proof;
mod said;
mod secret;
mod sessions;
mod settings;
mod tokens;

pub use access::{Access, Identity, IdentityError};
pub use answer::{Answer, Later};
pub use authority::{Authority, Refusal, Revocation, WriteScope, admit};
pub use credential::{Credential, Proof, Shown};
pub use fetch::{Bounds, Fetch, FetchError};
pub use hook::HookMetrics;
pub use permissions::{
    AgentVerb, Audience, EntityRights, Grant, Patterns, Permissions, Rights, Rows, Template, TopicVerb,
};
pub use principal::{Claims, Principal, PrincipalKind};
pub use proof::{Challenge, Proofs};
pub use secret::Secret;
pub use sessions::{SessionMetrics, Sessions, SessionsError};
pub use settings::{
    Algorithm, ClaimNames, HookSettings, Issuer, Keys, ProofSettings, RedisSettings, SessionStore, SessionsSettings,
    Settings,
};
pub use tokens::{
    ClientTokenError, ClientTokens, ConnectionToken, JwksMetrics, ServerSide, SubscriptionToken, TokenMetrics, Tokens,
    TokensError, UnknownAlgorithm,
};

/// Milliseconds since 1970 in UTC, from wherever the process takes its time. Tests give one of their own.
pub type Clock = std::sync::Arc<dyn Fn() -> u64 + Send + Sync>;
