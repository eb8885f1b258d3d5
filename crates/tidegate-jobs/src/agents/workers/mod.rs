//! Agents that connect from outside: workers. They speak the same [lines](super::lines) as commands, each with the `job_id` that it is
//! about, and each thing that a worker says of a job has its number in `n`: 1, 2, … without a gap.
//!
//! # A connection
//! ```text
//! worker: {"type":"register","agents":[{"name","version","default"?}],"capacity"?:64,"jobs"?:[{"job_id"}]}
//! gateway: {"type":"registered"}
//! gateway: {"type":"job",…}            a new job, as long as it has less than its capacity
//! gateway: {"type":"refused","error":{"code","message","retryable"}}     the last line where the worker did wrong
//! ```
//! The first line registers, once. `jobs` are those that the worker still has from a connection before, also one to a gateway that was
//! restarted meanwhile. Each of them is answered by `{"type":"heard","job_id","n":k}`: what is missing behind k is to be said
//! (again), and what is said twice counts once; or by `{"type":"stop","job_id","reason"}`: it is over. Answers that may have been lost with the connection come
//! again; one to a question that is not open is to be ignored. So a worker has at most 64 questions of a job open. After a restart of the gateway there are none: open questions are to be asked
//! again, as new ones.
//!
//! # Invariants
//! - A job belongs to one connection. The next one of the same owner that names it takes it over, and what the former says of it
//!   is ignored.
//! - Until `stop`, which is also told when `result` is stored, a worker that is gone may come back with a job; after the grace (60 s,
//!   [`Agents::worker_grace`](super::Agents::worker_grace)) the job fails, retryable.
//! - Of the workers that serve an agent the one with the fewest jobs gets a new one. With none below its capacity a job
//!   waits; with none at all it waits for the grace.
//! - A name and version is served by workers of one owner at a time, and never one of the gateway's own.
//! - A worker that does not take what it is told (8,192 lines) is disconnected.

mod hall;
mod held;
mod link;
mod register;

pub(super) use hall::Hall;
pub use link::{WorkerEar, WorkerLink};

/// A connection of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct WorkerId(u64);

/// Things that wait for a worker to take them: more than it is told again when it comes back with all its jobs.
const UNTAKEN_MAX: usize = 8_192;
/// Answers of one job that are told again when its worker comes back; so many questions it may have open.
const ANSWERS_MAX: usize = 64;
/// Jobs of one worker, unless it says something else.
const CAPACITY: usize = 64;
/// The most that it may say.
const CAPACITY_MAX: usize = 100;

#[cfg(test)]
mod tests;
