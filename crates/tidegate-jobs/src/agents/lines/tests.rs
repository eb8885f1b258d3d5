use std::sync::Arc;

use serde_json::value::RawValue;

use super::*;
use crate::agents::fake::told;
use crate::{Code, Ending, Fault, FinalStatus, JobId, Outcome, Stop, Told};

const NOW_MS: u64 = 1_700_000_000_000;

#[test]
fn lines_are_read_as_what_they_say() {
    for (line, said) in [
        (
            r#"{"type":"event","kind":"log","body":{"level":"info","message":"m"},"more_fields":1}"#,
            r#"log {"level":"info","message":"m"}"#,
        ),
        (r#"{"type":"authorize","call":7,"op":"fs.read","target":"/a"}"#, "authorize 7 FsRead /a"),
        (r#"{"type":"chunk","data":"ä","encoding":"utf8","more":true}"#, r#"chunk Text("ä") false"#),
        (r#"{"type":"chunk","data":"AAEC","encoding":"base64","more":false}"#, r#"chunk Binary(b"\0\x01\x02") true"#),
        (r#"{"type":"result"}"#, "done -"),
        (r#"{"type":"result","result":null}"#, "done -"),
        (r#"{"type":"result","result":1.50,"summary":"s"}"#, "done 1.50"),
        (r#"{"type":"error","code":"TIMEOUT","message":"m"}"#, "failed TIMEOUT: m"),
        (r#"{"type":"error","code":"OWN","message":"m"}"#, "failed INTERNAL_ERROR: m"),
        (
            r#"{"type":"delegate","call":1,"delegate_id":"d","agent":"echo@1"}"#,
            r#"delegate 1 d Asked { name: "echo", version: Some("1") }"#,
        ),
    ] {
        assert_eq!(told(&read(line.as_bytes(), NOW_MS).unwrap()), said);
    }
}

#[test]
fn what_is_wrong_with_a_line_is_said_without_what_it_says() {
    for line in [
        &b"secret"[..],
        b"\xffsecret",
        br#"["secret"]"#,
        br#"{"type":"secret"}"#,
        br#"{"type":"event","kind":"secret","body":{}}"#,
        br#"{"type":"event","kind":"log","body":{"level":["secret"]}}"#,
        br#"{"type":"event","kind":"delegate","body":{"x":"secret"}}"#,
        br#"{"type":"event","kind":"log"}"#,
        br#"{"type":"authorize","call":"secret","op":"tool.call","target":"x"}"#,
        br#"{"type":"authorize","call":1,"op":"secret","target":"x"}"#,
        br#"{"type":"chunk","data":"secret!","encoding":"base64","more":true}"#,
        br#"{"type":"chunk","data":"x","encoding":"utf8"}"#,
        br#"{"type":"delegate","call":1,"delegate_id":"","agent":"secret"}"#,
        br#"{"type":"delegate","call":1,"delegate_id":"d","agent":"Secret"}"#,
        br#"{"type":"delegate","call":1,"delegate_id":"d","agent":"a","lease_request":"secret"}"#,
        br#"{"type":"delegate","call":1,"delegate_id":"d","agent":"a","lease_constraints":{"expires_at":"secret"}}"#,
        br#"{"type":"error","message":"secret"}"#,
    ] {
        let wrong = read(line, NOW_MS).unwrap_err();
        assert!(!wrong.contains("ecret") && !wrong.is_empty(), "{wrong}");
    }
}

#[test]
fn an_own_code_is_a_detail() {
    let details = |json: &str| Some(RawValue::from_string(json.to_owned()).unwrap());
    let own = fault("QUOTA", "", Some(false), details("[1]"));
    assert_eq!((own.code, &*own.message, own.retryable), (Code::InternalError, "QUOTA", true));
    assert_eq!(own.details.unwrap().get(), r#"{"code":"QUOTA","details":[1]}"#);
    let known = fault("PERMISSION_DENIED", "m", Some(true), details(r#"{"a":1}"#));
    assert_eq!((known.code, known.retryable), (Code::PermissionDenied, true));
    assert_eq!(known.details.unwrap().get(), r#"{"a":1}"#);
    assert!(fault("TIMEOUT", "m", None, details("17")).details.is_none());
}

#[test]
fn what_is_told_is_a_line() {
    let fault = Fault::new(Code::PermissionDenied, "no");
    let job = JobId::of(1);
    for (of, told, line) in [
        (None, Told::Heard(3), r#"{"type":"heard","n":3}"#),
        (Some(job), Told::Heard(3), r#"{"type":"heard","job_id":"job_00000000000000000000000001","n":3}"#),
        (None, Told::Permit { call: 1, permit: Ok(()) }, r#"{"type":"permit","call":1}"#),
        (
            None,
            Told::Delegated { call: 2, child: Err(fault) },
            r#"{"type":"refuse","call":2,"error":{"code":"PERMISSION_DENIED","message":"no","retryable":false}}"#,
        ),
        (
            None,
            Told::Delegated { call: 2, child: Ok(job) },
            r#"{"type":"delegated","call":2,"child_job_id":"job_00000000000000000000000001"}"#,
        ),
        (
            Some(job),
            Told::Stop(Stop::TimedOut),
            r#"{"type":"stop","job_id":"job_00000000000000000000000001","reason":"timed_out"}"#,
        ),
    ] {
        assert_eq!(write(of, &told), line);
    }
    let result = Some(RawValue::from_string("[1.50]".into()).unwrap());
    let outcome = Outcome::Result { result, summary: None };
    let ending = Arc::new(Ending { status: FinalStatus::Success, at_ms: 0, outcome });
    assert_eq!(
        write(None, &Told::Child { job, ending }),
        r#"{"type":"child","child_job_id":"job_00000000000000000000000001","final_status":"success","result":[1.50]}"#
    );
}
