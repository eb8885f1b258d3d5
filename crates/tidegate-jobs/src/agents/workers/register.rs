//! A worker's first line.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{CAPACITY, CAPACITY_MAX};
use crate::agents::lines;
use crate::{AgentRef, JobId, is_name, is_version};

/// Agents of one worker.
const AGENTS_MAX: usize = 64;
/// Longest first line, in bytes.
const BYTES_MAX: usize = 1 << 20;

/// What a worker serves.
#[derive(Debug)]
pub(super) struct Register {
    /// Which agents; whether a bare name means that version.
    pub(super) agents: Vec<(AgentRef, bool)>,
    /// How many jobs at once.
    pub(super) capacity: usize,
    /// What it has still.
    pub(super) jobs: BTreeSet<JobId>,
}

impl Register {
    /// Reads it.
    pub(super) fn read(line: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Line {
            r#type: String,
            agents: Vec<Served>,
            capacity: Option<usize>,
            #[serde(default)]
            jobs: Vec<Kept>,
        }
        #[derive(Deserialize)]
        struct Served {
            name: String,
            version: String,
            #[serde(default)]
            default: bool,
        }
        #[derive(Deserialize)]
        struct Kept {
            job_id: JobId,
        }
        if line.len() > BYTES_MAX {
            return Err(format!("it is longer than {BYTES_MAX} bytes"));
        }
        let line: Line = lines::json(line)?;
        if line.r#type != "register" {
            return Err("the first line is of the type register".into());
        }
        if line.agents.is_empty() || line.agents.len() > AGENTS_MAX {
            return Err(format!("a worker serves 1 to {AGENTS_MAX} agents"));
        }
        if line.jobs.len() > CAPACITY_MAX {
            return Err(format!("a worker has at most {CAPACITY_MAX} jobs"));
        }
        if !line.agents.iter().all(|served| is_name(&served.name) && is_version(&served.version)) {
            return Err("an agent has a name of a-z 0-9 . _ - and a version of a-z A-Z 0-9 . + _ -".into());
        }
        let named =
            |served: Served| (AgentRef { name: served.name.into(), version: served.version.into() }, served.default);
        Ok(Self {
            agents: line.agents.into_iter().map(named).collect(),
            capacity: line.capacity.unwrap_or(CAPACITY).clamp(1, CAPACITY_MAX),
            jobs: line.jobs.into_iter().map(|kept| kept.job_id).collect(),
        })
    }
}
