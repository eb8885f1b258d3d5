//! One job from its submit, or from where it is, to its end; over as many connections as that takes.

use std::collections::HashMap;
use std::process::ExitCode;

use serde_json::json;

use super::client::{Client, ClientError, Heard};
use super::screen::Screen;
use super::story::{Story, plain};
use super::wire::{Accepted, Ending, Event, Frame, Refused, Submit, Subscribed};

/// Jobs that others were delegated to by this one, whose lines are told too.
const CHILDREN_MAX: usize = 64;

/// How the command ends: with the job's own end, or without knowing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Success,
    /// It failed, was cancelled, or took too long.
    Ended,
    /// It goes on, or nobody knows.
    Unknown,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        ExitCode::from(outcome as u8)
    }
}

/// Why a job is not followed to its end.
#[derive(Debug, thiserror::Error)]
pub(super) enum FollowError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("the output could not be written: {0}")]
    Output(#[from] std::io::Error),
    #[error("{kind}: {source}")]
    Message { kind: String, source: serde_json::Error },
    #[error("{0}")]
    Job(String),
}

/// Which job.
pub(super) enum Wanted {
    /// A new one.
    Submit { submit: Box<Submit>, detach: bool },
    /// One that there is.
    Watch(String),
}

/// One job being followed.
pub(super) struct Follow {
    client: Client,
    screen: Screen,
    story: Story,
    wanted: Wanted,
    /// Once it is known.
    job: Option<String>,
    /// The request whose refusal is the end: the submit or the subscribe.
    request: String,
    /// That of a cancel, once one was asked for.
    cancel: Option<String>,
    /// Delegated jobs and their agents.
    children: HashMap<String, (String, Story)>,
}

impl Follow {
    pub(super) fn new(client: Client, screen: Screen, wanted: Wanted) -> Self {
        let job = match &wanted {
            Wanted::Submit { .. } => None,
            Wanted::Watch(job) => Some(job.clone()),
        };
        Self {
            client,
            screen,
            story: Story::default(),
            wanted,
            job,
            request: String::new(),
            cancel: None,
            children: HashMap::new(),
        }
    }

    pub(super) async fn run(mut self) -> Result<Outcome, FollowError> {
        self.ask(0).await;
        let outcome = loop {
            let heard = tokio::select! {
                heard = self.client.next() => heard,
                _ = tokio::signal::ctrl_c() => {
                    if self.interrupted().await { break Ok(Outcome::Unknown) }
                    continue;
                }
            };
            match self.hear(heard).await {
                Ok(None) => {}
                Ok(Some(outcome)) => break Ok(outcome),
                Err(error) => break Err(error),
            }
        };
        self.screen.close();
        let is_unknown = match &outcome {
            Ok(outcome) => *outcome == Outcome::Unknown,
            Err(FollowError::Client(error)) => !matches!(error, ClientError::Refused { .. }),
            Err(_) => false,
        };
        if let (true, Some(job)) = (is_unknown, &self.job) {
            self.screen.note(&format!("the job may go on: tidegate jobs watch {job}"));
        }
        self.client.close().await;
        outcome
    }

    /// Submits or subscribes: again, if that was not answered on the connection before.
    async fn ask(&mut self, after: u64) {
        self.request = match (&self.wanted, &self.job) {
            (Wanted::Submit { submit, .. }, None) => self.client.send("job.submit", submit).await,
            (_, Some(job)) => {
                let subscribe = json!({ "job_id": job, "from_event_seq": after, "history": true });
                self.client.send("job.subscribe", &subscribe).await
            }
            (Wanted::Watch(_), None) => return,
        };
    }

    /// Ctrl-C. Whether that was the end.
    async fn interrupted(&mut self) -> bool {
        let job = match (&self.wanted, &self.job, &self.cancel) {
            (Wanted::Submit { .. }, Some(job), None) => job.clone(),
            _ => return true,
        };
        self.screen.note("cancelling the job; Ctrl-C again leaves it running");
        self.cancel(&job).await;
        false
    }

    async fn cancel(&mut self, job: &str) {
        let payload = json!({ "job_id": job, "reason": "the person at the terminal wanted it" });
        self.cancel = Some(self.client.send("job.cancel", &payload).await);
    }

    async fn hear(&mut self, heard: Result<Heard, ClientError>) -> Result<Option<Outcome>, FollowError> {
        match heard? {
            Heard::Frame(frame) => self.frame(&frame),
            Heard::Lost(why) => {
                self.screen.note(&format!("the connection was lost ({}); coming back", plain(&why)));
                Ok(None)
            }
            Heard::Back { another_after } => {
                self.screen.note("the connection is back");
                self.again(another_after).await;
                Ok(None)
            }
        }
    }

    /// On a new connection: what it does not know yet.
    async fn again(&mut self, another_after: Option<u64>) {
        let is_watched = matches!(self.wanted, Wanted::Watch(_));
        match (&self.job, another_after) {
            (None, _) => self.ask(0).await,
            (Some(_), Some(after)) => {
                self.screen.note("the session was over: this is another one, which can't cancel the job");
                // A number of this client's former session says where it was only in the job that it submitted itself.
                if is_watched {
                    (self.story, self.children) = (Story::default(), HashMap::new());
                }
                self.ask(if is_watched { 0 } else { after }).await;
            }
            (Some(job), None) if self.cancel.is_some() => {
                let job = job.clone();
                self.cancel(&job).await;
            }
            // The subscription is the session's.
            (Some(_), None) => {}
        }
    }

