//! What all connections share, and how one is let in.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::{HeaderMap, StatusCode, Uri};
use tidegate_identity::{Authority, ClientTokens, Principal, Refusal, TopicVerb, admit};
use tidegate_live::Live;
use tidegate_model::{Catalog, Position, Query, Tenant};
use tidegate_session::Want;
use tidegate_session::runtime::Runtime;
use tidegate_topics::{Topic, Topics};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admission::{Admission, retry_after};
use crate::application::Application;
use crate::cap::{Cap, Place};
use crate::order::Desk;
use crate::protocol::Protocol;
use crate::quota::Ledger;
use crate::{ApiError, Credentials, EdgeConfig, EdgeMetrics, Places, Refused};

/// Requests that wait for a position at once.
const WAITS_MAX: usize = 1_024;

/// Makes the protocol of one connection.
pub(crate) type Make = Arc<dyn Fn(&Arc<Principal>) -> Box<dyn Protocol> + Send + Sync>;

/// The rooms that connections reach.
pub struct Rooms {
    /// What can be queried.
    pub catalog: Arc<Catalog>,
    /// Live queries.
    pub live: Live,
    /// Topics, presence, ephemeral state.
    pub topics: Topics,
    /// Who may.
    pub authority: Arc<dyn Authority>,
    /// The position that every view has reached.
    pub applied: watch::Receiver<Position>,
    /// What else a client may call a position.
    pub places: Arc<dyn Places>,
    /// Agents' jobs, where they are served.
    pub runtime: Option<Runtime>,
}

/// What all connections share. Cheap to clone.
#[derive(Clone)]
pub struct Edge(Arc<Inner>);

/// An edge that is not held on to.
#[derive(Clone)]
pub(crate) struct WeakEdge(Weak<Inner>);

impl WeakEdge {
    /// The edge, unless it has ended.
    pub(crate) fn upgrade(&self) -> Option<Edge> {
        self.0.upgrade().map(Edge)
    }
}

struct Inner {
    config: EdgeConfig,
    rooms: Rooms,
    metrics: Arc<EdgeMetrics>,
    admission: Arc<Admission>,
    waits: Arc<Cap>,
    sockets: HashMap<Box<str>, Make>,
    application: Option<Arc<dyn Application>>,
    client_tokens: Option<ClientTokens>,
    credentials: Credentials,
    ledger: Arc<Ledger>,
    links: AtomicU64,
    node: Box<str>,
    /// Of the workers, in order.
    desks: Box<[Desk]>,
    /// The time over which closes are spread, in milliseconds.
    drain_window_ms: AtomicU64,
}

impl Edge {
    /// An edge without connections.
    #[must_use]
    pub fn new(config: EdgeConfig, rooms: Rooms) -> Self {
        let admission = Admission::new(&config, Instant::now());
        let metrics = Arc::default();
        let credentials = Credentials::of(&config);
        let ledger = Ledger::new(config.quotas);
        let drain_window_ms = AtomicU64::new(millis(config.drain_window));
        let desks = (0..config.workers()).map(|_| Desk::new()).collect();
        Self(Arc::new(Inner {
            config,
            rooms,
            desks,
            metrics,
            admission,
            waits: Cap::new(WAITS_MAX),
            sockets: HashMap::new(),
            application: None,
            client_tokens: None,
            credentials,
            ledger,
            links: AtomicU64::new(0),
            node: format!("{:016x}", rand::random::<u64>()).into(),
            drain_window_ms,
        }))
    }

