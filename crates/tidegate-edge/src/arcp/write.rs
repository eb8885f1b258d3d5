//! What a client is told: replies and events to messages, in its dialect.
//!
//! Nothing is ever `null` but `next_cursor` and `parent_job_id`: of what is absent there is no field. Whole numbers have no fraction, times
//! are RFC 3339 in UTC with a `Z`.

use std::sync::Arc;

use bytes::Bytes;

use serde::Serialize;
use tidegate_jobs::credentials::Credential;
use tidegate_jobs::{Accepted, Code, Entry, Fault, Inventory, JobId, SessionId, TraceId, What};
use tidegate_session::runtime::{Listed, Subscribed, Welcome};
use ulid::Ulid;

use self::payload::{Money, Shown, Text, Time};
use super::dialect::Dialect;
use super::envelope::VERSION;
use super::features::{Feature, Features};
use crate::out::Out;

mod ending;
mod payload;
#[cfg(test)]
mod tests;

/// Bytes of one message: clients close on 1 MiB, and what is around a payload is small.
const MESSAGE_BYTES_MAX: usize = (1 << 20) - (16 << 10);

/// Writes to one client.
pub(super) struct Writer {
    /// Whose messages they are; a provisional one until there is a session.
    pub(super) session: SessionId,
    pub(super) dialect: Dialect,
    pub(super) features: Features,
    /// Whether kinds of events that were not agreed upon are told under a name of our own.
    pub(super) hides_kinds: bool,
    /// Seconds between heartbeats; `None` without.
    pub(super) heartbeat_sec: Option<u64>,
    /// The last id of a message that was given.
    last: u128,
    random: fn() -> u128,
}

/// What is around a payload, beside what every message has.
#[derive(Clone, Copy, Default)]
struct Around<'a> {
    /// Another id than one of ours.
    id: Option<&'a str>,
    job: Option<JobId>,
    trace: Option<TraceId>,
    seq: Option<u64>,
}

#[derive(Serialize)]
struct Message<'a, P> {
    arcp: &'static str,
    id: &'a str,
    r#type: &'static str,
    session_id: SessionId,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_id: Option<JobId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<TraceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_seq: Option<u64>,
    payload: P,
}

impl Writer {
    /// To a client that has no session yet; `random` has to be unpredictable.
    pub(super) fn new(now_ms: u64, random: fn() -> u128) -> Self {
        Self {
            session: SessionId::new(now_ms, random()),
            dialect: Dialect::Spec,
            features: Features::default(),
            hides_kinds: false,
            heartbeat_sec: None,
            last: 0,
            random,
        }
    }

    /// A name that sorts behind all that were given before.
    fn next(&mut self, now_ms: u64) -> Ulid {
        let least = self.last.wrapping_add(1);
        let now = Ulid::from_parts(now_ms, 0).0;
        // Of one millisecond they are counted.
        self.last = if least > now { least } else { Ulid::from_parts(now_ms, (self.random)()).0 };
        Ulid(self.last)
    }

