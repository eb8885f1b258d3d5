//! Sessions with the server, one after the other: connect, prove that the stream goes on from where the mirror is (or
//! begin to copy anew), then stream, copy and watch until something fails.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use tidegate_model::EntityId;
use tokio::sync::mpsc::Sender;
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::applier::{Input, Report};
use super::check::check_published;
use super::connect::{Connection, Via, connect};
use super::continuity::{Break, Server, Standing};
use super::copies::Copies;
use super::error::{SourceError, SourceErrorKind};
use super::inspect::{self, SlotInfo};
use super::mapping::Mapping;
use super::monitor::Monitor;
use super::resolve::Wish;
use super::settings::Settings;
use super::status::Shared;
use super::stream::{Gate, Identity};
use super::{marks, pump, setup};

/// The pause after a session that ended: from the first to the last, growing.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// Where somebody has to mend something first.
const PAUSE_UNTIL_MENDED: Duration = Duration::from_secs(5);
/// A session that lasted so long was a good one.
const GOOD: Duration = Duration::from_secs(30);

/// An entity as the tasks know it.
#[derive(Debug)]
pub(crate) struct Followed {
    pub(crate) entity: EntityId,
    pub(crate) name: Arc<str>,
    pub(crate) wish: Wish,
    pub(crate) mapping: Arc<Mapping>,
}

/// What all tasks of the feed share.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) settings: Settings,
    pub(crate) version_num: i32,
    pub(crate) followed: Vec<Followed>,
    pub(crate) inputs: Sender<Input>,
    pub(crate) report: watch::Receiver<Report>,
    pub(crate) shared: Arc<Shared>,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// The connection or the server.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The applier undid its commit.
    #[error("{reason}")]
    Fault { name: &'static str, reason: String },
    /// The server changed so that the next session must judge anew.
    #[error("{0}")]
    Changed(String),
    /// The applier's thread is gone.
    #[error("the feed has ended")]
    Stopped,
}

impl Ended {
    fn name(&self) -> &'static str {
        match self {
            Ended::Source(error) if error.sqlstate() == Some("55006") => "slot_in_use",
            Ended::Source(error) => match error.kind() {
                SourceErrorKind::Unreachable => "unreachable",
                SourceErrorKind::TimedOut => "timed_out",
                SourceErrorKind::Stalled => "stalled",
                SourceErrorKind::Server => "server",
                _ => "protocol",
            },
            Ended::Fault { name, .. } => name,
            Ended::Changed(_) => "changed",
            Ended::Stopped => "stopped",
        }
    }

    fn is_retryable(&self) -> bool {
        match self {
            Ended::Source(error) => error.is_retryable(),
            Ended::Fault { .. } | Ended::Changed(_) => true,
            Ended::Stopped => false,
        }
    }
}

impl Source {
    /// Hands something to the applier and waits for its answer.
    pub(crate) async fn ask<T>(&self, input: impl FnOnce(oneshot::Sender<T>) -> Input) -> Result<T, Ended> {
        let (reply, answer) = oneshot::channel();
        self.inputs.send(input(reply)).await.map_err(|_| Ended::Stopped)?;
        answer.await.map_err(|_| Ended::Stopped)
    }
}

