//! Device sessions: which are active, and word of those that end.
//!
//! They are in Redis, of which what was asked for is held in memory and kept in step by a stream; or in a file of this gateway,
//! whose thread is asked each time. Either way what ends is broadcast. A user or a tenant is revoked by a mark of this gateway's own: tokens that were issued before it are refused.

mod cache;
mod embedded;
mod file;
mod marks;
mod metrics;
mod redis;
mod snapshot;
mod table;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::runtime::Handle;
use tokio::sync::broadcast;

use self::cache::Known;
use self::embedded::{Embedded, EmbeddedError};
use self::marks::Mark;
pub use self::metrics::SessionMetrics;
use self::redis::RedisSessions;
use self::snapshot::{Snapshot, decode};
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
    #[error("{0}")]
    Open(String),
    #[error("the session is not valid: {0}")]
    Malformed(&'static str),
    #[error("{0}")]
    Refused(String),
    #[error("sessions are written in Redis")]
    NotEmbedded,
    #[error("{0}")]
    Unavailable(String),
}

/// The device sessions of a process. Cheap to clone; what it does ends with the last clone.
#[derive(Clone)]
pub struct Sessions(Arc<Inner>);

struct Inner {
    /// `None`: sessions are in the embedded store.
    redis: Option<RedisSessions>,
    /// Marks, whoever has the sessions.
    embedded: Embedded,
    is_required: bool,
    revocations: broadcast::Sender<Revocation>,
    metrics: Arc<SessionMetrics>,
    clock: Clock,
}

/// A session as a look-up found it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Record {
    user: Box<str>,
    public_key: Arc<str>,
    is_revoked: bool,
}

impl Record {
    fn known(&self) -> Known<'_> {
        Known { user: &self.user, public_key: &self.public_key, is_revoked: self.is_revoked }
    }
}

impl From<Known<'_>> for Record {
    fn from(known: Known<'_>) -> Self {
        Self { user: known.user.into(), public_key: known.public_key.into(), is_revoked: known.is_revoked }
    }
}

impl From<Snapshot> for Record {
    fn from(snapshot: Snapshot) -> Self {
        Self { user: snapshot.user, public_key: snapshot.public_key.into(), is_revoked: snapshot.is_revoked }
    }
}

impl From<EmbeddedError> for SessionsError {
    fn from(error: EmbeddedError) -> Self {
        match error {
            EmbeddedError::IsRevoked | EmbeddedError::Name => Self::Refused(error.to_string()),
            EmbeddedError::Busy | EmbeddedError::Closed | EmbeddedError::Sqlite(_) => {
                Self::Unavailable(error.to_string())
            }
        }
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
        let (file, redis) = match &settings.store {
            SessionStore::Embedded(file) => (file, None),
            SessionStore::Redis(redis) => {
                let (clock, revocations, metrics) = (Arc::clone(&clock), revocations.clone(), Arc::clone(&metrics));
                let started = RedisSessions::start(settings, redis, runtime.clone(), clock, revocations, metrics);
                (&redis.marks, Some(started.await?))
            }
        };
        let embedded = open(file, &runtime).await?;
        let is_required = settings.required || redis.is_some();
        Ok(Self(Arc::new(Inner { redis, embedded, is_required, revocations, metrics, clock })))
    }

    /// Whether a principal's session is known, its own and not revoked, and neither its user nor its tenant is: the public
    /// key of the session, where it has one. Only users have sessions.
    pub fn check(&self, principal: &Principal) -> Answer<Option<Arc<str>>> {
        self.checked(principal, |session| Some(session.public_key.into()))
    }

    /// The same for whoever needs no key.
    pub fn check_alone(&self, principal: &Principal) -> Answer<()> {
        self.checked(principal, |_| ())
    }

