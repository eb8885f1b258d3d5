//! A job of a worker's.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{ANSWERS_MAX, WorkerId};
use crate::{AgentRef, Owner, Start, Told};

#[derive(Debug)]
pub(super) struct Held {
    /// For whom it is; `None` for one that a worker has brought with it.
    pub(super) agent: Option<AgentRef>,
    /// Whose workers have had it.
    pub(super) owner: Option<Owner>,
    /// Who has it.
    pub(super) worker: Option<WorkerId>,
    /// Nobody has had it yet.
    pub(super) start: Option<Arc<Start>>,
    /// Since when nobody has it, in milliseconds.
    pub(super) since_ms: u64,
    /// What was said of it; `None` until the runtime has said what it heard of one that was brought.
    pub(super) said: Option<u64>,
    /// Answers that may be lost with the connection.
    answers: VecDeque<Told>,
}

impl Held {
    /// One that nobody has yet.
    pub(super) fn new(start: Arc<Start>, now_ms: u64) -> Self {
        let agent = Some(start.accepted.agent.clone());
        let (owner, worker, start) = (None, None, Some(start));
        Self { agent, owner, worker, start, since_ms: now_ms, said: Some(0), answers: VecDeque::new() }
    }

    /// One that a worker says it has.
    pub(super) fn brought(owner: Owner, worker: WorkerId, now_ms: u64) -> Self {
        let (owner, worker) = (Some(owner), Some(worker));
        Self { agent: None, owner, worker, start: None, since_ms: now_ms, said: None, answers: VecDeque::new() }
    }

    /// Remembers what may be lost.
    pub(super) fn note(&mut self, told: &Told) {
        match told {
            Told::Permit { .. } | Told::Delegated { .. } | Told::Child { .. } => {
                if self.answers.len() == ANSWERS_MAX {
                    self.answers.pop_front();
                }
                self.answers.push_back(told.clone());
            }
            Told::Heard(n) if self.said.is_none() => self.said = Some(*n),
            Told::Heard(_) | Told::Hold(_) | Told::Start(_) | Told::Stop(_) => {}
        }
    }

    /// That, for the one who has it now.
    pub(super) fn answers(&self) -> impl Iterator<Item = &Told> {
        self.answers.iter()
    }

    /// Whether the thing with this number is new.
    ///
    /// # Errors
    /// Something before it was never said.
    pub(super) fn takes(&mut self, n: u64) -> Result<bool, String> {
        let Some(said) = self.said else {
            return Err("of a job that is brought nothing is said before it was told what was heard".into());
        };
        if n > said.saturating_add(1) {
            return Err(format!("number {n} of a job comes after {said}"));
        }
        self.said = Some(said.max(n));
        Ok(n > said)
    }
}