/// One session after the other until `stop`.
pub(crate) async fn run(source: Arc<Source>, stop: CancellationToken) {
    let fresh = || ExponentialBuilder::new().with_min_delay(PAUSE.0).with_max_delay(PAUSE.1).without_max_times();
    let mut pauses = fresh().with_jitter().build();
    let mut copies = Copies::new(source.clone());
    loop {
        source.shared.connecting();
        let began = Instant::now();
        let ended = tokio::select! {
            () = stop.cancelled() => return,
            ended = session(&source, &mut copies) => match ended {
                Ok(never) => match never {},
                Err(ended) => ended,
            },
        };
        source.shared.metrics.sessions_ended.add(ended.name());
        source.shared.waiting(ended.to_string());
        tracing::warn!(reason = %ended, "the session with PostgreSQL ended; it is tried again");
        if began.elapsed() > GOOD {
            pauses = fresh().with_jitter().build();
        }
        let pause = pauses.next().unwrap_or(PAUSE.1);
        let pause = if ended.is_retryable() { pause } else { pause.max(PAUSE_UNTIL_MENDED) };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// What the server says before a stream begins.
struct Facts {
    client: Connection,
    slot: Option<SlotInfo>,
    through: String,
}

async fn session(source: &Arc<Source>, copies: &mut Copies) -> Result<Infallible, Ended> {
    source.ask(Input::End).await?;
    let faults = source.report.borrow().faults;
    copies.settle(faults).await;
    let facts = facts(source).await?;
    // Before any copy of this session: what happens to a table after its copy gives it another mark.
    let marks = marks::marks(&facts.client, source).await?;
    let usable = facts.slot.as_ref().filter(|slot| !slot.is_lost());
    let confirmed = usable.and_then(|slot| slot.confirmed_flush);
    let mut gate = Gate::open(&source.settings, confirmed.unwrap_or_default()).await?;
    let identity = gate.identify().await?;
    let server = Server {
        system_id: identity.system_id,
        timeline: identity.timeline,
        wal: identity.wal,
        through: facts.through.clone(),
        confirmed,
    };
    if let Err(reason) = source.ask(|reply| Input::Judge(server, reply)).await? {
        begin_anew(source, copies, &facts, &mut gate, &identity, reason).await?;
    }
    let mut stream = gate.start().await?;
    let session = copies.next_epoch();
    source.ask(|done| Input::Stream { session, done }).await?;
    let monitor = Monitor::new(source.clone(), facts.client, facts.through, marks).await?;
    source.shared.streaming();
    tracing::info!(slot = source.settings.slot, timeline = identity.timeline, "following PostgreSQL");
    tokio::select! {
        ended = pump::run(source, session, &mut stream) => ended,
        ended = monitor.run() => ended,
        ended = copies.run() => ended,
        ended = fault(source.report.clone(), faults) => ended,
    }
}

async fn facts(source: &Source) -> Result<Facts, Ended> {
    let settings = &source.settings;
    let client = connect(settings, Via::Direct).await?;
    let slot = inspect::slot(&client, &settings.slot).await?;
    let publication = inspect::publication(&client, &settings.publication, &[]).await?;
    let publication = publication.ok_or_else(|| {
        let message =
            format!("the publication {:?} is gone: restart the gateway, or create it again", settings.publication);
        SourceError::new(SourceErrorKind::Incompatible, message)
    })?;
    let has_partitioned = source.followed.iter().any(|followed| followed.mapping.is_partitioned);
    if let Some(problem) = check_published(&publication, has_partitioned, &settings.publication).first() {
        let message = format!("{}; mend it: {}", problem.what, problem.mend);
        return Err(SourceError::new(SourceErrorKind::Incompatible, message).into());
    }
    if let Some(pid) = slot.as_ref().filter(|slot| slot.active).and_then(|slot| slot.active_pid) {
        let message = format!("replication slot {:?} is in use by process {pid} of the server", settings.slot);
        return Err(SourceError::server("55006", &message).into());
    }
    let through = format!("{} {} {}", settings.slot, settings.publication, publication.fingerprint);
    Ok(Facts { client, slot, through })
}

/// Everything is copied again, through a new slot. One that is there is of no use: it may lead through log of a time at
/// which there was no such publication, and decoding that fails for ever.
async fn begin_anew(
    source: &Arc<Source>,
    copies: &mut Copies,
    facts: &Facts,
    gate: &mut Gate,
    identity: &Identity,
    reason: Break,
) -> Result<(), Ended> {
    copies.abort().await;
    if facts.slot.is_some() {
        setup::drop_slot(&facts.client, &source.settings.slot).await?;
    }
    let created = gate.create_slot().await?;
    let standing = Standing {
        system_id: identity.system_id,
        timeline: identity.timeline,
        through: facts.through.clone(),
        lsn: created.consistent_point,
        last: None,
    };
    source.ask(|done| Input::Restart { standing, reason, done }).await?;
    // The snapshot is there until the stream begins; whoever has taken it up by then keeps it.
    copies.adopt(created.snapshot).await
}

async fn fault(mut report: watch::Receiver<Report>, before: u64) -> Result<Infallible, Ended> {
    let faulty = report.wait_for(|report| report.faults > before).await.map_err(|_| Ended::Stopped)?;
    let (name, reason) = faulty.reason.clone().unwrap_or(("undone", "a commit was undone".to_owned()));
    Err(Ended::Fault { name, reason })
}
