//! What the stream brings, message by message, folded into transactions of the mirror.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidegate_mirror::{ApplyError, Refusal, SourceOp};
use tidegate_model::{EntityId, Position};

use super::{Applier, Fault, mark};
use crate::postgres::Lsn;
use crate::postgres::continuity::{Admission, CommitMark};
use crate::postgres::follow::{Follow, FollowError, Phase, Recorded};
use crate::postgres::pgoutput::{self, Message};
use crate::postgres::stream::StreamEvent;

/// Changes of a transaction that are held until its end is known; past it they are written as they come.
const HELD_MAX: usize = 4_096;
/// Their bytes, as they came.
const HELD_BYTES_MAX: usize = 4 << 20;
/// Places in the log become positions, to which a little may be added and which the store keeps as signed numbers.
const PLACE_MAX: u64 = i64::MAX as u64 / 2;
/// Prefix of the messages that are barriers.
pub(crate) const BARRIER_PREFIX: &str = "tidegate";

/// A transaction that has begun.
#[derive(Debug)]
pub(super) struct Open {
    mark: CommitMark,
    skip: bool,
    held: Vec<(EntityId, SourceOp)>,
    held_bytes: usize,
    /// It is open in the store.
    opened: bool,
    /// Changes of entities that are being copied were recorded.
    recorded: bool,
}

impl Open {
    /// Whether something of it is in the open commit.
    pub(super) fn has_written(&self) -> bool {
        self.opened || self.recorded
    }
}

impl Applier {
    /// Takes events in order. What is complete is committed before one begins that is not.
    pub(super) fn events(&mut self, events: Vec<StreamEvent>) -> Result<(), Fault> {
        let complete = events.iter().rposition(|event| matches!(event, StreamEvent::Commit { .. }));
        for (at, event) in events.into_iter().enumerate() {
            let incomplete = complete.is_none_or(|complete| at > complete);
            if incomplete && self.open.is_none() && matches!(event, StreamEvent::Begin { .. }) {
                self.commit()?;
            }
            self.event(event)?;
        }
        Ok(())
    }

    fn event(&mut self, event: StreamEvent) -> Result<(), Fault> {
        let place = match &event {
            StreamEvent::Begin { final_lsn: lsn, .. }
            | StreamEvent::Commit { end_lsn: lsn, .. }
            | StreamEvent::KeepAlive { wal_end: lsn } => *lsn,
            StreamEvent::Data(_) | StreamEvent::Message { .. } => Lsn(0),
        };
        if place.0 > PLACE_MAX {
            return Err(Fault::Protocol("a place in its log that no log reaches"));
        }
        match event {
            StreamEvent::Begin { final_lsn, xid, commit_micros } => {
                self.begin_transaction(final_lsn, xid, commit_micros)
            }
            StreamEvent::Commit { end_lsn, .. } => self.commit_transaction(end_lsn),
            StreamEvent::Data(raw) => self.message(&raw.bytes),
            // One that comes again is passed all the same: nobody remembers it over a restart.
            StreamEvent::Message { prefix, content, .. } => {
                if prefix == BARRIER_PREFIX {
                    self.group.barriers.push(content.to_vec());
                    self.group.rows += 1;
                }
                Ok(())
            }
            StreamEvent::KeepAlive { wal_end } => self.sent_upto(wal_end),
        }
    }

    fn begin_transaction(&mut self, lsn: Lsn, xid: u32, commit_micros: i64) -> Result<(), Fault> {
        if self.open.is_some() {
            return Err(Fault::Protocol("a transaction within a transaction"));
        }
        let (_, redelivery) = self.session.as_mut().ok_or(Fault::Protocol("a transaction before a session"))?;
        let mark = mark(lsn, xid, commit_micros);
        let skip = redelivery.admit(mark).map_err(Fault::Break)? == Admission::Skip;
        self.open = Some(Open { mark, skip, held: Vec::new(), held_bytes: 0, opened: false, recorded: false });
        Ok(())
    }

