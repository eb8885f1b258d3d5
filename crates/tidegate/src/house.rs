//! The rooms of one run, wired from the feed to the sockets, and taken apart again in order.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tidegate_edge::{Credentials, Edge, EdgeConfig, Rooms, Tls};
use tidegate_feed::LocalFeed;
use tidegate_feed::postgres::{Outlets, PostgresFeed, Prepared};
use tidegate_identity::{Access, Authority, ClientTokens, Identity, Permissions};
use tidegate_live::Live;
use tidegate_mirror::{Mirror, MirrorError, Writer};
use tidegate_model::{Catalog, EntityId, RowSource, Transaction};
use tidegate_session::runtime::Runtime;
use tidegate_topics::Topics;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::api::{self, Api, Asked};
use crate::application::Backend;
use crate::config::{Config, Source};
use crate::feeds::Feed;
use crate::gateway::{StartError, clock};
use crate::health::Health;
use crate::metrics;
use crate::progress::{self, Progress};

/// How long the last read of an earlier run may keep the store from being opened again.
const STORE_WAIT: Duration = Duration::from_secs(10);
/// Between tries.
const STORE_RETRY: Duration = Duration::from_millis(50);

/// What every run is made from.
pub(crate) struct Plan {
    pub(crate) config: Config,
    pub(crate) decides: Decides,
    /// They outlive the runs, with all that is remembered about them.
    pub(crate) topics: Topics,
    /// It outlives the runs.
    pub(crate) application: Arc<Backend>,
    /// So do agents' jobs.
    pub(crate) runtime: Runtime,
    /// Beside the gateway's own.
    pub(crate) routes: Router,
    pub(crate) progress: Progress,
}

/// Who says who is there and who may do what.
#[derive(Clone)]
pub(crate) enum Decides {
    /// Configuration. It outlives the runs: what was found out about sessions and keys stays.
    Configured(Arc<Identity>),
    /// The embedding program.
    Embedder(Arc<dyn Authority>),
}

/// What the entities are now, and who may do what with them.
pub(crate) struct Entities {
    catalog: Arc<Catalog>,
    authority: Arc<dyn Authority>,
    /// Of a database.
    prepared: Option<Prepared>,
}

/// One run. Who writes is let go before who is written to.
pub(crate) struct House {
    pub(crate) feed: Feed,
    live: Live,
    mirror: Arc<Mirror>,
    pub(crate) health: Arc<Health>,
    pub(crate) edge: Edge,
    router: Router,
    shutdown: CancellationToken,
    serving: JoinSet<io::Result<()>>,
}

impl Plan {
    /// Finds out what the entities are. Waits for a database that is not there yet.
    pub(crate) async fn entities(&self) -> Result<Entities, StartError> {
        let config = &self.config;
        let (catalog, prepared) = match &config.source {
            Source::Local(catalog) => (catalog.clone(), None),
            Source::Postgres(postgres) => {
                let (settings, wishes) = (postgres.settings.clone(), postgres.wishes.clone());
                let prepared = PostgresFeed::prepare(settings, wishes).await?;
                for problem in &prepared.warnings {
                    tracing::warn!(mend = problem.mend, "{}", problem.what);
                }
                (Arc::new(Config::build_catalog(&prepared.builders)?), Some(prepared))
            }
        };
        // Checked also where nobody asks the configuration: a permission that cannot be kept is no permission.
        let grants = config.grants(&catalog)?;
        let authority: Arc<dyn Authority> = match &self.decides {
            Decides::Configured(identity) => {
                let access = Access::new(identity.clone(), Permissions::new(grants));
                warn_if_open(config, &access);
                Arc::new(access)
            }
            Decides::Embedder(authority) => authority.clone(),
        };
        Ok(Entities { catalog, authority, prepared })
    }

    fn edge_config(&self) -> Result<EdgeConfig, StartError> {
        let mut edge = self.config.rooms.edge.clone();
        if let Some(tls) = &self.config.tls {
            edge.tls = Some(Tls::load(&tls.certificate_file, &tls.key_file)?);
        }
        Ok(edge)
    }
}

impl Decides {
    pub(crate) fn identity(&self) -> Option<&Arc<Identity>> {
        match self {
            Self::Configured(identity) => Some(identity),
            Self::Embedder(_) => None,
        }
    }
}

fn warn_if_open(config: &Config, access: &Access) {
    // Whoever gives strangers a token means it.
    if access.is_open() && config.identity.guest_token.is_none() {
        let may = match &config.source {
            Source::Local(_) => "read and write all rows",
            Source::Postgres(_) => "read all rows",
        };
        tracing::warn!(
            "strangers may {may} and do everything with topics: identity.anonymous is on and there is no [[permission]]"
        );
    }
}

