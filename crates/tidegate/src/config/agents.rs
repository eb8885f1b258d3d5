//! `[[agent]]`: commands that run jobs, a process each.

use std::path::PathBuf;

use serde::Deserialize;
use tidegate_identity::Secret;
use tidegate_jobs::{AgentRef, is_name, is_version};
use toml::{Table, Value};

use super::{ConfigError, typed};

/// What an agent is of that says nothing.
const VERSION: &str = "1.0.0";
/// Taken over from the gateway's environment where nothing else is said: without it few programs find what they start.
const ENV_FROM: &str = "PATH";
/// Arguments of one command, the program itself included.
const ARGUMENTS_MAX: usize = 256;
/// Variables of one command.
const VARIABLES_MAX: usize = 256;

/// A command that runs the jobs of one version of an agent.
#[derive(Debug, Clone)]
pub struct CommandAgent {
    /// Which.
    pub agent: AgentRef,
    /// Whether its bare name means this version.
    pub is_default: bool,
    /// The program and its arguments; no shell is asked.
    pub command: Vec<String>,
    /// Where it runs; `None` is where the gateway does.
    pub dir: Option<PathBuf>,
    /// Its environment, beside that of `env_from`.
    pub env: Vec<(String, Secret)>,
    /// What it has of the gateway's environment. Default `PATH` alone.
    pub env_from: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AgentToml {
    name: String,
    version: Option<String>,
    #[serde(default)]
    default: bool,
    command: Vec<String>,
    dir: Option<PathBuf>,
    /// Of any type, so that no message repeats it.
    env: Option<Value>,
    env_from: Option<Vec<String>>,
}

pub(super) fn read(tables: &[Table]) -> Result<Vec<CommandAgent>, ConfigError> {
    let tables = tables.iter().enumerate();
    let agents: Vec<CommandAgent> =
        tables.map(|(i, table)| agent(&format!("agent[{i}]"), table)).collect::<Result<_, _>>()?;
    for (i, CommandAgent { agent, is_default, .. }) in agents.iter().enumerate() {
        let wrong = |key: &str, value: &str, rule| {
            Err(ConfigError::of(format!("agent[{i}].{key}"), &format!("{value:?}"), None, rule))
        };
        if agents[..i].iter().any(|other| other.agent == *agent) {
            return wrong("version", &agent.version, "is that of another [[agent]] of this name");
        }
        if *is_default && agents[..i].iter().any(|other| other.is_default && other.agent.name == agent.name) {
            return Err(ConfigError::rule(format!("agent[{i}].default"), "another version is the default already"));
        }
    }
    Ok(agents)
}

fn agent(path: &str, table: &Table) -> Result<CommandAgent, ConfigError> {
    let toml: AgentToml = typed(path, table)?;
    let wrong = |key: &str, value: &dyn std::fmt::Debug, rule: &str| {
        ConfigError::of(format!("{path}.{key}"), &format!("{value:?}"), None, rule)
    };
    if !is_name(&toml.name) {
        return Err(wrong("name", &toml.name, "must be 1 to 128 of a-z 0-9 . _ - and begin with a letter or digit"));
    }
    let version = toml.version.unwrap_or_else(|| VERSION.to_owned());
    if !is_version(&version) {
        return Err(wrong("version", &version, "must be 1 to 128 of A-Z a-z 0-9 . + _ -"));
    }
    let is_whole = |text: &str| !text.contains('\0');
    match &toml.command[..] {
        [program, rest @ ..] if !program.is_empty() && rest.len() < ARGUMENTS_MAX => {}
        _ => {
            let rule = format!("must be a program and its arguments, {ARGUMENTS_MAX} at most");
            return Err(ConfigError::rule(format!("{path}.command"), rule));
        }
    }
    if let Some(i) = toml.command.iter().position(|part| !is_whole(part)) {
        return Err(ConfigError::rule(format!("{path}.command[{i}]"), "must have no NUL character"));
    }
    if let Some(dir) = toml.dir.as_ref().filter(|dir| !dir.is_dir()) {
        return Err(wrong("dir", dir, "must be a directory"));
    }
    let env_from = toml.env_from.unwrap_or_else(|| vec![ENV_FROM.to_owned()]);
    if let Some((i, name)) = env_from.iter().enumerate().find(|(_, name)| !is_variable(name)) {
        return Err(wrong(&format!("env_from[{i}]"), name, "must be the name of an environment variable"));
    }
    Ok(CommandAgent {
        agent: AgentRef { name: toml.name.into(), version: version.into() },
        is_default: toml.default,
        command: toml.command,
        dir: toml.dir,
        env: variables(&format!("{path}.env"), toml.env)?,
        env_from,
    })
}

/// Variables by name. Their values are never part of an error.
fn variables(path: &str, env: Option<Value>) -> Result<Vec<(String, Secret)>, ConfigError> {
    let env = match env {
        None => return Ok(Vec::new()),
        Some(Value::Table(env)) if env.len() <= VARIABLES_MAX => env,
        Some(_) => {
            let rule = format!("must be a table such as {{ NAME = \"value\" }}, of {VARIABLES_MAX} at most");
            return Err(ConfigError::rule(path, rule));
        }
    };
    let read = |(name, value): (String, Value)| {
        let text = value.as_str().filter(|text| !text.contains('\0'));
        match text {
            _ if !is_variable(&name) => Err(ConfigError::rule(path, format!("{name:?} can be no variable's name"))),
            None => Err(ConfigError::rule(format!("{path}.{name}"), "must be a string without NUL characters")),
            Some(text) => Ok((name, Secret::new(text))),
        }
    };
    env.into_iter().map(read).collect()
}

fn is_variable(name: &str) -> bool {
    !name.is_empty() && !name.contains(['=', '\0'])
}
