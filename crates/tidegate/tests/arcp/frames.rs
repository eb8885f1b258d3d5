//! What holds for every message of a gateway, whatever it is about.

use std::collections::HashSet;

use jiff::civil::DateTime;
use serde_json::{Map, Value};

/// Clients close on more.
const FRAME_BYTES_MAX: usize = 1 << 20;

const TYPES: [&str; 12] = [
    "session.welcome",
    "session.error",
    "session.closed",
    "session.ping",
    "session.pong",
    "session.jobs",
    "job.accepted",
    "job.cancelled",
    "job.subscribed",
    "job.event",
    "job.result",
    "job.error",
];
const FIELDS: [&str; 8] = ["arcp", "id", "type", "session_id", "job_id", "trace_id", "event_seq", "payload"];
const CODES: [&str; 15] = [
    "PERMISSION_DENIED",
    "LEASE_SUBSET_VIOLATION",
    "JOB_NOT_FOUND",
    "DUPLICATE_KEY",
    "AGENT_NOT_AVAILABLE",
    "AGENT_VERSION_NOT_AVAILABLE",
    "CANCELLED",
    "TIMEOUT",
    "RESUME_WINDOW_EXPIRED",
    "HEARTBEAT_LOST",
    "LEASE_EXPIRED",
    "BUDGET_EXHAUSTED",
    "INVALID_REQUEST",
    "UNAUTHENTICATED",
    "INTERNAL_ERROR",
];
const KINDS: [&str; 10] = [
    "log",
    "thought",
    "tool_call",
    "tool_result",
    "status",
    "metric",
    "artifact_ref",
    "delegate",
    "progress",
    "result_chunk",
];
const TIMES: [&str; 8] =
    ["ts", "sent_at", "received_at", "accepted_at", "completed_at", "created_at", "submitted_at", "expires_at"];

/// The messages of one connection so far.
#[derive(Default)]
pub(crate) struct Frames {
    session: Option<String>,
    ids: HashSet<String>,
    /// Jobs that have had their last message.
    ended: HashSet<String>,
    /// The last number.
    pub(crate) head: u64,
}

impl Frames {
    /// Of a connection that goes on behind that number.
    pub(crate) fn after(head: u64) -> Self {
        Self { head, ..Self::default() }
    }

    /// Reads a message, and fails the test where a rule is broken.
    pub(crate) fn read(&mut self, text: &str) -> Value {
        assert!(text.len() < FRAME_BYTES_MAX, "a message of {} bytes", text.len());
        let frame: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let fields = frame.as_object().unwrap_or_else(|| panic!("no object: {text}"));
        self.envelope(fields, &frame);
        self.numbers(&frame);
        values("", &frame, &frame);
        let payload = &frame["payload"];
        match kind(&frame) {
            "session.error" | "job.error" => fault(payload, &frame),
            "session.welcome" => {
                let token = payload["resume_token"].as_str().and_then(|token| token.strip_prefix("rt_"));
                assert!(token.is_some_and(|token| token.len() == 64 && is_hex(token)), "{frame}");
            }
            "job.event" => {
                let kind = payload["kind"].as_str().unwrap_or_default();
                assert!(KINDS.contains(&kind) || kind.starts_with("x-vendor."), "{frame}");
                assert!(payload["body"].is_object() && payload["ts"].is_string(), "{frame}");
            }
            _ => {}
        }
        frame
    }

