//! Real processes, and so real time.

use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use super::{Command, CommandSpec};
use crate::agents::fake::{Runtime, told};
use crate::{AgentRef, Code, Ending, Fault, FinalStatus, JobId, Outcome, Said, Stop, Told};

fn runs(script: &str) -> (Runtime, JobId) {
    let spec = CommandSpec {
        argv: ["sh", "-c", script].map(Into::into).into(),
        inherit: vec!["PATH".into()],
        env: [("OWN".into(), "1".into())].into(),
        dir: Some("/".into()),
    };
    let mut runtime = Runtime::new();
    let agent = AgentRef { name: "command".into(), version: "7".into() };
    runtime.agents.register(agent, true, Command::new(spec)).unwrap();
    let job = runtime.start("command", &json!({"in": 1}));
    (runtime, job)
}

async fn heard(script: &str) -> Vec<String> {
    let (mut runtime, job) = runs(script);
    timeout(Duration::from_secs(20), runtime.hears_all(job, |_| None)).await.unwrap()
}

/// The number of a process, said in a `status`.
async fn pid(runtime: &mut Runtime) -> u32 {
    let Said::Event { body, .. } = runtime.hears().await.said else { panic!("no event") };
    let body: Value = serde_json::from_str(body.get()).unwrap();
    body["phase"].as_str().unwrap().parse().unwrap()
}

