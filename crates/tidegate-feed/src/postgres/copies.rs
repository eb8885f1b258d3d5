//! The copies of tables, beside whatever session is streaming: a session that breaks and comes back without a gap does
//! not disturb them.

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidegate_model::EntityId;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::applier::{Epoch, Input};
use super::connect::{Connection, Via, connect};
use super::copy::{self, CopyLimits, Seen, SnapshotSource};
use super::error::SourceErrorKind;
use super::session::{Ended, Source};

/// The pause before a table that could not be copied is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// Batches of rows between a copy and the applier.
const BATCHES: usize = 2;

pub(crate) struct Copies {
    source: Arc<Source>,
    tasks: JoinSet<(Vec<EntityId>, Result<(), Ended>)>,
    /// Entities that some task will copy.
    taken: HashSet<EntityId>,
    turns: Arc<Semaphore>,
    epoch: Epoch,
    /// Faults of the applier up to now: each undoes what was copied and not committed.
    faults: u64,
}

impl Copies {
    pub(crate) fn new(source: Arc<Source>) -> Self {
        let turns = Arc::new(Semaphore::new(source.settings.copies.max(1)));
        Self { source, tasks: JoinSet::new(), taken: HashSet::new(), turns, epoch: 0, faults: 0 }
    }

    /// A number that no session and no copy had yet.
    pub(crate) fn next_epoch(&mut self) -> Epoch {
        self.epoch += 1;
        self.epoch
    }

    /// Before a session, given the applier's faults so far: copies that it undid in part begin again.
    pub(crate) async fn settle(&mut self, faults: u64) {
        if faults != self.faults {
            self.abort().await;
            self.faults = faults;
        }
    }

    /// Ends all of them.
    pub(crate) async fn abort(&mut self) {
        self.tasks.shutdown().await;
        self.taken.clear();
    }

    /// Copies every entity out of a slot's exported snapshot, which may be gone once this has returned.
    pub(crate) async fn adopt(&mut self, snapshot: String) -> Result<(), Ended> {
        let wanted = self.source.ask(Input::Wanted).await?;
        let connections = self.source.settings.copies.clamp(1, wanted.len().max(1));
        let snapshot = SnapshotSource::Exported(snapshot);
        let epochs = wanted.iter().map(|entity| (*entity, self.next_epoch()));
        let queue: VecDeque<(EntityId, Epoch)> = epochs.collect();
        let queue = Arc::new(Mutex::new(queue));
        // All or none: should one not come about, nobody else may copy the entities at the same time.
        let mut clients = Vec::with_capacity(connections);
        for _ in 0..connections {
            let client = connect(&self.source.settings, Via::Copy).await?;
            let seen = copy::begin(&client, &snapshot).await?;
            clients.push((client, seen));
        }
        for (client, seen) in clients {
            let (source, queue) = (self.source.clone(), queue.clone());
            self.tasks.spawn(async move {
                let mut done = Vec::new();
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some((entity, epoch)) = next else { return (done, Ok(())) };
                    done.push(entity);
                    if let Err(ended) = copy_one(&source, &client, entity, epoch, false, seen.clone()).await {
                        // The transaction is of no use any more; who still waits is copied in another way.
                        let rest = queue
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .drain(..)
                            .map(|(e, _)| e)
                            .collect::<Vec<_>>();
                        done.extend(rest);
                        return (done, Err(ended));
                    }
                }
            });
        }
        self.taken.extend(wanted);
        Ok(())
    }

    /// Copies whatever is to be copied, as long as a session lasts.
    pub(crate) async fn run(&mut self) -> Result<Infallible, Ended> {
        let mut report = self.source.report.clone();
        loop {
            let wishes = report.borrow_and_update().wishes;
            for entity in self.source.ask(Input::Wanted).await? {
                self.start(entity);
            }
            tokio::select! {
                Some(done) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    if let Ok((entities, outcome)) = done {
                        self.taken.retain(|entity| !entities.contains(entity));
                        if let Err(ended) = outcome {
                            tracing::warn!(reason = %ended, "a table could not be copied; it is tried again");
                            self.source.shared.metrics.sessions_ended.add("copy");
                        }
                    }
                }
                changed = report.wait_for(|report| report.wishes != wishes) => {
                    changed.map_err(|_| Ended::Stopped)?;
                }
            }
        }
    }

    fn start(&mut self, entity: EntityId) {
        if !self.taken.insert(entity) {
            return;
        }
        let (source, turns, epoch) = (self.source.clone(), self.turns.clone(), self.next_epoch());
        self.tasks.spawn(async move {
            // The semaphore is never closed.
            let _turn = turns.acquire_owned().await;
            let outcome = copy_fresh(&source, entity, epoch).await;
            if let Err(Ended::Source(error)) = &outcome
                && error.kind() == SourceErrorKind::Incompatible
            {
                let reason = error.to_string().into();
                drop(source.inputs.send(Input::Fail { entity, reason }).await);
            } else if outcome.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
            (vec![entity], outcome)
        });
    }
}

/// A copy beside the stream: what is recorded begins before any transaction that the snapshot does not see.
async fn copy_fresh(source: &Source, entity: EntityId, epoch: Epoch) -> Result<(), Ended> {
    let client = connect(&source.settings, Via::Copy).await?;
    source.ask(|done| Input::Copy { entity, copy: epoch, fresh: true, done }).await?;
    copy::wait_for_older(&client).await?;
    let seen = copy::begin(&client, &SnapshotSource::Fresh).await?;
    copy_one(source, &client, entity, epoch, true, seen).await
}

async fn copy_one(
    source: &Source,
    client: &Connection,
    entity: EntityId,
    epoch: Epoch,
    begun: bool,
    seen: Seen,
) -> Result<(), Ended> {
    if !begun {
        source.ask(|done| Input::Copy { entity, copy: epoch, fresh: false, done }).await?;
    }
    let followed = &source.followed[entity.0 as usize];
    let limits = CopyLimits::of(&source.settings);
    let (sink, mut batches) = mpsc::channel(BATCHES);
    let began = std::time::Instant::now();
    let copying = async move { copy::copy_table(client, &followed.mapping, &limits, &sink).await };
    let handing = async {
        while let Some(rows) = batches.recv().await {
            source.inputs.send(Input::Rows { entity, copy: epoch, rows }).await.map_err(|_| Ended::Stopped)?;
        }
        Ok(())
    };
    let (copied, handed): (_, Result<(), Ended>) = tokio::join!(copying, handing);
    let (rows, ()) = (copied?, handed?);
    // Also of a slot's snapshot: a table truncated since then is empty for every snapshot.
    let upto = copy::log_end(client).await?;
    source.shared.nudge.notify_one();
    source.inputs.send(Input::Copied { entity, copy: epoch, seen, upto }).await.map_err(|_| Ended::Stopped)?;
    let seconds = began.elapsed().as_secs_f64();
    tracing::info!(entity = &*followed.name, rows, seconds, "copied");
    Ok(())
}
