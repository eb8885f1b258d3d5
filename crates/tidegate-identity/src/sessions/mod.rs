//! Device sessions: which are active, and word of those that end.
//!
//! They are in a file of this gateway or in Redis. Either way what is asked often is answered from memory, and what ends is
//! broadcast. A user or a tenant is revoked by a mark of this gateway's own: tokens that were issued before it are refused.

mod cache;
mod embedded;
mod file;
mod marks;
mod metrics;
mod redis;
mod snapshot;
mod table;

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::broadcast;

use self::cache::Known;
pub use self::metrics::SessionMetrics;
use self::redis::RedisSessions;
use crate::{Answer, Clock, Principal, PrincipalKind, Refusal, Revocation, SessionStore, SessionsSettings};

/// Revocations that a receiver may lag behind; past it, it checks everything.
const REVOCATIONS_MAX: usize = 16_384;

/// Why sessions cannot be had, or be changed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum SessionsError {
    #[error("identity.sessions.redis: {0}")]
    Address(String),
    #[error("identity.sessions.database: it must not be negative")]
    Database,
    #[error("identity.sessions.root_certificate: {0}")]
    RootCertificate(String),
    #[error("identity.sessions.stream: it must not be empty")]
    Stream,
    #[error("identity.sessions.{0}: it must be more than 0")]
    Zero(&'static str),
    #[error("Redis: {0}")]
    Redis(String),
}

/// The device sessions of a process. Cheap to clone; what it does ends with the last clone.
#[derive(Clone)]
pub struct Sessions(Arc<Inner>);

struct Inner {
    store: RedisSessions,
    is_required: bool,
    revocations: broadcast::Sender<Revocation>,
    metrics: Arc<SessionMetrics>,
}

/// A session as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    user: Box<str>,
    public_key: Arc<str>,
    is_revoked: bool,
}

impl From<Known<'_>> for Record {
    fn from(known: Known<'_>) -> Self {
        Self { user: known.user.into(), public_key: known.public_key.into(), is_revoked: known.is_revoked }
    }
}

impl Sessions {
    /// Opens the store, or begins to follow the stream, on `runtime`. Redis that is down is no error: until it is there, who
    /// has a session is answered with 503.
    ///
    /// # Errors
    /// The setting that is wrong, by name and without its value; a store that cannot be opened.
    pub async fn start(settings: &SessionsSettings, runtime: Handle, clock: Clock) -> Result<Self, SessionsError> {
        let times = [("lookup_timeout_ms", settings.lookup_timeout), ("max_stale_ms", settings.max_stale)];
        if let Some((name, _)) = times.iter().find(|(_, time)| time.is_zero()) {
            return Err(SessionsError::Zero(name));
        }
        let revocations = broadcast::Sender::new(REVOCATIONS_MAX);
        let metrics = Arc::<SessionMetrics>::default();
        let (store, is_required) = match &settings.store {
            SessionStore::Embedded(_) => return Err(SessionsError::Stream),
            SessionStore::Redis(redis) => {
                let started =
                    RedisSessions::start(settings, redis, runtime, clock, revocations.clone(), Arc::clone(&metrics));
                (started.await?, true)
            }
        };
        Ok(Self(Arc::new(Inner { store, is_required, revocations, metrics })))
    }

    /// Whether a principal's session is known, its own and not revoked, and neither its user nor its tenant is: the public
    /// key of the session, where it has one. Only users have sessions.
    pub fn check(&self, principal: &Principal) -> Answer<Option<Arc<str>>> {
        if principal.kind != PrincipalKind::User {
            return Answer::Now(Ok(None));
        }
        let Some(session) = &principal.session else {
            return Answer::Now(match self.0.is_required {
                true => Err(Refusal::unauthenticated("the token names no device session")),
                false => Ok(None),
            });
        };
        let (user, is_required) = (Arc::clone(&principal.user), self.0.is_required);
        let judged = move |record: Option<Record>| Answer::Now(judge(record, &user, is_required));
        self.0.store.ask(session).and_then(judged)
    }

    /// Tells from now on which connections have to end, or to be checked again.
    #[must_use]
    pub fn revocations(&self) -> broadcast::Receiver<Revocation> {
        self.0.revocations.subscribe()
    }

    /// Revokes for good. `false`: there is no such session; only Redis knows that.
    ///
    /// # Errors
    /// It could not be stored, and nothing is revoked.
    pub async fn revoke(&self, target: Revocation) -> Result<bool, SessionsError> {
        match target {
            Revocation::Session(id) => self.0.store.revoke(&id).await,
            target => {
                let _ = self.0.revocations.send(target);
                Ok(true)
            }
        }
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Arc<SessionMetrics> {
        &self.0.metrics
    }

    /// Why sessions cannot be checked now, for `/readyz`.
    #[must_use]
    pub fn trouble(&self) -> Option<&'static str> {
        self.0.store.trouble()
    }
}

/// Whether a session lets its user in, and with what key.
fn judge(record: Option<Record>, user: &str, is_required: bool) -> Result<Option<Arc<str>>, Refusal> {
    match record {
        None if is_required => Err(Refusal::unauthenticated("there is no such session")),
        None => Ok(None),
        Some(record) if record.is_revoked => Err(Refusal::revoked()),
        Some(record) if &*record.user != user => Err(Refusal::unauthenticated("the session is another user's")),
        Some(record) => Ok(Some(record.public_key)),
    }
}
