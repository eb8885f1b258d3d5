//! What the runtime says, to the client.

use tidegate_jobs::{Code, Rights as _};
use tidegate_session::CloseReason;
use tidegate_session::runtime::{Reply, Welcome};
use tokio::time::Instant;

use super::{Arcp, Desk, Stage, reason};
use crate::arcp::features::Feature;
use crate::arcp::pulse::Pulse;
use crate::out::Out;

impl<D: Desk> Arcp<D> {
    /// Writes it; why to close the connection, where that follows.
    pub(super) fn told(&mut self, reply: Reply, out: &mut Out) -> Result<(), CloseReason> {
        let now_ms = self.now_ms();
        let writer = &mut self.writer;
        match reply {
            Reply::Welcome(welcome) => self.welcome(&welcome, out),
            Reply::Refused(fault) => {
                let hello = match &self.stage {
                    Stage::Opening(_, id) => Some(&**id),
                    _ => None,
                };
                out.text(&writer.error(&fault, hello, None, now_ms));
                return Err(match (&self.stage, fault.code) {
                    // It was slower than what is kept of its session; a new one may be quicker.
                    (Stage::Open, Code::ResumeWindowExpired) => CloseReason::SlowClient,
                    (_, code) => reason(code),
                });
            }
            Reply::Accepted { request_id, accepted, credentials } => {
                if let Some(message) = writer.accepted(request_id.as_deref(), &accepted, &credentials, now_ms) {
                    out.text(&message);
                }
            }
            Reply::Rejected { request_id, fault, trace } => {
                writer.rejected(&request_id, &fault, trace, now_ms).iter().for_each(|message| out.text(message));
            }
            Reply::Cancelled { request_id, job, reason, trace } => {
                out.text(&writer.cancelled(&request_id, job, reason.as_deref(), trace, now_ms));
            }
            Reply::Subscribed(subscribed) => out.text(&writer.subscribed(&subscribed, now_ms)),
            Reply::Jobs { request_id, jobs, next_cursor } => {
                out.text(&writer.jobs(&request_id, &jobs, next_cursor.as_deref(), now_ms));
            }
            Reply::Failed { request_id, job, fault } => {
                out.text(&writer.error(&fault, Some(&request_id), job, now_ms));
            }
            Reply::Closed => {
                out.text(&writer.closed(now_ms));
                return Err(CloseReason::Normal);
            }
            Reply::Fenced => return Err(CloseReason::Fenced),
            // They come as items of their own.
            Reply::Event { .. } | Reply::Events { .. } => {}
        }
        Ok(())
    }

    fn welcome(&mut self, welcome: &Welcome, out: &mut Out) {
        let Stage::Opening(rights, _) = std::mem::replace(&mut self.stage, Stage::Open) else { return };
        if !welcome.provisions {
            self.writer.features = self.writer.features.without(Feature::ProvisionedCredentials);
        }
        out.text(&self.writer.welcome(welcome, |agent| rights.may_submit(agent)));
        if self.writer.heartbeat_sec.is_some() {
            self.pulse = Some(Pulse::new(self.place.settings.heartbeat, Instant::now()));
        }
    }
}
