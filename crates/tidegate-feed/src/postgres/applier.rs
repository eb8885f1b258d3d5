//! The thread that owns the mirror's writer: it applies what the stream and the copies bring, many transactions in one
//! commit where many wait, and publishes them together after the commit.
//!
//! - A transaction is applied as a whole or not at all: half a one is never committed.
//! - Where the source stands is noted in the same commit as the rows, and only then told to the server.
//! - Any failure undoes the open commit and ends the session; the next begins from what is noted.

mod group;
mod intake;
mod replay;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use tidegate_mirror::{MirrorError, State, Writer};
use tidegate_model::{EntityId, Position, Transaction};
use tokio::sync::mpsc::Receiver;
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::{oneshot, watch};

use super::continuity::{self, Break, CommitMark, Redelivery, Server, Standing};
use super::copy::Seen;
use super::follow::{Follow, Phase};
use super::marks::Mark;
use super::pgoutput::DecodeError;
use super::status::{Progress, Shared};
use super::stream::StreamEvent;
use super::{Lsn, feed::Outlets};
use group::Group;
use intake::Open;

/// The note that says where the source stands.
const STANDING: &str = "postgres.standing";
/// Bytes of log after which a place without transactions is noted.
const NOTE_BYTES: u64 = 16 << 20;
/// Time after which it is.
const NOTE_EVERY: Duration = Duration::from_secs(10);

/// A number for each session and each copy: what belongs to an ended one is dropped.
pub(crate) type Epoch = u64;

/// What comes to the thread.
pub(crate) enum Input {
    /// A session is over, if there was one.
    End(oneshot::Sender<()>),
    /// May the mirror go on from where it is? The answer is the place to confirm, or why everything is to be copied.
    Judge(Server, oneshot::Sender<Result<Lsn, Break>>),
    /// Everything is to be copied, from a stream that begins at the standing's place.
    Restart { standing: Standing, reason: Break, done: oneshot::Sender<()> },
    /// A session's stream begins.
    Stream { session: Epoch, done: oneshot::Sender<()> },
    /// Of which entities are the rows still to come?
    Wanted(oneshot::Sender<Vec<EntityId>>),
    /// The tables' marks, by entity: one that has another mark than its copy is copied again, one without is ended.
    Marks(Vec<Mark>),
    /// What it brings.
    Events { session: Epoch, events: Vec<StreamEvent> },
    /// A copy of an entity begins (again): what was copied and recorded before is dropped.
    Copy { entity: EntityId, copy: Epoch, fresh: bool, done: oneshot::Sender<()> },
    /// Rows of it.
    Rows { entity: EntityId, copy: Epoch, rows: Vec<Box<[tidegate_model::Value]>> },
    /// All rows have come; the log up to `upto` has all that they are.
    Copied { entity: EntityId, copy: Epoch, seen: Seen, upto: Lsn },
    /// The entity can't be followed any more.
    Fail { entity: EntityId, reason: Arc<str> },
}

/// Why the open commit was undone and the session ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The store.
    #[error("the store failed: {0}")]
    Store(#[from] MirrorError),
    /// Continuity.
    #[error("what the server sends does not go on from what the mirror has ({})", .0.name())]
    Break(Break),
    /// The server's messages.
    #[error("the server sent what is no pgoutput: {0}")]
    Decode(#[from] DecodeError),
    /// Messages out of order.
    #[error("the server sent {0}")]
    Protocol(&'static str),
}

impl Fault {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Fault::Store(_) => "store_failed",
            Fault::Break(_) => "continuity",
            Fault::Decode(_) | Fault::Protocol(_) => "protocol",
        }
    }
}

/// What the tasks watch of the thread.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    /// Faults so far; each ends the session and the copies of its time.
    pub(crate) faults: u64,
    /// The last of them.
    pub(crate) reason: Option<(&'static str, String)>,
    /// Grows with each entity that has come to want a copy.
    pub(crate) wishes: u64,
    /// What the mirror has for good.
    pub(crate) flushed: Lsn,
}

pub(crate) struct Applier {
    writer: Writer,
    outlets: Outlets,
    shared: Arc<Shared>,
    report: watch::Sender<Report>,
    follows: Vec<Follow>,
    /// By the table's oid.
    by_relation: FxHashMap<u32, Vec<EntityId>>,
    /// Of each entity, the copy whose rows are taken.
    copies: Vec<Epoch>,
    standing: Option<Standing>,
    /// What is noted, and since when.
    noted: (Lsn, Instant),
    /// Seen while streaming; said when next asked.
    broken: Option<Break>,
    session: Option<(Epoch, Redelivery)>,
    admitted: Option<Redelivery>,
    /// Looked at between transactions.
    marks: Option<Vec<Mark>>,
    open: Option<Open>,
    group: Group,
}

