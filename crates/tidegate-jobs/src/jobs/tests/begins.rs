//! Submits, idempotency keys, credentials.

use super::*;
use crate::credentials::{Credential, ProvisionError};

fn keyed(key: &str, input: &str) -> Submit {
    let input = RawValue::from_string(input.to_owned()).unwrap();
    Submit { idempotency_key: Some(key.into()), input: input.into(), ..submit() }
}

fn credential(value: &str) -> Credential {
    Credential {
        id: CredentialId::of(0),
        scheme: "bearer".into(),
        value: value.into(),
        endpoint: "https://x".into(),
        profile: None,
        constraints: None,
    }
}

#[test]
fn a_job_is_stored_before_its_agent_has_it_and_its_first_event_is_that_it_runs() {
    let mut world = World::new(Limits::default());
    let accepted = world.submit(Submit { max_runtime_sec: Some(60), ..submit() });
    let effects = world.turn();
    assert!(matches!(&effects[0], Effect::New(record) if record.request_id.as_deref() == Some("msg_1")));
    let Effect::Tell { told: Told::Start(start), .. } = &effects[1] else { panic!("{effects:?}") };
    assert_eq!((start.accepted.job, start.ends_at_ms), (accepted.job, Some(START_MS + 60_000)));
    assert_eq!(accepted.agent.to_string(), "worker@2");
    assert_eq!(world.status(accepted.job), Some(Status::Pending));

    world.jobs.started(accepted.job, world.now, &mut world.effects);
    world.jobs.started(accepted.job, world.now, &mut world.effects);
    world.event(accepted.job, "log", json!({"level": "info", "message": "hi"}));
    world.turn();
    assert_eq!(world.status(accepted.job), Some(Status::Running));
    let events = world.events(accepted.job);
    assert_eq!(events[0], ("status".to_owned(), json!({"phase": "running"})));
    assert_eq!(events.len(), 2);
}

#[test]
fn the_first_event_is_that_it_runs_even_if_its_agent_was_faster() {
    let mut world = World::new(Limits::default());
    let job = world.submit(submit()).job;
    world.event(job, "thought", json!({"text": "hm"}));
    world.jobs.started(job, world.now, &mut world.effects);
    world.turn();
    assert_eq!(world.events(job).iter().map(|(kind, _)| &**kind).collect::<Vec<_>>(), ["status", "thought"]);
}

