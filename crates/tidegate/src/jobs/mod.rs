//! `tidegate jobs`: which jobs there are, watching one, ending one.
//!
//! Operators ask over HTTP with an API key and see a whole tenant; with a token, or with nothing, a session is asked, which shows
//! what its user may see.

mod http;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::agents::{self, At, Listing};
use crate::cli::{Failure, say};
use http::Operator;

/// Jobs of one page.
const PAGE: usize = 100;
/// Pages read for `--all`: what is beyond would be no list for a person.
const PAGES_MAX: usize = 1_000;

/// What is done with jobs.
#[derive(Debug, Subcommand)]
pub(crate) enum JobsCommand {
    /// Which jobs there are, newest first
    #[command(after_help = "Examples:
  tidegate jobs ls
  tidegate jobs ls --status running,pending --agent review --json
  TIDEGATE_API_KEY=… tidegate jobs ls --all --tenant acme

Without a key it shows what the token's user may see.")]
    Ls(Ls),
    /// Watch a job until it has ended
    #[command(after_help = "Examples:
  tidegate jobs watch job_01JABCDEFGHJKMNPQRSTVWXYZ0
  tidegate jobs watch job_01JABCDEFGHJKMNPQRSTVWXYZ0 --json | jq .payload.kind

Begins with what is kept of it. Ends with 0 if the job ended in success, with 1 if it ended otherwise, and with 2 if
its end is not known here. Ctrl-C ends watching, not the job.")]
    Watch(agents::Watch),
    /// End a job, whoever submitted it
    #[command(after_help = "Examples:
  TIDEGATE_API_KEY=… tidegate jobs cancel job_01JABCDEFGHJKMNPQRSTVWXYZ0
  tidegate jobs cancel job_01JABCDEFGHJKMNPQRSTVWXYZ0 --reason 'too expensive' --api-key …

This takes an API key: in a session only the one that submitted a job may cancel it.")]
    Cancel(Cancel),
}

#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// Only in these states: pending, running, success, error, cancelled, timed_out
    #[arg(long, value_delimiter = ',', value_parser = status)]
    status: Vec<&'static str>,
    /// Only of this agent: name or name@version
    #[arg(long)]
    agent: Option<String>,
    /// All there are, not the newest hundred
    #[arg(long)]
    all: bool,
    /// As one JSON array
    #[arg(long)]
    json: bool,
    /// Of this tenant, for keys that may name one
    #[arg(long, requires = "api_key")]
    tenant: Option<String>,
    /// A server's key
    #[arg(long, env = "TIDEGATE_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    #[command(flatten)]
    at: At,
}

#[derive(Debug, Args)]
pub(crate) struct Cancel {
    /// The job's id
    job: String,
    /// Why, for whoever reads the log
    #[arg(long)]
    reason: Option<String>,
    /// Of this tenant
    #[arg(long)]
    tenant: Option<String>,
    /// The gateway
    #[arg(long, default_value = "http://127.0.0.1:8470")]
    url: String,
    /// A server's key
    #[arg(long, env = "TIDEGATE_API_KEY", hide_env_values = true)]
    api_key: String,
    /// Say what was done as one JSON object
    #[arg(long)]
    json: bool,
}

/// Jobs as both ways tell them.
#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    pub(crate) jobs: Vec<Value>,
    #[serde(default)]
    pub(crate) next_cursor: Option<String>,
}

impl JobsCommand {
    pub(crate) async fn run(self) -> Result<ExitCode, Failure> {
        match self {
            Self::Ls(ls) => ls.run().await.map(|()| ExitCode::SUCCESS),
            Self::Watch(watch) => watch.run().await,
            Self::Cancel(cancel) => cancel.run().await.map(|()| ExitCode::SUCCESS),
        }
    }
}

/// Who is asked.
enum From {
    Operator(Box<Operator>),
    Session(Box<Listing>),
}

impl Ls {
    async fn run(self) -> Result<(), Failure> {
        let Self { status, agent, all, json, tenant, api_key, at } = self;
        let mut from = match api_key {
            Some(key) => From::Operator(Box::new(Operator::new(at.url(), &key, tenant)?)),
            None => From::Session(Box::new(Listing::open(at).await?)),
        };
        let (mut jobs, mut cursor) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let page = match &mut from {
                From::Operator(operator) => operator.list(&status, agent.as_deref(), PAGE, cursor.as_deref()).await?,
                From::Session(listing) => {
                    let mut filter = json!({});
                    if !status.is_empty() {
                        filter["status"] = json!(status);
                    }
                    if let Some(agent) = &agent {
                        filter["agent"] = agent.as_str().into();
                    }
                    listing.page(&json!({ "filter": filter, "limit": PAGE, "cursor": cursor })).await?
                }
            };
            jobs.extend(page.jobs);
            cursor = page.next_cursor;
            if !all || cursor.is_none() {
                break;
            }
        }
        if let From::Session(listing) = from {
            listing.close().await;
        }
        if json {
            return say(&Value::from(jobs));
        }
        say(&table(&jobs))?;
        if cursor.is_some() {
            eprintln!("there are more: --all shows them");
        }
        Ok(())
    }
}

impl Cancel {
    async fn run(self) -> Result<(), Failure> {
        let operator = Operator::new(&self.url, &self.api_key, self.tenant)?;
        let answer = operator.cancel(&self.job, self.reason.as_deref()).await?;
        if self.json { say(&answer) } else { say(&format!("cancelled {}", self.job)) }
    }
}

fn table(jobs: &[Value]) -> String {
    if jobs.is_empty() {
        return "there is no such job".into();
    }
    let mut table = comfy_table::Table::new();
    table
        .load_preset(comfy_table::presets::UTF8_HORIZONTAL_ONLY)
        .set_header(["job", "agent", "status", "since", "events", "part of"]);
    for job in jobs {
        let part = |name: &str| agents::shown(&job[name]);
        table.add_row(["job_id", "agent", "status", "created_at", "last_event_seq", "parent_job_id"].map(part));
    }
    table.to_string()
}

fn status(text: &str) -> Result<&'static str, String> {
    let status = tidegate_jobs::Status::named(text).map(tidegate_jobs::Status::name);
    status.ok_or_else(|| "must be pending, running, success, error, cancelled or timed_out".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jobs_are_a_table() {
        let job = json!({
            "job_id": "job_1", "agent": "echo@1.0.0", "status": "running", "created_at": "2026-05-13T19:30:00Z",
            "last_event_seq": 7, "parent_job_id": null, "lease": {}, "trace_id": "t",
        });
        let lines: Vec<String> = table(&[job]).lines().map(|line| line.trim().to_owned()).collect();
        insta::assert_snapshot!(lines[1..4].join("\n"), @r"
        job     agent        status    since                  events   part of
        ════════════════════════════════════════════════════════════════════════
        job_1   echo@1.0.0   running   2026-05-13T19:30:00Z   7
        ");
        assert_eq!(table(&[]), "there is no such job");
        assert_eq!((status("timed_out"), status("done").is_err()), (Ok("timed_out"), true));
    }
}
