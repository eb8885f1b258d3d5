//! Agents that are commands: one process a job, which talks in [lines] on its standard input and output.
//!
//! # Life of a process
//! - It is started with the job's line on its input, leads a process group of its own, and has no variables of environment but those
//!   that its [`CommandSpec`] names.
//! - After `result` or `error` its input is closed and it has 2 s to end.
//! - It is told `stop` and gets `SIGTERM`, it and its group, when the job is to stop; 2 s later `SIGKILL`.
//! - What is left of its group when it ends is killed. A process that makes itself a group or session of its own gets away.
//! - Ending without a result is `INTERNAL_ERROR`, which names the exit status. A line that is none, or longer than 2 MiB, fails the job with its
//!   number and what is wrong, never with what it says, and kills the group.
//! - It is killed when the gateway ends in order. If that is killed its processes are not, but their input ends: a command should
//!   end when it reads that.
//!
//! What it writes to its standard error goes to the log: at most 100 lines at once and then 20 a second, each of at most 4 KiB. The
//! values of its credentials are taken out, and those of its variables of 8 bytes and more, which may be secrets too.
//!
//! A process that has closed its input is told nothing more. One with 256 questions that are not answered, or that leaves 1 MiB of
//! what it is told unread, is not heard until that is less.

mod pipe;
mod process;
mod stderr;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::{ChildStdin, ChildStdout};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use self::pipe::{Cut, LinesOf};
use self::process::{PATIENCE, Pipes, Process};
use super::job::{Child, Job, Output};
use super::lines::{self, LINE_BYTES_MAX};
use super::now_ms;
use super::registry::{Agent, Running};
use crate::{Code, Fault, Said, Told};

/// Questions that are not answered, at most.
const QUESTIONS_MAX: usize = 256;
/// Bytes that wait for the process to read, at most; then it is not heard.
const UNREAD_BYTES_MAX: usize = 1 << 20;
/// How long it may take to write that it is to stop.
const STOP_WRITE: Duration = Duration::from_millis(100);

/// A command.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandSpec {
    /// The program and its arguments. A program without a `/` is looked for in the `PATH`.
    pub argv: Vec<OsString>,
    /// Where it runs; `None` is where the gateway does.
    pub dir: Option<PathBuf>,
    /// Variables of the gateway's environment that it sees.
    pub inherit: Vec<OsString>,
    /// Variables of its own.
    pub env: BTreeMap<OsString, OsString>,
}

/// An agent that is a command.
#[derive(Debug)]
pub struct Command(Arc<CommandSpec>);

impl Command {
    /// Of this form. That the program is there is not looked at.
    #[must_use]
    pub fn new(spec: CommandSpec) -> Self {
        Self(Arc::new(spec))
    }
}

impl Agent for Command {
    fn run(&self, job: Job) -> Running {
        Box::pin(run(self.0.clone(), job))
    }
}

/// How a conversation ends.
enum End {
    /// It said so.
    Said(Result<Output, Fault>),
    /// It said something that is no line.
    Garbage(Fault),
    /// It can't say anything any more.
    Silent,
    /// The job is to stop.
    Stopped,
}

async fn run(spec: Arc<CommandSpec>, job: Job) -> Result<Output, Fault> {
    let failed = |message: String| Fault::new(Code::InternalError, message);
    let (process, pipes) =
        Process::start(&spec).map_err(|error| failed(format!("the command could not be started: {error}")))?;
    let Pipes { stdin, stdout, stderr } = pipes;
    let mut logged = JoinSet::new();
    logged.spawn(stderr::log(job.clone(), spec.clone(), stderr));
    let mut talk = Talk {
        job: &job,
        process,
        stdin: Some(stdin),
        unread: Vec::new(),
        lines: LinesOf::new(stdout, LINE_BYTES_MAX),
        line: 0,
        questions: JoinSet::new(),
        children: JoinSet::new(),
        silent_at: None,
    };
    talk.tell(&Told::Start(job.start().clone()));
    let end = talk.go_on().await;
    let outcome = talk.end(end).await;
    // What its standard error says last is worth a moment.
    let _ = timeout(STOP_WRITE, logged.join_next()).await;
    outcome
}

/// A conversation with a process.
struct Talk<'a> {
    job: &'a Job,
    process: Process,
    stdin: Option<ChildStdin>,
    /// What is to be written.
    unread: Vec<u8>,
    lines: LinesOf<ChildStdout>,
    /// The number of the line that was read last.
    line: u64,
    questions: JoinSet<(Told, Option<Child>)>,
    children: JoinSet<Option<Told>>,
    /// The process has ended: what its output still holds is read up to then.
    silent_at: Option<Instant>,
}

