//! Agents: what runs jobs, and how it talks with the runtime. The shell of this crate: it has tasks, time and processes.
//!
//! ```text
//!  runtime ── Agents::tell(job, Told) ──► a task a job: a Rust value
//!     ▲                                └► the connection of the worker that has the job
//!     └── Ear ◄── Sayings: 4,096 utterances, 64 MiB ◄── Job::log, authorize, chunk …
//! ```
//!
//! # Who waits for whom
//! The runtime never waits: what it tells is a note at the job (what was heard, the answer to a question, stop). An agent waits for
//! room in the one way to the runtime, which the store empties; no client is on that way.
//!
//! # Ends
//! Every job has a task, which hangs on [`Agents`]; dropping that drops them all. A job ends once for its agent: when it returns,
//! fails, panics, or is told to stop, after which it has 5 s to put things in order before its task is dropped. What it says
//! after its end is dropped. An agent that blocks its thread can't be dropped: blocking work belongs on
//! `tokio::task::spawn_blocking`.

mod channel;
mod checks;
pub mod command;
pub mod fixtures;
mod job;
pub mod lines;
mod registry;
pub mod workers;

use std::time::{SystemTime, UNIX_EPOCH};

pub use channel::{Ear, Sayings, Utterance, channel};
pub use job::{Child, Job, Output};
pub use registry::{Agent, Agents, Running};
pub use workers::{WorkerEar, WorkerLink};

/// The time that leases end by, in milliseconds since 1970.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
