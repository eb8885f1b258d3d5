//! `tidegate demo`: real data, replayed as live changes, and a page to watch it on.

mod page;
mod quakes;
mod replay;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tidegate_feed::{LocalFeed, RowChange, TenantScope, WriteError, WriteRequest};
use tidegate_model::{EntityId, Tenant};
use tokio::sync::oneshot;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, ConfigError, Flags};
use crate::gateway::{Gateway, StartError};
use quakes::{DataError, Quake};
use replay::{Replay, Stage};

const CONFIG: &str = include_str!("demo.toml");
/// The bearer token that the page shows.
const TOKEN: &str = "demo";
/// Between looks at the clock: short enough to look alive, long enough for a transaction to have several rows.
const TICK: Duration = Duration::from_millis(100);
/// Rows of one transaction. A jump of the clock leaves over several ticks instead of as one avalanche.
const BATCH: usize = 100;

/// What the command line says about the demo.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) flags: Flags,
    /// Seconds of the data in one of ours.
    pub(crate) speed: u32,
    /// Listening beyond loopback is meant.
    pub(crate) open_to_network: bool,
}

/// Why the demo does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(
        "listen = {0}: the demo lets everybody in, so it listens on loopback only; --open-to-network if you mean it"
    )]
    Network(std::net::SocketAddr),
    #[error("{}: {source}", path.display())]
    Directory { path: PathBuf, source: std::io::Error },
    #[error("the demo's entity {0:?} is missing")]
    Entity(&'static str),
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("the first rows could not be written: {0}")]
    Write(#[from] WriteError),
    #[error("the store has ended")]
    Ended,
}

/// The replay between its clock, the feed, and whoever turns its knob.
#[derive(Debug)]
pub(crate) struct Player {
    replay: Mutex<Replay>,
    quakes: Vec<Quake>,
    entity: EntityId,
    began: Instant,
}

/// A demo that is about to start.
pub(crate) struct Prepared {
    /// Its own, under the environment and the flags.
    pub(crate) config: Config,
    speed: u32,
    directory: Option<Scratch>,
}

/// A demo that runs.
pub(crate) struct Demo {
    pub(crate) gateway: Gateway,
    feed: LocalFeed,
    player: Arc<Player>,
    /// Removed last, when nothing uses it any more.
    pub(crate) directory: Option<Scratch>,
}

impl Prepared {
    /// Everything that can be wrong before anything starts.
    pub(crate) fn new(options: Options) -> Result<Self, DemoError> {
        let Options { mut flags, speed, open_to_network } = options;
        let directory = match flags.data_dir {
            Some(_) => None,
            None => Some(Scratch::create()?),
        };
        flags.data_dir = flags.data_dir.or_else(|| directory.as_ref().map(|scratch| scratch.0.clone()));
        let variables = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        let mut config = Config::layered(Some((Path::new("demo"), CONFIG)), variables, &flags)?;
        config.identity.guest_token = Some(TOKEN.into());
        if !config.listen.ip().is_loopback() && !open_to_network {
            return Err(DemoError::Network(config.listen));
        }
        Ok(Self { config, speed, directory })
    }
}

impl Demo {
    /// Starts the gateway with the first rows in it.
    pub(crate) async fn start(prepared: Prepared) -> Result<Self, DemoError> {
        let Prepared { config, speed, directory } = prepared;
        let catalog = config.catalog().ok_or(DemoError::Entity("quakes"))?;
        let entity = catalog.by_name("quakes").ok_or(DemoError::Entity("quakes"))?;
        let quakes = quakes::load(entity)?;
        let times = quakes.iter().map(|quake| quake.times).collect();
        let replay = Mutex::new(Replay::new(times, speed, 0));
        let player = Arc::new(Player { replay, quakes, entity: entity.id(), began: Instant::now() });
        let gateway = Gateway::builder(config).routes(page::router(player.clone())).start().await?;
        let feed = gateway.feed().ok_or(DemoError::Ended)?.clone();
        player.seed(&feed).await?;
        Ok(Self { gateway, feed, player, directory })
    }

    /// Replays until `stop`.
    pub(crate) fn play(&self, stop: CancellationToken) -> impl Future<Output = ()> + use<> {
        let (player, feed) = (self.player.clone(), self.feed.clone());
        async move {
            let mut ticks = tokio::time::interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while stop.run_until_cancelled(ticks.tick()).await.is_some() {
                if let Err(error) = player.step(&feed).await {
                    tracing::warn!(%error, "the replay could not write; it goes on with the next tick");
                }
            }
        }
    }
}

impl Player {
    /// Seconds of the data in one of ours, the time in the data, and how many rows there are.
    fn state(&self) -> (u32, i64, usize) {
        let now_ms = self.now_ms();
        let mut replay = self.replay.lock().unwrap_or_else(PoisonError::into_inner);
        replay.advance(now_ms);
        (replay.speed(), replay.clock(), replay.rows())
    }

    fn set_speed(&self, speed: u32) {
        let now_ms = self.now_ms();
        self.replay.lock().unwrap_or_else(PoisonError::into_inner).set_speed(speed, now_ms);
    }

    /// Whatever an earlier demo left in the store goes, then everything that is due comes.
    async fn seed(&self, feed: &LocalFeed) -> Result<(), DemoError> {
        let all: Vec<(usize, Stage)> = (0..self.quakes.len()).map(|quake| (quake, Stage::Absent)).collect();
        self.write(feed, &all).await?;
        while self.step(feed).await? > 0 {}
        Ok(())
    }

    /// Writes what is due now; how many rows that was.
    async fn step(&self, feed: &LocalFeed) -> Result<usize, DemoError> {
        let due = {
            let mut replay = self.replay.lock().unwrap_or_else(PoisonError::into_inner);
            replay.advance(self.now_ms());
            replay.due(BATCH)
        };
        if !due.is_empty() {
            self.write(feed, &due).await?;
            self.replay.lock().unwrap_or_else(PoisonError::into_inner).wrote(&due);
        }
        Ok(due.len())
    }

    async fn write(&self, feed: &LocalFeed, changes: &[(usize, Stage)]) -> Result<(), DemoError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as i64;
        let changes: Vec<RowChange> =
            changes.iter().map(|(quake, stage)| self.quakes[*quake].change(*stage, now)).collect();
        let request = WriteRequest {
            entity: self.entity,
            tenant: TenantScope::Own(Tenant::common()),
            guard: None,
            changes,
            idempotency: None,
        };
        let (reply, answer) = oneshot::channel();
        // Nobody listens only if the demo is being stopped.
        feed.submit(request, Box::new(|written| drop(reply.send(written))));
        answer.await.map_err(|_| DemoError::Ended)??;
        Ok(())
    }

    fn now_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }
}

/// A directory that goes with the demo.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    fn create() -> Result<Self, DemoError> {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let path = std::env::temp_dir().join(format!("tidegate-demo-{}-{nanos}", std::process::id()));
        // Made here and by nobody else: what exists already is refused.
        std::fs::create_dir(&path).map_err(|source| DemoError::Directory { path: path.clone(), source })?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "the demo's directory could not be removed");
        }
    }
}
