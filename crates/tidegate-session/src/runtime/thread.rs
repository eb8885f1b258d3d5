//! The runtime's one thread: takes all that waits, applies it, makes it durable with one fsync, and then carries out the rest.
//! While it commits more gathers: under load one commit is for many.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tidegate_jobs::agents::{Agents, Ear, Utterance};
use tidegate_jobs::credentials::{Credential, ProvisionError};
use tidegate_jobs::store::{Store, Write};
use tidegate_jobs::{CredentialId, Descriptor, Fault, Filter, JobId, Owner};
use tokio::runtime::{Builder, Handle};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::handle::{Listing, Options, RuntimeError};
use super::metrics::count;
use super::outcome::{Audit, Outcome};
use super::provision::Provision;
use super::readers::Readers;
use super::state::{Parts, State};
use super::{Command, Letter, Link, Listed, RuntimeMetrics};

/// Inputs, and things that agents say, of one commit.
const INPUTS: usize = 1_024;
const SAYINGS: usize = 1_024;
/// Commits after it was stopped, at most: they take all that waited by then, whatever else is said meanwhile.
const LAST_COMMITS: usize = 8;
/// Between tries of a commit that fails: the disk is full, most likely.
const RETRY: Duration = Duration::from_millis(250);
/// Longest sleep, so that a clock on the wall that was set is noticed.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// What comes in beside what agents say.
pub(crate) enum Input {
    Command(Command),
    /// Some connection is gone.
    Look,
    Port(u64, mpsc::Sender<Vec<Letter>>),
    Issued(JobId, CredentialId, Result<Credential, ProvisionError>),
    /// It is revoked: to be forgotten.
    Revoked(CredentialId),
    List {
        tenant: Option<Arc<str>>,
        filter: Filter,
        limit: usize,
        cursor: Option<Box<str>>,
        tell: oneshot::Sender<Result<Listing, Fault>>,
    },
    Find {
        tenant: Option<Arc<str>>,
        job: JobId,
        tell: oneshot::Sender<Result<(Listed, Owner), Fault>>,
    },
    Cancel {
        tenant: Option<Arc<str>>,
        job: JobId,
        reason: Option<Box<str>>,
        tell: oneshot::Sender<Result<Descriptor, Fault>>,
    },
}

/// How things come in beside what agents say.
pub(crate) struct WaysIn {
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) waiting: mpsc::Receiver<Input>,
    pub(crate) gone: Arc<Mutex<Vec<Link>>>,
    pub(crate) ear: Ear,
}

struct Thread {
    state: State,
    store: Store,
    agents: Arc<Agents>,
    ports: HashMap<u64, mpsc::Sender<Vec<Letter>>>,
    readers: Readers,
    provision: Option<Provision>,
    metrics: Arc<RuntimeMetrics>,
    clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// What the clock showed last: it never goes back here.
    now_ms: u64,
    /// What an operator is told once it is durable.
    answers: Vec<Box<dyn FnOnce() + Send>>,
    gone: Arc<Mutex<Vec<Link>>>,
    stop: CancellationToken,
}

pub(crate) fn start(
    options: Options,
    agents: Arc<Agents>,
    WaysIn { inputs, waiting, gone, ear }: WaysIn,
    metrics: Arc<RuntimeMetrics>,
    stop: CancellationToken,
) -> Result<oneshot::Receiver<()>, RuntimeError> {
    let Options { dir, jobs, sessions, provisioner, clock } = options;
    let (store, stored) = Store::open(&dir)?;
    let readers = Readers::start(&store)?;
    let provision = provisioner.clone().map(|by| Provision::new(by, inputs, metrics.clone(), Handle::current()));
    let now_ms = clock();
    let mut out = Outcome::default();
    let inventory = agents.inventory().borrow().clone();
    let counters = metrics.clone();
    let random = rand::random;
    let parts = Parts { jobs, limits: sessions, provisioner, stored, inventory, metrics: counters, random };
    let state = State::new(parts, now_ms, &mut out);
    let (ports, answers) = (HashMap::new(), Vec::new());
    let thread =
        Thread { state, store, agents, ports, readers, provision, metrics, clock, now_ms, answers, gone, stop };
    let runtime = Builder::new_current_thread().enable_time().build()?;
    let (end, ended) = oneshot::channel();
    std::thread::Builder::new().name("runtime".into()).spawn(move || {
        runtime.block_on(thread.run(out, waiting, ear));
        drop(end);
    })?;
    Ok(ended)
}

