//! What the feed tells of itself: counters, where it stands, what each entity is doing.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tidegate_model::{Entity, Position};
use tokio::sync::{Notify, watch};

use super::Lsn;

/// Barriers remembered; the oldest go first.
const BARRIERS_MAX: usize = 4_096;
/// Longest token of a barrier, in bytes.
pub const BARRIER_BYTES_MAX: usize = 128;
/// A connection that comes back within this time is no reason to send clients elsewhere.
const DISCONNECTED_MAX: Duration = Duration::from_secs(10);
/// A stream that ends before is none: what fails on what it brings first (a store that is full) fails so every time.
const LASTING: Duration = Duration::from_secs(2);

/// Counters and levels of a followed database. Counters are since the start.
#[derive(Debug, Default)]
pub struct SourceMetrics {
    /// 1 while streaming.
    pub connected: AtomicU64,
    /// Bytes of log between the server's end of it and what is applied, as of the last check.
    pub lag_bytes: AtomicU64,
    /// Time since everything that the server had sent was applied, in microseconds; 0 when up to date. As of the last
    /// check, of which there is none without a stream: [`super::PostgresFeed::lag`] goes on meanwhile.
    pub lag_micros: AtomicU64,
    /// Bytes of log that the server keeps for the slot, as of the last check.
    pub retained_bytes: AtomicU64,
    /// Transactions applied.
    pub transactions: AtomicU64,
    /// Transactions that came again and were known.
    pub redelivered: AtomicU64,
    /// Changed rows applied.
    pub rows: AtomicU64,
    /// Rows copied.
    pub copied_rows: AtomicU64,
    /// Changes recorded beside a copy.
    pub recorded: AtomicU64,
    /// Commits of the mirror, each of one or more transactions.
    pub commits: AtomicU64,
    /// Entities that went unavailable.
    pub failed_entities: AtomicU64,
    /// Sessions that ended, by reason.
    pub sessions_ended: Reasons,
    /// Times that everything was copied, by reason.
    pub copies: Reasons,
}

/// A counter for each reason. Reasons are constants of the program.
#[derive(Debug, Default)]
pub struct Reasons(Mutex<Vec<(&'static str, u64)>>);

impl Reasons {
    pub(crate) fn add(&self, reason: &'static str) {
        let mut counts = lock(&self.0);
        match counts.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            None => counts.push((reason, 1)),
        }
    }

    /// Every reason that has occurred, with how often.
    #[must_use]
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        lock(&self.0).clone()
    }
}

/// Where the feed is, in the source's terms and in ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Progress {
    /// Everything committed up to here is in the mirror and published.
    pub(crate) lsn: Lsn,
    /// Of the last transaction published.
    pub(crate) position: Position,
}

/// What an entity is doing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EntityStatus {
    /// Its name.
    pub name: Arc<str>,
    /// `waiting`, `copying`, `catching_up`, `ready` or `unavailable`.
    pub state: &'static str,
    /// Rows copied so far.
    pub copied_rows: u64,
    /// Rows that the server estimates for the table; negative if it has never looked.
    pub estimated_rows: f64,
    /// Why it is unavailable.
    pub reason: Option<Arc<str>>,
}

/// What the feed is doing.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// `connecting`, `streaming` or `waiting` (to try again).
    pub session: &'static str,
    /// Why the last session ended, while there is none.
    pub reason: Option<String>,
    /// Up to where everything is in the mirror.
    pub lsn: String,
    /// Each entity.
    pub entities: Vec<EntityStatus>,
}

#[derive(Debug)]
struct Inner {
    session: &'static str,
    /// Why the last session ended.
    reason: Option<String>,
    /// Since when there is a stream.
    streaming: Option<Instant>,
    /// Where there is none that lasts: since when.
    without_stream: Instant,
    entities: Vec<EntityStatus>,
    barriers: HashMap<Box<[u8]>, Position>,
    barrier_order: VecDeque<Box<[u8]>>,
}

impl Inner {
    fn lasts(&self) -> bool {
        self.streaming.is_some_and(|since| since.elapsed() > LASTING)
    }
}

/// What the feed's threads and tasks share with whoever asks.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) metrics: SourceMetrics,
    pub(crate) progress: watch::Sender<Progress>,
    /// Why the schema is no longer the catalog's.
    pub(crate) schema_changed: watch::Sender<Option<String>>,
    /// Somebody waits for the stream to come to where the server is now.
    pub(crate) nudge: Notify,
    /// Something about a table may have changed: look at once.
    pub(crate) look: Notify,
    inner: Mutex<Inner>,
}

