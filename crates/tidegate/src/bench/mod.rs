//! `tidegate bench`: a load generator for Tidegate and for any WebSocket or SSE server beside it.
//!
//! # Place in the flow
//! It is outside: it shares with the server nothing but the codec's package. What is measured is a process of its own,
//! started for the run or named by its URL; its memory, time on a core and descriptors are read from `/proc`.
//!
//! ```text
//! options ─► modes ─► crowd (threads) ─► engine ─► connection ─► tidegate-ws
//!              │        └─ board, samples ◄─┘ marks: when a message was sent
//!              ├─ publish: sends by the clock, never waits before it sends the next
//!              ├─ revoker: sessions in Redis, for a crowd that shows tokens
//!              ├─ target, started: the server; bare: the loop of send() to compare with
//!              └─ report: a line, a table, JSON;  page: docs/benchmarks.md
//! ```
//!
//! # Invariants
//! - **The load does not wait for the server.** Publications are sent when they are due; latency counts from the send.
//! - **Nothing is missed in silence.** Every delivery is counted by publication; what did not come is told.
//! - **The clients are cheap, and told.** They share the machine with the server; what they used is in every report.

mod agents;
mod bare;
mod board;
mod connection;
mod crowd;
mod engine;
mod marker;
mod measure;
mod modes;
mod opening;
mod options;
mod order;
mod page;
mod plan;
mod proc;
mod publish;
mod report;
mod revoker;
mod socket;
mod started;
mod stats;
mod target;

use std::path::Path;

use options::Common;
pub(crate) use options::Mode;
use report::{Progress, Report};

/// Why a run could not be made, or failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    #[error("{0}")]
    Usage(String),
    #[error("only {got} of {wanted} {what}; first trouble: {trouble}")]
    Stuck { what: &'static str, got: u64, wanted: u64, trouble: String },
    #[error("the server was started and does not serve")]
    NotServing,
    #[error("the first rows were not taken: {0}")]
    Seed(String),
    #[error("publishing: {0}")]
    Publisher(String),
    #[error("Redis: {0}")]
    Redis(#[from] redis::RedisError),
    #[error("a token was not signed: {0}")]
    Token(#[from] jsonwebtoken::errors::Error),
    #[error("{0}")]
    Failed(String),
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Measures, and says what came of it.
pub(crate) fn run(mode: &Mode) -> Result<(), BenchError> {
    if !matches!(mode, Mode::BareServer) {
        started::end_with_signals()?;
    }
    let common = match mode {
        Mode::BareServer => return bare::serve(),
        Mode::All(all) => return page::run(all),
        Mode::Idle(options) => options.common.clone(),
        Mode::Fanout(options) => options.common.clone(),
        Mode::Echo(options) => options.common.clone(),
        Mode::Live(options) => options.common.clone(),
        Mode::Storm(options) => options.common.clone(),
        Mode::Soak(options) => options.common.clone(),
        Mode::Revoke(options) => options.common.clone(),
        Mode::Jobs(options) => options.common.clone(),
    };
    let report = measured(mode)?;
    tell(&report, &common)?;
    report.failure.map_or(Ok(()), |failure| Err(BenchError::Failed(failure)))
}

fn measured(mode: &Mode) -> Result<Report, BenchError> {
    match mode {
        Mode::Idle(options) => modes::idle::run(options),
        Mode::Fanout(options) => modes::fanout::run(options),
        Mode::Echo(options) => modes::echo::run(options),
        Mode::Live(options) => modes::live::run(options),
        Mode::Storm(options) => modes::storm::run(options),
        Mode::Soak(options) => modes::soak::run(options),
        Mode::Revoke(options) => modes::revoke::run(options),
        Mode::Jobs(options) => modes::jobs::run(options),
        Mode::All(_) | Mode::BareServer => Err(BenchError::Usage("not one run".to_owned())),
    }
}

/// The table where a person reads, the JSON where it was asked for.
fn tell(report: &Report, common: &Common) -> Result<(), BenchError> {
    let command: Vec<String> = std::env::args().skip(1).collect();
    let json = serde_json::to_string_pretty(&report.json(&format!("tidegate {}", command.join(" "))));
    let json = json.map_err(|error| BenchError::Usage(error.to_string()))?;
    match common.json.as_deref() {
        Some(path) if path == Path::new("-") => print(&json),
        Some(path) => {
            std::fs::write(path, json + "\n")?;
            print(&report.table())
        }
        None => print(&report.table()),
    }
}

fn print(text: &str) -> Result<(), BenchError> {
    crate::cli::say(&text).map_err(|error| BenchError::Usage(error.to_string()))
}

/// Descriptors for so many connections, or how many would fit.
fn room_for(connections: usize) -> Result<(), BenchError> {
    /// Publishers, event loops, standard streams.
    const OTHERS: u64 = 256;
    let limit = proc::raise_descriptor_limit();
    if connections as u64 + OTHERS > limit {
        let fit = limit.saturating_sub(OTHERS);
        let rule = format!("the limit on open files is {limit}: at most {fit} connections fit (ulimit -H -n)");
        return Err(BenchError::Usage(rule));
    }
    Ok(())
}

/// Half the cores, for the server is to have the rest: with more, receiving costs more and is no sooner.
fn threads(common: &Common) -> usize {
    common.threads.unwrap_or_else(|| proc::cores().div_ceil(2))
}

fn patience(common: &Common) -> std::time::Duration {
    std::time::Duration::from_secs(common.patience.max(1))
}