    fn message(&mut self, kind: &'static str, around: Around<'_>, payload: impl Serialize, now_ms: u64) -> Vec<u8> {
        let Around { id, job, trace, seq } = around;
        let own;
        let id = match id {
            Some(id) => id,
            None => {
                own = format!("msg_{}", self.next(now_ms));
                &own
            }
        };
        let (arcp, session_id) = (VERSION, self.session);
        let message =
            Message { arcp, id, r#type: kind, session_id, job_id: job, trace_id: trace, event_seq: seq, payload };
        let mut bytes = Vec::with_capacity(512);
        if let Err(error) = serde_json::to_writer(&mut bytes, &message) {
            tracing::error!(%error, kind, "a message cannot be written: this is a bug");
        }
        bytes
    }

    /// The client has a session. `may_submit` says of which agents it is told.
    pub(super) fn welcome(&mut self, welcome: &Welcome, may_submit: impl Fn(&str) -> bool) -> Vec<u8> {
        self.session = welcome.session;
        let payload = payload::Welcome {
            runtime: payload::Runtime { name: "tidegate", version: env!("CARGO_PKG_VERSION") },
            session_id: welcome.session,
            resume_token: &welcome.token,
            resume_window_sec: welcome.window_sec,
            heartbeat_interval_sec: self.heartbeat_sec,
            accepted_at: Time(welcome.at_ms),
            capabilities: payload::Capabilities {
                encodings: ["json"],
                features: self.features.names().collect(),
                agents: offered(&welcome.inventory, may_submit),
            },
        };
        self.message("session.welcome", Around::default(), payload, welcome.at_ms)
    }

    /// Something went wrong: with the session, or with a request of it.
    pub(super) fn error(
        &mut self,
        fault: &Fault,
        request_id: Option<&str>,
        job_id: Option<JobId>,
        now_ms: u64,
    ) -> Vec<u8> {
        let payload = payload::SessionError { fault: Shown(fault), request_id, job_id };
        self.message("session.error", Around::default(), payload, now_ms)
    }

    pub(super) fn closed(&mut self, now_ms: u64) -> Vec<u8> {
        self.message("session.closed", Around::default(), payload::Nothing {}, now_ms)
    }

    pub(super) fn ping(&mut self, now_ms: u64) -> Vec<u8> {
        let nonce = format!("p_{}", self.next(now_ms));
        self.message("session.ping", Around::default(), payload::Ping { nonce, sent_at: Time(now_ms) }, now_ms)
    }

    pub(super) fn pong(&mut self, nonce: &str, now_ms: u64) -> Vec<u8> {
        let payload = payload::Pong { ping_nonce: nonce, received_at: Time(now_ms) };
        self.message("session.pong", Around::default(), payload, now_ms)
    }

    /// A job is accepted. `None` where a client would take another's acceptance for that of a submit of its own: these libraries show
    /// it to nobody anyway.
    pub(super) fn accepted(
        &mut self,
        request_id: Option<&str>,
        accepted: &Accepted,
        credentials: &[Credential],
        now_ms: u64,
    ) -> Option<Vec<u8>> {
        if request_id.is_none() && matches!(self.dialect, Dialect::Python | Dialect::Go) {
            return None;
        }
        let (parent_job_id, delegate_id) = accepted.parent.as_ref().map(|(job, id)| (*job, &**id)).unzip();
        let payload = payload::Accepted {
            job_id: accepted.job,
            agent: Text(&accepted.agent),
            lease: &accepted.lease,
            lease_constraints: payload::constraints(&accepted.constraints),
            budget: accepted.budget.as_ref().map(|budget| Money::new(budget, self.dialect)),
            credentials: self.credentials(credentials),
            accepted_at: Time(accepted.accepted_at_ms),
            request_id,
            trace_id: accepted.trace,
            parent_job_id,
            delegate_id,
        };
        let around = Around { job: Some(accepted.job), trace: Some(accepted.trace), ..Around::default() };
        Some(self.message("job.accepted", around, payload, now_ms))
    }

    /// Credentials, for one who agreed to get some.
    fn credentials<'a>(&self, credentials: &'a [Credential]) -> Vec<payload::Credential<'a>> {
        let shown = if self.features.have(Feature::ProvisionedCredentials) { credentials } else { &[] };
        shown.iter().map(payload::Credential::of).collect()
    }

    /// A submit is refused. One message, or two where libraries of one dialect differ.
    pub(super) fn rejected(
        &mut self,
        request_id: &str,
        fault: &Fault,
        trace: Option<TraceId>,
        now_ms: u64,
    ) -> Vec<Vec<u8>> {
        let ended = payload::Failed {
            final_status: "error",
            fault: Shown(fault),
            completed_at: Time(now_ms),
            request_id: Some(request_id),
        };
        match self.dialect {
            Dialect::Spec | Dialect::Go => vec![self.error(fault, Some(request_id), None, now_ms)],
            // A job of its own, because the library looks for one that it does not know.
            Dialect::TypeScript => {
                let job = JobId::new(now_ms, (self.random)());
                vec![self.message("job.error", Around { job: Some(job), trace, ..Around::default() }, ended, now_ms)]
            }
            // What one library waits for others do not look at, as it is about no job.
            Dialect::Python => {
                let around = Around { id: Some(request_id), trace, ..Around::default() };
                let ended = self.message("job.error", around, ended, now_ms);
                vec![ended, self.error(fault, Some(request_id), None, now_ms)]
            }
        }
    }

    pub(super) fn cancelled(
        &mut self,
        request_id: &str,
        job: JobId,
        reason: Option<&str>,
        trace: TraceId,
        now_ms: u64,
    ) -> Vec<u8> {
        let around = Around { job: Some(job), trace: Some(trace), ..Around::default() };
        self.message("job.cancelled", around, payload::Cancelled { job_id: job, request_id, reason }, now_ms)
    }

    pub(super) fn subscribed(&mut self, subscribed: &Subscribed, now_ms: u64) -> Vec<u8> {
        let Subscribed { request_id, job, subscribed_from, replayed, credentials } = subscribed;
        let accepted = &job.accepted;
        let payload = payload::Subscribed {
            job_id: accepted.job,
            request_id,
            current_status: job.status.name(),
            agent: Text(&accepted.agent),
            lease: &accepted.lease,
            lease_constraints: payload::constraints(&accepted.constraints),
            budget: job.budget.as_ref().map(|budget| Money::new(budget, self.dialect)),
            credentials: self.credentials(credentials),
            parent_job_id: accepted.parent.as_ref().map(|(job, _)| *job),
            trace_id: accepted.trace,
            subscribed_from: *subscribed_from,
            replayed: *replayed > 0,
        };
        let around = Around { job: Some(accepted.job), trace: Some(accepted.trace), ..Around::default() };
        self.message("job.subscribed", around, payload, now_ms)
    }

    /// A page of jobs: as many of these as fit a message, and where the rest begins.
    pub(super) fn jobs(
        &mut self,
        request_id: &str,
        jobs: &[Listed],
        next_cursor: Option<&str>,
        now_ms: u64,
    ) -> Vec<u8> {
        let mut bytes = 0;
        let mut entries = Vec::with_capacity(jobs.len());
        for listed in jobs {
            let entry = serde_json::value::to_raw_value(&payload::Entry::of(listed));
            let Ok(entry) = entry.inspect_err(|error| tracing::error!(%error, "a job cannot be listed: this is a bug"))
            else {
                continue;
            };
            bytes += entry.get().len() + 1;
            if bytes > MESSAGE_BYTES_MAX && !entries.is_empty() {
                break;
            }
            entries.push(entry);
        }
        // What follows begins behind the last that is shown, and its name is the cursor.
        let rest = jobs.get(entries.len()).and_then(|_| entries.len().checked_sub(1)).and_then(|last| jobs.get(last));
        let rest = rest.map(|listed| listed.job.accepted.job.to_string());
        let payload = payload::Jobs { request_id, jobs: entries, next_cursor: rest.as_deref().or(next_cursor) };
        self.message("session.jobs", Around::default(), payload, now_ms)
    }

    /// An event of the session: of a job, or a job's end.
    pub(super) fn event(&mut self, seq: u64, entry: &Arc<Entry>, now_ms: u64, out: &mut Out) {
        let around = Around { job: Some(entry.job), trace: entry.trace, seq: Some(seq), ..Around::default() };
        match &entry.what {
            What::Event(payload) => {
                let mut id = [0; ulid::ULID_LEN];
                let id = &*self.next(now_ms).array_to_str(&mut id);
                let head = out.head();
                crate::frames::put(
                    head,
                    format_args!(
                        "{{\"arcp\":\"{VERSION}\",\"id\":\"msg_{id}\",\"type\":\"job.event\",\"session_id\":\"{}\",\
                         \"job_id\":\"{}\",",
                        self.session, entry.job
                    ),
                );
                if let Some(trace) = entry.trace {
                    crate::frames::put(head, format_args!("\"trace_id\":\"{trace}\","));
                }
                crate::frames::put(head, format_args!("\"event_seq\":{seq},\"payload\":"));
                match self.unagreed(payload) {
                    Some((kind, rest)) => {
                        crate::frames::put(out.head_so_far(), format_args!("{{\"kind\":\"x-vendor.tidegate.{kind}\""));
                        out.send_around(&rest, b"}");
                    }
                    None => out.send_around(payload, b"}"),
                }
            }
            What::End(ending) => {
                let message = self.ending(around, ending, now_ms);
                out.text(&message);
            }
        }
    }
}