    /// Serves a WebSocket protocol of the embedder's own at `path`, over the same workers and with the same bounds. `make` is
    /// called for each connection, once that one is let in. To be called before the edge is served; a path that is taken
    /// already keeps what it has. `examples/echo.rs` is such a protocol, over an edge without data.
    #[must_use]
    pub fn socket(
        mut self,
        path: &str,
        make: impl Fn(&Arc<Principal>) -> Box<dyn Protocol> + Send + Sync + 'static,
    ) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.sockets.entry(path.into()).or_insert_with(|| Arc::new(make));
        }
        self
    }

    /// Has the application answer for what is its own. To be called before the edge is served.
    #[must_use]
    pub fn application(mut self, application: Arc<dyn Application>) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.application = Some(application);
        }
        self
    }

    pub(crate) fn downgrade(&self) -> WeakEdge {
        WeakEdge(Arc::downgrade(&self.0))
    }

    /// Takes tokens of the Centrifugo client protocol that are signed with a shared secret, beside those of issuers. To be
    /// called before the edge is served.
    #[must_use]
    pub fn with_client_tokens(mut self, tokens: ClientTokens) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.client_tokens = Some(tokens);
        }
        self
    }

    pub(crate) fn client_tokens(&self) -> Option<&ClientTokens> {
        self.0.client_tokens.as_ref()
    }

    /// The application, where there is one.
    pub(crate) fn asked(&self) -> Option<&Arc<dyn Application>> {
        self.0.application.as_ref()
    }

    /// The counters.
    #[must_use]
    pub fn metrics(&self) -> &Arc<EdgeMetrics> {
        &self.0.metrics
    }

    /// Spreads the closes of the coming shutdown over another time than `drain_window`.
    pub fn drain_within(&self, window: Duration) {
        self.0.drain_window_ms.store(millis(window), Ordering::Relaxed);
    }

    pub(crate) fn drain_window(&self) -> Duration {
        Duration::from_millis(self.0.drain_window_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn config(&self) -> &EdgeConfig {
        &self.0.config
    }

    pub(crate) fn live(&self) -> &Live {
        &self.0.rooms.live
    }

    pub(crate) fn authority(&self) -> &Arc<dyn Authority> {
        &self.0.rooms.authority
    }

    /// Topics, presence, ephemeral state.
    #[must_use]
    pub fn topics(&self) -> &Topics {
        &self.0.rooms.topics
    }

    /// Agents' jobs, where they are served.
    pub(crate) fn runtime(&self) -> Option<&Runtime> {
        self.0.rooms.runtime.as_ref()
    }

    /// What this process is called, for who has to come back to it.
    pub(crate) fn node(&self) -> &str {
        &self.0.node
    }

    pub(crate) fn desks(&self) -> &[Desk] {
        &self.0.desks
    }

    pub(crate) fn applied(&self) -> watch::Receiver<Position> {
        self.0.rooms.applied.clone()
    }

    pub(crate) fn places(&self) -> &dyn Places {
        &*self.0.rooms.places
    }

    /// A number for a socket, as logs name it.
    pub(crate) fn next_link(&self) -> u64 {
        self.0.links.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Finds out who sends a request that is answered at once.
    pub(crate) async fn authenticate(&self, uri: &Uri, headers: &HeaderMap) -> Result<Arc<Principal>, ApiError> {
        let admitted = async {
            let presented = self.0.credentials.find(uri, headers)?;
            admit(&*self.0.rooms.authority, &presented.shown(), presented.proof()).await
        };
        admitted.await.map_err(|refusal| self.refuse(refusal))
    }

    /// Where credentials are looked for.
    pub(crate) fn credentials(&self) -> &Credentials {
        &self.0.credentials
    }

    /// What users and tenants use.
    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.0.ledger
    }

    /// Counts someone whose identity was not settled.
    pub(crate) fn refuse(&self, refusal: Refusal) -> ApiError {
        self.0.metrics.refuse(match refusal.status {
            429 => Refused::Quota,
            _ if refusal.retryable => Refused::Identity,
            _ => Refused::Unauthenticated,
        });
        let retry_after = refusal.retryable.then(|| retry_after(rand::random()));
        ApiError { retry_after, ..refusal.into() }
    }

    /// When an identity ends.
    pub(crate) fn expiry(&self, expires_at_ms: Option<u64>, now: Instant) -> Option<Instant> {
        let left = Duration::from_millis(expires_at_ms?.saturating_sub(wall_clock_ms()));
        now.checked_add(left)
    }

    /// Takes a place among the live connections, or says to come back later.
    pub(crate) fn admit(&self, drain: &CancellationToken, resumes: bool) -> Result<Place, ApiError> {
        let admitted = match drain.is_cancelled() {
            true => Err(Refused::Draining),
            false => self.0.admission.connection(resumes, Instant::now()),
        };
        admitted.map_err(|reason| {
            self.0.metrics.refuse(reason);
            match reason {
                Refused::Draining => busy("draining", "this process is stopping; connect again"),
                Refused::Rate => busy("rate", "more connect at once than the gateway lets in; connect again later"),
                Refused::Memory => busy("memory", "the gateway is as large as it may get; connect again later"),
                _ => busy("capacity", "the gateway has as many connections as it takes; connect again later"),
            }
        })
    }

    /// The topic of that name among those of whoever this is, if they may do that there.
    pub(crate) fn topic(&self, principal: &Principal, verb: TopicVerb, name: &str) -> Result<Arc<Topic>, ApiError> {
        self.topic_of(principal.topic_tenant(), principal, verb, name)
    }

    /// The same among those of a tenant that is theirs to name.
    pub(crate) fn topic_of(
        &self,
        tenant: Tenant,
        principal: &Principal,
        verb: TopicVerb,
        name: &str,
    ) -> Result<Arc<Topic>, ApiError> {
        let topic = self.topics().namespaces.topic(tenant, name)?;
        self.authority().topic(principal, verb, name)?;
        Ok(topic)
    }

    /// A place among those who wait for a position, each of whom is woken by every transaction.
    pub(crate) fn wait(&self) -> Result<Place, ApiError> {
        self.0.waits.take().ok_or_else(|| busy("overloaded", "as many wait for a position as may; ask again later"))
    }

    pub(crate) fn admission(&self) -> &Admission {
        &self.0.admission
    }

    /// The embedder's protocol at a path.
    pub(crate) fn socket_at(&self, path: &str) -> Option<Make> {
        self.0.sockets.get(path).cloned()
    }

    /// Decodes a query and has the authority decide what it may see; and what was asked for, where it may see less.
    pub(crate) fn want(
        &self,
        principal: &Principal,
        query: &str,
        resume_from: Option<&str>,
        synced: bool,
    ) -> Result<(Want, Option<Arc<Query>>), ApiError> {
        let asked = Query::from_json(&self.0.rooms.catalog, query)?;
        let (tenant, query) = self.0.rooms.authority.read(principal, asked.clone())?;
        let asked = (asked != query).then(|| Arc::new(asked));
        // What is no token of ours proves nothing: the client starts anew.
        let resume = resume_from.and_then(|token| token.parse().ok());
        Ok((Want { query: Arc::new(query), tenant, resume, synced }, asked))
    }
}

/// What clocks on the wall show, in milliseconds since 1970: tokens end by it.
pub(crate) fn wall_clock_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(crate) fn busy(code: &'static str, message: &str) -> ApiError {
    let retry_after = Some(retry_after(rand::random()));
    ApiError { retry_after, ..ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code, message) }
}