/// Waits until a process is no more, or nobody has asked how it ended.
async fn is_gone(pid: u32) {
    let is_there = || {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with(" Z"))
    };
    let until = Instant::now() + Duration::from_secs(20);
    while is_there() {
        assert!(Instant::now() < until, "{pid} is still there");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_command_is_told_its_job_and_talks_about_it() {
    let job = heard(r#"read -r job; printf '{"type":"result","result":%s}\n' "$job""#).await;
    let job: Value = serde_json::from_str(job[0].strip_prefix("done ").unwrap()).unwrap();
    let expected = json!({
        "type": "job", "job_id": JobId::of(1), "agent": "command", "version": "7", "input": {"in": 1}, "lease": {},
        "lease_constraints": {"expires_at": "2023-11-14T22:13:20.500Z"}, "trace_id": "00000000000000000000000000000007",
    });
    assert_eq!(job, expected);

    let (mut runtime, job) = runs(
        r#"echo '{"type":"event","kind":"thought","body":{"text":"hm"}}'
        echo '{"type":"authorize","call":9,"op":"tool.call","target":"yes"}'
        echo; echo '{"type":"authorize","call":7,"op":"fs.read","target":"no"}'
        echo '{"type":"chunk","data":"AA==","encoding":"base64","more":false}'
        heard=0
        while read -r line; do
            case $line in
                *permit*9*) a=1;;
                *refuse*7*PERMISSION_DENIED*) b=1;;
                '{"type":"heard","n":4}') heard=1;;
            esac
            if [ "$a$b$heard" = 111 ]; then echo '{"type":"result","summary":"s"}'; exit; fi
        done"#,
    );
    let refuses = |target: &str| (target == "no").then(|| Fault::new(Code::PermissionDenied, "no"));
    let heard = timeout(Duration::from_secs(20), runtime.hears_all(job, refuses)).await.unwrap();
    let said = [r#"thought {"text":"hm"}"#, "authorize 1 ToolCall yes", "authorize 2 FsRead no"];
    assert_eq!(heard, [said[0], said[1], said[2], r#"chunk Binary(b"\0") true"#, "done -"]);
}

#[tokio::test]
async fn a_command_delegates() {
    let (mut runtime, job) = runs(
        r#"echo '{"type":"delegate","call":3,"delegate_id":"d","agent":"echo","input":[1]}'
        while read -r line; do
            case $line in
                *delegated*3*child_job_id*) a=1;;
                *'"type":"child"'*'"result":[1]'*) echo "{\"type\":\"result\",\"result\":\"a$a\"}"; exit;;
            esac
        done"#,
    );
    let Said::Delegate { call, delegation } = runtime.hears().await.said else { panic!("no delegation") };
    assert_eq!((&*delegation.id, delegation.input.get()), ("d", "[1]"));
    let child = JobId::of(50);
    runtime.tell(job, Told::Delegated { call, child: Ok(child) });
    let result = Some(RawValue::from_string("[1]".into()).unwrap());
    let outcome = Outcome::Result { result, summary: None };
    let ending = Arc::new(Ending { status: FinalStatus::Success, at_ms: 0, outcome });
    runtime.tell(job, Told::Child { job: child, ending });
    assert_eq!(told(&runtime.hears().await.said), r#"done "a1""#);
}

#[tokio::test]
async fn a_command_that_ends_without_a_result_has_failed() {
    for (script, status) in [
        ("exit 3", "exit status: 3"),
        ("kill -9 $$", "signal: 9 (SIGKILL)"),
        ("exec >&-; read -r job; read -r more; exit 4", "exit status: 4"),
    ] {
        let said = heard(script).await;
        assert_eq!(said, [format!("failed INTERNAL_ERROR: the command ended without a result: {status}")]);
    }
    let said = heard(r#"echo '{"type":"error","code":"TIMEOUT","message":"m"}'; exit 1"#).await;
    assert_eq!(said, ["failed TIMEOUT: m"]);
    // What it said before its end counts, and what it has not ended with a line too.
    let said = heard(r#"printf '{"type":"result","result":1}'; exit 1"#).await;
    assert_eq!(said, ["done 1"]);
}

#[tokio::test]
async fn a_command_that_is_not_there_fails() {
    let mut runtime = Runtime::new();
    let agent = AgentRef { name: "command".into(), version: "7".into() };
    let spec = CommandSpec { argv: vec!["/nowhere/secret".into()], ..CommandSpec::default() };
    runtime.agents.register(agent, true, Command::new(spec)).unwrap();
    let job = runtime.start("command", &json!(null));
    let heard = runtime.hears_all(job, |_| None).await;
    assert!(heard[0].starts_with("failed INTERNAL_ERROR: the command could not be started"), "{heard:?}");
    assert!(!heard[0].contains("secret"));
}

#[tokio::test]
async fn garbage_fails_the_job_without_being_repeated() {
    let line = r#"echo '{"type":"event","kind":"thought","body":{"text":"hm"}}';"#;
    let said = heard(&format!("{line} echo secret; sleep 1000")).await;
    let wrong = "failed INTERNAL_ERROR: line 2 of what the command says can't be read: it is no JSON (column 1)";
    assert_eq!(said[1], wrong);
    let said = heard("head -c 3000000 /dev/zero | tr '\\0' a; sleep 1000").await;
    assert!(said[0].ends_with("line 1 of what the command says can't be read: it is longer than 2097152 bytes"));
}

#[tokio::test]
async fn a_command_need_not_read() {
    let said = heard(
        r#"exec <&-; echo '{"type":"authorize","call":1,"op":"tool.call","target":"x"}'; echo '{"type":"result"}'"#,
    );
    assert_eq!(said.await, ["authorize 1 ToolCall x", "done -"]);
}

#[tokio::test]
async fn the_environment_is_what_is_named() {
    // The shell adds some of its own.
    let names = r#"$(env | cut -d= -f1 | grep -v -e '^PWD$' -e '^OLDPWD$' -e '^SHLVL$' -e '^_$' | sort | tr '\n' ' ')"#;
    let said = heard(&format!(r#"printf '{{"type":"result","result":"%s"}}\n' "{names} $OWN $(pwd)""#)).await;
    assert_eq!(said, [r#"done "OWN PATH  1 /""#]);
    assert!(std::env::vars_os().count() > 2);
}

/// Says the number of a child of its own, which does not end when it is asked to.
const FAMILY: &str = r#"(trap '' TERM; exec sleep 1000) & echo "{\"type\":\"status\"}" >/dev/null
    echo "{\"type\":\"event\",\"kind\":\"status\",\"body\":{\"phase\":\"$!\"}}";"#;

#[tokio::test]
async fn a_command_that_is_to_stop_is_told_then_asked_then_killed() {
    // It ends when it is asked, and what it has started with it.
    let (mut runtime, job) = runs(&format!("{FAMILY} trap 'exit 0' TERM; while :; do sleep 0.01; done"));
    let child = pid(&mut runtime).await;
    let since = Instant::now();
    runtime.tell(job, Told::Stop(Stop::Cancelled));
    is_gone(child).await;
    assert!(since.elapsed() < Duration::from_secs(2));
    // It does not: both are killed after 2 s.
    let (mut runtime, job) = runs(&format!("trap '' TERM; {FAMILY} while :; do sleep 0.01; done"));
    let child = pid(&mut runtime).await;
    let since = Instant::now();
    runtime.tell(job, Told::Stop(Stop::TimedOut));
    is_gone(child).await;
    assert!((2..5).contains(&since.elapsed().as_secs()), "{:?}", since.elapsed());
    // It reads why.
    let file = tempfile::NamedTempFile::new().unwrap();
    let (mut runtime, job) = runs(&format!(
        "trap '' TERM; {FAMILY} while read -r line; do echo \"$line\" >> {}; done; exit 0",
        file.path().display()
    ));
    let child = pid(&mut runtime).await;
    runtime.tell(job, Told::Stop(Stop::LeaseExpired));
    is_gone(child).await;
    let told = std::fs::read_to_string(file.path()).unwrap();
    assert_eq!(told.lines().last(), Some(r#"{"type":"stop","reason":"lease_expired"}"#));
}

#[tokio::test]
async fn a_result_is_the_end_whatever_the_process_does() {
    let (mut runtime, _) = runs(&format!("{FAMILY} trap '' TERM; echo '{{\"type\":\"result\"}}'; sleep 1000"));
    let child = pid(&mut runtime).await;
    let since = Instant::now();
    assert_eq!(told(&runtime.hears().await.said), "done -");
    assert!(since.elapsed() < Duration::from_secs(2));
    is_gone(child).await;
}

#[tokio::test]
async fn what_a_process_leaves_behind_ends_with_it() {
    let (mut runtime, _) = runs(&format!("{FAMILY} exit 0"));
    let child = pid(&mut runtime).await;
    let end = told(&runtime.hears().await.said);
    assert_eq!(end, "failed INTERNAL_ERROR: the command ended without a result: exit status: 0");
    is_gone(child).await;
}

#[tokio::test]
async fn dropping_the_agents_kills_their_processes() {
    let (mut runtime, _) = runs(&format!("trap '' TERM; {FAMILY} sleep 1000"));
    let child = pid(&mut runtime).await;
    drop(runtime);
    is_gone(child).await;
}
