//! What all connections share, and how one is let in.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use futures_util::task::AtomicWaker;
use tidegate_live::Live;
use tidegate_model::{Catalog, Position, Query};
use tidegate_session::{Authority, CloseReason, Principal, Session, Want};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tracing::Span;

use crate::metrics::count;
use crate::{ApiError, EdgeConfig, EdgeMetrics, Places, Refused, credential, events, frames, live_ws, position, sse};

/// What all connections share. Cheap to clone.
#[derive(Clone)]
pub struct Edge(Arc<Inner>);

struct Inner {
    config: EdgeConfig,
    catalog: Arc<Catalog>,
    live: Live,
    authority: Arc<dyn Authority>,
    applied: watch::Receiver<Position>,
    places: Arc<dyn Places>,
    metrics: Arc<EdgeMetrics>,
    admission: Arc<Semaphore>,
    links: AtomicU64,
    /// The time over which closes are spread, in milliseconds.
    drain_window_ms: AtomicU64,
}

impl Edge {
    /// An edge without connections. `applied` tells the position that every view has reached, `places` what else a client
    /// may call one.
    #[must_use]
    pub fn new(
        config: EdgeConfig,
        catalog: Arc<Catalog>,
        live: Live,
        authority: Arc<dyn Authority>,
        applied: watch::Receiver<Position>,
        places: Arc<dyn Places>,
    ) -> Self {
        let admission = Arc::new(Semaphore::new(config.max_connections.min(Semaphore::MAX_PERMITS)));
        let metrics = Arc::default();
        let drain_window_ms = AtomicU64::new(millis(config.drain_window));
        Self(Arc::new(Inner {
            config,
            catalog,
            live,
            authority,
            applied,
            places,
            metrics,
            admission,
            links: AtomicU64::new(0),
            drain_window_ms,
        }))
    }

    /// The live endpoints and the position. To be served by [`serve()`](crate::serve()), which adds the origin check.
    pub fn routes(&self) -> Router {
        Router::new()
            .route("/v1/live", get(sse::get).post(sse::post))
            .route("/v1/live/ws", get(live_ws::open))
            .route("/ws", get(events::open))
            .route("/v1/position", get(position::get))
            .method_not_allowed_fallback(|| async {
                ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this takes another method")
            })
            .with_state(self.clone())
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
        &self.0.live
    }

    pub(crate) fn authority(&self) -> &dyn Authority {
        &*self.0.authority
    }

    pub(crate) fn applied(&self) -> watch::Receiver<Position> {
        self.0.applied.clone()
    }

    pub(crate) fn places(&self) -> &dyn Places {
        &*self.0.places
    }

    /// A number for a socket, as logs name it.
    pub(crate) fn next_link(&self) -> u64 {
        self.0.links.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Who the headers of a request say is there.
    pub(crate) fn authenticate(&self, headers: &HeaderMap) -> Result<Arc<Principal>, ApiError> {
        let principal = credential(headers).and_then(|credential| self.0.authority.authenticate(credential));
        principal.map_err(|refusal| {
            self.0.metrics.refuse(Refused::Unauthenticated);
            refusal.into()
        })
    }

    /// Takes a place among the live connections, or says to come back later.
    pub(crate) fn admit(&self, link: &Link) -> Result<OwnedSemaphorePermit, ApiError> {
        if link.drain.is_cancelled() {
            self.0.metrics.refuse(Refused::Draining);
            return Err(busy("draining", "this process is stopping; connect again"));
        }
        self.0.admission.clone().try_acquire_owned().map_err(|_| {
            self.0.metrics.refuse(Refused::Capacity);
            busy("capacity", "the gateway has as many connections as it takes; connect again later")
        })
    }

    /// A live connection begins on the place that it was given.
    pub(crate) fn begin(&self, link: &Arc<Link>, permit: OwnedSemaphorePermit, kind: &'static str) -> Admitted {
        count(&self.0.metrics.connections);
        count(&self.0.metrics.connections_total);
        Admitted { edge: self.clone(), link: link.clone(), kind, reason: None, _permit: permit }
    }

    /// A session whose wake-ups go to `waker`.
    pub(crate) fn session(&self, waker: &Arc<AtomicWaker>) -> Session {
        let waker = waker.clone();
        let sessions = self.0.metrics.sessions.clone();
        Session::new(self.0.config.limits(), frames::encode, sessions, Box::new(move || waker.wake()))
    }

    /// Decodes a query and has the authority decide what it may see.
    pub(crate) fn want(
        &self,
        principal: &Principal,
        query: &str,
        resume_from: Option<&str>,
        synced: bool,
    ) -> Result<Want, ApiError> {
        let query = Query::from_json(&self.0.catalog, query)?;
        let (tenant, query) = self.0.authority.read(principal, query)?;
        // What is no token of ours proves nothing: the client starts anew.
        let resume = resume_from.and_then(|token| token.parse().ok());
        Ok(Want { query: Arc::new(query), tenant, resume, synced })
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn busy(code: &'static str, message: &str) -> ApiError {
    let retry_after = Some(5 + rand::random_range(0..=5));
    ApiError { retry_after, ..ApiError::new(StatusCode::SERVICE_UNAVAILABLE, code, message) }
}

/// What a socket's task does once HTTP is over on it.
pub(crate) type Upgraded = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One socket, as its handlers see it.
pub(crate) struct Link {
    /// Whether the socket gave up on a peer that took nothing.
    pub(crate) timed_out: Arc<AtomicBool>,
    /// Cancelled when the process stops.
    pub(crate) drain: CancellationToken,
    pub(crate) span: Span,
    upgraded: Mutex<Option<Upgraded>>,
}

impl Link {
    pub(crate) fn new(timed_out: Arc<AtomicBool>, drain: CancellationToken, span: Span) -> Self {
        Self { timed_out, drain, span, upgraded: Mutex::new(None) }
    }

    /// Whose connection the log speaks of from now on.
    pub(crate) fn name(&self, principal: &Principal) {
        self.span.record("user", &*principal.user);
    }

    /// Leaves the socket's task what to do after the upgrade, so that a connection stays one task.
    pub(crate) fn set_upgraded(&self, upgraded: Upgraded) {
        *self.upgraded.lock().unwrap_or_else(PoisonError::into_inner) = Some(upgraded);
    }

    pub(crate) fn take_upgraded(&self) -> Option<Upgraded> {
        self.upgraded.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A place among the live connections. Dropping it gives it back, counts the close and logs it.
pub(crate) struct Admitted {
    pub(crate) edge: Edge,
    pub(crate) link: Arc<Link>,
    kind: &'static str,
    reason: Option<CloseReason>,
    _permit: OwnedSemaphorePermit,
}

impl Admitted {
    /// Why the connection closes: the first reason stays.
    pub(crate) fn close(&mut self, reason: CloseReason) {
        self.reason.get_or_insert(reason);
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        // A socket that failed on a stalled write looks to its task like a peer that went away.
        let timed_out = self.link.timed_out.load(Ordering::Relaxed);
        let reason = match self.reason {
            Some(CloseReason::Gone) | None if timed_out => CloseReason::WriteTimeout,
            reason => reason.unwrap_or(CloseReason::Gone),
        };
        let metrics = self.edge.metrics();
        metrics.connections.fetch_sub(1, Ordering::Relaxed);
        count(&metrics.closed[reason as usize]);
        let _entered = self.link.span.enter();
        tracing::info!(kind = self.kind, reason = reason.name(), "closed");
    }
}
