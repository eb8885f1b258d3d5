//! Agents that are Rust values, in paused time.

use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use super::fake::{Runtime, told};
use super::{Job, Output};
use crate::lease::Namespace;
use crate::{AgentRef, Chunk, Code, Fault, Kind, Said, Stop, Told};

fn named(name: &str) -> AgentRef {
    AgentRef { name: name.into(), version: "1".into() }
}

fn nothing(_: &str) -> Option<Fault> {
    None
}

#[tokio::test(start_paused = true)]
async fn what_an_agent_says_is_numbered_and_its_return_is_the_end() {
    let mut runtime = Runtime::new();
    let job = runtime.start("echo", &json!({"a": [1, "ä"]}));
    assert_eq!(runtime.hears_all(job, nothing).await, [r#"done {"a":[1,"ä"]}"#]);

    let (before, job) = (Instant::now(), runtime.start("count", &json!({"to": 2, "every_ms": 1_500})));
    let heard = runtime.hears_all(job, nothing).await;
    let progress = [r#"progress {"current":1,"total":2}"#, r#"progress {"current":2,"total":2}"#];
    assert_eq!(heard, [progress[0], progress[1], r#"done {"counted":2}"#]);
    assert_eq!(before.elapsed(), Duration::from_secs(3));

    let job = runtime.start("count", &json!({"to": "x"}));
    assert!(runtime.hears_all(job, nothing).await[0].starts_with("failed INVALID_REQUEST: input: "));
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_panics_loses_its_own_job() {
    let mut runtime = Runtime::new();
    #[expect(clippy::panic, reason = "the point")]
    async fn panics(_: Job) -> Result<Output, Fault> {
        panic!("as planned")
    }
    runtime.agents.register(named("panics"), true, panics).unwrap();
    let job = runtime.start("panics", &json!(null));
    assert_eq!(runtime.hears_all(job, nothing).await, ["failed INTERNAL_ERROR: the agent panicked"]);
    let job = runtime.start("nobody", &json!(null));
    let spoken = runtime.hears().await;
    assert_eq!(
        (spoken.job, told(&spoken.said)),
        (job, "failed INTERNAL_ERROR: no worker has come (back) for the job".into())
    );
    let job = runtime.start("echo", &json!(1));
    assert_eq!(runtime.hears_all(job, nothing).await, ["done 1"]);
}

#[tokio::test(start_paused = true)]
async fn an_agent_ends_within_the_grace_or_is_dropped() {
    let mut runtime = Runtime::new();
    let (drops, mut dropped) = tokio::sync::mpsc::channel::<Duration>(4);
    let stubborn = move |job: Job| {
        let drops = drops.clone();
        async move {
            struct Tells(Instant, tokio::sync::mpsc::Sender<Duration>);
            impl Drop for Tells {
                fn drop(&mut self) {
                    self.1.try_send(self.0.elapsed()).unwrap();
                }
            }
            let ms: u64 = job.input()?;
            job.log("info", "up").await?;
            let why = job.stopped().await;
            assert_eq!(why, Stop::Cancelled);
            let _tells = Tells(Instant::now(), drops);
            assert_eq!(job.log("info", "down").await.unwrap_err().code, Code::Cancelled);
            assert_eq!(job.authorize(Namespace::ToolCall, "x").await.unwrap_err().code, Code::Cancelled);
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Ok(Output::default())
        }
    };
    runtime.agents.register(named("stubborn"), true, stubborn).unwrap();
    for (needs_ms, has_ms) in [(1_000, 1_000), (60_000, 5_000)] {
        let job = runtime.start("stubborn", &json!(needs_ms));
        assert_eq!(told(&runtime.hears().await.said), r#"log {"level":"info","message":"up"}"#);
        runtime.tell(job, Told::Stop(Stop::Cancelled));
        assert_eq!(dropped.recv().await, Some(Duration::from_millis(has_ms)));
    }
    assert!(runtime.is_silent().await);
}

#[tokio::test(start_paused = true)]
async fn a_flush_waits_for_what_was_said_before_it() {
    let mut runtime = Runtime::new();
    let agent = async |job: Job| -> Result<Output, Fault> {
        job.flush().await?;
        job.status("one", None).await?;
        job.status("two", Some("m")).await?;
        job.flush().await?;
        job.thought("stored").await?;
        Ok(Output::default())
    };
    runtime.agents.register(named("flushes"), true, agent).unwrap();
    let job = runtime.start("flushes", &json!(null));
    assert_eq!(runtime.hears().await.n, 1);
    assert_eq!(told(&runtime.hears().await.said), r#"status {"phase":"two","message":"m"}"#);
    runtime.tell(job, Told::Heard(1));
    assert!(runtime.is_silent().await);
    runtime.tell(job, Told::Heard(2));
    assert_eq!(told(&runtime.hears().await.said), r#"thought {"text":"stored"}"#);
    assert_eq!(told(&runtime.hears().await.said), "done -");
}

#[tokio::test(start_paused = true)]
async fn what_breaks_a_bound_is_refused_before_it_is_said() {
    let mut runtime = Runtime::new();
    let agent = async |job: Job| -> Result<Output, Fault> {
        let long = "x".repeat(1 << 20);
        let control = "\u{1}".repeat(200 << 10);
        let body = serde_json::value::to_raw_value(&json!({})).unwrap();
        for said in [
            job.log("info", &long).await,
            job.status("", None).await,
            job.event(Kind::RESULT_CHUNK, body.clone()).await,
            job.event(Kind::DELEGATE, body).await,
            job.chunk(Chunk::Text(long.as_str().into()), false).await,
            job.chunk(Chunk::Text(control.into()), false).await,
            job.chunk(Chunk::Binary(long.clone().into()), false).await,
            job.authorize(Namespace::FsRead, &long).await,
        ] {
            assert_eq!(said.unwrap_err().code, Code::InvalidRequest);
        }
        Output::of(&long)
    };
    runtime.agents.register(named("long"), true, agent).unwrap();
    let job = runtime.start("long", &json!(null));
    let heard = runtime.hears_all(job, nothing).await;
    assert!(heard[0].starts_with("failed INVALID_REQUEST: a result that is not streamed has at most"), "{heard:?}");
}

#[tokio::test(start_paused = true)]
async fn who_says_too_much_waits_for_room() {
    let mut runtime = Runtime::new();
    let agent = async |job: Job| -> Result<Output, Fault> {
        for _ in 0..200 {
            job.chunk(Chunk::Binary(vec![0; 640 << 10].into()), false).await?;
        }
        Ok(Output::default())
    };
    runtime.agents.register(named("floods"), true, agent).unwrap();
    let job = runtime.start("floods", &json!(null));
    tokio::time::sleep(Duration::from_secs(1)).await;
    // Its share of 2 MiB holds 3 of them, each with what is around it.
    assert_eq!(runtime.waiting(), 3);
    // While it waits for room it can be stopped.
    runtime.tell(job, Told::Stop(Stop::TimedOut));
    for _ in 0..3 {
        assert!(matches!(runtime.hears().await.said, Said::Chunk { .. }));
    }
    assert!(runtime.is_silent().await);
}

#[tokio::test(start_paused = true)]
async fn one_that_is_held_says_no_more_until_it_may() {
    let mut runtime = Runtime::new();
    let agent = async |job: Job| -> Result<Output, Fault> {
        for _ in 0..3 {
            job.thought("x").await?;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(Output::default())
    };
    runtime.agents.register(named("talks"), true, agent).unwrap();
    let job = runtime.start("talks", &json!(null));
    assert!(matches!(runtime.hears().await.said, Said::Event { .. }));
    runtime.tell(job, Told::Hold(true));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(runtime.waiting(), 0);
    runtime.tell(job, Told::Hold(false));
    assert!(matches!(runtime.hears().await.said, Said::Event { .. }));
    runtime.tell(job, Told::Hold(true));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(runtime.waiting(), 0);
    runtime.tell(job, Told::Stop(Stop::Cancelled));
    assert!(runtime.is_silent().await, "one that is held can be stopped");
}

#[tokio::test(start_paused = true)]
async fn many_may_speak_of_one_job() {
    let mut runtime = Runtime::new();
    let agent = async |job: Job| -> Result<Output, Fault> {
        let mut speakers = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let job = job.clone();
            speakers.spawn(async move {
                for _ in 0..1_000 {
                    job.thought("x").await.unwrap();
                }
            });
        }
        speakers.join_all().await;
        job.authorize(Namespace::ModelUse, "m").await?;
        Ok(Output::default())
    };
    runtime.agents.register(named("choir"), true, agent).unwrap();
    let job = runtime.start("choir", &json!(null));
    // Numbers come in their order: that is asserted there.
    assert_eq!(runtime.hears_all(job, nothing).await.len(), 8_002);
}

#[tokio::test(start_paused = true)]
async fn names_are_taken_once() {
    let runtime = Runtime::new();
    let echo = |name: &str| runtime.agents.register(named(name), false, super::fixtures::echo);
    assert_eq!(echo("mine"), Ok(()));
    for bad in ["mine", "Mine", ""] {
        assert_eq!(echo(bad).unwrap_err().code, Code::InvalidRequest);
    }
    assert!(!runtime.agents.is_workers(&named("mine")) && runtime.agents.is_workers(&named("yours")));
}