/// Kinds of events that both sides have to agree upon, as a payload begins with them.
const AGREED: [(Feature, &str, &[u8]); 2] = [
    (Feature::Progress, "progress", b"{\"kind\":\"progress\""),
    (Feature::ResultChunk, "result_chunk", b"{\"kind\":\"result_chunk\""),
];

impl Writer {
    /// An event of a kind that was not agreed upon has its number all the same, so it is told: as a vendor's, which every client has to
    /// put up with. Its kind, and its payload behind that.
    fn unagreed(&self, payload: &Bytes) -> Option<(&'static str, Bytes)> {
        let is_it = |&&(feature, _, begins): &&(Feature, &str, &[u8])| {
            self.hides_kinds && !self.features.have(feature) && payload.starts_with(begins)
        };
        let (_, kind, begins) = AGREED.iter().find(is_it)?;
        Some((kind, payload.slice(begins.len()..)))
    }
}

/// The agents that a client is told of: those that it may submit to, as far as they fit a message.
fn offered(inventory: &Inventory, may_submit: impl Fn(&str) -> bool) -> Vec<payload::Agent<'_>> {
    let mut room = MESSAGE_BYTES_MAX / 2;
    let mut agents = Vec::new();
    for (name, offered) in inventory.agents().filter(|(name, _)| may_submit(name)) {
        let bytes = name.len() + offered.default.len() + 64;
        let bytes = offered.versions.iter().fold(bytes, |sum, version| sum + version.len() + 3);
        let Some(left) = room.checked_sub(bytes) else { break };
        room = left;
        let versions = offered.versions.iter().map(|version| &**version).collect();
        agents.push(payload::Agent { name, versions, default: &offered.default });
    }
    agents
}

/// The gateway has no room for what was asked.
pub(super) fn busy() -> Fault {
    Fault::new(Code::InternalError, "the gateway has more to do than it takes; try again")
}
