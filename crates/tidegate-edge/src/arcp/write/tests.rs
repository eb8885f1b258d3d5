//! Every message, as it is on the wire, in each dialect that has it otherwise.

use std::sync::Arc;
use std::task::{Context, Waker};

use serde_json::value::{RawValue, to_raw_value};
use tidegate_jobs::credentials::Credential;
use tidegate_jobs::lease::{Constraints, Lease};
use tidegate_jobs::{AgentRef, CredentialId, Descriptor, Ending, FinalStatus, Outcome, ResultId, Status};

use super::*;
use crate::format::Format;
use crate::out::Unsent;

/// 2026-05-13T23:42:00Z
const NOW: u64 = 1_778_715_720_000;
const DIALECTS: [Dialect; 4] = [Dialect::Spec, Dialect::TypeScript, Dialect::Python, Dialect::Go];
const JOB: &str = r#""job_01KRHVFYA00000000000000009""#;
const AT: &str = r#""2026-05-13T23:42:00.000Z""#;
const TRACE: &str = r#""0000000000000000000000000000000a""#;

fn writer(dialect: Dialect) -> Writer {
    let features = Features::named(Feature::ALL.into_iter().map(Feature::name));
    Writer { dialect, features, heartbeat_sec: Some(30), ..Writer::new(NOW, || 7) }
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

fn job() -> JobId {
    JobId::new(NOW, 9)
}

fn accepted(parent: bool) -> Accepted {
    let lease = Lease::read(&raw(r#"{"tool.call":["t*"],"cost.budget":["USD:5.00","EUR:0.25"]}"#)).unwrap();
    Accepted {
        job: job(),
        agent: AgentRef { name: "echo".into(), version: "1.0".into() },
        budget: lease.budget(),
        lease,
        constraints: Constraints { expires_at_ms: Some(NOW + 1) },
        accepted_at_ms: NOW,
        trace: TraceId::new(10),
        parent: parent.then(|| (JobId::new(NOW, 8), "d1".into())),
    }
}

fn credential() -> Credential {
    Credential {
        id: CredentialId::new(NOW, 3),
        scheme: "bearer".into(),
        value: "sk-1".into(),
        endpoint: "https://x/".into(),
        profile: None,
        constraints: None,
    }
}

fn ended(status: FinalStatus, outcome: Outcome) -> Arc<Entry> {
    let ending = Ending { status, at_ms: NOW, outcome };
    Arc::new(Entry { job: job(), n: 2, trace: Some(TraceId::new(10)), what: What::End(ending.into()) })
}

/// What an event becomes, without its first three fields.
fn told(dialect: Dialect, entry: &Arc<Entry>) -> String {
    let mut out = Out::default();
    out.begin_body(Format::Lines);
    writer(dialect).event(2, entry, NOW, &mut out);
    let line = String::from_utf8(out.body().to_vec()).unwrap();
    rest(line.trim_end().as_bytes())
}

/// A message from its type on, after a look at what is in front.
fn rest(message: &[u8]) -> String {
    let text = std::str::from_utf8(message).unwrap();
    serde_json::from_str::<serde_json::Value>(text).unwrap();
    let (id, rest) = text.strip_prefix(r#"{"arcp":"1.1","id":"msg_"#).unwrap().split_at(26);
    assert!(Ulid::from_string(id).is_ok(), "{id}");
    rest.strip_prefix("\",").unwrap().to_owned()
}

const SESSION: &str = r#""session_id":"sess_01KRHVFYA00000000000000007""#;

#[test]
fn ids_of_messages_rise() {
    let mut writer = writer(Dialect::Spec);
    let ids = [NOW, NOW, NOW - 5, NOW + 1, NOW + 1].map(|now| writer.next(now));
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
    assert_eq!(ids[3].timestamp_ms(), NOW + 1);
}

#[test]
fn a_welcome() {
    let mut inventory = Inventory::default();
    for (name, version) in [("echo", "1.0"), ("echo", "2.0"), ("hidden", "1")] {
        inventory.offer(&AgentRef { name: name.into(), version: version.into() }, false);
    }
    let welcome = Welcome {
        session: SessionId::new(NOW, 7),
        token: "rt_1".into(),
        resumed: false,
        after: 0,
        head: 0,
        window_sec: 600,
        inventory: inventory.into(),
        provisions: true,
        at_ms: NOW,
    };
    let mut writer = writer(Dialect::Spec);
    writer.features = Features::named(["agent_versions", "ack"].into_iter());
    let expected = format!(
        r#""type":"session.welcome",{SESSION},"payload":{{"runtime":{{"name":"tidegate","version":"{}"}},{SESSION},"resume_token":"rt_1","resume_window_sec":600,"heartbeat_interval_sec":30,"accepted_at":{AT},"capabilities":{{"encodings":["json"],"features":["ack","agent_versions"],"agents":[{{"name":"echo","versions":["1.0","2.0"],"default":"1.0"}}]}}}}}}"#,
        env!("CARGO_PKG_VERSION")
    );
    assert_eq!(rest(&writer.welcome(&welcome, |agent| agent != "hidden")), expected);
    writer.heartbeat_sec = None;
    assert!(!rest(&writer.welcome(&welcome, |_| true)).contains("heartbeat"));
}

#[test]
fn errors_heartbeats_and_the_end() {
    let mut writer = writer(Dialect::Python);
    let mut fault = Fault::invalid("no \"x\"");
    assert_eq!(
        rest(&writer.error(&fault, None, None, NOW)),
        format!(
            r#""type":"session.error",{SESSION},"payload":{{"code":"INVALID_REQUEST","message":"no \"x\"","retryable":false}}}}"#
        )
    );
    fault.details = Some(raw(r#"{"a":1}"#));
    fault.message.clear();
    assert_eq!(
        rest(&writer.error(&fault, Some("m1"), Some(job()), NOW)),
        format!(
            r#""type":"session.error",{SESSION},"payload":{{"code":"INVALID_REQUEST","message":"INVALID_REQUEST","retryable":false,"details":{{"a":1}},"request_id":"m1","job_id":{JOB}}}}}"#
        )
    );
    assert_eq!(
        rest(&writer.pong("p\n", NOW)),
        format!(r#""type":"session.pong",{SESSION},"payload":{{"ping_nonce":"p\n","received_at":{AT}}}}}"#)
    );
    let ping = rest(&writer.ping(NOW));
    let (head, tail) = ping.split_once("\"p_").unwrap();
    assert_eq!(head, format!(r#""type":"session.ping",{SESSION},"payload":{{"nonce":"#));
    assert_eq!(tail[26..], format!(r#"","sent_at":{AT}}}}}"#));
    assert_eq!(rest(&writer.closed(NOW)), format!(r#""type":"session.closed",{SESSION},"payload":{{}}}}"#));
}

#[test]
fn an_acceptance_has_budgets_as_the_library_reads_them() {
    for dialect in DIALECTS {
        let budget = match dialect {
            Dialect::Python => r#"{"EUR":"EUR:0.25","USD":"USD:5.00"}"#,
            _ => r#"{"EUR":0.25,"USD":5}"#,
        };
        let mut writer = writer(dialect);
        let message = writer.accepted(Some("m1"), &accepted(false), &[credential()], NOW).unwrap();
        let expected = format!(
            r#""type":"job.accepted",{SESSION},"job_id":{JOB},"trace_id":{TRACE},"payload":{{"job_id":{JOB},"agent":"echo@1.0","lease":{{"cost.budget":["USD:5.00","EUR:0.25"],"tool.call":["t*"]}},"lease_constraints":{{"expires_at":"2026-05-13T23:42:00.001Z"}},"budget":{budget},"credentials":[{{"id":"cred_01KRHVFYA00000000000000003","scheme":"bearer","value":"sk-1","endpoint":"https://x/"}}],"accepted_at":{AT},"request_id":"m1","trace_id":{TRACE}}}}}"#
        );
        assert_eq!(rest(&message), expected);
        writer.features = Features::default();
        let message = writer.accepted(Some("m1"), &accepted(false), &[credential()], NOW).unwrap();
        assert!(!rest(&message).contains("sk-1"), "credentials that nobody agreed to");
    }
}

#[test]
fn a_childs_acceptance_is_not_shown_where_it_would_be_taken_for_another() {
    for dialect in DIALECTS {
        let message = writer(dialect).accepted(None, &accepted(true), &[], NOW);
        match dialect {
            Dialect::Python | Dialect::Go => assert!(message.is_none()),
            _ => {
                let tail = r#""parent_job_id":"job_01KRHVFYA00000000000000008","delegate_id":"d1"}}"#;
                assert!(rest(&message.unwrap()).ends_with(tail));
            }
        }
    }
}

#[test]
fn a_refused_submit() {
    let fault = Fault::new(Code::AgentNotAvailable, "no");
    let body = r#""code":"AGENT_NOT_AVAILABLE","message":"no","retryable":false"#;
    let error = format!(r#""type":"session.error",{SESSION},"payload":{{{body},"request_id":"m1"}}}}"#);
    let ended = format!(r#""payload":{{"final_status":"error",{body},"completed_at":{AT},"request_id":"m1"}}}}"#);
    for dialect in DIALECTS {
        let messages = writer(dialect).rejected("m1", &fault, Some(TraceId::new(10)), NOW);
        match dialect {
            Dialect::Spec | Dialect::Go => assert_eq!(messages.iter().map(|m| rest(m)).collect::<Vec<_>>(), [&*error]),
            Dialect::TypeScript => {
                let head = format!(
                    r#""type":"job.error",{SESSION},"job_id":"job_01KRHVFYA00000000000000007","trace_id":{TRACE},"#
                );
                assert_eq!(messages.iter().map(|m| rest(m)).collect::<Vec<_>>(), [head + &ended]);
            }
            Dialect::Python => {
                let head = format!(r#"{{"arcp":"1.1","id":"m1","type":"job.error",{SESSION},"trace_id":{TRACE},"#);
                assert_eq!(String::from_utf8(messages[0].clone()).unwrap(), head + &ended);
                assert_eq!((messages.len(), rest(&messages[1])), (2, error.clone()));
            }
        }
    }
}

#[test]
fn a_cancel_and_a_subscription() {
    let mut writer = writer(Dialect::Go);
    assert_eq!(
        rest(&writer.cancelled("m1", job(), Some("why"), TraceId::new(10), NOW)),
        format!(
            r#""type":"job.cancelled",{SESSION},"job_id":{JOB},"trace_id":{TRACE},"payload":{{"job_id":{JOB},"request_id":"m1","reason":"why"}}}}"#
        )
    );
    let accepted = Arc::new(Accepted { constraints: Constraints::default(), ..accepted(false) });
    let subscribed = Subscribed {
        request_id: "m2".into(),
        job: Descriptor { budget: accepted.budget.clone(), accepted, status: Status::Running },
        subscribed_from: 12,
        replayed: 3,
        credentials: Arc::default(),
    };
    assert_eq!(
        rest(&writer.subscribed(&subscribed, NOW)),
        format!(
            r#""type":"job.subscribed",{SESSION},"job_id":{JOB},"trace_id":{TRACE},"payload":{{"job_id":{JOB},"request_id":"m2","current_status":"running","agent":"echo@1.0","lease":{{"cost.budget":["USD:5.00","EUR:0.25"],"tool.call":["t*"]}},"budget":{{"EUR":0.25,"USD":5}},"parent_job_id":null,"trace_id":{TRACE},"subscribed_from":12,"replayed":true}}}}"#
        )
    );
}

fn listed(n: u128, lease: &Lease) -> Listed {
    let accepted = Accepted { job: JobId::new(NOW, n), lease: lease.clone(), budget: None, ..accepted(false) };
    let job = Descriptor { accepted: accepted.into(), status: Status::Success, budget: None };
    Listed { job, last_event_seq: 4 }
}

#[test]
fn a_page_of_jobs_is_as_long_as_fits() {
    let mut writer = writer(Dialect::TypeScript);
    let entry = format!(
        r#"{{"job_id":{JOB},"agent":"echo@1.0","status":"success","lease":{{}},"lease_constraints":{{"expires_at":"2026-05-13T23:42:00.001Z"}},"parent_job_id":null,"created_at":{AT},"submitted_at":{AT},"trace_id":{TRACE},"last_event_seq":4}}"#
    );
    for (cursor, shown) in [(None, "null"), (Some("c1"), r#""c1""#)] {
        assert_eq!(
            rest(&writer.jobs("m1", &[listed(9, &Lease::default())], cursor, NOW)),
            format!(
                r#""type":"session.jobs",{SESSION},"payload":{{"request_id":"m1","jobs":[{entry}],"next_cursor":{shown}}}}}"#
            )
        );
    }
    let patterns = vec!["x".repeat(200); 60];
    let lease = Lease::read(&to_raw_value(&serde_json::json!({ "tool.call": patterns })).unwrap()).unwrap();
    let many: Vec<_> = (0..150).map(|n| listed(n, &lease)).collect();
    let message = writer.jobs("m1", &many, Some("c1"), NOW);
    assert!(message.len() < 1 << 20, "{}", message.len());
    let page: serde_json::Value = serde_json::from_slice(&message).unwrap();
    let jobs = page["payload"]["jobs"].as_array().unwrap();
    assert!((70..100).contains(&jobs.len()), "{}", jobs.len());
    assert_eq!(page["payload"]["next_cursor"], jobs[jobs.len() - 1]["job_id"]);
}

#[test]
fn kinds_that_were_not_agreed_upon_are_told_under_a_name_of_our_own() {
    let mut writer = writer(Dialect::Spec);
    let payload = |kind: &str| Bytes::from(format!(r#"{{"kind":"{kind}","ts":"x","body":{{}}}}"#));
    let told = |writer: &Writer, kind| writer.unagreed(&payload(kind)).map(|(kind, rest)| (kind, rest.len()));
    writer.hides_kinds = true;
    assert_eq!(told(&writer, "progress"), None);
    writer.features = writer.features.without(Feature::Progress);
    assert_eq!(told(&writer, "progress"), Some(("progress", r#","ts":"x","body":{}}"#.len())));
    assert_eq!((told(&writer, "result_chunk"), told(&writer, "log")), (None, None));
    writer.hides_kinds = false;
    assert_eq!(told(&writer, "progress"), None, "who says nothing of features is told the draft's names");
}

#[test]
fn an_event_is_its_shared_payload_in_an_envelope() {
    for (len, trace) in [(1, Some(TraceId::new(10))), (20_000, None)] {
        let payload = format!(r#"{{"kind":"log","ts":{AT},"body":{{"text":"{}"}}}}"#, "x".repeat(len));
        let what = What::Event(payload.clone().into());
        let entry = Arc::new(Entry { job: job(), n: 1, trace, what });
        let shown = trace.map(|_| format!(r#""trace_id":{TRACE},"#)).unwrap_or_default();
        let expected =
            format!(r#""type":"job.event",{SESSION},"job_id":{JOB},{shown}"event_seq":2,"payload":{payload}}}"#);
        assert_eq!(told(Dialect::Python, &entry), expected);

        let mut out = Out::default();
        out.begin(None);
        writer(Dialect::Spec).event(2, &entry, NOW, &mut out);
        let (mut written, mut unsent) = (Vec::new(), Unsent::default());
        out.write(&mut Context::from_waker(Waker::noop()), &mut written, &mut unsent).unwrap();
        let front = r#"{"arcp":"1.1","id":"msg_01ARZ3NDEKTSV4RRFFQ69G5FAV","#;
        let header = tidegate_ws::header(tidegate_ws::OpCode::Text, false, front.len() + expected.len());
        assert!(unsent.is_empty() && written.starts_with(&header));
        assert_eq!(written[header.len() + front.len()..], *expected.as_bytes());
    }
}

#[test]
fn how_a_job_ended() {
    let fault = |code| Outcome::Fault(Fault::new(code, "m"));
    let head = |kind: &str| {
        format!(r#""type":"job.{kind}",{SESSION},"job_id":{JOB},"trace_id":{TRACE},"event_seq":2,"payload":"#)
    };
    for dialect in DIALECTS {
        for (status, code, name) in [
            (FinalStatus::Error, Code::InternalError, "error"),
            (FinalStatus::Cancelled, Code::Cancelled, "cancelled"),
            (FinalStatus::TimedOut, Code::Timeout, "timed_out"),
        ] {
            let name = if dialect == Dialect::Python { "error" } else { name };
            let expected = format!(
                r#"{}{{"final_status":"{name}","code":"{code}","message":"m","retryable":{},"completed_at":{AT}}}}}"#,
                head("error"),
                code == Code::InternalError
            );
            assert_eq!(told(dialect, &ended(status, fault(code))), expected);
        }
        let result = |result: Option<&str>, summary: Option<&str>| {
            let outcome = Outcome::Result { result: result.map(raw), summary: summary.map(Into::into) };
            told(dialect, &ended(FinalStatus::Success, outcome))
        };
        let expected =
            |fields: &str| format!(r#"{}{{"final_status":"success",{fields}"completed_at":{AT}}}}}"#, head("result"));
        assert_eq!(
            result(Some(r#"{"a":[null]}"#), Some("s")),
            expected(r#""result":{"a":[null]},"output":{"a":[null]},"summary":"s","#)
        );
        assert_eq!(result(None, None), expected(""));
        assert_eq!(result(Some("null"), None), expected(""));
        let streamed = Outcome::Streamed { result_id: ResultId::new(NOW, 1), result_size: 31_457_280, summary: None };
        assert_eq!(
            told(dialect, &ended(FinalStatus::Success, streamed)),
            expected(r#""result_id":"res_01KRHVFYA00000000000000001","result_size":31457280,"#)
        );
        let long = format!("\"{}\"", "x".repeat(700 << 10));
        let name = if dialect == Dialect::Go { "output" } else { "result" };
        assert_eq!(result(Some(&long), None), expected(&format!(r#""{name}":{long},"#)));
    }
}
