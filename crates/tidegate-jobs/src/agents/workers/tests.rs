//! Workers, in paused time.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::{WorkerEar, WorkerLink};
use crate::agents::fake::{Runtime, told};
use crate::{Asked, Code, Fault, JobId, Owner, Stop, Told};

fn owner(name: &str) -> Owner {
    Owner { tenant: "".into(), name: name.into() }
}

async fn try_register(runtime: &Runtime, name: &str, line: &str) -> Result<(WorkerLink, WorkerEar), Fault> {
    let may_serve = |agent: &str| agent != "forbidden";
    let (link, mut ear) = WorkerLink::register(runtime.agents.clone(), &owner(name), line, may_serve).await?;
    assert_eq!(ear.next().await.unwrap(), r#"{"type":"registered"}"#);
    Ok((link, ear))
}

/// A worker of `ann`'s that serves `far@1` and still has these jobs.
async fn worker(runtime: &Runtime, jobs: &[JobId]) -> (WorkerLink, WorkerEar) {
    let jobs: Vec<_> = jobs.iter().map(|job| json!({ "job_id": job })).collect();
    let line = json!({"type": "register", "agents": [{"name": "far", "version": "1"}], "capacity": 2, "jobs": jobs});
    try_register(runtime, "ann", &line.to_string()).await.unwrap()
}

/// Says a thought.
async fn say(link: &WorkerLink, job: JobId, n: u64) -> Result<(), Fault> {
    let body = json!({ "text": n.to_string() });
    link.say(&json!({"type": "event", "job_id": job, "n": n, "kind": "thought", "body": body}).to_string()).await
}

async fn hears(runtime: &mut Runtime) -> (u64, String) {
    let spoken = runtime.hears().await;
    (spoken.n, told(&spoken.said))
}

fn thought(n: u64) -> (u64, String) {
    (n, format!(r#"thought {{"text":"{n}"}}"#))
}

/// The next line that a worker is told: its type.
async fn kind(ear: &mut WorkerEar) -> String {
    let line: serde_json::Value = serde_json::from_str(&ear.next().await.unwrap()).unwrap();
    line["type"].as_str().unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_worker_is_given_jobs_and_talks_about_them() {
    let mut runtime = Runtime::new();
    let mut inventory = runtime.agents.inventory();
    let asked = Asked::parse("far").unwrap();
    assert!(inventory.borrow_and_update().resolve(&asked).is_err());
    let (link, mut ear) = worker(&runtime, &[]).await;
    let far = inventory.borrow_and_update().resolve(&asked).unwrap();
    assert!(runtime.agents.is_workers(&far));
    let job = runtime.start("far", &json!([1]));
    let line: serde_json::Value = serde_json::from_str(&ear.next().await.unwrap()).unwrap();
    assert_eq!((&line["type"], &line["job_id"], &line["input"]), (&json!("job"), &json!(job), &json!([1])));
    say(&link, job, 1).await.unwrap();
    let ask = json!({"type": "authorize", "job_id": job, "n": 2, "call": 5, "op": "tool.call", "target": "t"});
    link.say(&ask.to_string()).await.unwrap();
    assert_eq!(hears(&mut runtime).await, thought(1));
    assert_eq!(hears(&mut runtime).await, (2, "authorize 5 ToolCall t".into()));
    runtime.tell(job, Told::Permit { call: 5, permit: Ok(()) });
    assert_eq!(ear.next().await.unwrap(), format!(r#"{{"type":"permit","job_id":"{job}","call":5}}"#));
    link.say(&json!({"type": "result", "job_id": job, "n": 3, "result": 7}).to_string()).await.unwrap();
    assert_eq!(hears(&mut runtime).await, (3, "done 7".into()));
    runtime.tell(job, Told::Stop(Stop::Ended));
    assert_eq!(ear.next().await.unwrap(), format!(r#"{{"type":"stop","job_id":"{job}","reason":"ended"}}"#));
    // What comes late counts for nothing.
    say(&link, job, 4).await.unwrap();
    assert!(runtime.is_silent().await);
    drop(link);
    assert!(inventory.has_changed().unwrap() && inventory.borrow_and_update().resolve(&asked).is_err());
    assert_eq!(ear.next().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_worker_comes_back_and_goes_on_where_it_was() {
    let mut runtime = Runtime::new();
    let (link, mut ear) = worker(&runtime, &[]).await;
    let job = runtime.start("far", &json!(null));
    assert_eq!(kind(&mut ear).await, "job");
    for n in 1..=2 {
        say(&link, job, n).await.unwrap();
        assert_eq!(hears(&mut runtime).await, thought(n));
    }
    let gap = say(&link, job, 4).await.unwrap_err();
    assert_eq!((gap.code, &*gap.message), (Code::InvalidRequest, "number 4 of a job comes after 2"));
    drop(link);
    // This does not reach it.
    runtime.tell(job, Told::Permit { call: 5, permit: Ok(()) });
    sleep(Duration::from_secs(59)).await;
    let (link, mut ear) = worker(&runtime, &[job]).await;
    assert_eq!(hears(&mut runtime).await, (0, "back 1".into()));
    runtime.tell(job, Told::Heard(1));
    assert_eq!(kind(&mut ear).await, "permit");
    assert_eq!(kind(&mut ear).await, "heard");
    for n in 2..=3 {
        say(&link, job, n).await.unwrap();
    }
    assert_eq!(hears(&mut runtime).await, thought(3));
    assert!(runtime.is_silent().await);

    // Another connection takes it over, though this one is still there.
    let (next, _ear) = worker(&runtime, &[job]).await;
    assert_eq!(hears(&mut runtime).await, (0, "back 1".into()));
    say(&link, job, 4).await.unwrap();
    drop(link);
    say(&next, job, 4).await.unwrap();
    assert_eq!(hears(&mut runtime).await, thought(4));
    // It is nobody else's.
    let line = json!({"type": "register", "agents": [{"name": "near", "version": "1"}], "jobs": [{"job_id": job}]});
    let (other, mut its_ear) = try_register(&runtime, "bob", &line.to_string()).await.unwrap();
    assert_eq!(kind(&mut its_ear).await, "stop");
    say(&other, job, 5).await.unwrap();
    say(&next, job, 5).await.unwrap();
    assert_eq!(hears(&mut runtime).await, thought(5));
    assert!(runtime.is_silent().await);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_does_not_come_back_loses_its_jobs() {
    let mut runtime = Runtime::new();
    let (link, mut ear) = worker(&runtime, &[]).await;
    let job = runtime.start("far", &json!(null));
    assert_eq!(kind(&mut ear).await, "job");
    sleep(Duration::from_secs(600)).await;
    drop(link);
    let since = tokio::time::Instant::now();
    let failed = (u64::MAX, "failed INTERNAL_ERROR: no worker has come (back) for the job".into());
    assert_eq!(hears(&mut runtime).await, failed);
    assert!((60..=62).contains(&since.elapsed().as_secs()), "{:?}", since.elapsed());
    runtime.tell(job, Told::Stop(Stop::Failed));
    assert!(runtime.is_silent().await);
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_the_runtime_says_what_was_heard() {
    let mut runtime = Runtime::new();
    let (known, unknown) = (JobId::of(900), JobId::of(901));
    let (link, mut ear) = worker(&runtime, &[known, unknown]).await;
    assert_eq!(runtime.hears().await.job, known);
    assert_eq!(runtime.hears().await.job, unknown);
    assert_eq!(say(&link, known, 5).await.unwrap_err().code, Code::InvalidRequest);
    runtime.tell(unknown, Told::Stop(Stop::Ended));
    runtime.tell(known, Told::Heard(4));
    assert_eq!(ear.next().await.unwrap(), format!(r#"{{"type":"stop","job_id":"{unknown}","reason":"ended"}}"#));
    assert_eq!(ear.next().await.unwrap(), format!(r#"{{"type":"heard","job_id":"{known}","n":4}}"#));
    say(&link, unknown, 1).await.unwrap();
    say(&link, known, 4).await.unwrap();
    say(&link, known, 5).await.unwrap();
    assert_eq!(hears(&mut runtime).await, thought(5));
}

#[tokio::test(start_paused = true)]
async fn the_least_loaded_worker_below_its_capacity_gets_a_job() {
    let mut runtime = Runtime::new();
    let (_one, mut first) = worker(&runtime, &[]).await;
    let (_two, mut second) = worker(&runtime, &[]).await;
    let jobs: Vec<_> = (0..4).map(|_| runtime.start("far", &json!(null))).collect();
    let waits = runtime.start("far", &json!(null));
    for ear in [&mut first, &mut second] {
        for _ in 0..2 {
            assert_eq!(kind(ear).await, "job");
        }
    }
    // It waits for a place as long as that takes.
    assert!(runtime.is_silent().await && runtime.is_silent().await);
    runtime.tell(jobs[1], Told::Stop(Stop::Cancelled));
    assert_eq!(kind(&mut second).await, "stop");
    let line: serde_json::Value = serde_json::from_str(&second.next().await.unwrap()).unwrap();
    assert_eq!(line["job_id"], json!(waits));
    // One that waits may be stopped, and is never handed out.
    let stopped = runtime.start("far", &json!(null));
    runtime.tell(stopped, Told::Stop(Stop::Cancelled));
    runtime.tell(jobs[0], Told::Stop(Stop::Cancelled));
    assert_eq!(kind(&mut first).await, "stop");
    let last = runtime.start("far", &json!(null));
    let line: serde_json::Value = serde_json::from_str(&first.next().await.unwrap()).unwrap();
    assert_eq!(line["job_id"], json!(last));
}

#[tokio::test(start_paused = true)]
async fn what_a_worker_may_not_serve_is_refused() {
    let runtime = Runtime::new();
    let (_link, _ear) = worker(&runtime, &[]).await;
    let serves = |name: &str| json!({"type": "register", "agents": [{"name": name, "version": "1"}]}).to_string();
    for (line, code) in [
        (serves("forbidden"), Code::PermissionDenied),
        (serves("far"), Code::InvalidRequest),
        (serves("Far"), Code::InvalidRequest),
        (serves("echo").replace("\"1\"", "\"1.0.0\""), Code::InvalidRequest),
        (r#"{"type":"register","agents":[]}"#.into(), Code::InvalidRequest),
        (r#"{"type":"event","agents":[{"name":"a","version":"1"}]}"#.into(), Code::InvalidRequest),
        ("secret".into(), Code::InvalidRequest),
    ] {
        let Err(fault) = try_register(&runtime, "bob", &line).await else { panic!("{line}") };
        assert_eq!(fault.code, code, "{line}");
        assert!(!fault.message.contains("secret"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_can_not_be_read_fails_its_job_or_the_connection() {
    let mut runtime = Runtime::new();
    let (link, mut ear) = worker(&runtime, &[]).await;
    let job = runtime.start("far", &json!(null));
    assert_eq!(kind(&mut ear).await, "job");
    link.say(&json!({"type": "secret", "job_id": job, "n": 1}).to_string()).await.unwrap();
    let failed = "failed INTERNAL_ERROR: number 1 of what the worker says can't be read: there is no such type of line";
    assert_eq!(hears(&mut runtime).await, (1, failed.into()));
    for line in [r#"{"type":"result"}"#, "secret", &"x".repeat(3 << 20)] {
        assert_eq!(link.say(line).await.unwrap_err().code, Code::InvalidRequest);
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_does_not_listen_is_disconnected() {
    let mut runtime = Runtime::new();
    let (link, mut ear) = worker(&runtime, &[]).await;
    let job = runtime.start("far", &json!(null));
    for n in 0..10_000 {
        runtime.tell(job, Told::Heard(n));
    }
    let mut told = 0;
    while ear.next().await.is_some() {
        told += 1;
    }
    assert_eq!(told, 8_192);
    drop(link);
    assert_eq!(hears(&mut runtime).await.0, u64::MAX);
}
