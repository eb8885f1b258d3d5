//! A gateway as a program has it: put together, kept running over changes of the source's schema, stopped.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use serde_json::Value;
use tidegate_edge::TlsError;
use tidegate_feed::LocalFeed;
use tidegate_feed::postgres::SourceError;
use tidegate_identity::{Authority, Clock, FetchError, Identity, IdentityError};
use tidegate_jobs::AgentRef;
use tidegate_jobs::agents::Agent;
use tidegate_jobs::credentials::Provisioner;
use tidegate_live::StartError as LiveError;
use tidegate_mirror::MirrorError;
use tidegate_topics::Topics;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::application::{Backend, Client, Failure, Handlers};
use crate::config::{self, Config, ConfigError};
use crate::feeds::Feed;
use crate::house::{Decides, Entities, House, Plan};
use crate::progress::Progress;
use crate::runtime::{self, AgentsError, Brought};

/// Connections that the system takes in before they are accepted, as far as it lets us: in a storm one that finds no room
/// tries again only after a second.
const BACKLOG: u32 = 16_384;
/// The most time over which clients are let go when the rooms start again: who comes back waits for as long.
const RESTART_WINDOW_MAX: Duration = Duration::from_secs(1);
/// From the first change of a schema on: a migration makes several, and clients are to be closed once.
const SETTLE: Duration = Duration::from_millis(500);
/// Before the source is asked again what its schema is, growing twofold between these.
const ASK_AGAIN_MIN: Duration = Duration::from_secs(1);
const ASK_AGAIN_MAX: Duration = Duration::from_secs(60);

/// What stands in the way of a start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What the database has is not what the configuration says.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database, or how it is set up; every problem found, each with what mends it.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The store.
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    /// The live engine.
    #[error(transparent)]
    Live(#[from] LiveError),
    /// The feed's thread.
    #[error("cannot start the feed: {0}")]
    Feed(#[source] io::Error),
    /// The timer of topics.
    #[error("cannot start topics: {0}")]
    Topics(#[source] io::Error),
    /// Issuers, the store of device sessions, or how they are reached.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// How the application is reached.
    #[error("cannot reach the application: {0}")]
    Application(#[source] FetchError),
    /// Agents, or where their jobs are kept.
    #[error(transparent)]
    Agents(#[from] AgentsError),
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
    handlers: Handlers,
    brought: Brought,
    routes: Router,
    progress: Progress,
}

/// A gateway that runs until [`Gateway::stop`].
///
/// One that follows a database starts its rooms again whenever the schema of its tables changes: live connections are
/// closed as on a stop, and clients that come back find the gateway at the same address.
pub struct Gateway {
    url: String,
    feed: Option<LocalFeed>,
    stop: CancellationToken,
    keeping: JoinSet<io::Result<()>>,
}

impl Gateway {
    /// Begins with a valid configuration.
    #[must_use]
    pub fn builder(config: Config) -> Builder {
        Builder {
            config,
            authority: None,
            handlers: Handlers::default(),
            brought: Brought::default(),
            routes: Router::new(),
            progress: Progress::Logged,
        }
    }

    /// Where it listens, such as `http://127.0.0.1:8470`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// For writing from within the process. None where rows come from a database: they are written there.
    #[must_use]
    pub fn feed(&self) -> Option<&LocalFeed> {
        self.feed.as_ref()
    }

    /// Waits until the gateway has ended without being told to, which it does only where the rooms could not be started
    /// again.
    ///
    /// # Errors
    /// Why.
    pub async fn ended(&mut self) -> io::Result<()> {
        self.keeping.join_next().await.map_or(Ok(()), |kept| kept.unwrap_or_else(|panic| Err(io::Error::other(panic))))
    }

    /// Stops: readiness turns red, live connections are closed over the drain window, what was accepted for writing is
    /// written.
    ///
    /// # Errors
    /// Serving had failed.
    pub async fn stop(mut self) -> io::Result<()> {
        self.feed = None;
        self.stop.cancel();
        self.ended().await
    }
}

impl Builder {
    /// Another authority than the one from configuration, which is then not looked at: neither tokens nor device sessions
    /// are. Where a database is followed it outlives changes of the
    /// schema: entities are to be told by their names.
    #[must_use]
    pub fn authority(mut self, authority: Arc<dyn Authority>) -> Self {
        self.authority = Some(authority);
        self
    }

    /// Answers an event of the event protocol: with JSON, or with a [`Failure`] as the client gets it. The last handler of a
    /// name counts; the protocol's own events (`auth`, `live.…`, `topic.…`, `ephemeral.…`) never come here. The table is
    /// frozen when the gateway starts.
    ///
    /// Handlers run on the runtime that the gateway is started on, for `application.handler_timeout_ms` at most. One that has
    /// begun goes on when its client leaves.
    #[must_use]
    pub fn on<F, R>(mut self, event: &str, handler: F) -> Self
    where
        F: Fn(Client, Value) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Value, Failure>> + Send + 'static,
    {
        self.handlers.on(event, handler);
        self
    }

    /// Runs once for each connection of the event protocol whose identity is settled. Its events do not wait for the end of
    /// this.
    #[must_use]
    pub fn on_connect<F, R>(mut self, handler: F) -> Self
    where
        F: Fn(Client) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.handlers.on_connect(handler);
        self
    }

    /// Runs once for each of those when it is gone, whatever it ended with, and after its connect has been handled.
    #[must_use]
    pub fn on_disconnect<F, R>(mut self, handler: F) -> Self
    where
        F: Fn(Client) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        self.handlers.on_disconnect(handler);
        self
    }

    /// Offers an agent that is part of this program: a value, or a function from a [`Job`](tidegate_jobs::agents::Job) to a
    /// future. The version that is named last is what the bare name means. `examples/agent.rs` is one.
    #[must_use]
    pub fn agent(mut self, name: &str, version: &str, runs: impl Agent + 'static) -> Self {
        let agent = AgentRef { name: name.into(), version: version.into() };
        self.brought.agents.push(Box::new(move |agents| agents.register(agent, true, runs)));
        self
    }

    /// Has credentials made for jobs by this: without, the feature is not offered to clients.
    #[must_use]
    pub fn provisioner(mut self, provisioner: Arc<dyn Provisioner>) -> Self {
        self.brought.provisioner = Some(provisioner);
        self
    }

    /// Routes beside the gateway's own; none may be the same.
    #[must_use]
    pub fn routes(mut self, routes: Router) -> Self {
        self.routes = routes;
        self
    }

    /// Shows the progress of copies to whoever watches, instead of logging it.
    pub(crate) fn shown(mut self) -> Self {
        self.progress = Progress::on_terminal();
        self
    }

    /// Opens the store, starts every room and listens. With a database this takes until that is there.
    ///
    /// # Errors
    /// [`StartError`], saying what to do.
    pub async fn start(self) -> Result<Gateway, StartError> {
        let Self { config, authority, handlers, brought, routes, progress } = self;
        let decides = match authority {
            Some(authority) => Decides::Embedder(authority),
            None => Decides::Configured(identity(&config).await?),
        };
        let topics = topics(&config.topics)?;
        for warning in config::application_warnings(&config.application) {
            tracing::warn!("{warning}");
        }
        let application = Backend::new(handlers, &config.application, Handle::current(), clock());
        let application = Arc::new(application.map_err(StartError::Application)?);
        let runtime = runtime::start(&config.arcp, &config.data_dir, brought)?;
        let plan = Plan { config, decides, topics, application, runtime, routes, progress };
        let entities = plan.entities().await?;
        let mut house = House::open(&plan, entities).await?;
        let address = plan.config.listen;
        let listen = |source| StartError::Listen { address, source };
        let listener = Listener::bind(address).map_err(listen)?;
        let scheme = if plan.config.tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.0.local_addr().map_err(listen)?);
        house.serve(listener.again().map_err(listen)?);
        let feed = match &house.feed {
            Feed::Local(feed) => Some(feed.clone()),
            Feed::Postgres(_) => None,
        };
        let stop = CancellationToken::new();
        let mut keeping = JoinSet::new();
        keeping.spawn(keep(plan, listener, house, stop.clone()));
        Ok(Gateway { url, feed, stop, keeping })
    }
}

/// Who is there, as configuration says; for as long as the gateway runs.
async fn identity(config: &Config) -> Result<Arc<Identity>, IdentityError> {
    for warning in config::warnings(&config.identity).into_iter().chain(config.centrifugo.warning()) {
        tracing::warn!("{warning}");
    }
    Identity::start(&config.identity, Handle::current(), clock()).await
}

/// Topics of this process alone, for as long as the gateway runs.
fn topics(config: &config::Topics) -> Result<Topics, StartError> {
    let config::Topics { namespaces, limits, discriminator } = config;
    Topics::in_memory(namespaces.clone(), *limits, discriminator, clock()).map_err(StartError::Topics)
}

/// The system's.
pub(crate) fn clock() -> Clock {
    Arc::new(|| SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64))
}