impl Talk<'_> {
    async fn go_on(&mut self) -> End {
        let mut heard = self.job.heard();
        loop {
            let is_heard = self.questions.len() < QUESTIONS_MAX && self.unread.len() < UNREAD_BYTES_MAX;
            let silent_at = self.silent_at.unwrap_or_else(Instant::now);
            tokio::select! {
                biased;
                _ = self.job.stopped() => return End::Stopped,
                () = write(&mut self.stdin, &mut self.unread), if !self.unread.is_empty() => {}
                Some(Ok((told, child))) = self.questions.join_next() => {
                    self.tell(&told);
                    if let Some(child) = child {
                        let job = child.job;
                        let ended = async move { Some(Told::Child { job, ending: child.ended().await.ok()? }) };
                        self.children.spawn(ended);
                    }
                }
                Some(Ok(told)) = self.children.join_next() => told.iter().for_each(|told| self.tell(told)),
                Ok(()) = heard.changed(), if self.unread.is_empty() => {
                    let n = *heard.borrow_and_update();
                    self.tell(&Told::Heard(n));
                }
                line = self.lines.next(), if is_heard => match line {
                    Ok(Some(line)) => {
                        if let Some(end) = self.take(line).await {
                            return end;
                        }
                    }
                    Ok(None) | Err(_) => return End::Silent,
                },
                _ = self.process.ended(), if self.silent_at.is_none() => self.silent_at = Some(Instant::now() + PATIENCE),
                () = sleep_until(silent_at), if self.silent_at.is_some() => return End::Silent,
            }
        }
    }

    /// Has something written to the process, if that still reads.
    fn tell(&mut self, told: &Told) {
        if self.stdin.is_some() {
            self.unread.extend_from_slice(lines::write(None, told).as_bytes());
            self.unread.push(b'\n');
        }
    }

    /// Takes what the process says.
    async fn take(&mut self, Cut { line, is_cut }: Cut) -> Option<End> {
        self.line += 1;
        if line.trim_ascii().is_empty() && !is_cut {
            return None;
        }
        let said = if is_cut {
            Err(format!("it is longer than {LINE_BYTES_MAX} bytes"))
        } else {
            lines::read(&line, now_ms())
        };
        let taken = match said {
            Err(wrong) => {
                let message = format!("line {} of what the command says can't be read: {wrong}", self.line);
                return Some(End::Garbage(Fault::new(Code::InternalError, message)));
            }
            Ok(Said::Done { result, summary }) => return Some(End::Said(Ok(Output { result, summary }))),
            Ok(Said::Failed(fault)) => return Some(End::Said(Err(fault))),
            Ok(Said::Authorize { call, op, target }) => self.job.ask(op, target).await.map(|answer| {
                let job = self.job.clone();
                self.questions.spawn(async move {
                    let permit = answer.await.unwrap_or_else(|_| Err(job.why()));
                    (Told::Permit { call, permit }, None)
                });
            }),
            Ok(Said::Delegate { call, delegation }) => self.job.ask_for(*delegation).await.map(|answer| {
                let job = self.job.clone();
                self.questions.spawn(async move {
                    match answer.await.unwrap_or_else(|_| Err(job.why())) {
                        Ok(child) => (Told::Delegated { call, child: Ok(child.job) }, Some(child)),
                        Err(fault) => (Told::Delegated { call, child: Err(fault) }, None),
                    }
                });
            }),
            Ok(said) => self.job.say(said).await,
        };
        // Nothing is heard any more; that it is to stop comes next, if that is why.
        taken.err().filter(|_| !self.job.is_stopped()).map(|fault| End::Said(Err(fault)))
    }

    /// Ends the process, and says how the job has ended.
    async fn end(mut self, end: End) -> Result<Output, Fault> {
        match end {
            End::Said(outcome) => {
                // Whatever the process does now, the job has ended.
                self.job.end(outcome).await;
                self.stdin = None;
                self.finish(PATIENCE).await;
                Ok(Output::default())
            }
            End::Garbage(fault) => {
                self.finish(Duration::ZERO).await;
                Err(fault)
            }
            End::Silent => {
                self.stdin = None;
                let status = self.finish(PATIENCE).await;
                let status = status.map_or_else(|| "killed".into(), |status| status.to_string());
                Err(Fault::new(Code::InternalError, format!("the command ended without a result: {status}")))
            }
            End::Stopped => {
                self.tell(&Told::Stop(self.job.stopped().await));
                // If it reads.
                let _ = timeout(STOP_WRITE, write(&mut self.stdin, &mut self.unread)).await;
                self.stdin = None;
                self.process.terminate();
                self.finish(PATIENCE).await;
                Err(self.job.why())
            }
        }
    }

    /// Waits for the process's end; what it says meanwhile is thrown away, so that it can get to its end.
    async fn finish(&mut self, patience: Duration) -> Option<std::process::ExitStatus> {
        let (process, lines) = (&mut self.process, &mut self.lines);
        tokio::select! {
            status = process.finish(patience) => status,
            () = async { lines.drain().await; std::future::pending().await } => None,
        }
    }
}

/// Writes what there is to be written. Whoever drops the future may go on later. A process that has closed its input is told nothing.
async fn write(stdin: &mut Option<ChildStdin>, unread: &mut Vec<u8>) {
    while let Some(pipe) = stdin
        && !unread.is_empty()
    {
        match pipe.write(unread).await {
            Ok(bytes) if bytes > 0 => drop(unread.drain(..bytes)),
            _ => *stdin = None,
        }
    }
    unread.clear();
}

#[cfg(test)]
mod tests;