impl Thread {
    async fn run(mut self, first: Outcome, mut waiting: mpsc::Receiver<Input>, mut ear: Ear) {
        let mut inventory = self.agents.inventory();
        self.state.offer(inventory.borrow_and_update().clone());
        let (mut inputs, mut sayings, mut gone) = (Vec::new(), Vec::new(), Vec::new());
        let (mut out, mut left) = (first, LAST_COMMITS);
        loop {
            self.carry_out(out).await;
            out = Outcome::default();
            let is_stopping = self.stop.is_cancelled();
            let idle = match self.state.due() {
                Some(at) => Duration::from_millis(at.saturating_sub((self.clock)())).min(SLEEP_MAX),
                None => SLEEP_MAX,
            };
            let stop = self.stop.clone();
            if !is_stopping {
                tokio::select! {
                    biased;
                    count = waiting.recv_many(&mut inputs, INPUTS) => if count == 0 {
                        // Nobody is left who could say anything, nor stop it.
                        stop.cancel();
                    },
                    _ = ear.recv_many(&mut sayings, SAYINGS) => {}
                    Ok(()) = inventory.changed() => {}
                    () = stop.cancelled() => {}
                    () = sleep(idle) => {}
                }
            }
            // Whoever is gone by now has sent all that it ever will.
            gone.append(&mut self.gone.lock().unwrap_or_else(PoisonError::into_inner));
            // Both have their share of each commit.
            while inputs.len() < INPUTS
                && let Ok(input) = waiting.try_recv()
            {
                inputs.push(input);
            }
            while sayings.len() < SAYINGS
                && let Some(saying) = ear.try_recv()
            {
                sayings.push(saying);
            }
            if is_stopping && (left == 0 || (inputs.is_empty() && sayings.is_empty())) {
                return;
            }
            left -= usize::from(is_stopping);
            self.now_ms = self.now_ms.max((self.clock)());
            self.state.offer(inventory.borrow_and_update().clone());
            let is_all = inputs.len() < INPUTS;
            inputs.drain(..).for_each(|input| self.take(input, &mut out));
            if is_all {
                gone.drain(..).for_each(|link| self.state.gone(link, self.now_ms));
            }
            for Utterance { spoken, .. } in sayings.drain(..) {
                self.state.hear(spoken, self.now_ms, &mut out);
            }
            self.state.tick(self.now_ms, &mut out);
            self.state.keep(self.now_ms, &mut out);
        }
    }

    fn take(&mut self, input: Input, out: &mut Outcome) {
        let now_ms = self.now_ms;
        match input {
            Input::Look => {}
            Input::Command(command) => self.state.take(command, now_ms, out),
            Input::Port(port, way_in) => drop(self.ports.insert(port, way_in)),
            Input::Issued(job, id, made) => self.state.issued(job, id, made, now_ms, out),
            Input::Revoked(id) => out.writes.push(Write::CredentialRevoked(id)),
            Input::List { tenant, filter, limit, cursor, tell } => {
                let listing = self.state.list_all(tenant.as_deref(), &filter, limit, cursor.as_deref());
                self.answers.push(Box::new(move || drop(tell.send(listing))));
            }
            Input::Find { tenant, job, tell } => {
                let found = self.state.find_any(tenant.as_deref(), job);
                self.answers.push(Box::new(move || drop(tell.send(found))));
            }
            Input::Cancel { tenant, job, reason, tell } => {
                let cancelled = self.state.cancel_any(tenant.as_deref(), job, reason.as_deref(), now_ms, out);
                self.answers.push(Box::new(move || drop(tell.send(cancelled))));
            }
        }
    }

    /// Makes durable what is to be, and only then lets anybody know.
    async fn carry_out(&mut self, out: Outcome) {
        let Outcome { writes, letters, told, reads, issues, revokes, audits } = out;
        audits.iter().for_each(tell_audit);
        if !writes.is_empty() {
            self.commit(&writes).await;
        }
        self.answers.drain(..).for_each(|answer| answer());
        for (job, told) in told {
            self.agents.tell(job, told);
        }
        if let Some(provision) = &self.provision {
            for (job, id) in issues {
                if let Some(purpose) = self.state.jobs.purpose(job) {
                    provision.issue(job, id, purpose);
                }
            }
            revokes.into_iter().for_each(|(_, id)| provision.revoke(id));
        }
        let mut bundles = HashMap::<u64, Vec<Letter>>::new();
        for (link, reply) in letters {
            bundles.entry(link.port).or_default().push(Letter { to: link.client, reply });
        }
        for (port, bundle) in bundles {
            let Some(way_in) = self.ports.get(&port) else {
                // It has ended while these were on their way in.
                self.state.port_ended(port, self.now_ms);
                continue;
            };
            if way_in.send(bundle).await.is_err() {
                self.ports.remove(&port);
                self.state.port_ended(port, self.now_ms);
            }
        }
        for read in reads {
            if let Some(way_in) = self.ports.get(&read.to.port) {
                self.readers.read(read, way_in.clone());
            }
        }
        self.state.gauge();
    }

    /// One transaction, one fsync. What fails is tried again until it succeeds: nobody has seen anything of it, so nothing is lost
    /// and no number is left out; meanwhile nothing goes on, and what would has its bounded queues to wait in.
    async fn commit(&mut self, writes: &[Write]) {
        let began = Instant::now();
        while let Err(error) = self.store.commit(writes) {
            assert!(!error.is_refused(), "what follows from inputs can always be stored: {error}");
            count(&self.metrics.commit_failures);
            tracing::error!(%error, "jobs cannot be stored; nothing of them goes on until they can");
            sleep(RETRY).await;
        }
        let entries = writes.iter().filter(|write| matches!(write, Write::Entry(_))).count();
        self.metrics.entries.fetch_add(entries as u64, Ordering::Relaxed);
        count(&self.metrics.commits);
        let us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.metrics.commit_us.fetch_add(us, Ordering::Relaxed);
    }
}

fn tell_audit(audit: &Audit) {
    let Audit { what, by, job, of, decision } = audit;
    let job = job.map(|job| job.to_string());
    let (of_tenant, of_name) = of.as_ref().map(|of| (&*of.tenant, &*of.name)).unzip();
    tracing::info!(
        target: "tidegate::audit",
        what, decision, job, by_tenant = &*by.tenant, by = &*by.name, of_tenant, of = of_name,
        "{what} {decision}",
    );
}
