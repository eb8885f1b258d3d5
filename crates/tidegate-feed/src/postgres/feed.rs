//! The handle on a followed database: preparing, starting, asking how it is, waiting for a place.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use tidegate_mirror::{MirrorError, Writer};
use tidegate_model::{Catalog, EntityBuilder, EntityId, Position, Transaction};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::applier::{Applier, Report};
use super::check::{Names, Problem, check};
use super::connect::{Connection, Via, connect};
use super::error::{SourceError, SourceErrorKind};
use super::follow::{Follow, Phase};
use super::inspect::{self, PublicationInfo, Server, SlotInfo, TableInfo};
use super::mapping::Mapping;
use super::resolve::{Wish, resolve};
use super::session::{self, Followed, Source};
use super::settings::Settings;
use super::status::{Shared, SourceMetrics, Status};
use super::{Lsn, setup};

/// Inputs that wait for the applier; each is at most a batch of some 256 KiB or a batch of copied rows.
const INPUTS: usize = 16;
/// For a server that is starting up to answer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Threads for sockets and the decoding of copies.
const THREADS: usize = 2;

/// Where transactions and ends of entities go. Both are called on the applier's thread.
pub struct Outlets {
    /// Takes the transactions of each commit, at least one, in order. What it blocks, it holds the stream up by.
    pub publish: Box<dyn Fn(Vec<Arc<Transaction>>) + Send>,
    /// An entity can't be served any more, for this reason.
    pub end: Box<dyn Fn(EntityId, Arc<str>) + Send>,
}

/// A database looked at and found fit, with its tables as entities.
#[derive(Debug)]
pub struct Prepared {
    /// What each entity is, in the order of the wishes.
    pub builders: Vec<EntityBuilder>,
    /// What is amiss without standing in the way.
    pub warnings: Vec<Problem>,
    settings: Settings,
    version_num: i32,
    wishes: Vec<Wish>,
    mappings: Vec<Mapping>,
    estimated_rows: Vec<f64>,
}

/// What a database says of itself.
#[derive(Debug)]
pub struct Inspection {
    /// The server.
    pub server: Server,
    /// Every user's table that the role may see.
    pub tables: Vec<TableInfo>,
    /// The publication of the settings, if it is there.
    pub publication: Option<PublicationInfo>,
    /// The slot of the settings, if it is there.
    pub slot: Option<SlotInfo>,
}

/// A place in the source that somebody waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A place in its log, such as `pg_current_wal_insert_lsn()` tells after a commit.
    Lsn(Lsn),
    /// The content of a message `pg_logical_emit_message(…, 'tidegate', content)`.
    Barrier(String),
}

/// The feed ended before the place was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the feed has ended")]
pub struct ReachError;

/// A cheap, cloneable handle on a followed database. When the last is dropped, following ends.
#[derive(Debug, Clone)]
pub struct PostgresFeed(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    max_lag_bytes: u64,
    stop: CancellationToken,
    threads: Vec<JoinHandle<()>>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("shared", &self.shared).finish_non_exhaustive()
    }
}

/// Looks at a database: what could be followed, and what is there already.
///
/// # Errors
/// The server can't be reached or asked.
pub async fn inspect(settings: &Settings) -> Result<Inspection, SourceError> {
    let client = connect(settings, Via::Direct).await?;
    Ok(Inspection {
        server: inspect::server(&client).await?,
        tables: inspect::tables(&client, None).await?,
        publication: inspect::publication(&client, &settings.publication, &[]).await?,
        slot: inspect::slot(&client, &settings.slot).await?,
    })
}

impl PostgresFeed {
    /// Looks at the database, waits for one that is starting up, and makes the publication where it is missing.
    ///
    /// # Errors
    /// The server can't be reached or asked, or is not fit: then with everything that is amiss and the command that mends
    /// it.
    pub async fn prepare(settings: Settings, wishes: Vec<Wish>) -> Result<Prepared, SourceError> {
        let client = patient(&settings).await?;
        let wanted: Vec<(String, String)> =
            wishes.iter().map(|wish| (wish.schema.clone(), wish.table.clone())).collect();
        let server = inspect::server(&client).await?;
        let tables = inspect::tables(&client, Some(&wanted)).await?;
        let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
        let publication = inspect::publication(&client, &settings.publication, &oids).await?;
        let slot = inspect::slot(&client, &settings.slot).await?;
        let names = Names { slot: &settings.slot, publication: &settings.publication };
        let mut problems = check(&server, &tables, publication.as_ref(), slot.as_ref(), &wishes, names);
        let (mut builders, mut mappings, mut estimated_rows) = (Vec::new(), Vec::new(), Vec::new());
        for wish in &wishes {
            let named = |table: &&TableInfo| table.schema == wish.schema && table.name == wish.table;
            // One that is not there is among the problems already.
            let Some(table) = tables.iter().find(named) else { continue };
            match resolve(wish, table) {
                Ok((builder, mapping, warnings)) => {
                    problems.extend(warnings);
                    builders.push(builder);
                    mappings.push(mapping);
                    estimated_rows.push(table.estimated_rows);
                }
                Err(found) => problems.extend(found),
            }
        }
        let mut seen = Vec::new();
        problems.retain(|problem| {
            !seen.contains(problem) && {
                seen.push(problem.clone());
                true
            }
        });
        if problems.iter().any(|problem| problem.fatal) || builders.len() != wishes.len() {
            return Err(SourceError::new(SourceErrorKind::Incompatible, amiss(&problems)));
        }
        setup::ensure_publication(&client, &settings, &wanted).await?;
        let version_num = server.version_num;
        Ok(Prepared { builders, warnings: problems, settings, version_num, wishes, mappings, estimated_rows })
    }

