//! What an agent that is a Rust value has of its job.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rust_decimal::Decimal;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use super::channel::{self, Sayings};
use super::checks;
use crate::lease::Namespace;
use crate::{Chunk, Code, Delegation, Ending, Fault, JobId, Kind, Said, Spoken, Start, Stop, Told};

/// A job, in the hands of its agent. Clones are the same job.
///
/// Whatever is said waits for room on the way to the runtime, and fails once the job is to stop: with `CANCELLED`, `TIMEOUT` or
/// `LEASE_EXPIRED`, which an agent may well return, as nobody hears it any more.
#[derive(Clone)]
pub struct Job(Arc<Shared>);

/// What an agent returns.
#[derive(Debug, Default)]
pub struct Output {
    /// Any JSON of at most [`RESULT_BYTES_MAX`](crate::RESULT_BYTES_MAX); ignored where the result was streamed.
    pub result: Option<Box<RawValue>>,
    /// For people.
    pub summary: Option<String>,
}

/// A part of the job that another agent does.
#[derive(Debug)]
pub struct Child {
    /// Its job.
    pub job: JobId,
    ends: oneshot::Receiver<Arc<Ending>>,
}

struct Shared {
    start: Arc<Start>,
    sayings: Sayings,
    talk: Mutex<Talk>,
    heard: watch::Sender<u64>,
    share: channel::Share,
    /// Whether it has to wait, because whoever reads what it says is slower.
    held: watch::Sender<bool>,
    stop: watch::Sender<Option<Stop>>,
}

/// What was said, and which answers are still to come.
#[derive(Default)]
struct Talk {
    said: u64,
    /// It has said its last, or nothing that it says is heard any more.
    is_over: bool,
    calls: u64,
    permits: HashMap<u64, oneshot::Sender<Result<(), Fault>>>,
    delegations: HashMap<u64, oneshot::Sender<Result<Child, Fault>>>,
    children: HashMap<JobId, oneshot::Sender<Arc<Ending>>>,
}

impl Output {
    /// With this result.
    ///
    /// # Errors
    /// `INTERNAL_ERROR`: it is no JSON.
    pub fn of(result: &impl Serialize) -> Result<Self, Fault> {
        Ok(Self { result: Some(raw(result)?), summary: None })
    }
}

impl Child {
    /// Waits for its end.
    ///
    /// # Errors
    /// The parent is to stop.
    pub async fn ended(self) -> Result<Arc<Ending>, Fault> {
        self.ends.await.map_err(|_| Fault::new(Code::Cancelled, "the job stops before its child has ended"))
    }
}

impl Job {
    pub(super) fn new(start: Arc<Start>, sayings: Sayings) -> Self {
        let (talk, heard, stop) = (Mutex::default(), watch::Sender::new(0), watch::Sender::new(None));
        let (share, held) = (channel::Share::new(), watch::Sender::new(false));
        Self(Arc::new(Shared { start, sayings, talk, heard, share, held, stop }))
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.0.start.accepted.job
    }

    /// All that is known of it: the agent asked for, its lease and budget at the start, its credentials, when it will be stopped.
    #[must_use]
    pub fn start(&self) -> &Arc<Start> {
        &self.0.start
    }

