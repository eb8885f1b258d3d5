//! The writing thread: gathers what waits, applies each batch as its own transaction, commits once, publishes, answers.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Instant, UNIX_EPOCH};

use crossbeam_channel::Receiver;
use tidegate_mirror::{ApplyError, MirrorError, Remembered, RowWrite, Writer};
use tidegate_model::{Entity, Guard, Position, Transaction};

use crate::local::{Health, Publish, Reply};
use crate::request::refused;
use crate::{ChangeOp, Config, Idempotency, Metrics, WriteError, WriteErrorCode, Written};

/// Answers forgotten per commit, at least as many as a commit can add.
const FORGET_STEP_MIN: u64 = 64;

/// A batch that waits.
pub(crate) struct Job {
    pub(crate) entity: Arc<Entity>,
    pub(crate) ops: Vec<ChangeOp>,
    pub(crate) writes: Vec<RowWrite>,
    pub(crate) guard: Option<Guard>,
    pub(crate) idempotency: Option<Idempotency>,
    pub(crate) bytes: u64,
    pub(crate) arrived: Instant,
    pub(crate) reply: Reply,
}

/// What became of a batch within an open commit.
enum Outcome {
    Applied(Transaction, Written),
    Replayed(Written),
    Refused(WriteError),
}

pub(crate) struct Committer {
    config: Config,
    writer: Writer,
    publish: Publish,
    metrics: Arc<Metrics>,
    health: Health,
}

impl Committer {
    pub(crate) fn new(config: Config, writer: Writer, publish: Publish, metrics: Arc<Metrics>, health: Health) -> Self {
        Self { config, writer, publish, metrics, health }
    }

    /// Writes until every handle is gone and nothing waits.
    pub(crate) fn run(mut self, queue: &Receiver<Job>) {
        for first in queue {
            let mut rows = first.writes.len();
            let mut group = vec![first];
            while group.len() < self.config.group_requests && rows < self.config.group_rows {
                let Ok(job) = queue.try_recv() else { break };
                rows += job.writes.len();
                group.push(job);
            }
            for job in &group {
                Metrics::sub(&self.metrics.queue_requests, 1);
                Metrics::sub(&self.metrics.queue_bytes, job.bytes);
            }
            self.process(group);
        }
    }

    fn process(&mut self, group: Vec<Job>) {
        match self.commit(&group) {
            Ok(outcomes) => {
                self.set_health(None);
                self.finish(group, outcomes);
            }
            Err(error) => {
                self.writer.rollback();
                tracing::error!(%error, requests = group.len(), "a commit failed; nothing of it was published");
                self.set_health(Some(error.to_string()));
                Metrics::add(&self.metrics.failed, group.len() as u64);
                for job in group {
                    (job.reply)(Err(WriteError::new(WriteErrorCode::StoreFailed, "the store failed; try again")));
                }
            }
        }
    }

    /// Applies the group and makes it durable. An error undoes all of it.
    fn commit(&mut self, group: &[Job]) -> Result<Vec<Outcome>, MirrorError> {
        self.writer.begin()?;
        let outcomes = group.iter().map(|job| self.apply(job)).collect::<Result<Vec<_>, _>>()?;
        let applied = |outcome: &Outcome| matches!(outcome, Outcome::Applied(..));
        if outcomes.iter().any(applied) {
            self.forget(group)?;
            self.writer.commit()?;
        } else {
            self.writer.rollback();
        }
        Ok(outcomes)
    }

    fn apply(&mut self, job: &Job) -> Result<Outcome, MirrorError> {
        if let Some(idempotency) = &job.idempotency
            && let Some(answer) = self.writer.recall(&idempotency.scope, &idempotency.key)?
        {
            return Ok(replayed(idempotency, answer));
        }
        let position = Position(self.writer.position().0 + 1);
        let applied = match self.writer.apply(position, &job.writes, job.guard.as_ref()) {
            Ok(applied) => applied,
            Err(ApplyError::Refused { index, refusal }) => {
                return Ok(Outcome::Refused(refused(&job.entity, index, job.ops[index], &refusal)));
            }
            Err(ApplyError::Store(error)) => return Err(error),
        };
        if let Some(Idempotency { scope, key, hash }) = &job.idempotency {
            let answer = Remembered { hash: *hash, position, versions: applied.versions.clone() };
            let now_ms = self.now_ms();
            self.writer.remember(scope, key, &answer, now_ms)?;
        }
        let written = Written { position, versions: applied.versions, replayed: false };
        Ok(Outcome::Applied(applied.transaction, written))
    }

    /// Forgets old answers, a bounded number at a time, where new ones were kept.
    fn forget(&mut self, group: &[Job]) -> Result<(), MirrorError> {
        let kept = group.iter().filter(|job| job.idempotency.is_some()).count() as u64;
        if kept == 0 {
            return Ok(());
        }
        let before = self.now_ms().saturating_sub_unsigned(self.config.idempotency_ms);
        self.writer.forget(before, self.config.idempotency_max, FORGET_STEP_MIN.max(kept * 2))
    }

    /// Publishes what is durable, in order and all at once, and then answers.
    fn finish(&self, group: Vec<Job>, outcomes: Vec<Outcome>) {
        let (mut transactions, mut answers) = (Vec::new(), Vec::with_capacity(group.len()));
        for (job, outcome) in group.into_iter().zip(outcomes) {
            let answer = match outcome {
                Outcome::Applied(transaction, written) => {
                    self.count(&transaction, job.arrived);
                    transactions.push(Arc::new(transaction));
                    Ok(written)
                }
                Outcome::Replayed(written) => {
                    Metrics::add(&self.metrics.replayed, 1);
                    Ok(written)
                }
                Outcome::Refused(error) => {
                    Metrics::add(&self.metrics.refused, 1);
                    Err(error)
                }
            };
            answers.push((job.reply, answer));
        }
        if !transactions.is_empty() {
            (self.publish)(transactions);
        }
        for (reply, answer) in answers {
            reply(answer);
        }
    }

    fn count(&self, transaction: &Transaction, arrived: Instant) {
        let micros = arrived.elapsed().as_micros() as u64;
        Metrics::add(&self.metrics.transactions, 1);
        Metrics::add(&self.metrics.rows, transaction.changes.len() as u64);
        Metrics::add(&self.metrics.latency_micros, micros);
        self.metrics.latency_micros_max.fetch_max(micros, Ordering::Relaxed);
    }

    fn set_health(&self, reason: Option<String>) {
        // A string is whole whoever panicked while it was locked.
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = reason;
    }

    fn now_ms(&self) -> i64 {
        (self.config.clock)().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_millis() as i64)
    }
}

fn replayed(idempotency: &Idempotency, answer: Remembered) -> Outcome {
    if answer.hash == idempotency.hash {
        Outcome::Replayed(Written { position: answer.position, versions: answer.versions, replayed: true })
    } else {
        let message = "this Idempotency-Key was used for another body; use a new key for a new batch";
        Outcome::Refused(WriteError::new(WriteErrorCode::IdempotencyConflict, message))
    }
}