    fn envelope(&mut self, fields: &Map<String, Value>, frame: &Value) {
        assert!(fields.keys().all(|name| FIELDS.contains(&&**name)), "a field that is not known: {frame}");
        assert_eq!(frame["arcp"], "1.1", "{frame}");
        assert!(TYPES.contains(&kind(frame)), "a type that is not known: {frame}");
        assert!(frame["payload"].is_object(), "{frame}");
        let id = frame["id"].as_str().unwrap_or_default();
        // One library looks for the refusal of a submit under the id of that.
        assert!(is_named(id, "msg_") || is_refusal(frame), "{frame}");
        assert!(self.ids.insert(id.to_owned()) || is_refusal(frame), "an id for the second time: {frame}");
        let session = frame["session_id"].as_str().unwrap_or_default();
        assert!(is_named(session, "sess_"), "{frame}");
        // What is refused before there is a session has a provisional one.
        if kind(frame) != "session.error" || self.session.is_some() {
            assert_eq!(self.session.get_or_insert_with(|| session.to_owned()), session, "{frame}");
        }
        if let Some(trace) = fields.get("trace_id") {
            assert!(trace.as_str().is_some_and(|trace| trace.len() == 32 && is_hex(trace)), "{frame}");
        }
        match fields.get("job_id") {
            Some(job) => assert!(job.as_str().is_some_and(|job| is_named(job, "job_")), "{frame}"),
            None => assert!(!kind(frame).starts_with("job.") || is_refusal(frame), "{frame}"),
        }
    }

    /// Events are numbered without a gap, nothing else is, and a job's last is its last.
    fn numbers(&mut self, frame: &Value) {
        let is_event = matches!(kind(frame), "job.event" | "job.result" | "job.error") && !is_refusal(frame);
        assert_eq!(is_event, frame.get("event_seq").is_some(), "{frame}");
        let job = frame["job_id"].as_str().unwrap_or_default();
        if is_event {
            assert_eq!(frame["event_seq"], self.head + 1, "a gap behind {}: {frame}", self.head);
            self.head += 1;
            assert!(!self.ended.contains(job), "something after the end: {frame}");
            if kind(frame) != "job.event" {
                self.ended.insert(job.to_owned());
            }
        } else if matches!(kind(frame), "job.accepted" | "job.subscribed") {
            // Its end may be told again.
            self.ended.remove(job);
        }
    }
}

pub(crate) fn kind(frame: &Value) -> &str {
    frame["type"].as_str().unwrap_or_default()
}

/// Whether it says that a submit was refused, rather than how a job ended.
fn is_refusal(frame: &Value) -> bool {
    kind(frame) == "job.error" && frame["payload"].get("request_id").is_some()
}

fn fault(payload: &Value, frame: &Value) {
    let code = payload["code"].as_str().unwrap_or_default();
    assert!(CODES.contains(&code), "{frame}");
    assert!(payload["message"].as_str().is_some_and(|message| !message.is_empty()), "{frame}");
    let retryable = payload["retryable"].as_bool().unwrap_or_else(|| panic!("not said whether retryable: {frame}"));
    match code {
        "INTERNAL_ERROR" => assert!(retryable, "{frame}"),
        "LEASE_EXPIRED" | "BUDGET_EXHAUSTED" => assert!(!retryable, "{frame}"),
        _ => {}
    }
}

/// No null for what is absent, no fraction in a whole number, times in UTC.
fn values(name: &str, value: &Value, frame: &Value) {
    match value {
        Value::Null => {
            // The input of a delegation is the agent's, and has to be there.
            let may = matches!(name, "next_cursor" | "parent_job_id" | "input");
            assert!(may, "{name} is null: {frame}");
        }
        Value::Number(number) => {
            let is_whole = number.as_f64().is_some_and(|number| number.fract() == 0.0);
            assert!(!number.is_f64() || !is_whole, "{name} is {number}: {frame}");
        }
        Value::String(text) if TIMES.contains(&name) => {
            // Years later than any instant that the library has are times, too.
            let time = text.strip_suffix('Z').map(str::parse::<DateTime>);
            assert!(time.is_some_and(|time| time.is_ok()), "{name} is {text}: {frame}");
        }
        Value::Array(of) => of.iter().for_each(|value| values(name, value, frame)),
        Value::Object(of) => of.iter().for_each(|(inner, value)| values(inner, value, frame)),
        _ => {}
    }
}

/// Whether it is a prefix and a ULID.
pub(crate) fn is_named(text: &str, prefix: &str) -> bool {
    let rest = text.strip_prefix(prefix).unwrap_or_default();
    rest.len() == 26 && rest.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}
