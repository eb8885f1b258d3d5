//! Who is connected, and who has which job. Pure but for the queues that it puts lines into.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::mpsc;

use super::WorkerId;
use super::held::Held;
use super::register::Register;
use crate::agents::lines::OfJob;
use crate::{AgentRef, Code, Fault, JobId, Owner, Said, Spoken, Start, Stop, Told, WORKER_GRACE_MS};

/// The workers and their jobs.
#[derive(Debug)]
pub(in crate::agents) struct Hall {
    /// How long a job waits for its worker, in milliseconds.
    pub(in crate::agents) grace_ms: u64,
    connections: u64,
    workers: BTreeMap<WorkerId, Worker>,
    jobs: BTreeMap<JobId, Held>,
    /// Jobs that nobody has had yet.
    waiting: BTreeSet<JobId>,
}

#[derive(Debug)]
struct Worker {
    owner: Owner,
    agents: Vec<(AgentRef, bool)>,
    capacity: usize,
    jobs: usize,
    hears: mpsc::Sender<(JobId, Told)>,
}

impl Default for Hall {
    fn default() -> Self {
        Self {
            grace_ms: WORKER_GRACE_MS,
            connections: 0,
            workers: BTreeMap::new(),
            jobs: BTreeMap::new(),
            waiting: BTreeSet::new(),
        }
    }
}

impl Hall {
    /// A worker registers. What it says it has still is asked of the runtime: [`Said::Back`].
    pub(super) fn enter(
        &mut self,
        owner: &Owner,
        register: Register,
        hears: mpsc::Sender<(JobId, Told)>,
        now_ms: u64,
    ) -> Result<(WorkerId, Vec<Spoken>), String> {
        let Register { agents, capacity, jobs } = register;
        let of_others = self.workers.values().filter(|worker| worker.owner != *owner);
        let served = |agent: &AgentRef| of_others.clone().any(|worker| worker.serves(agent));
        if let Some((agent, _)) = agents.iter().find(|(agent, _)| served(agent)) {
            return Err(format!("{agent} is served by somebody else"));
        }
        self.connections += 1;
        let id = WorkerId(self.connections);
        let serves: Arc<[AgentRef]> = agents.iter().map(|(agent, _)| agent.clone()).collect();
        let worker = Worker { owner: owner.clone(), agents, capacity, jobs: 0, hears };
        self.workers.insert(id, worker);
        let mut back = Vec::new();
        for job in jobs {
            if self.take_over(job, owner, id, now_ms) {
                back.push(Spoken { job, n: 0, said: Said::Back { serves: serves.clone() } });
            } else {
                self.send(id, job, Told::Stop(Stop::Ended), now_ms);
            }
        }
        self.place(now_ms);
        Ok((id, back))
    }

    /// Gives a worker a job that it has had, unless that is somebody else's.
    fn take_over(&mut self, job: JobId, owner: &Owner, id: WorkerId, now_ms: u64) -> bool {
        if !self.workers.contains_key(&id) {
            return false;
        }
        let held = self.jobs.entry(job).or_insert_with(|| Held::brought(owner.clone(), id, now_ms));
        if held.owner.as_ref() != Some(owner) {
            return false;
        }
        if let Some(former) = held.worker.replace(id).filter(|former| *former != id) {
            self.workers.entry(former).and_modify(|worker| worker.jobs -= 1);
        }
        self.workers.entry(id).and_modify(|worker| worker.jobs += 1);
        let again: Vec<Told> = held.answers().cloned().collect();
        again.into_iter().for_each(|told| self.send(id, job, told, now_ms));
        true
    }

    /// A connection has ended.
    pub(super) fn leave(&mut self, id: WorkerId, now_ms: u64) {
        self.workers.remove(&id);
        for held in self.jobs.values_mut().filter(|held| held.worker == Some(id)) {
            held.worker = None;
            held.since_ms = now_ms;
        }
    }

    /// What workers serve now.
    pub(in crate::agents) fn agents(&self) -> impl Iterator<Item = &(AgentRef, bool)> {
        self.workers.values().flat_map(|worker| &worker.agents)
    }

