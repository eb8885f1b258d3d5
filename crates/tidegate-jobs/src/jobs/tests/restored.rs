//! After `kill -9`.

use super::*;

fn of_worker(key: Option<&str>) -> Submit {
    let agent = Asked::parse("remote").unwrap();
    Submit { agent, idempotency_key: key.map(Into::into), ..leased(json!({"cost.budget": ["USD:5"]})) }
}

fn offer_remote(world: &mut World) {
    let mut inventory = Inventory::default();
    inventory.offer(&AgentRef { name: "remote".into(), version: "1".into() }, true);
    inventory.offer(&AgentRef { name: "worker".into(), version: "2".into() }, true);
    world.jobs.offer(inventory.into());
}

#[test]
fn jobs_that_ran_fail_after_a_restart_and_may_be_tried_again() {
    let mut world = World::new(Limits::default());
    let (running, pending) = (world.run(submit()), world.submit(submit()).job);
    let done = world.run(Submit { idempotency_key: Some("k".into()), ..submit() });
    world.done(done);
    world.turn();
    world.event(running, "thought", json!({"text": "not stored"}));
    world.restart(Limits::default());
    world.restore();
    world.turn();
    for job in [running, pending] {
        let Outcome::Fault(fault) = &world.ending(job).unwrap().outcome else { panic!("no fault") };
        assert_eq!((fault.code, fault.retryable), (Code::InternalError, true));
    }
    let again = world.try_submit(Submit { idempotency_key: Some("k".into()), ..submit() });
    assert!(matches!(again, Submitted::Again { accepted, ending: Some(_) } if accepted.job == done));
    assert_eq!(world.status(done), Some(Status::Success));
    world.tick(600_000);
    world.turn();
    assert_eq!(world.store.records.len(), 1, "the window goes on as it was");
}

#[test]
fn a_workers_job_waits_for_it_and_goes_on_where_it_was() {
    let mut world = World::new(Limits::default());
    offer_remote(&mut world);
    let job = world.run(of_worker(None));
    world.cost(job, "USD", "1");
    world.say(job, Said::Chunk { data: crate::Chunk::Text("a".into()), is_last: false });
    world.turn();
    world.restart(Limits::default());
    world.restore();
    assert!(world.turn().is_empty());
    world.tick(59_999);
    let back = |serves: Vec<AgentRef>| Spoken { job, n: 0, said: Said::Back { serves: serves.into() } };
    world.jobs.hear(back(Vec::new()), Allowed { may: true, provisioned: 0 }, world.now, &mut world.effects);
    assert!(is_stopped(&world.turn(), job, Stop::Failed), "its agent is another's");
    let agent = world.jobs.jobs[&job].record.accepted.agent.clone();
    world.jobs.hear(back(vec![agent.clone()]), Allowed { may: true, provisioned: 0 }, world.now, &mut world.effects);
    let effects = world.turn();
    assert!(matches!(&effects[..], [Effect::Tell { told: Told::Heard(2), .. }]), "{effects:?}");
    world.jobs.hear(back(vec![agent]), Allowed { may: true, provisioned: 0 }, world.now, &mut world.effects);
    let effects = world.turn();
    assert!(matches!(&effects[..], [Effect::Tell { told: Told::Heard(2), .. }]), "{effects:?}");
    world.tick(1_000_000);
    world.cost(job, "USD", "1.5");
    world.say(job, Said::Chunk { data: crate::Chunk::Text("b".into()), is_last: true });
    world.done(job);
    world.turn();
    assert_eq!(world.dollars(job), "2.5");
    assert!(matches!(world.ending(job).unwrap().outcome, Outcome::Streamed { result_size: 2, .. }));
    let seqs = world.events(job).into_iter().filter(|(kind, _)| kind == "result_chunk");
    assert_eq!(seqs.map(|(_, body)| body["chunk_seq"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn a_worker_that_does_not_come_back_loses_its_job() {
    let mut world = World::new(Limits::default());
    offer_remote(&mut world);
    let job = world.run(of_worker(None));
    world.restart(Limits::default());
    world.restore();
    world.tick(60_000);
    world.turn();
    assert_eq!(world.failed(job), Some((FinalStatus::Error, Code::InternalError)));
}

#[test]
fn credentials_of_what_has_ended_or_never_began_are_revoked_after_a_restart() {
    let mut world = World::new(Limits::default());
    offer_remote(&mut world);
    let Submitted::Waits(_) = world.jobs.submit(submit(), None, 1, world.now, &mut world.effects) else {
        panic!("it does not wait")
    };
    let live = world.run(of_worker(None));
    let (ended, of_live) = (CredentialId::of(7), CredentialId::of(8));
    let done = world.run(submit());
    world.done(done);
    world.turn();
    world.store.credentials.extend([(done, ended), (live, of_live)]);
    world.restart(Limits::default());
    world.restore();
    world.turn();
    assert_eq!(world.store.credentials.iter().copied().collect::<Vec<_>>(), [(live, of_live)]);
    world.jobs.lost(live, world.now, &mut world.effects);
    world.turn();
    assert!(world.store.credentials.is_empty());
}

#[test]
fn a_family_is_found_again() {
    let mut world = World::new(Limits::default());
    offer_remote(&mut world);
    let grants = json!({"agent.delegate": ["*"], "cost.budget": ["USD:5"]});
    let top = world.run(Submit { lease: lease(grants.clone()), ..of_worker(None) });
    let part = |dollars: &str| {
        let mut grants = grants.clone();
        grants["cost.budget"] = json!([format!("USD:{dollars}")]);
        delegation("remote", lease(grants))
    };
    let middle = world.delegates(top, part("3")).unwrap();
    let low = world.delegates(middle, part("2")).unwrap();
    let local = world.delegates(top, delegation("worker", Lease::default())).unwrap();
    world.done(middle);
    world.turn();
    assert_eq!(world.dollars(top), "3");
    world.restart(Limits::default());
    let mut inventory = Inventory::default();
    inventory.offer(&AgentRef { name: "worker".into(), version: "2".into() }, true);
    world.jobs.offer(inventory.into());
    world.restore();
    let effects = world.turn();
    assert!(told(&effects, top).iter().any(|told| matches!(told, Told::Child { job, .. } if *job == local)));
    for job in [top, low] {
        world.jobs.started(job, world.now, &mut world.effects);
    }
    world.cost(low, "USD", "0.5");
    world.done(low);
    world.turn();
    assert_eq!(world.dollars(top), "4.5");
}

#[test]
fn what_was_reserved_for_a_child_that_waits_returns_after_a_restart() {
    let mut world = World::new(Limits::default());
    offer_remote(&mut world);
    let grants = lease(json!({"agent.delegate": ["*"], "cost.budget": ["USD:5"]}));
    let top = world.run(Submit { lease: grants.clone(), ..of_worker(None) });
    let said = Said::Delegate { call: 9, delegation: delegation("remote", grants).into() };
    world.say_with(top, said, Allowed { may: true, provisioned: 1 });
    world.turn();
    assert_eq!(world.dollars(top), "0");
    world.restart(Limits::default());
    world.restore();
    world.turn();
    assert_eq!((world.dollars(top).as_str(), world.store.credentials.len()), ("5", 0));
}
