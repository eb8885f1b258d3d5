//! Copies: their rows, and after them the changes that were recorded meanwhile.

use std::sync::atomic::Ordering;

use tidegate_mirror::{ApplyError, MirrorError, State};
use tidegate_model::{EntityId, Position, Value};

use super::{Applier, Epoch, Fault};
use crate::postgres::Lsn;
use crate::postgres::copy::Seen;
use crate::postgres::follow::{Follow, Phase, Recorded};
use crate::postgres::marks::Mark;

/// Recorded changes applied at a time.
const STEP: usize = 2_000;

/// The note with the names of the entities that are followed.
const FOLLOWED: &str = "postgres.followed";

/// The name of the note that says what a table was copied as.
fn signature_note(name: &str) -> String {
    format!("postgres.entity.{name}")
}

/// The name of the note with the mark of the table that was copied.
fn mark_note(name: &str) -> String {
    format!("postgres.mark.{name}")
}

/// Why an entity without a mark is ended.
const UNPUBLISHED: &str = "its table is no longer in the publication, or only a part of it";

impl Applier {
    /// Compares the tables' marks with those that were noted.
    pub(super) fn marked(&mut self, marks: Vec<Mark>) -> Result<(), Fault> {
        let mut renewed = Vec::new();
        for (number, mark) in marks.into_iter().enumerate().take(self.follows.len()) {
            let entity = EntityId(number as u32);
            let unpublished = matches!(&self.follows[number].phase, Phase::Failed(reason) if **reason == *UNPUBLISHED);
            let Some(mark) = mark else {
                self.fail(entity, UNPUBLISHED.into());
                continue;
            };
            let note = mark_note(self.follows[number].entity.name());
            let known = self.writer.noted(&note)?.filter(|known| !known.is_empty());
            if known.as_deref() == Some(mark.as_bytes()) && !unpublished {
                continue;
            }
            self.begin()?;
            self.writer.note(&note, mark.as_bytes())?;
            if unpublished || (known.is_some() && !self.follows[number].is_failed()) {
                let name = &**self.follows[number].entity.name();
                tracing::warn!(
                    entity = name,
                    "its table was changed in a way that is not streamed: it is copied again"
                );
                self.writer.unavailable(entity, None);
                self.renew(entity)?;
                renewed.push(entity);
            }
        }
        if !renewed.is_empty() {
            self.shared.metrics.copies.add("table_remarked");
            self.publish_reload(renewed)?;
        }
        Ok(())
    }

    /// Whatever mark its table has next is that of the copy to come.
    pub(super) fn forget_mark(&mut self, entity: EntityId) -> Result<(), Fault> {
        let note = mark_note(self.follow(entity).entity.name());
        Ok(self.writer.note(&note, b"")?)
    }

    /// At the start: an entity whose table is not what it was copied as, or that was not followed for a while, is copied
    /// again.
    pub(super) fn renew_changed(&mut self) -> Result<(), MirrorError> {
        self.writer.begin()?;
        let followed: Vec<String> = match self.writer.noted(FOLLOWED)? {
            Some(bytes) => postcard::from_bytes(&bytes)?,
            None => Vec::new(),
        };
        let following: Vec<&str> = self.follows.iter().map(|follow| &**follow.entity.name()).collect();
        self.writer.note(FOLLOWED, &postcard::to_stdvec(&following)?)?;
        for follow in &mut self.follows {
            let note = signature_note(follow.entity.name());
            let known = self.writer.noted(&note)?;
            let same = known.as_deref() == Some(follow.mapping.signature.as_bytes())
                && followed.iter().any(|name| **name == **follow.entity.name());
            if !same || self.writer.state(follow.entity.id()) == State::Filling {
                self.writer.clear(follow.entity.id())?;
                self.writer.note(&note, follow.mapping.signature.as_bytes())?;
                follow.phase = Phase::Recording;
            }
        }
        self.writer.commit()
    }

    /// A copy begins. One that begins again drops what came of the one before, and what was recorded beside it: all of
    /// that is visible to the new one.
    pub(super) fn begin_copy(&mut self, entity: EntityId, copy: Epoch, fresh: bool) -> Result<(), Fault> {
        if self.follow(entity).is_failed() {
            return Ok(());
        }
        if fresh {
            self.renew(entity)?;
        }
        self.copies[entity.0 as usize] = copy;
        self.shared.entity(entity.0 as usize, |status| (status.state, status.copied_rows) = ("copying", 0));
        Ok(())
    }

    pub(super) fn copied_rows(&mut self, entity: EntityId, copy: Epoch, rows: Vec<Box<[Value]>>) -> Result<(), Fault> {
        if self.copies[entity.0 as usize] != copy || !matches!(self.follow(entity).phase, Phase::Recording) {
            return Ok(());
        }
        self.begin()?;
        let version = self.writer.position().max(Position(1));
        let count = rows.len();
        match self.writer.load(entity, &mut rows.into_iter(), version) {
            Ok(_) => {}
            Err(ApplyError::Refused { refusal, .. }) => {
                self.fail(entity, format!("a row of it can't be held: {refusal}").into());
                return Ok(());
            }
            Err(ApplyError::Store(error)) => return Err(error.into()),
        }
        self.group.rows += count;
        self.shared.metrics.copied_rows.fetch_add(count as u64, Ordering::Relaxed);
        self.shared.entity(entity.0 as usize, |status| status.copied_rows += count as u64);
        Ok(())
    }

    pub(super) fn copied(&mut self, entity: EntityId, copy: Epoch, seen: Seen, upto: Lsn) {
        if self.copies[entity.0 as usize] == copy && matches!(self.follow(entity).phase, Phase::Recording) {
            self.follow(entity).phase = Phase::Replaying { seen, upto };
            self.shared.entity(entity.0 as usize, |status| status.state = "catching_up");
        }
    }

    /// Whether the stream has come to all that the entity's copy has seen. Were it ready before, it would show what the
    /// others don't yet.
    pub(super) fn can_replay(&self, follow: &Follow) -> bool {
        let reached = self.standing.as_ref().map_or(Lsn(0), |standing| standing.lsn);
        matches!(follow.phase, Phase::Replaying { upto, .. } if upto <= reached)
    }

    /// One step of every entity that catches up. Between transactions only.
    pub(super) fn replay(&mut self) -> Result<(), Fault> {
        for number in 0..self.follows.len() {
            if self.can_replay(&self.follows[number]) {
                self.replay_entity(EntityId(number as u32))?;
            }
        }
        Ok(())
    }

    fn replay_entity(&mut self, entity: EntityId) -> Result<(), Fault> {
        self.begin()?;
        let pending = self.writer.pending(entity, STEP)?;
        let Some(upto) = pending.last().map(|pending| pending.number) else {
            self.writer.set_ready(entity)?;
            self.follow(entity).phase = Phase::Following;
            self.publish_reload(vec![entity])?;
            self.group.ready.push(entity);
            return Ok(());
        };
        self.writer.open(Position(self.writer.position().0 + 1))?;
        for pending in pending {
            let Phase::Replaying { seen, .. } = &self.follow(entity).phase else { break };
            if seen.sees(pending.xid as u32) {
                continue;
            }
            let recorded: Recorded = postcard::from_bytes(&pending.bytes).map_err(MirrorError::from)?;
            match recorded {
                Some(op) => self.write(entity, op)?,
                None => {
                    self.shared.look.notify_one();
                    self.fail(entity, "its table has changed while it was copied".into());
                }
            }
        }
        let transaction = self.writer.close()?;
        self.group.push(transaction);
        self.writer.unpend(entity, upto)?;
        Ok(())
    }
}
