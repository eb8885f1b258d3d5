//! Handlers that are compiled in: a table that is frozen when the gateway starts, and the tasks that run them.
//!
//! A handler that has begun goes on when its client leaves: its answer is lost then. What ends it early is its time limit, or
//! a panic, which is logged, answered `internal` and harms nobody else.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::StatusCode;
use serde_json::Value;
use tidegate_edge::{ApiError, Peer};
use tidegate_model::Later;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use super::metrics::{Metrics, count};
use super::{Client, unavailable};
use crate::config;

/// Connects and disconnects that wait to be handled; past it they are left out, and that is logged.
const WAITING_MAX: usize = 65_536;

type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type OnEvent = Arc<dyn Fn(Client, Value) -> Task<Result<Value, Failure>> + Send + Sync>;
type OnClient = Arc<dyn Fn(Client) -> Task<()> + Send + Sync>;

/// A handler's no, as the client gets it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Failure {
    /// For programs.
    pub code: Box<str>,
    /// For people.
    pub message: String,
    /// Whether the same may succeed later.
    pub retryable: bool,
}

impl Failure {
    /// A no that stays one.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), retryable: false }
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let code = error.code().into();
        Self { code, message: error.message, retryable: error.retryable }
    }
}

/// The table, while it is being put together.
#[derive(Default)]
pub(crate) struct Handlers {
    events: HashMap<Box<str>, OnEvent>,
    connect: Option<OnClient>,
    disconnect: Option<OnClient>,
}

impl Handlers {
    pub(crate) fn on<F, R>(&mut self, event: &str, handler: F)
    where
        F: Fn(Client, Value) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Value, Failure>> + Send + 'static,
    {
        self.events.insert(event.into(), Arc::new(move |client, data| Box::pin(handler(client, data))));
    }

    pub(crate) fn on_connect<F, R>(&mut self, handler: F)
    where
        F: Fn(Client) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.connect = Some(Arc::new(move |client| Box::pin(handler(client))));
    }

    pub(crate) fn on_disconnect<F, R>(&mut self, handler: F)
    where
        F: Fn(Client) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.disconnect = Some(Arc::new(move |client| Box::pin(handler(client))));
    }
}

/// The table, frozen: reading it takes no lock.
pub(super) struct Running {
    handlers: Handlers,
    runtime: Handle,
    limit: Duration,
    places: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    /// Of each connection where a disconnect is handled: ends when its connect has been.
    connecting: Mutex<HashMap<Arc<str>, oneshot::Receiver<()>>>,
    metrics: Arc<Metrics>,
}

impl Running {
    pub(super) fn new(
        handlers: Handlers,
        config: &config::Application,
        runtime: Handle,
        metrics: Arc<Metrics>,
    ) -> Self {
        let places = Arc::new(Semaphore::new(config.handlers_max));
        let waiting = Arc::new(Semaphore::new(WAITING_MAX));
        let limit = config.handler_timeout;
        Self { handlers, runtime, limit, places, waiting, connecting: Mutex::default(), metrics }
    }

    pub(super) fn is_empty(&self) -> bool {
        let Handlers { events, connect, disconnect } = &self.handlers;
        events.is_empty() && connect.is_none() && disconnect.is_none()
    }

    /// Runs the handler of an event, if there is one.
    pub(super) fn event(&self, peer: &Peer, event: &str, data: &str) -> Option<Later<Bytes, ApiError>> {
        let handler = self.handlers.events.get(event)?.clone();
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            count(&self.metrics.handlers_busy);
            return Some(Box::pin(async { Err(unavailable("as many events are being handled as may")) }));
        };
        count(&self.metrics.handled);
        let (client, data, limit) = (Client::new(peer.clone()), data.to_owned(), self.limit);
        let watch = Watch { what: event.into(), metrics: self.metrics.clone() };
        // Ends within the limit, whoever waits for it.
        let task = self.runtime.spawn(async move {
            let (_place, watch) = (place, watch);
            let data = serde_json::from_str(&data).map_err(|error| ApiError::malformed(error.to_string()))?;
            let handled = timeout(limit, async { handler(client, data).await }).await;
            let handled = handled.map_err(|_| watch.late(limit))?;
            let data = handled.map_err(|no| ApiError::of_application(&no.code, no.message, no.retryable))?;
            Ok(Bytes::from(data.to_string()))
        });
        let failed = || ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the application failed");
        Some(Box::pin(async move { task.await.unwrap_or_else(|_panic| Err(failed())) }))
    }

    pub(super) fn connected(&self, peer: &Peer) {
        let Some(handler) = &self.handlers.connect else { return };
        let (told, ended) = oneshot::channel();
        if self.handlers.disconnect.is_some() {
            self.connecting().insert(peer.name().clone(), ended);
        }
        self.spawn("connect", handler.clone(), peer, None, Some(told));
    }

    pub(super) fn disconnected(&self, peer: &Peer) {
        let Some(handler) = &self.handlers.disconnect else { return };
        let after = self.connecting().remove(peer.name());
        self.spawn("disconnect", handler.clone(), peer, after, None);
    }

    /// Runs a handler when there is a place, and after what it has to come after. `told` is dropped when it has ended.
    fn spawn(
        &self,
        what: &'static str,
        handler: OnClient,
        peer: &Peer,
        after: Option<oneshot::Receiver<()>>,
        told: Option<oneshot::Sender<()>>,
    ) {
        let Ok(waiting) = self.waiting.clone().try_acquire_owned() else {
            count(&self.metrics.handlers_busy);
            tracing::error!(what, "too many handlers wait; this one is left out");
            return;
        };
        let (client, limit, places) = (Client::new(peer.clone()), self.limit, self.places.clone());
        let metrics = self.metrics.clone();
        let handled = async move {
            let _told = told;
            if let Some(after) = after {
                let _ = after.await;
            }
            let Ok(_place) = places.acquire_owned().await else { return };
            drop(waiting);
            count(&metrics.handled);
            let watch = Watch { what: what.into(), metrics };
            if timeout(limit, async { handler(client).await }).await.is_err() {
                watch.late(limit);
            }
        };
        // Ends within the limit once it has a place.
        drop(self.runtime.spawn(handled));
    }

    fn connecting(&self) -> MutexGuard<'_, HashMap<Arc<str>, oneshot::Receiver<()>>> {
        self.connecting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sees what becomes of a handler, whoever waits for it.
struct Watch {
    what: Box<str>,
    metrics: Arc<Metrics>,
}

impl Watch {
    fn late(&self, limit: Duration) -> ApiError {
        count(&self.metrics.timed_out);
        tracing::warn!(what = &*self.what, "a handler took too long and was ended");
        let message = format!("the application has not answered within {} ms", limit.as_millis());
        ApiError::new(StatusCode::GATEWAY_TIMEOUT, "handler_timeout", message)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!(what = &*self.what, "a handler panicked: this is a bug of the application");
            count(&self.metrics.panicked);
        }
    }
}

impl fmt::Debug for Handlers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.events.keys()).finish()
    }
}
