//! What each request means, and what is wrong with those that mean nothing.

use super::*;

/// 2026-05-13T23:42:00Z
const NOW: u64 = 1_778_715_720_000;
const JOB: &str = "job_01KRHV6YW00000000000000009";

fn everything() -> Features {
    Features::named(Feature::ALL.into_iter().map(Feature::name))
}

fn read_with(features: Features, kind: &str, payload: &str) -> Result<Request, String> {
    let text = format!(
        r#"{{"arcp":"1.1","id":"m","type":"{kind}","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","payload":{payload}}}"#
    );
    let envelope = Envelope::read(&text).map_err(|malformed| malformed.fault.to_string())?;
    super::read(&envelope, features, NOW).map_err(|fault| fault.to_string())
}

fn read(kind: &str, payload: &str) -> Result<Request, String> {
    read_with(everything(), kind, payload)
}

#[test]
fn a_submit_with_everything() {
    let payload = r#"{"agent":"refactor@2.0.0","input":{"n":1.50},"lease_request":{"tool.call":["a*"]},
        "lease_constraints":{"expires_at":"2026-05-13T23:43:00Z"},"idempotency_key":"k","max_runtime_sec":60,"parent_job_id":null}"#;
    let Ok(Request::Submit(submission)) = read("job.submit", payload) else { panic!() };
    assert_eq!((&*submission.agent.name, submission.agent.version.as_deref()), ("refactor", Some("2.0.0")));
    assert_eq!(submission.input.get(), r#"{"n":1.50}"#);
    assert_eq!(submission.lease.patterns("tool.call").len(), 1);
    assert_eq!(submission.constraints.expires_at_ms, Some(NOW + 60_000));
    assert_eq!((submission.idempotency_key.as_deref(), submission.max_runtime_sec), (Some("k"), Some(60)));
    assert_eq!(submission.trace.unwrap().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    let Ok(Request::Submit(bare)) = read_with(Features::default(), "job.submit", r#"{"agent":"echo"}"#) else {
        panic!()
    };
    assert_eq!((bare.input.get(), bare.lease.is_empty(), bare.constraints.expires_at_ms), ("null", true, None));
}

#[test]
fn what_was_not_agreed_to_is_refused() {
    for (field, feature) in [
        (r#""agent":"a@1""#, "agent_versions"),
        (r#""agent":"a","lease_request":{"cost.budget":["USD:1"]}"#, "cost.budget"),
        (r#""agent":"a","lease_request":{"model.use":["m"]}"#, "model.use"),
        (r#""agent":"a","lease_constraints":{"expires_at":"2026-05-13T23:43:00Z"}"#, "lease_expires_at"),
    ] {
        let payload = format!("{{{field}}}");
        assert!(read("job.submit", &payload).is_ok(), "{payload}");
        let error = format!("INVALID_REQUEST: the feature {feature} was not agreed to");
        assert_eq!(read_with(Features::default(), "job.submit", &payload).err(), Some(error));
    }
    assert!(read_with(Features::default(), "job.submit", r#"{"agent":"a","lease_constraints":{}}"#).is_ok());
    for kind in [Kind::Ping, Kind::Pong, Kind::Ack, Kind::ListJobs, Kind::Subscribe, Kind::Unsubscribe] {
        assert!(agreed(Features::default(), needs(kind).unwrap()).is_err());
    }
    for kind in [Kind::Submit, Kind::Cancel, Kind::Close, Kind::Ignored] {
        assert_eq!(needs(kind), None);
    }
}

#[test]
fn a_job_is_named_in_the_payload_or_around_it() {
    let cancel = |around: &str, payload: &str| {
        let text = format!(r#"{{"arcp":"1.1","id":"m","type":"job.cancel","job_id":{around},"payload":{payload}}}"#);
        let envelope = Envelope::read(&text).unwrap_or_else(|malformed| panic!("{malformed:?}"));
        super::read(&envelope, everything(), NOW).map_err(|fault| fault.to_string())
    };
    let (name, inner) = (format!("\"{JOB}\""), format!(r#"{{"job_id":"{JOB}","reason":"why"}}"#));
    for (around, payload) in [("null", &*inner), (&name, "{}"), (&name, &inner), (&name, "null")] {
        let Ok(Request::Cancel { job, .. }) = cancel(around, payload) else { panic!("{around} {payload}") };
        assert_eq!(job.to_string(), JOB);
    }
    for (around, payload, error) in [
        ("null", "{}", "INVALID_REQUEST: payload.job_id is missing"),
        ("\"job_1\"", &*inner, "INVALID_REQUEST: payload.job_id and job_id name different jobs"),
        ("\"job_1\"", "{}", "JOB_NOT_FOUND: there is no such job"),
        ("null", r#"{"job_id":7}"#, "INVALID_REQUEST: payload.job_id has to be a string"),
        (&name, r#"{"reason":[]}"#, "INVALID_REQUEST: payload.reason has to be a string"),
    ] {
        assert_eq!(cancel(around, payload).err().as_deref(), Some(error), "{around} {payload}");
    }
}

#[test]
fn subscriptions_and_lists() {
    let payload = format!(r#"{{"job_id":"{JOB}","from_event_seq":7,"history":true}}"#);
    let Ok(Request::Subscribe { from_event_seq: 7, history: true, .. }) = read("job.subscribe", &payload) else {
        panic!()
    };
    let payload = r#"{"filter":{"status":["running","timed_out"],"agent":"echo@1","created_after":"2026-05-14T01:42:00.5+02:00",
        "created_before":"2026-05-13T23:42:01Z"},"limit":1000,"cursor":"c"}"#;
    let Ok(Request::List(list)) = read("session.list_jobs", payload) else { panic!() };
    assert_eq!(list.status, [Status::Running, Status::TimedOut]);
    assert_eq!(list.agent, Some(Asked::parse("echo@1").unwrap()));
    assert_eq!((list.created_after_ms, list.created_before_ms), (Some(NOW + 500), Some(NOW + 1_000)));
    assert_eq!((list.limit, list.cursor.as_deref()), (Some(1_000), Some("c")));
    for empty in ["{}", "null", r#"{"filter":null,"limit":null,"cursor":null}"#, r#"{"filter":{},"cursor":""}"#] {
        let Ok(Request::List(list)) = read("session.list_jobs", empty) else { panic!("{empty}") };
        assert_eq!(*list, List::default());
    }
}

#[test]
fn the_field_that_is_wrong_is_named() {
    let long = "x".repeat(257);
    for (kind, payload, error) in [
        ("job.submit", "[]", "payload has to be an object"),
        ("job.submit", "{}", "payload.agent is missing"),
        ("job.submit", r#"{"agent":null}"#, "payload.agent is missing"),
        ("job.submit", r#"{"agent":"a","max_runtime_sec":0}"#, "payload.max_runtime_sec has to be at least 1"),
        (
            "job.submit",
            r#"{"agent":"a","max_runtime_sec":1.5}"#,
            "payload.max_runtime_sec has to be a whole number that is not negative",
        ),
        (
            "job.submit",
            r#"{"agent":"a","idempotency_key":""}"#,
            "payload.idempotency_key has to be 1 to 256 bytes long",
        ),
        ("job.subscribe", r#"{"job_id":"x","history":1}"#, "JOB_NOT_FOUND"),
        ("session.list_jobs", r#"{"limit":0}"#, "payload.limit has to be 1 to 1000"),
        ("session.list_jobs", r#"{"limit":1001}"#, "payload.limit has to be 1 to 1000"),
        ("session.list_jobs", r#"{"filter":[]}"#, "payload.filter has to be an object"),
        ("session.list_jobs", r#"{"filter":{"agent":"A B"}}"#, "payload.filter.agent has to be name or name@version"),
        ("session.list_jobs", r#"{"filter":{"created_after":"yesterday"}}"#, "payload.filter.created_after has to be"),
        ("session.list_jobs", r#"{"filter":{"status":["gone"]}}"#, "payload.filter.status has to be of pending"),
        ("session.list_jobs", &format!(r#"{{"cursor":"{long}"}}"#), "payload.cursor has to be a next_cursor"),
        ("session.hello", "{}", "the session has begun already"),
    ] {
        let said = read(kind, payload).err().unwrap_or_default();
        assert!(said.contains(error), "{kind} {payload}: {said}");
    }
}
