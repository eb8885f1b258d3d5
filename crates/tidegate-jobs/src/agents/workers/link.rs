//! A worker's connection, for whoever has its socket.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::register::Register;
use super::{UNTAKEN_MAX, WorkerId};
use crate::agents::{Agents, channel, lines, now_ms};
use crate::{Code, Fault, JobId, Owner, Told};

/// A worker's connection. Dropping it is its end; its jobs wait for it.
pub struct WorkerLink {
    agents: Arc<Agents>,
    id: WorkerId,
}

/// What a worker is told.
#[derive(Debug)]
pub struct WorkerEar {
    is_registered: bool,
    told: mpsc::Receiver<(JobId, Told)>,
}

impl WorkerEar {
    /// The next line for it; `None` ends the connection. Whoever drops the future loses nothing.
    pub async fn next(&mut self) -> Option<String> {
        if !std::mem::replace(&mut self.is_registered, true) {
            return Some(r#"{"type":"registered"}"#.into());
        }
        let (job, told) = self.told.recv().await?;
        Some(lines::write(Some(job), &told))
    }
}

impl WorkerLink {
    /// The line that says why a connection ends.
    #[must_use]
    pub fn refused(fault: &Fault) -> String {
        lines::refused(fault)
    }

    /// Takes a worker's first line. `may_serve` says of a name whether it may; what it is told comes out of the
    /// ear, whose end is to end the connection. To be called, like [`say`](Self::say), one after the other for each connection.
    ///
    /// # Errors
    /// `INVALID_REQUEST`: it is no registration, or names an agent that is another's. `PERMISSION_DENIED`: it may not serve one.
    pub async fn register(
        agents: Arc<Agents>,
        owner: &Owner,
        line: &str,
        may_serve: impl Fn(&str) -> bool,
    ) -> Result<(Self, WorkerEar), Fault> {
        let register = Register::read(line).map_err(Fault::invalid)?;
        for (agent, _) in &register.agents {
            if !may_serve(&agent.name) {
                return Err(Fault::new(Code::PermissionDenied, format!("{agent} may not be served")));
            }
            if !agents.is_workers(agent) {
                return Err(Fault::invalid(format!("{agent} is the gateway's own")));
            }
        }
        let (hears, told) = mpsc::channel(UNTAKEN_MAX);
        let entered = agents.hall().enter(owner, register, hears, agents.since_ms());
        let (id, back) = entered.map_err(Fault::invalid)?;
        let link = Self { agents, id };
        link.agents.offer();
        for spoken in back {
            let room = link.agents.sayings().room(0).await;
            room.map_err(|deaf| Fault::new(Code::InternalError, deaf.to_string()))?.say(spoken);
        }
        Ok((link, WorkerEar { is_registered: false, told }))
    }

    /// Takes a line. Waits for room on the way to the runtime; whoever drops the future meanwhile has to end the connection or say it
    /// again.
    ///
    /// # Errors
    /// `INVALID_REQUEST`: it is no line, or there is a gap before it. The connection is to be ended.
    pub async fn say(&self, line: &str) -> Result<(), Fault> {
        let line = lines::read_of_job(line, now_ms()).map_err(Fault::invalid)?;
        let bytes = line.said.as_ref().map_or(0, channel::bytes);
        let room = self.agents.sayings().room(bytes).await;
        let room = room.map_err(|deaf| Fault::new(Code::InternalError, deaf.to_string()))?;
        // What is counted as said is said: nothing waits in between.
        let mut hall = self.agents.hall();
        if let Some(spoken) = hall.hear(self.id, line).map_err(Fault::invalid)? {
            room.say(spoken);
        }
        Ok(())
    }
}

impl Drop for WorkerLink {
    fn drop(&mut self) {
        let now_ms = self.agents.since_ms();
        self.agents.hall().leave(self.id, now_ms);
        self.agents.offer();
    }
}