    /// Starts following, on threads of its own. `catalog` was built from the builders, in their order.
    ///
    /// # Errors
    /// The system refused a thread, or the store failed.
    pub fn start(prepared: Prepared, catalog: &Catalog, writer: Writer, outlets: Outlets) -> Result<Self, MirrorError> {
        let Prepared { settings, version_num, wishes, mappings, estimated_rows, .. } = prepared;
        let entities = catalog.entities();
        let shared = Arc::new(Shared::new(entities.iter().cloned().zip(estimated_rows)));
        let (inputs, queue) = mpsc::channel(INPUTS);
        let (report, reported) = watch::channel(Report::default());
        let follow =
            |(entity, mapping): (&Arc<_>, &Mapping)| Follow::new(Arc::clone(entity), mapping.clone(), Phase::Following);
        let follows = entities.iter().zip(&mappings).map(follow).collect();
        let applier = Applier::new(writer, outlets, shared.clone(), report, follows)?;
        let followed = entities.iter().zip(wishes).zip(mappings).map(|((entity, wish), mapping)| Followed {
            entity: entity.id(),
            name: entity.name().clone(),
            wish,
            mapping: Arc::new(mapping),
        });
        let max_lag_bytes = settings.max_lag_bytes;
        let followed = followed.collect();
        let source =
            Arc::new(Source { settings, version_num, followed, inputs, report: reported, shared: shared.clone() });
        let stop = CancellationToken::new();
        let refused = |source| MirrorError::Io { path: "a thread of the feed".into(), source };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("feed-source")
            .enable_all()
            .build()
            .map_err(refused)?;
        let applying = thread::Builder::new().name("feed-write".to_owned());
        let applying = applying.spawn(move || applier.run(queue)).map_err(refused)?;
        let (token, sessions) = (stop.clone(), thread::Builder::new().name("feed-sessions".to_owned()));
        let sessions = sessions.spawn(move || {
            runtime.block_on(session::run(source, token));
            runtime.shutdown_background();
        });
        let threads = vec![sessions.map_err(refused)?, applying];
        Ok(Self(Arc::new(Handle { shared, max_lag_bytes, stop, threads })))
    }

    /// Whether clients should be sent here; else why not, for people.
    ///
    /// # Errors
    /// The reason.
    pub fn health(&self) -> Result<(), String> {
        if self.0.threads.iter().any(JoinHandle::is_finished) {
            return Err("the feed has ended".to_owned());
        }
        self.0.shared.health(self.0.max_lag_bytes)
    }

    /// What it is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        self.0.shared.status()
    }

    /// Counters and levels.
    #[must_use]
    pub fn metrics(&self) -> &SourceMetrics {
        &self.0.shared.metrics
    }

    /// Time since everything that the server had sent was applied, or since there was a stream; zero when up to date.
    #[must_use]
    pub fn lag(&self) -> Duration {
        self.0.shared.lag()
    }

    /// Up to where everything is applied, and the position of that.
    #[must_use]
    pub fn at(&self) -> (Lsn, Position) {
        let progress = *self.0.shared.progress.borrow();
        (progress.lsn, progress.position)
    }

    /// Turns to the reason when the tables are no longer what the catalog was made from: prepare and start anew.
    #[must_use]
    pub fn schema_changed(&self) -> watch::Receiver<Option<String>> {
        self.0.shared.schema_changed.subscribe()
    }

    /// Waits until everything up to a place is applied: the position from which on views include it. Has no limit of
    /// time: drop it when it takes too long.
    ///
    /// # Errors
    /// The feed ended.
    pub fn reached(&self, place: Place) -> impl Future<Output = Result<Position, ReachError>> + Send + use<> {
        let shared = self.0.shared.clone();
        async move {
            let mut progress = shared.progress.subscribe();
            let mut again = NUDGE_AGAIN.0;
            loop {
                let now = *progress.borrow_and_update();
                let reached = match &place {
                    Place::Lsn(lsn) => (now.lsn >= *lsn).then_some(now.position),
                    Place::Barrier(token) => shared.barrier(token.as_bytes()),
                };
                if let Some(position) = reached {
                    return Ok(position);
                }
                tokio::select! {
                    changed = progress.changed() => changed.map_err(|_| ReachError)?,
                    // The server tells how far it is when it has something to tell: then it is given something.
                    () = tokio::time::sleep(again) => {
                        again = (again * 2).min(NUDGE_AGAIN.1);
                        shared.nudge.notify_one();
                    }
                }
            }
        }
    }
}

/// While somebody waits and nothing comes: the first pause and the longest.
const NUDGE_AGAIN: (Duration, Duration) = (Duration::from_millis(30), Duration::from_secs(2));

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.cancel();
        for thread in self.threads.drain(..) {
            if thread.thread().id() != thread::current().id() && thread.join().is_err() {
                tracing::error!("a thread of the feed panicked");
            }
        }
    }
}

/// A server that is being started is waited for.
async fn patient(settings: &Settings) -> Result<Connection, SourceError> {
    let began = Instant::now();
    let pauses = ExponentialBuilder::new().with_max_delay(Duration::from_secs(2)).without_max_times().build();
    for pause in pauses {
        match connect(settings, Via::Direct).await {
            Err(error) if error.is_retryable() && began.elapsed() < PATIENCE => {
                tracing::warn!(reason = %error, "PostgreSQL does not answer yet; it is tried again");
                tokio::time::sleep(pause).await;
            }
            outcome => return outcome,
        }
    }
    Err(SourceError::new(SourceErrorKind::TimedOut, "PostgreSQL does not answer"))
}

fn amiss(problems: &[Problem]) -> String {
    let mut text = "the database can't be followed as it is:".to_owned();
    for problem in problems {
        text += &format!("\n- {}\n  mend it: {}", problem.what, problem.mend);
    }
    text
}
