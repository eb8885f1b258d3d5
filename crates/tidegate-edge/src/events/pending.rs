//! Commands about topics on their way: from step to step, each of which is answered at once or later.
//!
//! Commands of one connection about one topic are done and answered one after the other; those about others pass.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tidegate_model::Answer;
use tidegate_session::{CloseReason, Session};
use tidegate_topics::Topic;
use tokio::time::Instant;

use super::topics::{Command, Found};
use super::{Events, PENDING_MAX, overloaded};
use crate::ApiError;

type Running = Pin<Box<dyn Future<Output = (Command, Result<Found, ApiError>)> + Send>>;

/// Commands that wait for an answer, or for their turn.
#[derive(Default)]
pub(super) struct Pending {
    running: FuturesUnordered<Running>,
    /// The topics of those: each once.
    busy: Vec<Arc<Topic>>,
    waiting: VecDeque<Command>,
}

impl Events {
    /// Begins a command, or has it wait for those before it.
    pub(super) fn take(&mut self, session: &mut Session, command: Command, now: Instant) -> Result<(), CloseReason> {
        if let Some(pending) = self.pending.as_deref_mut().filter(|pending| pending.busy.contains(&command.topic)) {
            if pending.is_full() {
                return self.finish(session, command, Err(overloaded()), now);
            }
            pending.waiting.push_back(command);
            return Ok(());
        }
        let answer = self.begin(session, &command);
        self.go_on(session, command, answer, now)
    }

    /// Goes as far as it can without waiting.
    fn go_on(
        &mut self,
        session: &mut Session,
        mut command: Command,
        mut answer: Answer<Found, ApiError>,
        now: Instant,
    ) -> Result<(), CloseReason> {
        loop {
            answer = match answer {
                Answer::Now(Ok(Found::Permit(permit))) => self.act(session, &mut command, permit),
                Answer::Now(result) => return self.finish(session, command, result, now),
                Answer::Later(_) if self.pending.as_ref().is_some_and(|pending| pending.is_full()) => {
                    Answer::Now(Err(overloaded()))
                }
                Answer::Later(later) => {
                    let pending = self.pending.get_or_insert_default();
                    pending.busy.push(command.topic.clone());
                    pending.running.push(Box::pin(async { (command, later.await) }));
                    return Ok(());
                }
            };
        }
    }

    /// Goes on with what was waited for.
    pub(super) fn poll_pending(&mut self, session: &mut Session, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        while let Some(pending) = &mut self.pending {
            let (command, result) = match pending.running.poll_next_unpin(cx) {
                Poll::Ready(Some(answered)) => answered,
                Poll::Ready(None) => {
                    self.pending = None;
                    return Ok(());
                }
                Poll::Pending => return Ok(()),
            };
            let (now, topic) = (Instant::now(), command.topic.clone());
            pending.busy.retain(|busy| *busy != topic);
            let result = match result {
                Ok(found @ (Found::Permit(_) | Found::Joined(_))) => self.still_may(&command).map(|()| found),
                other => other,
            };
            self.go_on(session, command, Answer::Now(result), now)?;
            while let Some(next) = self.pending.as_mut().and_then(|pending| pending.next_of(&topic)) {
                let answer = match self.still_may(&next) {
                    Ok(()) => self.begin(session, &next),
                    Err(error) => Answer::Now(Err(error)),
                };
                self.go_on(session, next, answer, now)?;
            }
        }
        Ok(())
    }

    /// What it may do can be another thing than when the command came.
    fn still_may(&self, command: &Command) -> Result<(), ApiError> {
        let (Some(verb), Some(principal)) = (command.verb, &self.principal) else { return Ok(()) };
        Ok(self.edge.authority().topic(principal, verb, &command.topic.name)?)
    }
}

impl Pending {
    fn is_full(&self) -> bool {
        self.busy.len() + self.waiting.len() >= PENDING_MAX
    }

    /// The next command about a topic, if none is under way.
    fn next_of(&mut self, topic: &Topic) -> Option<Command> {
        if self.busy.iter().any(|busy| **busy == *topic) {
            return None;
        }
        let at = self.waiting.iter().position(|command| *command.topic == *topic)?;
        self.waiting.remove(at)
    }
}