    fn frame(&mut self, frame: &Frame) -> Result<Option<Outcome>, FollowError> {
        match frame.kind.as_str() {
            "job.accepted" => self.accepted(frame),
            "job.subscribed" => {
                self.screen.heard(frame)?;
                let Subscribed { current_status, agent } = read(frame)?;
                self.screen.note(&format!("{}: {}", plain(&agent), plain(&current_status)));
                Ok(None)
            }
            "session.error" => self.refused(frame),
            // A submit that is refused, as some runtimes say it: of a job that nobody knows.
            "job.error" if self.job.is_none() => self.refused(frame),
            "job.event" if self.is_ours(frame) => {
                self.screen.heard(frame)?;
                let event: Event = read(frame)?;
                self.screen.tell(&mut self.story, &event)?;
                Ok(None)
            }
            "job.event" => self.child(frame),
            "job.result" | "job.error" if self.is_ours(frame) => {
                self.screen.heard(frame)?;
                self.end(read(frame)?).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn is_ours(&self, frame: &Frame) -> bool {
        self.job.is_some() && frame.job_id == self.job
    }

    fn accepted(&mut self, frame: &Frame) -> Result<Option<Outcome>, FollowError> {
        self.screen.heard(frame)?;
        let accepted: Accepted = read(frame)?;
        let Some(job) = accepted.job_id.or_else(|| frame.job_id.clone()) else { return Ok(None) };
        let agent = plain(&accepted.agent.unwrap_or_default());
        let is_answer = accepted.request_id.is_none_or(|request| request == self.request);
        if accepted.parent_job_id.is_some() || self.job.is_some() || !is_answer {
            if self.job.as_ref() != Some(&job) && self.children.len() < CHILDREN_MAX {
                self.screen.note(&format!("delegated to {agent} as {job}"));
                self.children.insert(job, (agent, Story::default()));
            }
            return Ok(None);
        }
        self.screen.note(&format!("{agent} has it as {job}"));
        let detached = matches!(self.wanted, Wanted::Submit { detach: true, .. });
        if detached {
            self.screen.write(format!("{job}\n").as_bytes())?;
        }
        self.job = Some(job);
        // What was asked for is done, whatever comes of the job.
        Ok(detached.then_some(Outcome::Success))
    }

    fn refused(&mut self, frame: &Frame) -> Result<Option<Outcome>, FollowError> {
        let Refused { code, message, retryable, request_id } = read(frame)?;
        let (code, message) = (plain(&code), plain(&message));
        // Without an id it can only be about what is being waited for.
        let is_answer = request_id.as_ref().map_or(self.job.is_none(), |request| *request == self.request);
        if is_answer {
            return Err(ClientError::Refused { code, message, retryable }.into());
        }
        if request_id.is_some() && request_id == self.cancel {
            self.screen.note(&format!("it could not be cancelled: {code}: {message}"));
        }
        Ok(None)
    }

    /// Something that a delegated job says, as a line.
    fn child(&mut self, frame: &Frame) -> Result<Option<Outcome>, FollowError> {
        let job = frame.job_id.as_deref().unwrap_or_default();
        let Some((agent, story)) = self.children.get_mut(job) else { return Ok(None) };
        self.screen.heard(frame)?;
        let event: Event = read(frame)?;
        if let super::story::Told::Line(line) = story.tell(&event) {
            self.screen.note(&format!("{agent} {line}"));
        }
        Ok(None)
    }

    fn end(&mut self, ending: Ending) -> Result<Outcome, FollowError> {
        self.screen.close();
        let cost = self.story.cost();
        if !cost.is_empty() {
            self.screen.note(&cost);
        }
        let status = ending.final_status.as_deref().unwrap_or("error");
        if status != "success" {
            let (code, message) = (ending.code.unwrap_or_default(), ending.message.unwrap_or_default());
            let text = format!("the job ended as {}: {}: {}", plain(status), plain(&code), plain(&message));
            eprintln!("error: {text}");
            return Ok(Outcome::Ended);
        }
        if let Some(summary) = &ending.summary {
            self.screen.note(&plain(summary));
        }
        if self.story.is_streamed() {
            return self.streamed(ending.result_size);
        }
        if let Some(result) = ending.result {
            self.screen.result(result.get())?;
        }
        Ok(Outcome::Success)
    }

    /// Whether all of a streamed result was there.
    fn streamed(&self, size: Option<u64>) -> Result<Outcome, FollowError> {
        let Story { bytes, is_partial, .. } = self.story;
        if is_partial || size.is_some_and(|size| size != bytes) {
            let of = size.map(|size| format!(" of {size}")).unwrap_or_default();
            return Err(FollowError::Job(format!("pieces of the result are missing: there are {bytes}{of} bytes")));
        }
        Ok(Outcome::Success)
    }
}

fn read<T: serde::de::DeserializeOwned>(frame: &Frame) -> Result<T, FollowError> {
    frame.payload().map_err(|source| FollowError::Message { kind: plain(&frame.kind), source })
}

#[cfg(test)]
mod tests;