    /// A new job.
    pub(in crate::agents) fn start(&mut self, start: Arc<Start>, now_ms: u64) {
        let job = start.accepted.job;
        self.jobs.insert(job, Held::new(start, now_ms));
        self.waiting.insert(job);
        self.place(now_ms);
    }

    /// Tells whoever has the job.
    pub(in crate::agents) fn tell(&mut self, job: JobId, told: Told, now_ms: u64) {
        let Some(held) = self.jobs.get_mut(&job) else { return };
        held.note(&told);
        let worker = held.worker;
        let is_over = matches!(told, Told::Stop(_));
        if is_over {
            self.jobs.remove(&job);
            self.waiting.remove(&job);
            if let Some(worker) = worker.and_then(|id| self.workers.get_mut(&id)) {
                worker.jobs -= 1;
            }
        }
        if let Some(id) = worker {
            self.send(id, job, told, now_ms);
        }
        if is_over {
            self.place(now_ms);
        }
    }

    /// A worker says something. `None`: it counts for nothing.
    pub(super) fn hear(&mut self, id: WorkerId, line: OfJob) -> Result<Option<Spoken>, String> {
        let OfJob { job, n, said } = line;
        let held = self.jobs.get_mut(&job).filter(|held| held.worker == Some(id));
        // It may have ended.
        let Some(held) = held else { return Ok(None) };
        if !held.takes(n)? {
            return Ok(None);
        }
        let said = said.unwrap_or_else(|wrong| {
            let message = format!("number {n} of what the worker says can't be read: {wrong}");
            Said::Failed(Fault::new(Code::InternalError, message))
        });
        Ok(Some(Spoken { job, n, said }))
    }

    /// The jobs that nobody has come back with in time. They are stopped by the runtime when it has heard that.
    pub(in crate::agents) fn lost(&mut self, now_ms: u64) -> Vec<Spoken> {
        let workers = &self.workers;
        let is_served = |held: &Held| {
            let agent = held.agent.as_ref().filter(|_| held.start.is_some());
            agent.is_some_and(|agent| workers.values().any(|worker| worker.serves(agent)))
        };
        let mut lost = Vec::new();
        for (job, held) in self.jobs.iter_mut().filter(|(_, held)| held.worker.is_none()) {
            if is_served(held) {
                held.since_ms = now_ms;
            } else if now_ms.saturating_sub(held.since_ms) >= self.grace_ms {
                // Once a grace, should the runtime not have heard it.
                held.since_ms = now_ms;
                let fault = Fault::new(Code::InternalError, "no worker has come (back) for the job");
                // Higher than any number that was said: nothing more counts.
                lost.push(Spoken { job: *job, n: u64::MAX, said: Said::Failed(fault) });
            }
        }
        lost
    }

    /// Hands out what waits.
    fn place(&mut self, now_ms: u64) {
        for job in self.waiting.clone() {
            let Some(held) = self.jobs.get_mut(&job) else { continue };
            let Some(agent) = &held.agent else { continue };
            let free =
                self.workers.iter_mut().filter(|(_, worker)| worker.jobs < worker.capacity && worker.serves(agent));
            let Some((&id, worker)) = free.min_by_key(|(_, worker)| worker.jobs) else { continue };
            worker.jobs += 1;
            held.worker = Some(id);
            held.owner = Some(worker.owner.clone());
            self.waiting.remove(&job);
            if let Some(start) = held.start.take() {
                self.send(id, job, Told::Start(start), now_ms);
            }
        }
    }

    /// Puts something into a worker's queue. One that is full ends the connection: its receiver sees the end.
    fn send(&mut self, id: WorkerId, job: JobId, told: Told, now_ms: u64) {
        let is_taken = self.workers.get(&id).is_none_or(|worker| worker.hears.try_send((job, told)).is_ok());
        if !is_taken {
            self.leave(id, now_ms);
        }
    }
}

impl Worker {
    fn serves(&self, agent: &AgentRef) -> bool {
        self.agents.iter().any(|(served, _)| served == agent)
    }
}
