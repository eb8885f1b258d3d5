//! How many jobs there are, and were.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Jobs;
use crate::FinalStatus;

/// Agents that are counted one by one; a worker can offer ever new names. What ends of others is counted under `other`.
const AGENTS_MAX: usize = 1_000;

/// By name of the agent: how many of its jobs have ended, by how.
pub(super) type Counters = BTreeMap<Arc<str>, [u64; 4]>;

/// How many jobs there are, and were since the start of the process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Their credentials are being made.
    pub waiting: usize,
    /// Accepted; their agents have not begun.
    pub pending: usize,
    /// Their agents run.
    pub running: usize,
    /// Ended, and not forgotten.
    pub kept: usize,
    /// Bytes of all their logs.
    pub log_bytes: usize,
    /// How many have ended, by name of the agent and by how.
    pub ended: Vec<(Arc<str>, FinalStatus, u64)>,
}

const STATUSES: [FinalStatus; 4] =
    [FinalStatus::Success, FinalStatus::Error, FinalStatus::Cancelled, FinalStatus::TimedOut];

impl Jobs {
    /// How many jobs there are, and were.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let by_status = |(agent, counts): (&Arc<str>, &[u64; 4])| {
            let of = |(status, count): (FinalStatus, &u64)| (agent.clone(), status, *count);
            STATUSES.into_iter().zip(counts).map(of).collect::<Vec<_>>()
        };
        let waiting = self.waiting.len();
        Counts {
            waiting,
            pending: self.jobs.len() - self.ended.len() - self.running,
            running: self.running,
            kept: self.ended.len(),
            log_bytes: self.log_bytes,
            ended: self.counts.iter().flat_map(by_status).filter(|(_, _, count)| *count > 0).collect(),
        }
    }

    pub(super) fn count_end(&mut self, agent: &Arc<str>, status: FinalStatus) {
        let is_counted = self.counts.len() < AGENTS_MAX || self.counts.contains_key(agent);
        let agent = if is_counted { agent.clone() } else { "other".into() };
        self.counts.entry(agent).or_default()[status as usize] += 1;
    }
}
