//! A runtime for tests: it hears agents, and tells them what the test wants.

use std::sync::Arc;

use serde_json::Value;
use serde_json::value::RawValue;
use tokio::runtime::Handle;

use super::{Agents, Ear, Utterance, channel, fixtures};
use crate::{Accepted, AgentRef, Fault, JobId, Said, Spoken, Start, Told, TraceId};

pub(super) struct Runtime {
    pub(super) agents: Arc<Agents>,
    ear: Ear,
    jobs: u128,
}

/// What an agent said, to be compared.
pub(super) fn told(said: &Said) -> String {
    match said {
        Said::Event { kind, body } => format!("{kind} {}", body.get()),
        Said::Chunk { data, is_last } => format!("chunk {data:?} {is_last}"),
        Said::Authorize { call, op, target } => format!("authorize {call} {op:?} {target}"),
        Said::Delegate { call, delegation } => format!("delegate {call} {} {:?}", delegation.id, delegation.agent),
        Said::Done { result, .. } => format!("done {}", result.as_deref().map_or("-", RawValue::get)),
        Said::Back { serves } => format!("back {}", serves.len()),
        Said::Failed(fault) => format!("failed {fault}"),
    }
}

impl Runtime {
    /// With the fixtures.
    pub(super) fn new() -> Self {
        let (sayings, ear) = channel();
        let agents = Arc::new(Agents::new(Handle::current(), sayings));
        fixtures::register(&agents).unwrap();
        Self { agents, ear, jobs: 0 }
    }

    /// A job for an agent, by its name.
    pub(super) fn start(&mut self, agent: &str, input: &Value) -> JobId {
        self.jobs += 1;
        let job = JobId::of(self.jobs);
        let version = self.agents.inventory().borrow().resolve(&crate::Asked::parse(agent).unwrap());
        let agent = version.unwrap_or_else(|_| AgentRef { name: agent.into(), version: "0".into() });
        let accepted = Arc::new(Accepted {
            job,
            agent,
            lease: crate::lease::Lease::default(),
            constraints: crate::lease::Constraints { expires_at_ms: Some(1_700_000_000_500) },
            budget: None,
            accepted_at_ms: 0,
            trace: TraceId::new(7),
            parent: None,
        });
        let input: Arc<RawValue> = serde_json::value::to_raw_value(input).unwrap().into();
        let start = Start { accepted, input, credentials: Vec::new(), ends_at_ms: None };
        self.agents.tell(job, Told::Start(Arc::new(start)));
        job
    }

    pub(super) fn tell(&self, job: JobId, told: Told) {
        self.agents.tell(job, told);
    }

    /// The next that is said.
    pub(super) async fn hears(&mut self) -> Spoken {
        let mut utterances = Vec::<Utterance>::new();
        assert_eq!(self.ear.recv_many(&mut utterances, 1).await, 1);
        utterances.remove(0).spoken
    }

    /// Everything of one job up to its end, each thing stored at once; every question is answered yes but by `refuses`.
    pub(super) async fn hears_all(
        &mut self,
        job: JobId,
        mut refuses: impl FnMut(&str) -> Option<Fault>,
    ) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let spoken = self.hears().await;
            assert_eq!((spoken.job, spoken.n), (job, all.len() as u64 + 1));
            all.push(told(&spoken.said));
            self.tell(job, Told::Heard(spoken.n));
            match spoken.said {
                Said::Done { .. } | Said::Failed(_) => return all,
                Said::Authorize { call, target, .. } => {
                    let permit = refuses(&target).map_or(Ok(()), Err);
                    self.tell(job, Told::Permit { call, permit });
                }
                _ => {}
            }
        }
    }

    /// How much has been said and is not heard.
    pub(super) fn waiting(&self) -> usize {
        self.ear.len()
    }

    /// Nothing more is said, after all that could be has been.
    pub(super) async fn is_silent(&mut self) -> bool {
        tokio::time::sleep(std::time::Duration::from_secs(60)).await;
        self.ear.try_recv().is_none()
    }
}
