//! The rooms put together, and taken apart again in order.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use tidegate_edge::{Edge, TlsError};
use tidegate_feed::LocalFeed;
use tidegate_live::{Live, StartError as LiveError};
use tidegate_mirror::{Mirror, MirrorError};
use tidegate_model::{Position, RowSource};
use tidegate_session::Authority;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::api::{self, Api};
use crate::authority::Permissions;
use crate::config::Config;
use crate::health::Health;
use crate::metrics;

/// Shorter keys are warned about.
const API_KEY_BYTES_GOOD: usize = 16;

/// What stands in the way of a start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// The live engine.
    #[error(transparent)]
    Live(#[from] LiveError),
    /// The feed's thread.
    #[error("cannot start the feed: {0}")]
    Feed(#[source] io::Error),
    /// Certificate and key.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; is another process there? choose another with --listen")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A part of the start panicked.
    #[error("the start failed: {0}")]
    Panicked(#[from] JoinError),
}

/// Puts a gateway together. By default who may do what is what configuration says.
pub struct Builder {
    config: Config,
    authority: Option<Arc<dyn Authority>>,
    routes: Router,
}

/// A gateway that runs until [`Gateway::stop`].
pub struct Gateway {
    url: String,
    house: House,
    health: Arc<Health>,
    shutdown: CancellationToken,
    drain_delay: std::time::Duration,
    serving: JoinSet<io::Result<()>>,
}

/// In the order in which they are let go: who writes before who is written to.
struct House {
    feed: LocalFeed,
    live: Live,
    mirror: Arc<Mirror>,
}

impl Gateway {
    /// Begins with a valid configuration.
    #[must_use]
    pub fn builder(config: Config) -> Builder {
        Builder { config, authority: None, routes: Router::new() }
    }

    /// Where it listens, such as `http://127.0.0.1:8470`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// For writing from within the process.
    #[must_use]
    pub fn feed(&self) -> &LocalFeed {
        &self.house.feed
    }

    /// Stops: readiness turns red, live connections are closed over the drain window, what was accepted for writing is
    /// written.
    ///
    /// # Errors
    /// Serving had failed.
    pub async fn stop(mut self) -> io::Result<()> {
        self.health.drain();
        tracing::info!("stopping: connections are drained");
        tokio::time::sleep(self.drain_delay).await;
        self.shutdown.cancel();
        let mut served = Ok(());
        while let Some(done) = self.serving.join_next().await {
            served = served.and(done.unwrap_or_else(|panic| Err(io::Error::other(panic))));
        }
        let house = self.house;
        // Letting the feed go waits for its last commit.
        let flushed = tokio::task::spawn_blocking(move || drop(house)).await;
        served.and(flushed.map_err(io::Error::other))
    }
}

impl Builder {
    /// Another authority than the one from configuration.
    #[must_use]
    pub fn authority(self, authority: Arc<dyn Authority>) -> Self {
        Self { authority: Some(authority), ..self }
    }

    /// Routes beside the gateway's own; none may be the same.
    #[must_use]
    pub fn routes(self, routes: Router) -> Self {
        Self { routes, ..self }
    }

    /// Opens the store, starts every room and listens.
    ///
    /// # Errors
    /// [`StartError`], saying what to do.
    pub async fn start(self) -> Result<Gateway, StartError> {
        let Self { config, authority, routes } = self;
        let mut edge_config = config.rooms.edge.clone();
        if let Some(tls) = &config.tls {
            edge_config.tls = Some(tidegate_edge::Tls::load(&tls.certificate_file, &tls.key_file)?);
        }
        let scheme = if config.tls.is_some() { "https" } else { "http" };
        let authority = authority.unwrap_or_else(|| configured(&config));
        let (applied, on_applied) = watch::channel(Position(0));
        let (house, health) = open(&config, applied).await?;
        let edge =
            Edge::new(edge_config, config.catalog.clone(), house.live.clone(), authority.clone(), on_applied.clone());
        let exported = metrics::Sources {
            edge: edge.metrics().clone(),
            live: house.live.clone(),
            feed: house.feed.metrics().clone(),
            mirror: house.mirror.clone(),
            applied: on_applied,
        };
        let api = Api::new(&config, authority, house.feed.clone(), house.mirror.clone());
        let router = api::router(api, health.clone(), exported, house.feed.clone()).merge(routes);
        let address = config.listen;
        let listener = TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })?;
        let at = listener.local_addr().map_err(|source| StartError::Listen { address, source })?;
        let shutdown = CancellationToken::new();
        let mut serving = JoinSet::new();
        serving.spawn(tidegate_edge::serve(edge, vec![listener], router, shutdown.clone()));
        let url = format!("{scheme}://{at}");
        Ok(Gateway { url, house, health, shutdown, drain_delay: config.rooms.drain_delay, serving })
    }
}

fn configured(config: &Config) -> Arc<dyn Authority> {
    if config.identity.api_keys.iter().any(|key| key.0.len() < API_KEY_BYTES_GOOD) {
        tracing::warn!("an API key has fewer than {API_KEY_BYTES_GOOD} characters, so it could be guessed");
    }
    let permissions = Permissions::new(&config.identity, config.grants.clone());
    if permissions.is_open() {
        tracing::warn!(
            "strangers may read and write everything: identity.anonymous is on and there is no [[permission]]"
        );
    }
    Arc::new(permissions)
}

/// Store, engine and feed, wired from the feed to the engine. What the engine has applied goes to `applied`.
async fn open(config: &Config, applied: watch::Sender<Position>) -> Result<(House, Arc<Health>), StartError> {
    let (dir, catalog, options) = (config.data_dir.clone(), config.catalog.clone(), config.rooms.mirror.clone());
    let opening = tokio::task::spawn_blocking(move || Mirror::open(&dir, &catalog, &options));
    let (mirror, writer) = opening.await??;
    let mirror = Arc::new(mirror);
    let start = writer.position();
    applied.send_replace(start);
    let health = Arc::new(Health::new(start));
    let reached = health.clone();
    let on_advance = Box::new(move |position| {
        reached.applied(position);
        applied.send_replace(position);
    });
    let rows: Arc<dyn RowSource> = mirror.clone();
    let live = Live::start(&config.rooms.live, mirror.incarnation(), start, &rows, on_advance)?;
    let (followers, published) = (live.clone(), health.clone());
    let publish = Box::new(move |transaction: Arc<tidegate_model::Transaction>| {
        published.published(transaction.position);
        followers.publish(&transaction);
    });
    let feed = LocalFeed::start(config.rooms.feed.clone(), config.catalog.clone(), writer, publish)
        .map_err(StartError::Feed)?;
    Ok((House { feed, live, mirror }, health))
}
