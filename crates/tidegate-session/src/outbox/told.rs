//! How much an answer of the runtime counts for: about the bytes that it is encoded in, without encoding it.

use std::sync::Arc;

use tidegate_jobs::Fault;
use tidegate_jobs::credentials::Credential;

use crate::runtime::{Reply, Welcome};

/// Of an envelope: its names and numbers.
const ENVELOPE: usize = 256;
/// Of a job's descriptor, with a lease of usual size.
const DESCRIPTOR: usize = 512;

pub(crate) fn bytes(reply: &Reply) -> usize {
    ENVELOPE
        + match reply {
            Reply::Welcome(welcome) => of_welcome(welcome),
            Reply::Refused(fault) => of_fault(fault),
            Reply::Accepted { request_id, credentials, .. } => {
                DESCRIPTOR + request_id.as_ref().map_or(0, |id| id.len()) + of_credentials(credentials)
            }
            Reply::Rejected { request_id, fault, .. } | Reply::Failed { request_id, fault, .. } => {
                request_id.len() + of_fault(fault)
            }
            Reply::Cancelled { request_id, reason, .. } => {
                request_id.len() + reason.as_ref().map_or(0, |reason| reason.len())
            }
            Reply::Subscribed(subscribed) => {
                DESCRIPTOR + subscribed.request_id.len() + of_credentials(&subscribed.credentials)
            }
            Reply::Jobs { request_id, jobs, .. } => request_id.len() + jobs.len() * DESCRIPTOR,
            Reply::Closed | Reply::Fenced | Reply::Event { .. } | Reply::Events { .. } => 0,
        }
}

fn of_welcome(welcome: &Welcome) -> usize {
    let agents = welcome.inventory.agents();
    let versions = |versions: &[Arc<str>]| versions.iter().map(|version| version.len() + 3).sum::<usize>();
    DESCRIPTOR + agents.map(|(name, offered)| 64 + name.len() + versions(&offered.versions)).sum::<usize>()
}

fn of_fault(fault: &Fault) -> usize {
    fault.message.len() + fault.details.as_ref().map_or(0, |details| details.get().len())
}

fn of_credentials(credentials: &[Credential]) -> usize {
    let of_one = |credential: &Credential| {
        let constraints = credential.constraints.as_ref().map_or(0, |constraints| constraints.get().len());
        128 + credential.value.len() + credential.endpoint.len() + constraints
    };
    credentials.iter().map(of_one).sum()
}
