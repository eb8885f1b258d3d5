//! The runtime of ARCP, between connections and jobs: sessions that outlive their connections.
//!
//! A pure machine (`State`) holds all durable sessions and all jobs. One thread drives it: it takes what connections want and what agents
//! say, makes all that follows durable in one commit, and only then tells anybody. So what anybody was told survives
//! a crash, and a busy job is not one fsync an event.
//!
//! Nobody waits for a connection. What happens to a job gets its number in each session that watches it, and goes to the connection of
//! each, if there is one, over its *port*; a connection that does not take it reads it from the store later, as one does that comes back.

mod carry;
mod command;
mod handle;
mod hello;
mod limits;
mod metrics;
mod numbering;
mod operator;
mod outcome;
mod pace;
mod provision;
mod readers;
mod requests;
mod state;
#[cfg(test)]
mod tests;
mod thread;

pub use command::{
    Command, Hello, Letter, Link, List, Listed, Reply, Request, Resume, Submission, Subscribed, Wants, Welcome,
    token_hash,
};
pub use handle::{Busy, Listing, Options, Runtime, RuntimeError};
pub use limits::SessionLimits;
pub use metrics::RuntimeMetrics;
