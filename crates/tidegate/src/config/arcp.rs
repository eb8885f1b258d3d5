//! `[arcp]`: bounds and times of agent sessions and their jobs, and the dialects that clients are spoken to in.

use std::time::Duration;

use serde::Deserialize;
use tidegate_edge::{ArcpSettings, Dialect, Dialects};
use toml::Table;

use super::agents::{self, CommandAgent};
use super::layers::Layers;
use super::{ConfigError, typed};

/// A month, in milliseconds.
const MONTH_MS: u64 = 31 * 24 * 3_600_000;
/// Whole seconds are what clients are told.
const SECOND_MS: u64 = 1_000;
/// With less than the largest event a session could hold none.
const LOG_BYTES_MIN: u64 = 1 << 20;
/// Longest name of a client or a user, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// Agent sessions: what is kept, for how long, and who runs jobs.
#[derive(Debug, Clone)]
pub struct Arcp {
    /// What runs jobs.
    pub agents: Vec<CommandAgent>,
    /// Whether the agents for tests and demonstrations are there too. Default no.
    pub fixtures: bool,
    /// How those are spoken to who say so by name.
    pub dialects: Dialects,
    /// Between signs of life of a connection. Whole seconds. Default 30 s.
    pub heartbeat_interval: Duration,
    /// That a session outlives its last connection, and a finished job its end. Whole seconds. Default 10 min.
    pub resume_window: Duration,
    /// Events that one session keeps. Default 10,000.
    pub session_events: usize,
    /// Their bytes. Default 16 MiB.
    pub session_bytes: usize,
    /// Sessions, connected or not; past it a hello is refused. Default 100,000.
    pub sessions_max: usize,
    /// Of one user. Default 1,000.
    pub user_sessions_max: usize,
    /// Jobs that have not ended; past it a submit is refused. Default 10,000.
    pub jobs_max: usize,
    /// Of one user. Default 1,000.
    pub user_jobs_max: usize,
    /// Jobs of which anything is kept; past it those that ended first are forgotten. Default 100,000.
    pub kept_jobs_max: usize,
    /// Events kept of one job. Default 10,000; at least what a session keeps.
    pub job_events: usize,
    /// Their bytes. Default 16 MiB.
    pub job_bytes: usize,
    /// Bytes of one streamed result. Default 1 GiB.
    pub result_bytes_max: u64,
    /// That a job waits for its worker to come back. Default 60 s.
    pub worker_grace: Duration,
    /// Whether a lease has to name the models that may be used. Default no: one that names none allows any.
    pub require_model_use: bool,
}

impl Arcp {
    /// What connections need of it.
    pub(super) fn settings(&self) -> ArcpSettings {
        ArcpSettings { heartbeat: self.heartbeat_interval, dialects: self.dialects.clone() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DialectToml {
    client: Option<String>,
    user: Option<String>,
    dialect: String,
}

pub(super) fn read(layers: &Layers) -> Result<Arcp, ConfigError> {
    let number = |key: &str| layers.int(key, 1..=1 << 32).map(|number| number as usize);
    let bytes = |key: &str| layers.int(key, LOG_BYTES_MIN..=1 << 40);
    let arcp = Arcp {
        agents: agents::read(&layers.agents)?,
        fixtures: layers.bool("arcp.fixtures"),
        dialects: dialects(&layers.dialects)?,
        heartbeat_interval: seconds(layers, "arcp.heartbeat_interval_ms")?,
        resume_window: seconds(layers, "arcp.resume_window_ms")?,
        session_events: number("arcp.session_events")?,
        session_bytes: bytes("arcp.session_bytes")? as usize,
        sessions_max: number("arcp.max_sessions")?,
        user_sessions_max: number("arcp.max_user_sessions")?,
        jobs_max: number("arcp.max_jobs")?,
        user_jobs_max: number("arcp.max_user_jobs")?,
        kept_jobs_max: number("arcp.max_kept_jobs")?,
        job_events: number("arcp.job_events")?,
        job_bytes: bytes("arcp.job_bytes")? as usize,
        result_bytes_max: layers.int("arcp.max_result_bytes", 1..=1 << 40)?,
        worker_grace: Duration::from_millis(layers.int("arcp.worker_grace_ms", 0..=MONTH_MS)?),
        require_model_use: layers.bool("arcp.require_model_use"),
    };
    for (key, most, of_all, all) in [
        ("arcp.max_user_sessions", arcp.user_sessions_max, "arcp.max_sessions", arcp.sessions_max),
        ("arcp.max_user_jobs", arcp.user_jobs_max, "arcp.max_jobs", arcp.jobs_max),
        ("arcp.max_jobs", arcp.jobs_max, "arcp.max_kept_jobs", arcp.kept_jobs_max),
    ] {
        if most > all {
            return Err(layers.error(key, format!("must not be more than {of_all}")));
        }
    }
    Ok(arcp)
}

/// A time that clients are told in whole seconds.
fn seconds(layers: &Layers, key: &str) -> Result<Duration, ConfigError> {
    let millis = layers.int(key, SECOND_MS..=MONTH_MS)?;
    match millis % SECOND_MS {
        0 => Ok(Duration::from_millis(millis)),
        _ => Err(layers.error(key, "must be whole seconds: clients are told so")),
    }
}

fn dialects(tables: &[Table]) -> Result<Dialects, ConfigError> {
    let mut dialects = Dialects::default();
    for (i, table) in tables.iter().enumerate() {
        let path = format!("arcp.dialect[{i}]");
        let toml: DialectToml = typed(&path, table)?;
        let rule = || "must be \"spec\", \"typescript\", \"python\" or \"go\"";
        let wrong = || ConfigError::of(format!("{path}.dialect"), &format!("{:?}", toml.dialect), None, rule());
        let dialect = Dialect::named(&toml.dialect).ok_or_else(wrong)?;
        let (key, name, named) = match (toml.client, toml.user) {
            (Some(client), None) => ("client", client, &mut dialects.clients),
            (None, Some(user)) => ("user", user, &mut dialects.principals),
            _ => return Err(ConfigError::rule(path, "must name either a client or a user")),
        };
        let wrong = |rule: String| ConfigError::of(format!("{path}.{key}"), &format!("{name:?}"), None, rule);
        if !(1..=NAME_BYTES_MAX).contains(&name.len()) {
            return Err(wrong(format!("must have 1 to {NAME_BYTES_MAX} bytes")));
        }
        let full: Box<str> = if key == "user" { format!("user:{name}").into() } else { name.clone().into() };
        if named.iter().any(|(other, _)| *other == full) {
            return Err(wrong("is named by another [[arcp.dialect]]".to_owned()));
        }
        named.push((full, dialect));
    }
    Ok(dialects)
}

#[cfg(test)]
mod tests;