    fn commit_transaction(&mut self, end_lsn: Lsn) -> Result<(), Fault> {
        let mut open = self.open.take().ok_or(Fault::Protocol("the end of a transaction that had not begun"))?;
        let metrics = &self.shared.metrics;
        if open.skip {
            metrics.redelivered.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        metrics.transactions.fetch_add(1, Ordering::Relaxed);
        // However small, a group does not take them without end.
        self.group.rows += 1;
        if !open.held.is_empty() {
            self.write_held(&mut open, end_lsn)?;
        }
        if open.opened {
            let transaction = self.writer.close()?;
            self.group.push(transaction);
        }
        if let Some(standing) = &mut self.standing {
            (standing.lsn, standing.last) = (standing.lsn.max(end_lsn), Some(open.mark));
        }
        Ok(())
    }

    /// Writes what is held; the transaction's position is that place in the log, or the next free one.
    fn write_held(&mut self, open: &mut Open, lsn: Lsn) -> Result<(), Fault> {
        self.begin()?;
        if !open.opened {
            self.writer.open(Position(lsn.0.max(self.writer.position().0 + 1)))?;
            open.opened = true;
        }
        open.held_bytes = 0;
        for (entity, op) in open.held.drain(..) {
            if !self.follow(entity).is_failed() && !self.group.renewed.contains(&entity) {
                self.write(entity, op)?;
            }
        }
        Ok(())
    }

    /// One change; a row that the mirror can't hold costs its entity, and nobody else.
    pub(super) fn write(&mut self, entity: EntityId, op: SourceOp) -> Result<(), Fault> {
        self.group.rows += 1;
        match self.writer.write(entity, op) {
            Ok(()) => Ok(()),
            Err(ApplyError::Refused { refusal, .. }) if is_unknown(&refusal) => {
                self.group.renewed.push(entity);
                Ok(())
            }
            Err(ApplyError::Refused { refusal, .. }) => {
                self.fail(entity, format!("a row of it can't be held: {refusal}").into());
                Ok(())
            }
            Err(ApplyError::Store(error)) => Err(error.into()),
        }
    }

    /// Everything up to there has come.
    fn sent_upto(&mut self, sent: Lsn) -> Result<(), Fault> {
        if self.open.is_some() {
            return Ok(());
        }
        let Some((_, redelivery)) = &self.session else { return Ok(()) };
        redelivery.reached(sent).map_err(Fault::Break)?;
        if let Some(standing) = &mut self.standing {
            standing.lsn = standing.lsn.max(sent);
        }
        Ok(())
    }

    fn message(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        match pgoutput::decode(bytes)? {
            Message::Relation(relation) => self.announced(&relation),
            Message::Insert { relation, new } => self.change(relation, bytes.len(), |follow| follow.insert(&new)),
            Message::Update { relation, old, new } => {
                self.change(relation, bytes.len(), |follow| follow.update(old.as_ref(), &new))
            }
            Message::Delete { relation, old } => self.change(relation, bytes.len(), |follow| follow.delete(&old)),
            Message::Truncate { relations } => {
                relations.iter().try_for_each(|relation| self.change(*relation, 0, |_| Ok(SourceOp::Clear)))
            }
            Message::Origin | Message::Type => Ok(()),
            Message::Begin { .. } | Message::Commit { .. } | Message::Message { .. } => {
                Err(Fault::Protocol("a message that the stream should have told apart"))
            }
        }
    }

    fn announced(&mut self, relation: &pgoutput::Relation) -> Result<(), Fault> {
        let entities = self.by_relation.get(&relation.oid).cloned().unwrap_or_default();
        let is_known = self.open.as_ref().is_some_and(|open| open.skip);
        for entity in entities {
            let follow = self.follow(entity);
            if follow.is_failed() {
                continue;
            }
            let announced = follow.announce(relation);
            // What comes again, or what a copy has seen, may be of a time before the table became what it is.
            if let Err(drift) = announced
                && !is_known
                && !follow.is_copied()
            {
                let reason: Arc<str> = format!("its table has changed: {}", drift.reason).into();
                self.shared.schema_changed.send_replace(Some(reason.to_string()));
                self.fail(entity, reason);
            }
            // It comes again whenever something about the table may have changed.
            self.shared.look.notify_one();
        }
        Ok(())
    }

    fn change(
        &mut self,
        relation: u32,
        bytes: usize,
        op: impl Fn(&Follow) -> Result<SourceOp, FollowError>,
    ) -> Result<(), Fault> {
        let open = self.open.as_ref().ok_or(Fault::Protocol("a change outside of a transaction"))?;
        if open.skip {
            return Ok(());
        }
        for at in 0..self.by_relation.get(&relation).map_or(0, Vec::len) {
            let entity = self.by_relation[&relation][at];
            let follow = self.follow(entity);
            if follow.is_failed() {
                continue;
            }
            match op(follow) {
                Ok(op) => self.change_of(entity, Some(op), bytes)?,
                Err(FollowError::NotAnnounced) if follow.is_copied() => self.change_of(entity, None, bytes)?,
                Err(error) => {
                    // A label that is new to its type, for instance: then the schema is another one.
                    self.shared.look.notify_one();
                    self.fail(entity, error.to_string().into());
                }
            }
        }
        Ok(())
    }

    fn change_of(&mut self, entity: EntityId, op: Recorded, bytes: usize) -> Result<(), Fault> {
        let Some(mut open) = self.open.take() else { return Ok(()) };
        let done = match self.follow(entity).phase {
            Phase::Failed(_) => Ok(()),
            Phase::Recording | Phase::Replaying { .. } => {
                open.recorded = true;
                self.record(entity, open.mark.xid, &op)
            }
            Phase::Following => {
                self.shared.metrics.rows.fetch_add(1, Ordering::Relaxed);
                open.held.extend(op.map(|op| (entity, op)));
                open.held_bytes += bytes;
                if open.opened || open.held.len() >= HELD_MAX || open.held_bytes >= HELD_BYTES_MAX {
                    let lsn = open.mark.lsn;
                    self.write_held(&mut open, lsn)
                } else {
                    Ok(())
                }
            }
        };
        self.open = Some(open);
        done
    }

    fn record(&mut self, entity: EntityId, xid: u32, op: &Recorded) -> Result<(), Fault> {
        self.begin()?;
        let bytes = postcard::to_stdvec(op).map_err(tidegate_mirror::MirrorError::from)?;
        self.writer.pend(entity, u64::from(xid), &bytes)?;
        self.group.rows += 1;
        self.shared.metrics.recorded.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// A value was not sent because it has not changed, and the mirror does not know it: so a truncation that overtook the
/// copy's own reading can make it look. The copy is of no use then.
fn is_unknown(refusal: &Refusal) -> bool {
    match refusal {
        Refusal::Unknown { .. } => true,
        Refusal::Row { refusal, .. } => is_unknown(refusal),
        _ => false,
    }
}