/// The address, held over restarts of the rooms: who connects in between waits instead of being refused.
struct Listener(std::net::TcpListener);

impl Listener {
    fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // As the runtime's own way to bind does: an address in TIME_WAIT is free.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)?.into_std().map(Self)
    }

    fn again(&self) -> io::Result<TcpListener> {
        TcpListener::from_std(self.0.try_clone()?)
    }
}

/// Keeps the rooms until `stop`, and starts them again when the source's schema is no longer theirs.
async fn keep(plan: Plan, listener: Listener, mut house: House, stop: CancellationToken) -> io::Result<()> {
    loop {
        let entities = tokio::select! {
            () = stop.cancelled() => break,
            entities = changed(&plan, &house.feed) => entities,
        };
        tracing::info!("the rooms start again with the schema as it is now; clients are asked to come back");
        house.edge.drain_within(RESTART_WINDOW_MAX.min(plan.config.rooms.edge.drain_window));
        house.close().await?;
        house = House::open(&plan, entities).await.map_err(io::Error::other)?;
        house.serve(listener.again()?);
    }
    house.health.drain();
    tracing::info!("stopping: connections are drained");
    sleep(plan.config.rooms.drain_delay).await;
    drop(listener);
    let closed = house.close().await;
    plan.runtime.stop().await;
    closed
}

/// Waits for another schema, and for that to be one that can be served. Until then the rooms go on with what they have.
async fn changed(plan: &Plan, feed: &Feed) -> Entities {
    let reason = feed.changed().await;
    tracing::warn!(reason, "the schema of the source changed");
    sleep(SETTLE).await;
    let mut pause = ASK_AGAIN_MIN;
    loop {
        match plan.entities().await {
            Ok(entities) => return entities,
            Err(error) => tracing::error!(
                %error,
                "the schema cannot be served as configured; what it concerns stays unavailable until it can"
            ),
        }
        sleep(pause).await;
        pause = (pause * 2).min(ASK_AGAIN_MAX);
    }
}
