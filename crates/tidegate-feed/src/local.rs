//! The handle on the local feed: it takes batches in, bounded in number and bytes.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Instant, SystemTime};

use crossbeam_channel::{Sender, TrySendError, bounded};
use tidegate_mirror::Writer;
use tidegate_model::{Catalog, Transaction};

use crate::commit::{Committer, Job};
use crate::request::row_write;
use crate::{Metrics, WriteError, WriteErrorCode, WriteRequest, Written};

/// Takes the answer, on the feed's thread: it must not block.
pub(crate) type Reply = Box<dyn FnOnce(Result<Written, WriteError>) + Send>;
/// Takes the transactions of each commit, at least one, in order, on the feed's thread. What it blocks, it holds writing
/// up by.
pub(crate) type Publish = Box<dyn Fn(Vec<Arc<Transaction>>) + Send>;

/// Bounds of the feed, and its clock.
#[derive(Clone)]
pub struct Config {
    /// Requests that may wait. Default 1,024.
    pub queue_requests: usize,
    /// Bytes of requests that may wait. Default 64 MiB.
    pub queue_bytes: usize,
    /// Requests that share one commit at most. Default 256.
    pub group_requests: usize,
    /// Rows of one commit at most, but that one request's rows stay together. Default 20,000.
    pub group_rows: usize,
    /// How long the answer under an idempotency key is kept, in milliseconds. Default 24 h.
    pub idempotency_ms: u64,
    /// How many such answers are kept at most; the oldest go first. Default 100,000.
    pub idempotency_max: u64,
    /// Tells the time.
    pub clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            queue_requests: 1_024,
            queue_bytes: 64 << 20,
            group_requests: 256,
            group_rows: 20_000,
            idempotency_ms: 24 * 60 * 60 * 1_000,
            idempotency_max: 100_000,
            clock: Arc::new(SystemTime::now),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("queue_requests", &self.queue_requests).finish_non_exhaustive()
    }
}

/// Why the feed cannot write, while it cannot.
pub(crate) type Health = Arc<Mutex<Option<String>>>;

/// A cheap, cloneable handle on the writing thread. When the last is dropped, what waits is written, and the thread
/// ends.
#[derive(Debug, Clone)]
pub struct LocalFeed(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    /// Taken when dropped, so that the thread sees the end.
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    catalog: Arc<Catalog>,
    queue_bytes: u64,
    metrics: Arc<Metrics>,
    health: Health,
}

impl LocalFeed {
    /// Starts the thread that owns `writer`. `publish` is given the transactions of each commit, at least
    /// one, in order.
    ///
    /// # Errors
    /// The system refused a thread.
    pub fn start(
        config: Config,
        catalog: Arc<Catalog>,
        writer: Writer,
        publish: Box<dyn Fn(Vec<Arc<Transaction>>) + Send>,
    ) -> std::io::Result<Self> {
        let (metrics, health) = (Arc::new(Metrics::default()), Health::default());
        let (jobs, queue) = bounded(config.queue_requests);
        let queue_bytes = config.queue_bytes as u64;
        let committer = Committer::new(config, writer, publish, metrics.clone(), health.clone());
        let thread = thread::Builder::new().name("feed-write".to_owned()).spawn(move || committer.run(&queue))?;
        Ok(Self(Arc::new(Handle { jobs: Some(jobs), thread: Some(thread), catalog, queue_bytes, metrics, health })))
    }

    /// Hands a batch in. Never blocks; `reply` is called exactly once, on the feed's thread or, where the batch is
    /// refused at once, on this one.
    pub fn submit(&self, request: WriteRequest, reply: Box<dyn FnOnce(Result<Written, WriteError>) + Send>) {
        let handle = &*self.0;
        let metrics = &handle.metrics;
        let bytes = request.size() as u64;
        let entity = handle.catalog.entity(request.entity).clone();
        let ops = request.changes.iter().map(|change| change.op).collect();
        let changes = request.changes.into_iter().enumerate();
        let writes = changes.map(|(index, change)| row_write(&entity, &request.tenant, index, change)).collect();
        let writes = match writes {
            Ok(writes) => writes,
            Err(error) => {
                Metrics::add(&metrics.refused, 1);
                return reply(Err(error));
            }
        };
        let waiting = metrics.queue_bytes.fetch_add(bytes, Ordering::Relaxed);
        Metrics::add(&metrics.queue_requests, 1);
        let WriteRequest { guard, idempotency, .. } = request;
        let job = Job { entity, ops, writes, guard, idempotency, bytes, arrived: Instant::now(), reply };
        // One that is larger than the whole bound may pass when nothing waits.
        let sent = match &handle.jobs {
            Some(jobs) if waiting == 0 || waiting + bytes <= handle.queue_bytes => jobs.try_send(job),
            _ => Err(TrySendError::Full(job)),
        };
        let (job, error) = match sent {
            Ok(()) => return,
            Err(TrySendError::Full(job)) => {
                Metrics::add(&metrics.overloaded, 1);
                (job, WriteError::new(WriteErrorCode::Overloaded, "too many writes are waiting; try again"))
            }
            Err(TrySendError::Disconnected(job)) => {
                Metrics::add(&metrics.failed, 1);
                (job, WriteError::new(WriteErrorCode::StoreFailed, "the feed has ended"))
            }
        };
        Metrics::sub(&metrics.queue_bytes, bytes);
        Metrics::sub(&metrics.queue_requests, 1);
        (job.reply)(Err(error));
    }

    /// Whether the last commit went through; else why not. A feed that failed goes on trying with each write.
    ///
    /// # Errors
    /// The reason, for people.
    pub fn health(&self) -> Result<(), String> {
        if self.0.thread.as_ref().is_none_or(JoinHandle::is_finished) {
            return Err("the feed has ended".to_owned());
        }
        // A string is whole whoever panicked while it was locked.
        self.0.health.lock().unwrap_or_else(PoisonError::into_inner).clone().map_or(Ok(()), Err)
    }

    /// Counters of the feed.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.0.metrics
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A reply may hold the last handle: then this is the feed's own thread, which ends by itself.
            if thread.thread().id() != thread::current().id() && thread.join().is_err() {
                tracing::error!("the feed's thread panicked");
            }
        }
    }
}
