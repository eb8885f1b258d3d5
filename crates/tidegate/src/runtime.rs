//! Agents and their jobs, put together as configuration and the embedding program say.

use std::path::Path;
use std::sync::Arc;

use tidegate_jobs::agents::command::{Command, CommandSpec};
use tidegate_jobs::agents::{Agents, channel, fixtures};
use tidegate_jobs::credentials::Provisioner;
use tidegate_jobs::{Fault, Limits};
use tidegate_session::durable::Caps;
use tidegate_session::runtime::{Options, Runtime, RuntimeError, SessionLimits};
use tokio::runtime::Handle;

use crate::config::{Arcp, CommandAgent};
use crate::gateway::clock;

/// Offers one agent.
pub(crate) type Registration = Box<dyn FnOnce(&Agents) -> Result<(), Fault> + Send>;

/// What the embedding program brings.
#[derive(Default)]
pub(crate) struct Brought {
    pub(crate) agents: Vec<Registration>,
    pub(crate) provisioner: Option<Arc<dyn Provisioner>>,
}

/// Why there is no runtime.
#[derive(Debug, thiserror::Error)]
pub enum AgentsError {
    /// The store, or the thread.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// An agent is not named as agents are, or is there twice.
    #[error("an agent cannot be offered: {0}")]
    Agent(#[from] Fault),
}

/// Begins. Agents run on the runtime of tokio that this is called on.
pub(crate) fn start(config: &Arcp, dir: &Path, brought: Brought) -> Result<Runtime, AgentsError> {
    let (sayings, ear) = channel();
    let agents = Arc::new(Agents::new(Handle::current(), sayings).worker_grace(config.worker_grace));
    if config.fixtures {
        fixtures::register(&agents)?;
    }
    for agent in &config.agents {
        agents.register(agent.agent.clone(), agent.is_default, Command::new(spec(agent)))?;
    }
    for register in brought.agents {
        register(&agents)?;
    }
    let clock = clock();
    let options = Options {
        dir: dir.to_owned(),
        jobs: job_limits(config),
        sessions: session_limits(config),
        provisioner: brought.provisioner,
        clock,
    };
    Ok(Runtime::start(options, agents, ear)?)
}

fn spec(agent: &CommandAgent) -> CommandSpec {
    CommandSpec {
        argv: agent.command.iter().map(Into::into).collect(),
        dir: agent.dir.clone(),
        inherit: agent.env_from.iter().map(Into::into).collect(),
        env: agent.env.iter().map(|(name, value)| (name.into(), value.expose().into())).collect(),
    }
}

fn job_limits(config: &Arcp) -> Limits {
    // A log loses an eighth at once; what is left is to be no less than what a session has numbers for.
    let with_slack = |own: usize, of_session: usize| own.max(of_session + of_session / 7 + 1);
    Limits {
        live: config.jobs_max,
        live_of_owner: config.user_jobs_max,
        kept: config.kept_jobs_max,
        log_entries: with_slack(config.job_events, config.session_events),
        log_bytes: with_slack(config.job_bytes, config.session_bytes),
        result_bytes: config.result_bytes_max,
        window_ms: millis(config.resume_window),
        worker_grace_ms: millis(config.worker_grace),
        require_model_use: config.require_model_use,
        ..Limits::default()
    }
}

fn session_limits(config: &Arcp) -> SessionLimits {
    SessionLimits {
        window_ms: millis(config.resume_window),
        caps: Caps { events: config.session_events, bytes: config.session_bytes },
        sessions: config.sessions_max,
        sessions_per_owner: config.user_sessions_max,
        ..SessionLimits::default()
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
