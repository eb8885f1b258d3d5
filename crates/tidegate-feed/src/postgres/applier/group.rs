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
    /// Entities to be ended after the commit.
    pub(super) failed: Vec<(EntityId, Arc<str>)>,
    /// Barriers passed, with the number of transactions before them.
    pub(super) barriers: Vec<Vec<u8>>,
}

impl Group {
    pub(super) fn is_full(&self) -> bool {
        self.rows >= ROWS_MAX || self.bytes >= BYTES_MAX
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
        self.clear_failed()?;
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
        for (entity, reason) in group.failed {
            self.writer.unavailable(entity, Some(reason.clone()));
            (self.outlets.end)(entity, reason);
        }
        for transaction in group.transactions {
            (self.outlets.publish)(Arc::new(transaction));
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

    /// What is no longer followed is not kept: a later copy begins from nothing.
    fn clear_failed(&mut self) -> Result<(), Fault> {
        if self.group.failed.is_empty() {
            return Ok(());
        }
        self.begin()?;
        let failed: Vec<EntityId> = self.group.failed.iter().map(|(entity, _)| *entity).collect();
        for entity in &failed {
            self.writer.clear(*entity)?;
        }
        for transaction in &mut self.group.transactions {
            transaction.changes.retain(|change| !failed.contains(&change.entity));
            transaction.reloads.retain(|entity| !failed.contains(entity));
        }
        Ok(())
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
            (status.state, status.reason) = ("unavailable", Some(reason.clone()));
        });
        self.group.failed.push((entity, reason));
    }
}