    /// Its input, read.
    ///
    /// # Errors
    /// `INVALID_REQUEST`: it has another shape.
    pub fn input<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        serde_json::from_str(self.0.start.input.get()).map_err(|error| Fault::invalid(format!("input: {error}")))
    }

    /// An event.
    ///
    /// # Errors
    /// `INVALID_REQUEST`: the body has not the shape of its kind, or is too long or too deep. The job stops.
    pub async fn event(&self, kind: Kind, body: Box<RawValue>) -> Result<(), Fault> {
        self.say(Said::Event { kind, body }).await
    }

    /// A `log` event; the level is one of `debug`, `info`, `warn`, `error` by custom.
    ///
    /// # Errors
    /// As [`Job::event`].
    pub async fn log(&self, level: &str, message: &str) -> Result<(), Fault> {
        #[derive(Serialize)]
        struct Body<'a> {
            level: &'a str,
            message: &'a str,
        }
        self.event(Kind::LOG, raw(&Body { level, message })?).await
    }

    /// A `thought` event.
    ///
    /// # Errors
    /// As [`Job::event`].
    pub async fn thought(&self, text: &str) -> Result<(), Fault> {
        #[derive(Serialize)]
        struct Body<'a> {
            text: &'a str,
        }
        self.event(Kind::THOUGHT, raw(&Body { text })?).await
    }

    /// A `status` event.
    ///
    /// # Errors
    /// As [`Job::event`].
    pub async fn status(&self, phase: &str, message: Option<&str>) -> Result<(), Fault> {
        #[derive(Serialize)]
        struct Body<'a> {
            phase: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            message: Option<&'a str>,
        }
        self.event(Kind::STATUS, raw(&Body { phase, message })?).await
    }

    /// A `metric` event. One whose name begins with `cost.` takes its value off the budget in that unit.
    ///
    /// # Errors
    /// As [`Job::event`].
    pub async fn metric(&self, name: &str, value: Decimal, unit: Option<&str>) -> Result<(), Fault> {
        #[derive(Serialize)]
        struct Body<'a> {
            name: &'a str,
            value: Box<RawValue>,
            #[serde(skip_serializing_if = "Option::is_none")]
            unit: Option<&'a str>,
        }
        // Its digits, as they are: a float would round them.
        let value = RawValue::from_string(value.to_string()).map_err(no_json)?;
        self.event(Kind::METRIC, raw(&Body { name, value, unit })?).await
    }

    /// A `progress` event.
    ///
    /// # Errors
    /// As [`Job::event`].
    pub async fn progress(&self, current: u64, total: Option<u64>, units: Option<&str>) -> Result<(), Fault> {
        #[derive(Serialize)]
        struct Body<'a> {
            current: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            total: Option<u64>,
            #[serde(skip_serializing_if = "Option::is_none")]
            units: Option<&'a str>,
        }
        self.event(Kind::PROGRESS, raw(&Body { current, total, units })?).await
    }

    /// A `tool_call` event.
    ///
    /// # Errors
    /// As [`Job::event`].
    pub async fn tool_call(&self, call_id: &str, tool: &str, args: &impl Serialize) -> Result<(), Fault> {
        #[derive(Serialize)]
        struct Body<'a> {
            tool: &'a str,
            args: Box<RawValue>,
            call_id: &'a str,
        }
        let args = raw(args)?;
        self.event(Kind::TOOL_CALL, raw(&Body { tool, args, call_id })?).await
    }

    /// A `tool_result` event: what came of a `tool_call`.
    ///
    /// # Errors
    /// As [`Job::event`].
    pub async fn tool_result<T: Serialize>(&self, call_id: &str, outcome: Result<&T, &Fault>) -> Result<(), Fault> {
        #[derive(Serialize)]
        struct Body<'a> {
            call_id: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            result: Option<Box<RawValue>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            error: Option<&'a Fault>,
        }
        let result = outcome.ok().map(raw).transpose()?;
        self.event(Kind::TOOL_RESULT, raw(&Body { call_id, result, error: outcome.err() })?).await
    }

    /// An `artifact_ref` event.
    ///
    /// # Errors
    /// As [`Job::event`].
    pub async fn artifact(&self, uri: &str, content_type: &str, byte_size: Option<u64>) -> Result<(), Fault> {
        #[derive(Serialize)]
        struct Body<'a> {
            uri: &'a str,
            content_type: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            byte_size: Option<u64>,
        }
        self.event(Kind::ARTIFACT_REF, raw(&Body { uri, content_type, byte_size })?).await
    }

    /// A piece of the result, which is streamed: all pieces put together, in their order.
    ///
    /// # Errors
    /// `INVALID_REQUEST`: it is longer than [`CHUNK_BYTES_MAX`](crate::CHUNK_BYTES_MAX). The job stops.
    pub async fn chunk(&self, data: Chunk, is_last: bool) -> Result<(), Fault> {
        self.say(Said::Chunk { data, is_last }).await
    }

    /// Asks whether this may be done now. To be asked before each thing that the lease has to cover.
    ///
    /// # Errors
    /// `PERMISSION_DENIED`, `LEASE_EXPIRED`, `BUDGET_EXHAUSTED`. `INVALID_REQUEST`: the target is too long. The job stops.
    pub async fn authorize(&self, op: Namespace, target: &str) -> Result<(), Fault> {
        let answer = self.ask(op, target.into()).await?;
        answer.await.unwrap_or_else(|_| Err(self.why()))
    }

    /// The question of [`Job::authorize`]: the answer comes by and by, or never once the job stops.
    pub(super) async fn ask(
        &self,
        op: Namespace,
        target: Box<str>,
    ) -> Result<oneshot::Receiver<Result<(), Fault>>, Fault> {
        let (answers, answer) = oneshot::channel();
        let asks = |talk: &mut Talk, said: &mut Said| {
            if let Said::Authorize { call, .. } = said {
                *call = talk.next_call();
                talk.permits.insert(*call, answers);
            }
        };
        self.say_with(Said::Authorize { call: 0, op, target }, asks).await?;
        Ok(answer)
    }

    /// Has another agent do a part.
    ///
    /// # Errors
    /// `LEASE_SUBSET_VIOLATION`, `AGENT_NOT_AVAILABLE`, and what [`Job::authorize`] says.
    pub async fn delegate(&self, delegation: Delegation) -> Result<Child, Fault> {
        let answer = self.ask_for(delegation).await?;
        answer.await.unwrap_or_else(|_| Err(self.why()))
    }

    /// The question of [`Job::delegate`], answered as that of [`Job::ask`].
    pub(super) async fn ask_for(
        &self,
        delegation: Delegation,
    ) -> Result<oneshot::Receiver<Result<Child, Fault>>, Fault> {
        let (answers, answer) = oneshot::channel();
        let asks = |talk: &mut Talk, said: &mut Said| {
            if let Said::Delegate { call, .. } = said {
                *call = talk.next_call();
                talk.delegations.insert(*call, answers);
            }
        };
        self.say_with(Said::Delegate { call: 0, delegation: Box::new(delegation) }, asks).await?;
        Ok(answer)
    }

    /// Waits until all that was said so far is stored.
    ///
    /// # Errors
    /// The job stops.
    pub async fn flush(&self) -> Result<(), Fault> {
        let said = self.talk().said;
        let mut heard = self.0.heard.subscribe();
        tokio::select! {
            biased;
            _ = heard.wait_for(|heard| *heard >= said) => Ok(()),
            _ = self.stopped() => Err(self.why()),
        }
    }

    /// Up to which number what was said is stored.
    pub(super) fn heard(&self) -> watch::Receiver<u64> {
        self.0.heard.subscribe()
    }

    /// Waits until the job is to stop, and says why. An agent then has 5 s to put things in order before it is dropped.
    pub async fn stopped(&self) -> Stop {
        let mut stop = self.0.stop.subscribe();
        // It can't fail: the sender is in this very value.
        stop.wait_for(Option::is_some).await.ok().and_then(|stop| *stop).unwrap_or(Stop::Ended)
    }

    /// Whether the job is to stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.stop.borrow().is_some()
    }

    /// Ends it: what is said afterwards is dropped.
    pub(super) async fn end(&self, outcome: Result<Output, Fault>) {
        let mut said = match outcome {
            Ok(Output { result, summary }) => Said::Done { result, summary },
            Err(fault) => Said::Failed(fault),
        };
        if let Err(fault) = checks::check(&mut said) {
            said = Said::Failed(fault);
        }
        // If it is over already there is nothing to say.
        let _ = self.say_with(said, |talk, _| talk.is_over = true).await;
    }

    /// What the runtime tells. Never waits.
    pub(super) fn tell(&self, told: Told) {
        let mut talk = self.talk();
        match told {
            Told::Start(_) => {}
            Told::Heard(n) => _ = self.0.heard.send_if_modified(|heard| std::mem::replace(heard, n.max(*heard)) < n),
            Told::Hold(held) => _ = self.0.held.send_replace(held),
            Told::Permit { call, permit } => {
                // Whoever asked may be gone; so below.
                talk.permits.remove(&call).map(|answers| answers.send(permit));
            }
            Told::Delegated { call, child } => {
                let Some(answers) = talk.delegations.remove(&call) else { return };
                let child = child.map(|job| {
                    let (ending, ends) = oneshot::channel();
                    talk.children.insert(job, ending);
                    Child { job, ends }
                });
                _ = answers.send(child);
            }
            Told::Child { job, ending } => {
                talk.children.remove(&job).map(|ends| ends.send(ending));
            }
            Told::Stop(stop) => {
                self.0.stop.send_if_modified(|before| before.replace(stop).is_none());
                let (said, calls) = (talk.said, talk.calls);
                *talk = Talk { said, calls, is_over: true, ..Talk::default() };
            }
        }
    }

    pub(super) async fn say(&self, said: Said) -> Result<(), Fault> {
        self.say_with(said, |_, _| ()).await
    }

    async fn say_with(&self, said: Said, with: impl FnOnce(&mut Talk, &mut Said)) -> Result<(), Fault> {
        let outcome = self.try_say(said, with).await;
        if outcome.is_err() {
            // So that one that talks on without listening can be ended.
            tokio::task::yield_now().await;
        }
        outcome
    }

    async fn try_say(&self, mut said: Said, with: impl FnOnce(&mut Talk, &mut Said)) -> Result<(), Fault> {
        checks::check(&mut said)?;
        let room = tokio::select! {
            biased;
            _ = self.stopped() => return Err(self.why()),
            room = self.room(channel::bytes(&said)) => room,
        };
        let (share, room) = room.map_err(|deaf| Fault::new(Code::InternalError, deaf.to_string()))?;
        // The number and the place on the way are taken in one: what is heard is in the order of its numbers.
        let mut talk = self.talk();
        if talk.is_over {
            drop(talk);
            return Err(self.why());
        }
        with(&mut talk, &mut said);
        talk.said += 1;
        room.say_of(share, Spoken { job: self.id(), n: talk.said, said });
        Ok(())
    }

    /// Room for something to be said, once it may be.
    async fn room(&self, bytes: usize) -> Result<(OwnedSemaphorePermit, channel::Room<'_>), channel::Deaf> {
        let share = self.0.share.take(bytes).await?;
        if *self.0.held.borrow() {
            // The sender is held here, so it ends with an answer.
            let _ = self.0.held.subscribe().wait_for(|held| !held).await;
        }
        Ok((share, self.0.sayings.room(bytes).await?))
    }

    /// Why nothing can be said any more.
    pub(super) fn why(&self) -> Fault {
        let stop = *self.0.stop.borrow();
        match stop {
            Some(Stop::Cancelled) => Fault::new(Code::Cancelled, "the job was cancelled"),
            Some(Stop::TimedOut) => Fault::new(Code::Timeout, "the job took too long"),
            Some(Stop::LeaseExpired) => Fault::new(Code::LeaseExpired, "the job's lease has ended"),
            Some(Stop::Failed | Stop::Ended) | None => Fault::new(Code::InternalError, "the job is over"),
        }
    }

    fn talk(&self) -> MutexGuard<'_, Talk> {
        self.0.talk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Talk {
    fn next_call(&mut self) -> u64 {
        self.calls += 1;
        self.calls
    }
}

/// Without its input, which is its client's, and its credentials.
impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Job").field(&self.id()).finish()
    }
}

fn raw(value: &impl Serialize) -> Result<Box<RawValue>, Fault> {
    to_raw_value(value).map_err(no_json)
}

#[expect(clippy::needless_pass_by_value, reason = "given to map_err")]
fn no_json(error: serde_json::Error) -> Fault {
    Fault::new(Code::InternalError, format!("what the agent says is no JSON: {error}"))
}