impl House {
    /// Opens the store and starts every room but the sockets.
    pub(crate) async fn open(plan: &Plan, entities: Entities) -> Result<Self, StartError> {
        let Entities { catalog, authority, prepared } = entities;
        let edge_config = plan.edge_config()?;
        let credentials = Credentials::of(&edge_config);
        let (mirror, writer) = open_store(&plan.config, &catalog).await?;
        let mirror = Arc::new(mirror);
        let start = writer.position();
        let (applied, on_applied) = watch::channel(start);
        let health = Arc::new(Health::new(start));
        let reached = health.clone();
        let on_advance = Box::new(move |position| {
            reached.applied(position);
            applied.send_replace(position);
        });
        let rows: Arc<dyn RowSource> = mirror.clone();
        let live = Live::start(&plan.config.rooms.live, mirror.incarnation(), start, &rows, on_advance)?;
        let feed = follow(&plan.config, &catalog, prepared, writer, &live, &health)?;
        let edge = Edge::new(
            edge_config,
            Rooms {
                catalog: catalog.clone(),
                live: live.clone(),
                topics: plan.topics.clone(),
                authority: authority.clone(),
                applied: on_applied.clone(),
                places: feed.places(),
                runtime: Some(plan.runtime.clone()),
            },
        );
        let mut edge = match plan.application.is_there() {
            true => edge.application(plan.application.clone()),
            false => edge,
        };
        if let Some(secret) = &plan.config.centrifugo.token_secret {
            edge = edge.with_client_tokens(ClientTokens::new(secret, clock()));
        }
        let exported = metrics::Sources {
            edge: edge.metrics().clone(),
            live: live.clone(),
            feed: feed.clone(),
            mirror: mirror.clone(),
            applied: on_applied,
            identity: plan.decides.identity().cloned(),
            topics: plan.topics.metrics.clone(),
            application: plan.application.metrics().clone(),
            jobs: plan.runtime.metrics().clone(),
        };
        let identity = plan.decides.identity().cloned();
        let asked = Asked { authority, credentials, identity };
        let api = Api::new(
            &plan.config.rooms.api,
            catalog,
            asked,
            feed.clone(),
            mirror.clone(),
            edge.clone(),
            plan.runtime.clone(),
        );
        let router = api::router(api, health.clone(), exported).merge(plan.routes.clone());
        let (shutdown, serving) = (CancellationToken::new(), JoinSet::new());
        let mut house = Self { feed, live, mirror, health, edge, router, shutdown, serving };
        house.show_progress(plan.progress);
        Ok(house)
    }

    fn show_progress(&mut self, progress: Progress) {
        if let Feed::Postgres(feed) = &self.feed {
            let (feed, shutdown) = (feed.clone(), self.shutdown.clone());
            self.serving.spawn(async move {
                shutdown.run_until_cancelled(progress::tell(feed, progress)).await;
                Ok(())
            });
        }
    }

    /// Lets clients in.
    pub(crate) fn serve(&mut self, listener: TcpListener) {
        let router = std::mem::take(&mut self.router);
        self.serving.spawn(tidegate_edge::serve(self.edge.clone(), vec![listener], router, self.shutdown.clone()));
    }

    /// Ends clients over the edge's drain window, then the rooms; what was accepted for writing is written.
    pub(crate) async fn close(self) -> io::Result<()> {
        let Self { feed, live, mirror, edge, router, shutdown, mut serving, .. } = self;
        shutdown.cancel();
        let mut served = Ok(());
        while let Some(done) = serving.join_next().await {
            served = served.and(done.unwrap_or_else(|panic| Err(io::Error::other(panic))));
        }
        drop((edge, router));
        // Letting the feed go waits for its last commit.
        let flushed = tokio::task::spawn_blocking(move || {
            drop(feed);
            drop(live);
            drop(mirror);
        });
        served.and(flushed.await.map_err(io::Error::other))
    }
}

/// Opens the store; a read of an earlier run in this process may still hold it for a moment.
async fn open_store(config: &Config, catalog: &Arc<Catalog>) -> Result<(Mirror, Writer), StartError> {
    let until = Instant::now() + STORE_WAIT;
    loop {
        let (dir, catalog, options) = (config.data_dir.clone(), catalog.clone(), config.rooms.mirror.clone());
        let opened = tokio::task::spawn_blocking(move || Mirror::open(&dir, &catalog, &options)).await?;
        match opened {
            Err(MirrorError::Locked(_)) if Instant::now() < until => sleep(STORE_RETRY).await,
            opened => return Ok(opened?),
        }
    }
}

/// Starts the feed; what it tells goes to the engine.
fn follow(
    config: &Config,
    catalog: &Arc<Catalog>,
    prepared: Option<Prepared>,
    writer: Writer,
    live: &Live,
    health: &Arc<Health>,
) -> Result<Feed, StartError> {
    let (followers, published) = (live.clone(), health.clone());
    let publish = Box::new(move |commit: Vec<Arc<Transaction>>| {
        if let Some(last) = commit.last() {
            published.published(last.position);
        }
        followers.publish(&commit);
    });
    match prepared {
        None => LocalFeed::start(config.rooms.feed.clone(), catalog.clone(), writer, publish)
            .map(Feed::Local)
            .map_err(StartError::Feed),
        Some(prepared) => {
            let subscribers = live.clone();
            let end = Box::new(move |entity: EntityId, reason: Arc<str>| subscribers.end_entity(entity, &reason));
            Ok(Feed::Postgres(PostgresFeed::start(prepared, catalog, writer, Outlets { publish, end })?))
        }
    }
}