#[test]
fn the_same_key_with_the_same_parameters_gives_the_same_acceptance_and_the_end() {
    let mut world = World::new(Limits::default());
    let job = world.run(keyed("k", r#"{"a":1,"b":{"c":[1,2],"d":null}}"#));
    let again = |world: &mut World| world.try_submit(keyed("k", r#"{ "b": {"d": null, "c": [1, 2]}, "a": 1 }"#));
    let Submitted::Again { accepted, ending: None } = again(&mut world) else { panic!("not again") };
    assert_eq!(accepted.job, job);
    world.done(job);
    world.turn();
    let Submitted::Again { accepted, ending: Some(ending) } = again(&mut world) else { panic!("no end") };
    assert_eq!((accepted.job, ending.n), (job, 2));
    assert!(world.turn().is_empty(), "nothing has happened");
}

#[test]
fn the_same_key_with_other_parameters_is_a_conflict_that_says_nothing_and_disturbs_nobody() {
    let mut world = World::new(Limits::default());
    let job = world.run(keyed("k", r#"{"a":1}"#));
    let other_lease = Submit { lease: lease(json!({"tool.call": ["x"]})), ..keyed("k", r#"{"a":1}"#) };
    let other_agent = Submit { agent: Asked::parse("other").unwrap(), ..keyed("k", r#"{"a":1}"#) };
    let other_time = Submit { max_runtime_sec: Some(1), ..keyed("k", r#"{"a":1}"#) };
    for other in [keyed("k", r#"{"a":2}"#), keyed("k", r#"{"a":"1"}"#), other_lease, other_agent, other_time] {
        let Submitted::Refused(fault) = world.try_submit(other) else { panic!("not refused") };
        assert_eq!(fault.code, Code::DuplicateKey);
        assert!(!format!("{fault:?}").contains(&job.to_string()) && fault.details.is_none());
    }
    assert!(world.turn().is_empty());
    assert_eq!(world.status(job), Some(Status::Running));
}

#[test]
fn keys_are_an_owners() {
    let mut world = World::new(Limits::default());
    let job = world.run(keyed("k", "1"));
    for owner in [owner("user:bob"), Owner { tenant: "evil".into(), name: "user:ann".into() }] {
        let other = world.submit(Submit { owner, ..keyed("k", "2") });
        assert_ne!(other.job, job);
    }
}

#[test]
fn a_key_is_known_for_a_day_and_as_long_as_its_job_lives() {
    const DAY_MS: u64 = 24 * 3_600_000;
    let mut world = World::new(Limits::default());
    let (short, long) = (world.run(keyed("short", "1")), world.run(keyed("long", "1")));
    world.done(short);
    world.turn();
    world.tick(DAY_MS - 1);
    world.turn();
    assert!(matches!(world.try_submit(keyed("short", "1")), Submitted::Again { ending: Some(_), .. }));
    world.tick(1);
    world.turn();
    assert_ne!(world.submit(keyed("short", "2")).job, short, "its time is over");
    assert!(matches!(world.try_submit(keyed("long", "1")), Submitted::Again { accepted, .. } if accepted.job == long));
}

#[test]
fn a_key_whose_time_is_over_is_free_though_its_job_is_held() {
    let mut world = World::new(Limits::default());
    let job = world.run(keyed("k", "1"));
    world.jobs.hold(job);
    world.done(job);
    world.turn();
    world.tick(25 * 3_600_000);
    let next = world.submit(keyed("k", "2")).job;
    world.jobs.release(job);
    world.tick(0);
    world.turn();
    assert_eq!(world.status(job), None);
    assert!(matches!(world.try_submit(keyed("k", "2")), Submitted::Again { accepted, .. } if accepted.job == next));
}

#[test]
fn a_refused_submit_uses_up_no_key() {
    let mut world = World::new(Limits { live_of_owner: 1, ..Limits::default() });
    let absent = Submit { agent: Asked::parse("worker@9").unwrap(), ..keyed("k", "1") };
    let Submitted::Refused(fault) = world.try_submit(absent) else { panic!("not refused") };
    assert_eq!(fault.code, Code::AgentVersionNotAvailable);
    let first = world.run(submit());
    let Submitted::Refused(fault) = world.try_submit(keyed("k", "2")) else { panic!("not refused") };
    assert_eq!((fault.code, fault.retryable), (Code::InternalError, true));
    world.done(first);
    world.submit(keyed("k", "3"));
    assert!(world.jobs.keys.values().map(HashMap::len).sum::<usize>() == 1);
}

#[test]
fn no_more_jobs_live_than_may() {
    let mut world = World::new(Limits { live: 3, live_of_owner: 2, ..Limits::default() });
    let bob = || Submit { owner: owner("user:bob"), ..submit() };
    let first = world.run(submit());
    world.run(submit());
    assert!(matches!(world.try_submit(submit()), Submitted::Refused(_)), "of one owner");
    world.run(bob());
    assert!(matches!(world.try_submit(bob()), Submitted::Refused(_)), "of all");
    world.done(first);
    world.run(bob());
}

#[test]
fn a_job_is_accepted_when_all_its_credentials_are_there() {
    let mut world = World::new(Limits::default());
    let keyed = || keyed("k", "1");
    let submitted = world.jobs.submit(keyed(), None, 2, world.now, &mut world.effects);
    let Submitted::Waits(job) = submitted else { panic!("{submitted:?}") };
    let effects = world.turn();
    let issues = effects.iter().filter_map(|effect| match effect {
        Effect::Issue { job: of, id } if *of == job => Some(*id),
        _ => None,
    });
    let ids: Vec<_> = issues.collect();
    assert_eq!((effects.len(), ids.len()), (2, 2), "names are stored first, and nothing else is");
    assert!(matches!(world.try_submit(keyed()), Submitted::Waits(same) if same == job));
    assert_eq!(world.jobs.purpose(job).unwrap().agent.to_string(), "worker@2");
    assert_eq!((world.status(job), world.jobs.counts().waiting), (None, 1));

    world.jobs.issued(job, ids[0], Ok(credential("s1")), world.now, &mut world.effects);
    world.jobs.issued(job, ids[0], Ok(credential("s1")), world.now, &mut world.effects);
    assert!(world.turn().is_empty());
    world.now += 5_000;
    world.jobs.issued(job, ids[1], Ok(credential("s2")), world.now, &mut world.effects);
    let effects = world.turn();
    let settled = effects.iter().find_map(|effect| match effect {
        Effect::Settled { settled: Ok(accepted), .. } => Some(accepted.accepted_at_ms),
        _ => None,
    });
    assert_eq!(settled, Some(world.now));
    let Told::Start(start) = told(&effects, job)[0] else { panic!("{effects:?}") };
    assert_eq!(start.credentials.iter().map(|c| c.id).collect::<Vec<_>>(), ids);
    assert!(!format!("{effects:?}").contains("\"s1\""), "no secret is printed");

    world.done(job);
    world.turn();
    assert_eq!((&world.store.revoked, world.store.credentials.len()), (&ids, 0));
    assert!(world.jobs.credentials(job).is_empty());
}

#[test]
fn a_job_whose_credentials_cannot_be_made_is_refused_and_what_was_made_is_revoked() {
    let mut world = World::new(Limits::default());
    let Submitted::Waits(job) = world.jobs.submit(keyed("k", "1"), None, 2, world.now, &mut world.effects) else {
        panic!("it does not wait")
    };
    world.turn();
    let ids: Vec<_> = world.store.credentials.iter().map(|(_, id)| *id).collect();
    world.jobs.issued(job, ids[0], Err(ProvisionError("down".into())), world.now, &mut world.effects);
    assert!(world.turn().is_empty(), "what is being made cannot be revoked yet");
    world.jobs.issued(job, ids[1], Ok(credential("s")), world.now, &mut world.effects);
    let effects = world.turn();
    let refused = effects.iter().any(
        |effect| matches!(effect, Effect::Settled { settled: Err(fault), .. } if fault.code == Code::InternalError),
    );
    assert!(refused && world.store.records.is_empty());
    assert_eq!(world.store.revoked.len(), 2);
    assert_eq!((world.jobs.live_all, world.jobs.keys.len()), (0, 0));
    world.submit(keyed("k", "2"));
}