impl Applier {
    /// Entities in the order of their numbers; reads where the source stands.
    pub(crate) fn new(
        writer: Writer,
        outlets: Outlets,
        shared: Arc<Shared>,
        report: watch::Sender<Report>,
        follows: Vec<Follow>,
    ) -> Result<Self, MirrorError> {
        let mut by_relation: FxHashMap<u32, Vec<EntityId>> = FxHashMap::default();
        for follow in &follows {
            by_relation.entry(follow.mapping.oid).or_default().push(follow.id());
        }
        // A note that can't be read proves nothing, so everything is copied.
        let standing = writer.noted(STANDING)?.and_then(|bytes| postcard::from_bytes::<Standing>(&bytes).ok());
        let copies = vec![0; follows.len()];
        let noted = (standing.as_ref().map_or(Lsn(0), |standing| standing.lsn), Instant::now());
        let group = Group::default();
        let (broken, session, admitted, marks, open) = (None, None, None, None, None);
        let mut applier = Self {
            writer,
            outlets,
            shared,
            report,
            follows,
            by_relation,
            copies,
            standing,
            noted,
            broken,
            session,
            admitted,
            marks,
            open,
            group,
        };
        applier.renew_changed()?;
        applier.tell_states();
        Ok(applier)
    }

    /// Works until every sender is gone.
    pub(crate) fn run(mut self, mut inputs: Receiver<Input>) {
        loop {
            let input = if self.is_replaying() {
                match inputs.try_recv() {
                    Ok(input) => Some(input),
                    Err(TryRecvError::Empty) => None,
                    Err(TryRecvError::Disconnected) => return,
                }
            } else {
                match inputs.blocking_recv() {
                    Some(input) => Some(input),
                    None => return,
                }
            };
            if let Err(fault) = self.turn(input, &mut inputs) {
                self.fault(&fault);
            }
        }
    }

    /// Takes what waits, up to a group, and commits it.
    fn turn(&mut self, input: Option<Input>, inputs: &mut Receiver<Input>) -> Result<(), Fault> {
        if let Some(input) = input {
            self.take(input)?;
        }
        while !self.group.is_full()
            && let Ok(input) = inputs.try_recv()
        {
            self.take(input)?;
        }
        if self.open.is_none() {
            if let Some(marks) = self.marks.take() {
                self.marked(marks)?;
            }
            self.replay()?;
            self.commit()?;
        }
        Ok(())
    }

    /// Whoever no longer waits for an answer has been ended.
    fn take(&mut self, input: Input) -> Result<(), Fault> {
        match input {
            Input::End(done) => {
                self.end_session()?;
                let _ = done.send(());
            }
            Input::Judge(server, reply) => {
                let judged = self.judge(&server);
                let _ = reply.send(judged);
            }
            Input::Restart { standing, reason, done } => {
                self.restart(standing, reason)?;
                let _ = done.send(());
            }
            Input::Stream { session, done } => {
                let redelivery = self.admitted.take().ok_or(Fault::Protocol("a stream before it was judged"))?;
                self.session = Some((session, redelivery));
                self.follows.iter_mut().for_each(Follow::forget_announcement);
                let _ = done.send(());
            }
            Input::Wanted(reply) => drop(reply.send(self.wanted())),
            Input::Marks(marks) => self.marks = Some(marks),
            Input::Events { session, events } => {
                if self.session.as_ref().is_some_and(|(current, _)| *current == session) {
                    self.events(events)?;
                }
            }
            Input::Copy { entity, copy, fresh, done } => {
                self.begin_copy(entity, copy, fresh)?;
                let _ = done.send(());
            }
            Input::Rows { entity, copy, rows } => self.copied_rows(entity, copy, rows)?,
            Input::Copied { entity, copy, seen, upto } => self.copied(entity, copy, seen, upto),
            Input::Fail { entity, reason } => self.fail(entity, reason),
        }
        Ok(())
    }

    fn follow(&mut self, entity: EntityId) -> &mut Follow {
        &mut self.follows[entity.0 as usize]
    }

    fn judge(&mut self, server: &Server) -> Result<Lsn, Break> {
        if let Some(broken) = self.broken {
            return Err(broken);
        }
        let redelivery = continuity::judge(self.standing.as_ref(), server)?;
        self.admitted = Some(redelivery);
        Ok(self.standing.as_ref().map_or(Lsn(0), |standing| standing.lsn))
    }

