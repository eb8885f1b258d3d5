//! What the jobs make of what agents say, without a store: events and submits a second.
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::sync::Arc;

use divan::Bencher;
use divan::counter::ItemsCount;
use serde_json::value::RawValue;
use tidegate_jobs::lease::{Constraints, Lease};
use tidegate_jobs::{
    AgentRef, Allowed, Asked, Effect, Inventory, JobId, Jobs, Kind, Limits, Owner, Said, SessionId, Spoken, Submit,
    Submitted,
};

fn main() {
    divan::main();
}

fn jobs() -> Jobs {
    let mut random = 0;
    let next = move || {
        random += 1;
        random
    };
    let mut jobs = Jobs::new(Limits::default(), Box::new(next));
    let mut inventory = Inventory::default();
    inventory.offer(&AgentRef { name: "burst".into(), version: "1".into() }, true);
    jobs.offer(Arc::new(inventory));
    jobs
}

fn submit(jobs: &mut Jobs, effects: &mut Vec<Effect>) -> JobId {
    let submit = Submit {
        owner: Owner { tenant: "".into(), name: "local".into() },
        session: SessionId::new(0, 1),
        agent: Asked::parse("burst").unwrap(),
        input: RawValue::NULL.to_owned().into(),
        lease: Lease::default(),
        constraints: Constraints::default(),
        idempotency_key: None,
        max_runtime_sec: None,
        trace: None,
    };
    let Submitted::Accepted(accepted) = jobs.submit(submit, None, 0, 0, effects) else { panic!("it is refused") };
    accepted.job
}

fn say(jobs: &mut Jobs, job: JobId, n: u64, said: Said, effects: &mut Vec<Effect>) {
    jobs.hear(Spoken { job, n, said }, Allowed::default(), n, effects);
}

/// Events of one job with a text of 100 bytes, past the bound of its log; effects are dropped a thousand at once.
#[divan::bench]
fn events(bencher: Bencher<'_, '_>) {
    const EVENTS: u64 = 20_000;
    let body = format!(r#"{{"text":"{}"}}"#, "x".repeat(100));
    let make = || {
        let bodies: Vec<Box<RawValue>> = (0..EVENTS).map(|_| RawValue::from_string(body.clone()).unwrap()).collect();
        (jobs(), bodies)
    };
    bencher.counter(ItemsCount::new(EVENTS)).with_inputs(make).bench_values(|(mut jobs, bodies)| {
        let mut effects = Vec::new();
        let job = submit(&mut jobs, &mut effects);
        for (n, body) in (1..).zip(bodies) {
            say(&mut jobs, job, n, Said::Event { kind: Kind::THOUGHT, body }, &mut effects);
            if effects.len() >= 1_000 {
                effects.clear();
            }
        }
        jobs
    });
}

/// Jobs from their submit to their result, one after the other.
#[divan::bench]
fn submits(bencher: Bencher<'_, '_>) {
    const JOBS: u64 = 5_000;
    bencher.counter(ItemsCount::new(JOBS)).with_inputs(jobs).bench_values(|mut jobs| {
        let mut effects = Vec::new();
        for _ in 0..JOBS {
            let job = submit(&mut jobs, &mut effects);
            say(&mut jobs, job, 1, Said::Done { result: None, summary: None }, &mut effects);
            effects.clear();
        }
        jobs
    });
}
