//! `tidegate agent` and `tidegate jobs watch`: a client of ARCP for the terminal.
//!
//! ```text
//! mod (arguments) ─► follow (one job to its end) ─► client (a session over many connections) ─► wire
//!                       └─► story (what happened) ─► screen (terminal, lines, JSON)
//! ```

mod client;
mod follow;
mod listing;
mod screen;
mod story;
mod wire;

use std::io::Read as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::cli::{Failure, say};
use crate::token::span;
use client::{Client, Runtime};
use follow::{Follow, FollowError, Outcome, Wanted};
pub(crate) use listing::Listing;
use screen::Screen;
use wire::{Constraints, Submit};

/// Of an input that is read: what a runtime would take at most anyway.
const INPUT_BYTES_MAX: u64 = 64 << 20;

/// What is done with agents.
#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// Which agents may be asked for
    #[command(after_help = "Examples:
  tidegate agent list
  tidegate agent list --url ws://127.0.0.1:7777/arcp --token demo --json")]
    List(List),
    /// Have an agent do a job, and watch it
    #[command(after_help = "Examples:
  tidegate agent run count --input '{\"to\":5}'
  tidegate agent run review@2.1.0 --input @change.json --lease '{\"fs.read\":[\"/workspace/**\"]}' --budget USD:5.00
  cat notes.json | tidegate agent run summarize --input - --output summary.md
  tidegate agent run slow --detach

What happens is told on standard error, the result on standard output. A connection that is lost is taken up
where it was. Ctrl-C cancels the job; a second one leaves it running.

Ends with 0 if the job ended in success, with 1 if it ended otherwise, and with 2 if its end is not known here:
it was not accepted, was left running, or the connection could not be had again.")]
    Run(Box<Run>),
}

/// Where the runtime is, and who asks.
#[derive(Debug, Args)]
pub(crate) struct At {
    /// The gateway; or any ARCP runtime, as ws://host:port/path
    #[arg(long, default_value = "http://127.0.0.1:8470")]
    url: String,
    /// Bearer token
    #[arg(long, env = "TIDEGATE_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct List {
    #[command(flatten)]
    at: At,
    /// As one JSON array
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The agent: name or name@version
    agent: String,
    /// What it is given: JSON, @file, or - for standard input
    #[arg(long, value_name = "JSON|@FILE|-")]
    input: Option<String>,
    /// What it may do, by namespace: {"fs.read":["/workspace/**"]}
    #[arg(long, value_name = "JSON", value_parser = lease)]
    lease: Option<Map<String, Value>>,
    /// What it may spend, such as USD:5.00; may be given again
    #[arg(long = "budget", value_name = "CURRENCY:AMOUNT")]
    budgets: Vec<String>,
    /// Until when it may, such as 2026-12-31T23:59:00Z
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    /// After which it is stopped: 90s, 30m, 2h, 1d
    #[arg(long, value_name = "TIME", value_parser = span)]
    max_runtime: Option<Duration>,
    /// With the same key the same job is done once; else one is made up
    #[arg(long)]
    idempotency_key: Option<String>,
    /// Say the job's id once it is accepted, and leave
    #[arg(long)]
    detach: bool,
    /// Write the result to this file
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// What the runtime says about the job, one message a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// The job's id
    job: String,
    /// Write the result to this file
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// What the runtime says about the job, one message a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: At,
}

impl AgentCommand {
    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Self::List(list) => list.run().await.map(|()| ExitCode::SUCCESS),
            Self::Run(run) => Ok(ended(run.follow().await)),
        }
    }
}

impl At {
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    fn runtime(self) -> Runtime {
        Runtime { url: self.url, token: self.token }
    }
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let (client, welcome) = Client::connect(self.at.runtime()).await?;
        client.close().await;
        let agents = welcome.capabilities.agents;
        if self.json {
            let agents = agents
                .iter()
                .map(|agent| json!({ "name": agent.name, "versions": agent.versions, "default": agent.default }));
            return say(&agents.collect::<Value>());
        }
        if agents.is_empty() {
            return say(&"there is no agent that you may ask for");
        }
        let mut table = comfy_table::Table::new();
        table.load_preset(comfy_table::presets::UTF8_HORIZONTAL_ONLY).set_header(["agent", "versions", "default"]);
        for agent in agents {
            let parts = [agent.name, agent.versions.join(", "), agent.default.unwrap_or_default()];
            table.add_row(parts.map(|part| story::plain(&part)));
        }
        say(&table)
    }
}

impl Run {
    async fn follow(self: Box<Self>) -> Result<Outcome, Failure> {
        let submit = Box::new(self.submit()?);
        let screen = Screen::open(self.json, self.output.as_deref()).map_err(unwritable)?;
        let (client, _) = Client::connect(self.at.runtime()).await?;
        Ok(Follow::new(client, screen, Wanted::Submit { submit, detach: self.detach }).run().await?)
    }

