//! What shares one commit of the mirror, and the commit.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tidegate_model::{EntityId, Transaction};

use super::{Applier, Fault, NOTE_BYTES, NOTE_EVERY, STANDING, report_progress};
use crate::postgres::Lsn;
use crate::postgres::follow::Phase;

/// Rows of one commit, at least which it is closed; one transaction's rows stay together.
const ROWS_MAX: usize = 20_000;
/// Bytes of changed rows that wait for a commit to be published, at least which it is closed.
const BYTES_MAX: usize = 64 << 20;

/// What clients are told. The reason itself names tables and columns that they may not know of: it is for the log and the
/// status.
const UNAVAILABLE: &str = "the source table has changed or can't be followed; subscribe again later";

/// What the open commit will publish.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// A commit is open in the store.
    pub(super) begun: bool,
    pub(super) transactions: Vec<Transaction>,
    /// Rows written, those of copies and records included.
    pub(super) rows: usize,
    bytes: usize,
    /// Where the source stands must be noted whatever else is there.
    pub(super) must_note: bool,
    /// Entities to be copied again from this commit on.
    pub(super) renewed: Vec<EntityId>,
    /// Entities to be ended after the commit.
    pub(super) failed: Vec<EntityId>,
    /// Entities whose copies are complete.
    pub(super) ready: Vec<EntityId>,
    /// Barriers passed, with the number of transactions before them.
    pub(super) barriers: Vec<Vec<u8>>,
}

impl Group {
    pub(super) fn is_full(&self) -> bool {
        self.rows >= ROWS_MAX || self.bytes >= BYTES_MAX
    }

    /// Whatever was done is undone.
    pub(super) fn forget(&mut self) {
        *self = Self { failed: std::mem::take(&mut self.failed), ..Self::default() };
    }

    pub(super) fn push(&mut self, transaction: Transaction) {
        let images = transaction.changes.iter().flat_map(|change| [&change.old, &change.new]);
        self.bytes += images.flatten().map(|row| row.size()).sum::<usize>();
        self.transactions.push(transaction);
    }
}

impl Applier {
    /// Opens a commit where none is open.
    pub(super) fn begin(&mut self) -> Result<(), Fault> {
        if !self.group.begun {
            self.writer.begin()?;
            self.group.begun = true;
        }
        Ok(())
    }

    /// Makes durable what was done since the last commit, and then tells it: to the live engine, to the server, to
    /// whoever waits. Never in the middle of a transaction.
    pub(super) fn commit(&mut self) -> Result<(), Fault> {
        self.drop_left()?;
        let lsn = self.standing.as_ref().map_or(Lsn(0), |standing| standing.lsn);
        let due = lsn.0.saturating_sub(self.noted.0.0) > NOTE_BYTES || self.noted.1.elapsed() > NOTE_EVERY;
        if self.group.begun || self.group.must_note || (due && lsn != self.noted.0) {
            self.begin()?;
            self.note()?;
            self.writer.commit()?;
            self.shared.metrics.commits.fetch_add(1, Ordering::Relaxed);
            self.noted = (lsn, Instant::now());
            self.report.send_if_modified(|report| std::mem::replace(&mut report.flushed, lsn) != lsn);
        }
        self.publish(lsn);
        Ok(())
    }

    fn publish(&mut self, lsn: Lsn) {
        let group = std::mem::take(&mut self.group);
        for entity in group.failed {
            let reason: Arc<str> = UNAVAILABLE.into();
            self.writer.unavailable(entity, Some(reason.clone()));
            (self.outlets.end)(entity, reason);
        }
        for entity in group.ready {
            let follow = &self.follows[entity.0 as usize];
            // It may have failed, or be copied again, since.
            if matches!(follow.phase, Phase::Following) {
                self.shared.entity(entity.0 as usize, |status| status.state = "ready");
                tracing::info!(entity = &**follow.entity.name(), "the copy is complete and up to date");
            }
        }
        if !group.transactions.is_empty() {
            (self.outlets.publish)(group.transactions.into_iter().map(Arc::new).collect());
        }
        let position = self.writer.position();
        for token in group.barriers {
            self.shared.passed(&token, position);
        }
        report_progress(&self.shared, lsn, position);
    }

    fn note(&mut self) -> Result<(), Fault> {
        let Some(standing) = &self.standing else { return Ok(()) };
        let bytes = postcard::to_stdvec(standing).map_err(tidegate_mirror::MirrorError::from)?;
        Ok(self.writer.note(STANDING, &bytes)?)
    }

    /// What is no longer followed, or copied again, is not kept and not told.
    fn drop_left(&mut self) -> Result<(), Fault> {
        let renewed = std::mem::take(&mut self.group.renewed);
        if self.group.failed.is_empty() && renewed.is_empty() {
            return Ok(());
        }
        self.begin()?;
        for at in 0..self.group.failed.len() {
            self.writer.clear(self.group.failed[at])?;
        }
        let left = |entity: &EntityId| !self.follows[entity.0 as usize].is_failed() && !renewed.contains(entity);
        for transaction in &mut self.group.transactions {
            transaction.changes.retain(|change| left(&change.entity));
            transaction.reloads.retain(left);
        }
        let mut again: Vec<EntityId> =
            renewed.into_iter().filter(|entity| !self.follows[entity.0 as usize].is_failed()).collect();
        again.sort_unstable();
        again.dedup();
        if again.is_empty() {
            return Ok(());
        }
        self.shared.metrics.copies.add("unknown_value");
        for entity in &again {
            self.renew(*entity)?;
        }
        self.publish_reload(again)
    }

    /// From now on the entity's subscriptions end with this reason.
    pub(super) fn fail(&mut self, entity: EntityId, reason: Arc<str>) {
        let follow = self.follow(entity);
        if follow.is_failed() {
            return;
        }
        tracing::error!(entity = &**follow.entity.name(), reason = &*reason, "an entity can't be followed any more");
        follow.phase = Phase::Failed(reason.clone());
        self.shared.metrics.failed_entities.fetch_add(1, Ordering::Relaxed);
        self.shared.entity(entity.0 as usize, |status| {
            (status.state, status.reason) = ("unavailable", Some(reason));
        });
        self.group.failed.push(entity);
    }
}
