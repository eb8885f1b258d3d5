//! The agents that there are, and the jobs that they have.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::channel::Sayings;
use super::job::{Job, Output};
use crate::{AgentRef, Code, Fault, Inventory, JobId, Start, Told, is_name, is_version};

/// How long an agent that is to stop may go on.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// What an agent does with one job.
pub type Running = Pin<Box<dyn Future<Output = Result<Output, Fault>> + Send>>;

/// Something that runs jobs. A function from a [`Job`] to a future is one.
pub trait Agent: Send + Sync {
    /// Runs a job: what it returns is the job's end.
    fn run(&self, job: Job) -> Running;
}

impl<F, R> Agent for F
where
    F: Fn(Job) -> R + Send + Sync,
    R: Future<Output = Result<Output, Fault>> + Send + 'static,
{
    fn run(&self, job: Job) -> Running {
        Box::pin(self(job))
    }
}

/// The agents of a gateway, and the tasks of their jobs. Dropping it drops those.
pub struct Agents {
    runtime: Handle,
    sayings: Sayings,
    own: Mutex<BTreeMap<AgentRef, Own>>,
    jobs: Arc<Mutex<HashMap<JobId, Job>>>,
    tasks: Mutex<JoinSet<()>>,
    inventory: watch::Sender<Arc<Inventory>>,
}

struct Own {
    runs: Arc<dyn Agent>,
    is_default: bool,
}

impl Agents {
    /// None yet. Their tasks run on `runtime`, and what they say goes to `sayings`.
    #[must_use]
    pub fn new(runtime: Handle, sayings: Sayings) -> Self {
        Self {
            runtime,
            sayings,
            own: Mutex::default(),
            jobs: Arc::default(),
            tasks: Mutex::default(),
            inventory: watch::Sender::new(Arc::default()),
        }
    }

    /// Adds an agent of the gateway's own. A bare name means the version that was named the default, else one of them.
    ///
    /// # Errors
    /// `INVALID_REQUEST`: it can't be called so, or there is one already.
    pub fn register(&self, agent: AgentRef, is_default: bool, runs: impl Agent + 'static) -> Result<(), Fault> {
        if !is_name(&agent.name) || !is_version(&agent.version) {
            return Err(Fault::invalid(format!("{agent} is no name and version of an agent")));
        }
        let mut own = lock(&self.own);
        if own.contains_key(&agent) {
            return Err(Fault::invalid(format!("there is an agent {agent} already")));
        }
        own.insert(agent, Own { runs: Arc::new(runs), is_default });
        let mut inventory = Inventory::default();
        for (agent, own) in &*own {
            inventory.offer(agent, own.is_default);
        }
        self.inventory.send_replace(Arc::new(inventory));
        Ok(())
    }

    /// What can be asked for now, and changes of it.
    #[must_use]
    pub fn inventory(&self) -> watch::Receiver<Arc<Inventory>> {
        self.inventory.subscribe()
    }

    /// Whether an agent is none of the gateway's own, so that its jobs are a worker's, who may come back with them.
    #[must_use]
    pub fn is_workers(&self, agent: &AgentRef) -> bool {
        !lock(&self.own).contains_key(agent)
    }

    /// Tells an agent something about a job. Never waits; about a job that it has not (any more) it does nothing.
    pub fn tell(&self, job: JobId, told: Told) {
        match told {
            Told::Start(start) => self.start(start),
            told => {
                let job = lock(&self.jobs).get(&job).cloned();
                if let Some(job) = job {
                    job.tell(told);
                }
            }
        }
    }

    fn start(&self, start: Arc<Start>) {
        let runs = lock(&self.own).get(&start.accepted.agent).map(|own| own.runs.clone());
        let job = Job::new(start, self.sayings.clone());
        lock(&self.jobs).insert(job.id(), job.clone());
        let slot = Slot { jobs: self.jobs.clone(), job };
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn_on(run(runs, slot), &self.runtime);
    }
}

/// Takes the job off the list when its task ends, in whatever way.
struct Slot {
    jobs: Arc<Mutex<HashMap<JobId, Job>>>,
    job: Job,
}

impl Drop for Slot {
    fn drop(&mut self) {
        lock(&self.jobs).remove(&self.job.id());
    }
}

async fn run(agent: Option<Arc<dyn Agent>>, slot: Slot) {
    let job = &slot.job;
    let Some(agent) = agent else {
        let fault = Fault::new(Code::AgentNotAvailable, format!("there is no agent {}", job.start().accepted.agent));
        return job.end(Err(fault)).await;
    };
    // A task of its own, so that its panic is its own.
    let mut task = JoinSet::new();
    let its = job.clone();
    task.spawn(async move { agent.run(its).await });
    let ended = tokio::select! {
        ended = task.join_next() => ended,
        () = async { job.stopped().await; tokio::time::sleep(STOP_GRACE).await } => {
            tracing::warn!(job = %job.id(), "an agent that was to stop did not; it is dropped");
            return;
        }
    };
    let outcome = ended.and_then(Result::ok).unwrap_or_else(|| {
        tracing::error!(job = %job.id(), agent = %job.start().accepted.agent, "an agent panicked");
        Err(Fault::new(Code::InternalError, "the agent panicked"))
    });
    job.end(outcome).await;
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