    fn submit(&self) -> Result<Submit, Failure> {
        let mut lease_request = self.lease.clone().unwrap_or_default();
        if !self.budgets.is_empty() {
            let budgets = lease_request.entry("cost.budget").or_insert_with(|| json!([]));
            let budgets = budgets.as_array_mut().ok_or("--lease: cost.budget must be an array")?;
            budgets.extend(self.budgets.iter().map(|budget| Value::from(budget.as_str())));
        }
        let made_up = || format!("tidegate-{:032x}", rand::random::<u128>());
        Ok(Submit {
            agent: self.agent.clone(),
            input: self.input.as_deref().map(read_input).transpose()?,
            lease_request,
            lease_constraints: self.expires_at.clone().map(|expires_at| Constraints { expires_at }),
            idempotency_key: self.idempotency_key.clone().unwrap_or_else(made_up),
            max_runtime_sec: self.max_runtime.map(|time| time.as_secs()),
        })
    }
}

impl Watch {
    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        Ok(ended(self.follow().await))
    }

    async fn follow(self) -> Result<Outcome, Failure> {
        let screen = Screen::open(self.json, self.output.as_deref()).map_err(unwritable)?;
        let (client, _) = Client::connect(self.at.runtime()).await?;
        Ok(Follow::new(client, screen, Wanted::Watch(self.job)).run().await?)
    }
}

/// What went wrong is told here: it has a status of its own.
fn ended(followed: Result<Outcome, Failure>) -> ExitCode {
    let outcome = followed.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        Outcome::Unknown
    });
    outcome.into()
}

fn unwritable(error: std::io::Error) -> FollowError {
    FollowError::Output(error)
}

/// Any JSON as a person reads it.
pub(crate) fn shown(value: &Value) -> String {
    story::value(value)
}

fn lease(text: &str) -> Result<Map<String, Value>, String> {
    let rule = "write an object of lists, such as {\"fs.read\":[\"/workspace/**\"]}";
    serde_json::from_str(text).map_err(|e| format!("{rule} ({e})"))
}

fn read_input(given: &str) -> Result<Box<RawValue>, Failure> {
    let text = match given.strip_prefix('@') {
        Some(path) => {
            let file = std::fs::File::open(path).map_err(|e| format!("--input {path}: {e}"))?;
            bounded(file).map_err(|e| format!("--input {path}: {e}"))?
        }
        None if given == "-" => bounded(std::io::stdin().lock()).map_err(|e| format!("--input: {e}"))?,
        None => given.to_owned(),
    };
    Ok(RawValue::from_string(text).map_err(|e| format!("--input is no JSON: {e}"))?)
}

fn bounded(reader: impl std::io::Read) -> std::io::Result<String> {
    let mut text = String::new();
    reader.take(INPUT_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: AgentCommand,
    }

    fn submit(line: &[&str]) -> Result<Value, String> {
        let line = Line::try_parse_from(["tidegate", "run"].iter().chain(line)).map_err(|e| e.to_string())?;
        let AgentCommand::Run(run) = line.command else { panic!("another command") };
        run.submit().map_err(|e| e.to_string()).map(|submit| serde_json::to_value(submit).unwrap())
    }

    #[test]
    fn a_job_is_asked_for_as_the_command_line_says() {
        let all = [
            ["echo@1.0.0", "--input", r#"{"a":1}"#, "--lease", r#"{"fs.read":["/w/**"],"cost.budget":["EUR:1"]}"#]
                .as_slice(),
            &["--budget", "USD:5.00", "--expires-at", "2030-01-01T00:00:00Z", "--max-runtime", "2m"],
            &["--idempotency-key", "k"],
        ];
        let wanted = json!({
            "agent": "echo@1.0.0", "idempotency_key": "k", "input": { "a": 1 },
            "lease_request": { "fs.read": ["/w/**"], "cost.budget": ["EUR:1", "USD:5.00"] },
            "lease_constraints": { "expires_at": "2030-01-01T00:00:00Z" }, "max_runtime_sec": 120,
        });
        assert_eq!(submit(&all.concat()).unwrap(), wanted);
        let least = submit(&["echo"]).unwrap();
        let key = least["idempotency_key"].as_str().unwrap();
        assert_eq!(least, json!({ "agent": "echo", "idempotency_key": key }));
        assert_ne!(submit(&["echo"]).unwrap()["idempotency_key"], key);
    }

    #[test]
    fn an_input_is_json_of_a_file_or_given() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("input.json");
        std::fs::write(&file, "[1]").unwrap();
        let at = format!("@{}", file.display());
        assert_eq!(submit(&["a", "--input", &at]).unwrap()["input"], json!([1]));
        assert!(submit(&["a", "--input", "@/no/such"]).unwrap_err().starts_with("--input /no/such: "));
        assert!(submit(&["a", "--input", "{"]).unwrap_err().starts_with("--input is no JSON: "));
        assert!(submit(&["a", "--lease", "[]"]).unwrap_err().contains("write an object of lists"));
        assert!(
            submit(&["a", "--lease", r#"{"cost.budget":1}"#, "--budget", "USD:1"]).unwrap_err().contains("an array")
        );
        assert!(submit(&["a", "--max-runtime", "soon"]).is_err());
    }
}
