//! What an ARCP client says and hears, as far as the command line needs it.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

/// Features that are asked for. No credentials: nobody wants to see secrets on a terminal.
const FEATURES: [&str; 10] = [
    "heartbeat",
    "ack",
    "list_jobs",
    "subscribe",
    "lease_expires_at",
    "cost.budget",
    "model.use",
    "progress",
    "result_chunk",
    "agent_versions",
];

/// One message of the runtime.
#[derive(Debug, Deserialize)]
pub(super) struct Frame {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) session_id: Option<String>,
    #[serde(default)]
    pub(super) job_id: Option<String>,
    /// Of events and ends of jobs.
    #[serde(default)]
    pub(super) event_seq: Option<u64>,
    pub(super) payload: Box<RawValue>,
    /// As it came.
    #[serde(skip)]
    pub(super) text: String,
}

impl Frame {
    pub(super) fn read(text: &str) -> Result<Self, serde_json::Error> {
        let mut frame: Self = serde_json::from_str(text)?;
        text.clone_into(&mut frame.text);
        Ok(frame)
    }

    /// Its payload as what it is to be.
    pub(super) fn payload<T: serde::de::DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.payload.get())
    }
}

/// `session.welcome`.
#[derive(Debug, Deserialize)]
pub(super) struct Welcome {
    #[serde(default)]
    pub(super) session_id: Option<String>,
    pub(super) resume_token: String,
    #[serde(default)]
    pub(super) resume_window_sec: Option<u64>,
    #[serde(default)]
    pub(super) heartbeat_interval_sec: Option<u64>,
    #[serde(default)]
    pub(super) capabilities: Capabilities,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Capabilities {
    #[serde(default)]
    pub(super) features: Vec<String>,
    #[serde(default)]
    pub(super) agents: Vec<Agent>,
}

/// An agent that may be asked for.
#[derive(Debug, Deserialize)]
pub(super) struct Agent {
    pub(super) name: String,
    #[serde(default)]
    pub(super) versions: Vec<String>,
    #[serde(default)]
    pub(super) default: Option<String>,
}

/// `session.error`, `job.error`.
#[derive(Debug, Deserialize)]
pub(super) struct Refused {
    pub(super) code: String,
    #[serde(default)]
    pub(super) message: String,
    #[serde(default)]
    pub(super) retryable: bool,
    #[serde(default)]
    pub(super) request_id: Option<String>,
}

/// `job.accepted`.
#[derive(Debug, Deserialize)]
pub(super) struct Accepted {
    #[serde(default)]
    pub(super) job_id: Option<String>,
    #[serde(default)]
    pub(super) agent: Option<String>,
    #[serde(default)]
    pub(super) request_id: Option<String>,
    /// Of a job that another delegated.
    #[serde(default)]
    pub(super) parent_job_id: Option<String>,
}

/// `job.subscribed`.
#[derive(Debug, Deserialize)]
pub(super) struct Subscribed {
    pub(super) current_status: String,
    pub(super) agent: String,
}

/// `job.event`.
#[derive(Debug, Deserialize)]
pub(super) struct Event {
    pub(super) kind: String,
    #[serde(default)]
    pub(super) body: Value,
}

/// `job.result`, `job.error`.
#[derive(Debug, Deserialize)]
pub(super) struct Ending {
    #[serde(default)]
    pub(super) final_status: Option<String>,
    #[serde(default)]
    pub(super) result: Option<Box<RawValue>>,
    #[serde(default)]
    pub(super) result_size: Option<u64>,
    #[serde(default)]
    pub(super) summary: Option<String>,
    #[serde(default)]
    pub(super) code: Option<String>,
    #[serde(default)]
    pub(super) message: Option<String>,
}

/// A session to go on with.
#[derive(Debug, Clone)]
pub(super) struct Resume {
    pub(super) session: String,
    pub(super) token: String,
    pub(super) last_event_seq: u64,
}

/// The payload of a `session.hello`.
pub(super) fn hello(token: Option<&str>, resume: Option<&Resume>) -> Value {
    let mut hello = json!({
        "client": { "name": "tidegate", "version": env!("CARGO_PKG_VERSION") },
        "capabilities": { "encodings": ["json"], "features": FEATURES },
    });
    if let Some(token) = token {
        hello["auth"] = json!({ "scheme": "bearer", "token": token });
    }
    if let Some(resume) = resume {
        hello["resume"] = json!({
            "session_id": resume.session, "resume_token": resume.token, "last_event_seq": resume.last_event_seq,
        });
    }
    hello
}

/// `job.submit`.
#[derive(Debug, Serialize)]
pub(super) struct Submit {
    pub(super) agent: String,
    /// As it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) input: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(super) lease_request: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) lease_constraints: Option<Constraints>,
    /// Always there, so that the same may be said again on another connection.
    pub(super) idempotency_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) max_runtime_sec: Option<u64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Constraints {
    pub(super) expires_at: String,
}

/// One message of ours.
pub(super) fn envelope(
    id: &str,
    kind: &str,
    session: Option<&str>,
    payload: &impl Serialize,
) -> Result<String, serde_json::Error> {
    #[derive(Serialize)]
    struct Envelope<'a, P> {
        arcp: &'static str,
        id: &'a str,
        #[serde(rename = "type")]
        kind: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        session_id: Option<&'a str>,
        payload: &'a P,
    }
    serde_json::to_string(&Envelope { arcp: "1.1", id, kind, session_id: session, payload })
}
