//! The application behind the gateway: handlers that are compiled in, and an endpoint that is asked over HTTP.
//!
//! ```text
//! the edge ─ an event of any other name ─► handlers: a frozen table ─► a task of the process's runtime
//!                                      └─► else the endpoint: one signed POST, bounded
//!          ─ may it subscribe, publish? ─► the endpoint; without one: no
//! ```
//!
//! # Invariants
//! - **No worker thread runs a handler** or waits for one: each is a task of the process's runtime, bounded in number and time.
//! - **Fails closed**: a question about a topic that is not answered with a clear yes is answered with a no.
//! - **Handlers win** over the endpoint.

mod client;
mod endpoint;
mod handlers;
mod metrics;

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::StatusCode;
use tidegate_edge::{ApiError, Application, Peer, Permit};
use tidegate_identity::{Clock, FetchError, Principal};
use tidegate_model::{Answer, Later, Tenant};
use tidegate_topics::{Data, Topic};
use tokio::runtime::Handle;

use self::endpoint::{Endpoint, From};
use self::handlers::Running;
use crate::config;

pub use self::client::Client;
pub use self::handlers::Failure;
pub(crate) use self::handlers::Handlers;
pub(crate) use self::metrics::{Failed, Metrics};

/// All of the application, for as long as the gateway runs.
pub(crate) struct Backend {
    handlers: Running,
    endpoint: Option<Endpoint>,
    metrics: Arc<Metrics>,
}

impl Backend {
    /// From what is compiled in and what configuration says. Handlers run and questions go out on `runtime`.
    ///
    /// # Errors
    /// There is no TLS to be had.
    pub(crate) fn new(
        handlers: Handlers,
        config: &config::Application,
        runtime: Handle,
        clock: Clock,
    ) -> Result<Self, FetchError> {
        let metrics = Arc::<Metrics>::default();
        let handlers = Running::new(handlers, config, runtime.clone(), metrics.clone());
        let endpoint = config.endpoint.clone();
        let endpoint = endpoint.map(|settings| Endpoint::new(settings, runtime, clock, metrics.clone())).transpose()?;
        Ok(Self { handlers, endpoint, metrics })
    }

    /// Whether there is anything that could be asked.
    pub(crate) fn is_there(&self) -> bool {
        self.endpoint.is_some() || !self.handlers.is_empty()
    }

    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }
}

impl Application for Backend {
    fn event(&self, peer: &Peer, event: &str, data: &str) -> Option<Later<Bytes, ApiError>> {
        self.handlers.event(peer, event, data).or_else(|| self.endpoint.as_ref()?.event(who(peer), event, data))
    }

    fn may_subscribe(&self, peer: &Peer, topic: &Arc<Topic>) -> Answer<Permit, ApiError> {
        match &self.endpoint {
            Some(endpoint) => Answer::Later(endpoint.may_subscribe(who(peer), topic)),
            None => Answer::Now(Err(unavailable("there is no endpoint to ask"))),
        }
    }

    fn may_publish(&self, peer: &Peer, topic: &Arc<Topic>, data: &Data) -> Answer<(), ApiError> {
        match &self.endpoint {
            Some(endpoint) => Answer::Later(endpoint.may_publish(who(peer), topic, data)),
            None => Answer::Now(Err(unavailable("there is no endpoint to ask"))),
        }
    }

    fn connected(&self, peer: &Peer) {
        self.handlers.connected(peer);
    }

    fn disconnected(&self, peer: &Peer) {
        self.handlers.disconnected(peer);
    }
}

/// As the application is told it: none for whoever is in the common one.
fn tenant(principal: &Principal) -> Option<&str> {
    let own = principal.tenant.as_ref().filter(|own| principal.topic_tenant() == **own && **own != Tenant::common());
    own.map(Tenant::name)
}

fn who(peer: &Peer) -> From<'_> {
    From(peer.name(), peer.principal())
}

/// The application has not answered, or not as agreed; it may when it is asked again.
fn unavailable(why: &str) -> ApiError {
    let message = format!("the application cannot be asked now: {why}");
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "application_unavailable", message)
}