impl Shared {
    pub(crate) fn new(entities: impl Iterator<Item = (Arc<Entity>, f64)>) -> Self {
        let entity = |(entity, estimated_rows): (Arc<Entity>, f64)| EntityStatus {
            name: entity.name().clone(),
            state: "waiting",
            copied_rows: 0,
            estimated_rows,
            reason: None,
        };
        let inner = Inner {
            session: "connecting",
            reason: None,
            streaming: None,
            without_stream: Instant::now(),
            entities: entities.map(entity).collect(),
            barriers: HashMap::new(),
            barrier_order: VecDeque::new(),
        };
        Self {
            metrics: SourceMetrics::default(),
            progress: watch::Sender::new(Progress::default()),
            schema_changed: watch::Sender::new(None),
            nudge: Notify::new(),
            look: Notify::new(),
            inner: Mutex::new(inner),
        }
    }

    pub(crate) fn connecting(&self) {
        lock(&self.inner).session = "connecting";
    }

    pub(crate) fn streaming(&self) {
        let mut inner = lock(&self.inner);
        (inner.session, inner.streaming) = ("streaming", Some(Instant::now()));
        self.metrics.connected.store(1, Ordering::Relaxed);
    }

    pub(crate) fn waiting(&self, reason: String) {
        let mut inner = lock(&self.inner);
        (inner.session, inner.reason) = ("waiting", Some(reason));
        if inner.lasts() {
            inner.without_stream = Instant::now();
        }
        inner.streaming = None;
        self.metrics.connected.store(0, Ordering::Relaxed);
    }

    /// Changes what is told of the entity of that number.
    pub(crate) fn entity(&self, number: usize, change: impl FnOnce(&mut EntityStatus)) {
        if let Some(status) = lock(&self.inner).entities.get_mut(number) {
            change(status);
        }
    }

    pub(crate) fn status(&self) -> Status {
        let inner = lock(&self.inner);
        Status {
            session: inner.session,
            reason: inner.reason.clone().filter(|_| inner.streaming.is_none()),
            lsn: self.progress.borrow().lsn.to_string(),
            entities: inner.entities.clone(),
        }
    }

    /// Remembers that a barrier was passed.
    pub(crate) fn passed(&self, token: &[u8], position: Position) {
        if token.is_empty() || token.len() > BARRIER_BYTES_MAX {
            return;
        }
        let mut inner = lock(&self.inner);
        if inner.barriers.insert(token.into(), position).is_none() {
            inner.barrier_order.push_back(token.into());
        }
        if inner.barrier_order.len() > BARRIERS_MAX
            && let Some(oldest) = inner.barrier_order.pop_front()
        {
            inner.barriers.remove(&oldest);
        }
    }

    pub(crate) fn barrier(&self, token: &[u8]) -> Option<Position> {
        lock(&self.inner).barriers.get(token).copied()
    }

    /// How old what is served may be. Nobody measures while there is no stream, but then it is as old as that.
    pub(crate) fn lag(&self) -> Duration {
        let measured = Duration::from_micros(self.metrics.lag_micros.load(Ordering::Relaxed));
        let inner = lock(&self.inner);
        if inner.lasts() { measured } else { measured.max(inner.without_stream.elapsed()) }
    }

    /// Why clients should be sent elsewhere, if they should. One entity that is unavailable is no such reason: the others
    /// are served.
    pub(crate) fn health(&self, lag_bytes_max: u64) -> Result<(), String> {
        let inner = lock(&self.inner);
        if !inner.lasts() && inner.without_stream.elapsed() > DISCONNECTED_MAX {
            return Err(inner.reason.clone().unwrap_or_else(|| "not connected to PostgreSQL yet".to_owned()));
        }
        let copying = |entity: &&EntityStatus| matches!(entity.state, "waiting" | "copying" | "catching_up");
        if let Some(entity) = inner.entities.iter().find(copying) {
            return Err(format!("entity {:?} is being copied", &*entity.name));
        }
        let lag = self.metrics.lag_bytes.load(Ordering::Relaxed);
        if lag > lag_bytes_max {
            return Err(format!("{lag} bytes of log behind PostgreSQL, more than source.max_lag_bytes"));
        }
        Ok(())
    }
}

/// What is locked is whole whoever panicked.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