    /// What is wanted of a session that stands, and the default where there need be none.
    fn checked<T: Default + Send + 'static>(&self, principal: &Principal, of: fn(Known<'_>) -> T) -> Answer<T> {
        if principal.kind != PrincipalKind::User {
            return Answer::Now(Ok(T::default()));
        }
        if self.0.embedded.is_marked(principal) {
            return Answer::Now(Err(Refusal::revoked()));
        }
        let Some(session) = &principal.session else {
            return Answer::Now(match self.0.is_required {
                true => Err(Refusal::unauthenticated("the token names no device session")),
                false => Ok(T::default()),
            });
        };
        // Nothing is copied of a session that is held: this is what nearly everybody meets.
        let at_once =
            |redis: &RedisSessions| redis.held(session, |known| judge(known, &principal.user).map(|()| of(known)));
        if let Some(judged) = self.0.redis.as_ref().and_then(at_once) {
            return Answer::Now(judged);
        }
        let (user, is_required) = (Arc::clone(&principal.user), self.0.is_required);
        self.ask(session).and_then(move |record| {
            Answer::Now(match record {
                Some(record) => judge(record.known(), &user).map(|()| of(record.known())),
                None if is_required => Err(Refusal::unauthenticated("there is no such session")),
                None => Ok(T::default()),
            })
        })
    }

    /// What is known about a session.
    fn ask(&self, id: &Arc<str>) -> Answer<Option<Record>> {
        if let Some(redis) = &self.0.redis {
            return redis.ask(id);
        }
        let (embedded, id) = (self.0.embedded.clone(), Arc::clone(id));
        Answer::Later(Box::pin(async move {
            let found = embedded.get(&id).await;
            found.map(|found| found.map(Record::from)).map_err(|error| Refusal::unavailable(error.to_string()))
        }))
    }

    /// Tells from now on which connections have to end, or to be checked again.
    #[must_use]
    pub fn revocations(&self) -> broadcast::Receiver<Revocation> {
        self.0.revocations.subscribe()
    }

    /// Revokes for good, and ends the connections: a session; all tokens of a user or a tenant that were issued by now.
    /// `false`: there is no such session. Only Redis knows that; the embedded store keeps in mind any id.
    ///
    /// # Errors
    /// It could not be stored, and nothing is revoked.
    pub async fn revoke(&self, target: Revocation) -> Result<bool, SessionsError> {
        let now_ms = (self.0.clock)();
        let mark = match &target {
            Revocation::Session(id) => match &self.0.redis {
                // The stream says so to everybody, this gateway among them.
                Some(redis) => return redis.revoke(id).await,
                None => {
                    self.0.embedded.revoke(id, now_ms).await?;
                    self.0.metrics.revoked.fetch_add(1, Relaxed);
                    None
                }
            },
            Revocation::User { user, tenant } => Some(Mark::User { user: Arc::clone(user), tenant: tenant.clone() }),
            Revocation::Tenant(tenant) => Some(Mark::Tenant(tenant.clone())),
            Revocation::Recheck(_) | Revocation::RecheckAll => None,
        };
        if let Some(mark) = mark {
            self.0.embedded.mark(mark, now_ms).await?;
        }
        // Nobody listens: nobody is connected.
        let _ = self.0.revocations.send(target);
        Ok(true)
    }

    /// Stores an active session, new or as it is now.
    ///
    /// # Errors
    /// A name or key that is empty or too long, a session that was revoked, a store that fails, or one in Redis.
    pub async fn put(&self, id: &str, user: &str, public_key: &str) -> Result<(), SessionsError> {
        if self.0.redis.is_some() {
            return Err(SessionsError::NotEmbedded);
        }
        let fields =
            [("device_session_id", id), ("user_id", user), ("client_public_key", public_key), ("status", "active")];
        let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let snapshot = decode(fields).map_err(|malformed| SessionsError::Malformed(malformed.rule))?;
        self.0.embedded.put(snapshot).await?;
        // It may be another user's now.
        let _ = self.0.revocations.send(Revocation::Recheck(id.into()));
        Ok(())
    }

    /// What is counted.
    #[must_use]
    pub fn metrics(&self) -> &Arc<SessionMetrics> {
        &self.0.metrics
    }

    /// Why sessions cannot be checked now, for `/readyz`.
    #[must_use]
    pub fn trouble(&self) -> Option<&'static str> {
        self.0.redis.as_ref().and_then(RedisSessions::trouble)
    }
}

async fn open(file: &Path, runtime: &Handle) -> Result<Embedded, SessionsError> {
    let file = file.to_owned();
    let opened = runtime.spawn_blocking(move || Embedded::open(&file)).await;
    let opened = opened.map_err(|error| SessionsError::Open(error.to_string()))?;
    opened.map_err(|error| SessionsError::Open(error.to_string()))
}

/// Whether a session lets its user in.
fn judge(session: Known<'_>, user: &str) -> Result<(), Refusal> {
    if session.is_revoked {
        Err(Refusal::revoked())
    } else if session.user != user {
        Err(Refusal::unauthenticated("the session is another user's"))
    } else {
        Ok(())
    }
}