    /// Begins everything anew at the standing's place.
    fn restart(&mut self, standing: Standing, reason: Break) -> Result<(), Fault> {
        tracing::warn!(reason = reason.name(), lsn = %standing.lsn, "every entity is copied from the source");
        self.shared.metrics.copies.add(reason.name());
        self.begin()?;
        let entities: Vec<EntityId> =
            self.follows.iter().filter(|follow| !follow.is_failed()).map(Follow::id).collect();
        for entity in &entities {
            self.renew(*entity)?;
            self.forget_mark(*entity)?;
        }
        self.admitted = Some(Redelivery::none(standing.lsn));
        (self.standing, self.broken) = (Some(standing), None);
        self.publish_reload(entities)?;
        self.group.must_note = true;
        self.commit()
    }

    /// Everything of an entity is to be copied.
    fn renew(&mut self, entity: EntityId) -> Result<(), Fault> {
        self.begin()?;
        self.writer.clear(entity)?;
        self.copies[entity.0 as usize] = 0;
        self.follow(entity).phase = Phase::Recording;
        self.report.send_modify(|report| report.wishes += 1);
        self.shared.entity(entity.0 as usize, |status| {
            (status.state, status.copied_rows, status.reason) = ("waiting", 0, None);
        });
        Ok(())
    }

    fn wanted(&self) -> Vec<EntityId> {
        self.follows.iter().filter(|follow| matches!(follow.phase, Phase::Recording)).map(Follow::id).collect()
    }

    /// The views of these entities are to be read anew, at a position of its own: that of the place that has been
    /// reached, or the next free one.
    fn publish_reload(&mut self, entities: Vec<EntityId>) -> Result<(), Fault> {
        let reached = self.standing.as_ref().map_or(0, |standing| standing.lsn.0);
        let position = Position(reached.max(self.writer.position().0 + 1));
        self.writer.advance(position)?;
        self.group.push(Transaction { position, changes: Vec::new(), reloads: entities });
        Ok(())
    }

    /// Undoes the open commit. What it held of copies is lost with it, so they begin again.
    fn fault(&mut self, fault: &Fault) {
        tracing::error!(error = %fault, "following PostgreSQL failed; nothing of the open commit was kept");
        self.undo();
        self.session = None;
        if let Fault::Break(reason) = fault {
            self.broken = Some(*reason);
        }
        self.report.send_modify(|report| {
            report.faults += 1;
            report.reason = Some((fault.name(), fault.to_string()));
        });
    }

    fn undo(&mut self) {
        self.writer.rollback();
        self.open = None;
        // Entities that have failed do so for good, whatever it was in: their subscriptions are yet to be ended.
        self.group.forget();
        // What is noted is what counts; it can be read, for it was.
        let noted = self.writer.noted(STANDING).ok().flatten();
        self.standing = noted.and_then(|bytes| postcard::from_bytes(&bytes).ok());
        for number in 0..self.follows.len() {
            let entity = EntityId(number as u32);
            if self.follows[number].is_failed() {
                continue;
            }
            self.copies[number] = 0;
            let filling = self.writer.state(entity) == State::Filling;
            self.follows[number].phase = if filling { Phase::Recording } else { Phase::Following };
        }
        self.tell_states();
    }

    /// A session is over: of a transaction that came in part nothing may stay.
    fn end_session(&mut self) -> Result<(), Fault> {
        self.session = None;
        match self.open.take() {
            Some(open) if open.has_written() => {
                self.undo();
                self.report.send_modify(|report| report.faults += 1);
                Ok(())
            }
            _ => self.commit(),
        }
    }

    fn tell_states(&self) {
        for (number, follow) in self.follows.iter().enumerate() {
            let state = match &follow.phase {
                Phase::Following => "ready",
                Phase::Recording => "waiting",
                Phase::Replaying { .. } => "catching_up",
                Phase::Failed(_) => "unavailable",
            };
            self.shared.entity(number, |status| status.state = state);
        }
    }

    fn is_replaying(&self) -> bool {
        self.open.is_none() && self.follows.iter().any(|follow| self.can_replay(follow))
    }
}

/// A transaction's mark, for the note.
fn mark(lsn: Lsn, xid: u32, commit_micros: i64) -> CommitMark {
    CommitMark { lsn, xid, commit_micros }
}

/// Tells whoever waits how far it is.
fn report_progress(shared: &Shared, lsn: Lsn, position: Position) {
    let now = Progress { lsn, position };
    shared.progress.send_if_modified(|progress| std::mem::replace(progress, now) != now);
}
