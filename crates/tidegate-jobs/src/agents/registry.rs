//! The agents that there are, and the jobs that they have.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::channel::Sayings;
use super::job::{Job, Output};
use super::workers::Hall;
use crate::{AgentRef, Code, Fault, Inventory, JobId, Start, Told, is_name, is_version};

/// How long an agent that is to stop may go on.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// Between looks for jobs whose workers are gone.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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
    hall: Arc<Mutex<Hall>>,
    since: Instant,
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
        let (hall, since) = (Arc::<Mutex<Hall>>::default(), Instant::now());
        let mut tasks = JoinSet::new();
        tasks.spawn_on(miss(hall.clone(), since, sayings.clone()), &runtime);
        Self {
            runtime,
            sayings,
            own: Mutex::default(),
            jobs: Arc::default(),
            tasks: Mutex::new(tasks),
            hall,
            since,
            inventory: watch::Sender::new(Arc::default()),
        }
    }

    /// The same where a job waits for so long for its worker to come (back), to a second; 60 s otherwise. After a restart it is
    /// [`Limits::worker_grace_ms`](crate::Limits::worker_grace_ms), which is to say the same.
    #[must_use]
    pub fn worker_grace(self, grace: Duration) -> Self {
        self.hall().grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// Adds an agent of the gateway's own. A bare name means the version that was last named the default, else one of them.
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
        if is_default {
            let others = own.iter_mut().filter(|(other, _)| other.name == agent.name);
            others.for_each(|(_, other)| other.is_default = false);
        }
        own.insert(agent, Own { runs: Arc::new(runs), is_default });
        drop(own);
        self.offer();
        Ok(())
    }

    /// Says what there is now.
    pub(super) fn offer(&self) {
        // Held until it is said, so that the last to look is the last to say.
        let own = lock(&self.own);
        let mut inventory = Inventory::default();
        for (agent, own) in &*own {
            inventory.offer(agent, own.is_default);
        }
        for (agent, is_default) in lock(&self.hall).agents() {
            inventory.offer(agent, *is_default);
        }
        self.inventory.send_if_modified(|before| {
            let is_other = **before != inventory;
            *before = Arc::new(inventory);
            is_other
        });
    }

    /// The workers.
    pub(super) fn hall(&self) -> MutexGuard<'_, Hall> {
        lock(&self.hall)
    }

    /// The way to the runtime.
    pub(super) fn sayings(&self) -> &Sayings {
        &self.sayings
    }

    /// The time that workers are waited for by, in milliseconds.
    pub(super) fn since_ms(&self) -> u64 {
        since_ms(self.since)
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
    pub fn tell(&self, id: JobId, told: Told) {
        match told {
            Told::Start(start) => self.start(start),
            told => {
                let job = lock(&self.jobs).get(&id).cloned();
                match job {
                    Some(job) => job.tell(told),
                    None => self.hall().tell(id, told, self.since_ms()),
                }
            }
        }
    }

    fn start(&self, start: Arc<Start>) {
        let runs = lock(&self.own).get(&start.accepted.agent).map(|own| own.runs.clone());
        let Some(runs) = runs else { return self.hall().start(start, self.since_ms()) };
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

/// Has the jobs fail that no worker comes back with.
async fn miss(hall: Arc<Mutex<Hall>>, since: Instant, sayings: Sayings) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let lost = lock(&hall).lost(since_ms(since));
        for spoken in lost {
            let Ok(room) = sayings.room(0).await else { return };
            room.say(spoken);
        }
    }
}

fn since_ms(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

async fn run(agent: Arc<dyn Agent>, slot: Slot) {
    let job = &slot.job;
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
