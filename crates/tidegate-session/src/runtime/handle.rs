//! The runtime, from outside.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tidegate_jobs::agents::{Agents, Ear};
use tidegate_jobs::credentials::Provisioner;
use tidegate_jobs::{Descriptor, Fault, Filter, JobId, Owner};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::metrics::count;
use super::thread::{self, Input, WaysIn};
use super::{Command, Letter, Link, Listed, RuntimeMetrics, SessionLimits};

/// Commands that wait. Past it they are refused.
const COMMANDS_MAX: usize = 8_192;
/// Bundles of letters that wait for one port. Past it the runtime waits: a worker never does, so not for long.
const BUNDLES_MAX: usize = 256;

/// The runtime has as many commands waiting as it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the runtime has more to do than it takes; try again")]
pub struct Busy;

/// What a runtime is made of.
pub struct Options {
    /// The data directory: the store is `jobs.db` there.
    pub dir: PathBuf,
    /// Of jobs.
    pub jobs: tidegate_jobs::Limits,
    /// Of sessions.
    pub sessions: SessionLimits,
    /// Makes credentials, where there is somebody who does.
    pub provisioner: Option<Arc<dyn Provisioner>>,
    /// Milliseconds since 1970, by a clock that is kept right.
    pub clock: Arc<dyn Fn() -> u64 + Send + Sync>,
}

/// Why a runtime can't be started.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// Its store can't be opened.
    #[error(transparent)]
    Store(#[from] tidegate_jobs::store::StoreError),
    /// Its thread can't be started.
    #[error("the thread of the runtime cannot be started: {0}")]
    Thread(#[from] std::io::Error),
}

/// The runtime. Cheap to clone; it ends with [`Runtime::stop`].
#[derive(Clone)]
pub struct Runtime(Arc<Inner>);

struct Inner {
    inputs: mpsc::Sender<Input>,
    gone: Arc<Mutex<Vec<Link>>>,
    agents: Arc<Agents>,
    ports: AtomicU64,
    metrics: Arc<RuntimeMetrics>,
    stop: CancellationToken,
    /// Comes to nothing when the thread ends.
    ended: tokio::sync::Mutex<Option<oneshot::Receiver<()>>>,
}

/// One page of jobs, for whoever runs the gateway.
#[derive(Debug, Clone)]
pub struct Listing {
    /// Newest first.
    pub jobs: Vec<(Listed, Owner)>,
    /// Where the rest begins.
    pub next_cursor: Option<Box<str>>,
}

impl Runtime {
    /// Opens the store, settles what a crash left behind, and begins. Work that waits for others (credentials) runs on the runtime
    /// of tokio that this is called on. `ear` is the other end of where these agents speak into.
    ///
    /// # Errors
    /// [`RuntimeError`].
    pub fn start(options: Options, agents: Arc<Agents>, ear: Ear) -> Result<Self, RuntimeError> {
        let (inputs, waiting) = mpsc::channel(COMMANDS_MAX);
        let metrics = Arc::<RuntimeMetrics>::default();
        let stop = CancellationToken::new();
        let gone = Arc::<Mutex<Vec<Link>>>::default();
        let ways_in = WaysIn { inputs: inputs.clone(), waiting, gone: gone.clone(), ear };
        let ended = thread::start(options, agents.clone(), ways_in, metrics.clone(), stop.clone())?;
        let ended = tokio::sync::Mutex::new(Some(ended));
        Ok(Self(Arc::new(Inner { inputs, gone, agents, ports: AtomicU64::new(0), metrics, stop, ended })))
    }

    /// A way to reach connections: letters for them come out of it, in bundles. Connections over it are gone when it is dropped.
    ///
    /// # Errors
    /// [`Busy`], where the runtime has ended too.
    pub fn port(&self) -> Result<(u64, mpsc::Receiver<Vec<Letter>>), Busy> {
        let port = self.0.ports.fetch_add(1, Ordering::Relaxed) + 1;
        let (way_in, letters) = mpsc::channel(BUNDLES_MAX);
        self.put(Input::Port(port, way_in))?;
        Ok((port, letters))
    }

    /// Has a connection's wish looked after.
    ///
    /// # Errors
    /// [`Busy`]: it is not.
    pub fn send(&self, command: Command) -> Result<(), Busy> {
        self.put(Input::Command(command))
    }

    /// A connection is gone. What it wanted before is done first; there is always room for this, once a connection.
    pub fn gone(&self, link: Link) {
        self.0.gone.lock().unwrap_or_else(PoisonError::into_inner).push(link);
        // Where there is no room the runtime is about to look anyway.
        let _ = self.0.inputs.try_send(Input::Look);
    }

    /// The jobs of a tenant, or of all (`None`), for whoever runs the gateway.
    ///
    /// # Errors
    /// `INVALID_REQUEST` for a bad cursor, `INTERNAL_ERROR` where the runtime is busy.
    pub async fn list(
        &self,
        tenant: Option<Arc<str>>,
        filter: Filter,
        limit: usize,
        cursor: Option<Box<str>>,
    ) -> Result<Listing, Fault> {
        let (tell, told) = oneshot::channel();
        self.ask(Input::List { tenant, filter, limit, cursor, tell }, told).await
    }

    /// A job, for whoever runs the gateway.
    ///
    /// # Errors
    /// `JOB_NOT_FOUND`, also where it is another tenant's.
    pub async fn find(&self, tenant: Option<Arc<str>>, job: JobId) -> Result<(Listed, Owner), Fault> {
        let (tell, told) = oneshot::channel();
        self.ask(Input::Find { tenant, job, tell }, told).await
    }

    /// Ends a job, for whoever runs the gateway; what it is now.
    ///
    /// # Errors
    /// `JOB_NOT_FOUND`, and as a client's cancel.
    pub async fn cancel(
        &self,
        tenant: Option<Arc<str>>,
        job: JobId,
        reason: Option<Box<str>>,
    ) -> Result<Descriptor, Fault> {
        let (tell, told) = oneshot::channel();
        self.ask(Input::Cancel { tenant, job, reason, tell }, told).await
    }

    async fn ask<T>(&self, input: Input, told: oneshot::Receiver<Result<T, Fault>>) -> Result<T, Fault> {
        let busy = || Fault::new(tidegate_jobs::Code::InternalError, Busy.to_string());
        self.put(input).map_err(|_| busy())?;
        told.await.map_err(|_| busy())?
    }

    fn put(&self, input: Input) -> Result<(), Busy> {
        self.0.inputs.try_send(input).map_err(|_| {
            count(&self.0.metrics.busy);
            Busy
        })
    }

    /// The agents.
    #[must_use]
    pub fn agents(&self) -> &Arc<Agents> {
        &self.0.agents
    }

    /// The counters.
    #[must_use]
    pub fn metrics(&self) -> &Arc<RuntimeMetrics> {
        &self.0.metrics
    }

    /// Stores what has come so far, and ends. Jobs that run end when the next one starts.
    pub async fn stop(&self) {
        self.0.stop.cancel();
        if let Some(ended) = self.0.ended.lock().await.take() {
            // A panic was told by whoever saw it.
            let _ = ended.await;
        }
    }
}
