//! Jobs that jobs delegate: what they may, what they may spend, and who ends whom.

use super::*;
use crate::credentials::Credential;

fn parent() -> Submit {
    leased(json!({"agent.delegate": ["other"], "fs.read": ["/work/**"], "cost.budget": ["USD:5.00"]}))
}

fn child(dollars: &str) -> Delegation {
    let amount = format!("USD:{dollars}");
    let lease = json!({"agent.delegate": ["other"], "fs.read": ["/work/a/**"], "cost.budget": [amount]});
    delegation("other", lease_of(lease))
}

fn lease_of(json: Value) -> Lease {
    lease(json)
}

fn credential() -> Credential {
    Credential {
        id: CredentialId::of(0),
        scheme: "bearer".into(),
        value: "s".into(),
        endpoint: "https://x".into(),
        profile: None,
        constraints: None,
    }
}

#[test]
fn a_child_has_its_parents_trace_owner_and_session_and_its_event_is_in_the_parents_log() {
    let mut world = World::new(Limits::default());
    let job = world.run(parent());
    let id = world.delegates(job, child("2")).unwrap();
    let (of_parent, of_child) = (world.store.records[&job].clone(), world.store.records[&id].clone());
    assert_eq!(of_child.accepted.trace, of_parent.accepted.trace);
    assert_eq!((&of_child.owner, of_child.session), (&of_parent.owner, of_parent.session));
    assert_eq!(of_child.accepted.parent, Some((job, "part".into())));
    assert_eq!((&of_child.request_id, of_child.depth), (&None, 1));
    let (_, event) = world.events(job).into_iter().find(|(kind, _)| kind == "delegate").unwrap();
    let lease = json!({"agent.delegate": ["other"], "fs.read": ["/work/a/**"], "cost.budget": ["USD:2"]});
    let expected = json!({
        "delegate_id": "part", "agent": "other@2", "input": "in", "lease_request": lease, "child_job_id": id,
    });
    assert_eq!(event, expected);
    world.cancel(id).unwrap();
}

#[test]
fn a_child_that_names_no_models_may_use_none_where_its_parents_were_named() {
    let mut world = World::new(Limits::default());
    let job = world.run(leased(json!({"agent.delegate": ["other"], "model.use": ["tier-fast/*"]})));
    let unnamed = world.delegates(job, delegation("other", Lease::default())).unwrap();
    let named = delegation("other", lease_of(json!({"model.use": ["tier-fast/a"]})));
    let named = world.delegates(job, named).unwrap();
    let ask = |world: &mut World, job, model| world.asks(job, Namespace::ModelUse, model).unwrap().is_ok();
    assert!(ask(&mut world, job, "tier-fast/b") && !ask(&mut world, job, "tier-slow/a"));
    assert!(!ask(&mut world, unnamed, "tier-fast/a"));
    assert!(ask(&mut world, named, "tier-fast/a") && !ask(&mut world, named, "tier-fast/b"));
}

#[test]
fn a_version_that_the_lease_names_is_the_only_one_that_may_be_delegated_to() {
    let mut world = World::new(Limits::default());
    let job = world.run(leased(json!({"agent.delegate": ["other@1"]})));
    let other = delegation("other", Lease::default());
    assert_eq!(world.delegates(job, other.clone()).unwrap_err().code, Code::PermissionDenied, "the default is 2");
    let first = Delegation { agent: Asked::parse("other@1").unwrap(), ..other };
    assert!(world.delegates(job, first).is_ok());
}

#[test]
fn a_refused_delegation_leaves_nothing() {
    let mut world = World::new(Limits { live_of_owner: 2, ..Limits::default() });
    let job = world.run(Submit { constraints: Constraints { expires_at_ms: Some(START_MS + 60_000) }, ..parent() });
    let with = |lease| delegation("other", lease_of(lease));
    let later = Constraints { expires_at_ms: Some(START_MS + 60_001) };
    let cases = [
        (delegation("worker", Lease::default()), Code::PermissionDenied),
        (with(json!({"fs.read": ["/etc/**"]})), Code::LeaseSubsetViolation),
        (with(json!({"cost.budget": ["USD:5.01"]})), Code::LeaseSubsetViolation),
        (with(json!({"cost.budget": ["EUR:1"]})), Code::LeaseSubsetViolation),
        (Delegation { constraints: later, ..child("1") }, Code::LeaseSubsetViolation),
        (Delegation { agent: Asked::parse("other@9").unwrap(), ..child("1") }, Code::AgentVersionNotAvailable),
    ];
    for (delegation, code) in cases {
        assert_eq!(world.delegates(job, delegation).unwrap_err().code, code);
    }
    world.say_with(job, Said::Delegate { call: 9, delegation: child("1").into() }, Allowed::default());
    assert!(
        told(&world.turn(), job).iter().any(
            |told| matches!(told, Told::Delegated { child: Err(fault), .. } if fault.code == Code::PermissionDenied)
        )
    );
    assert_eq!((world.events(job).len(), world.dollars(job)), (1, "5".to_owned()));
    let first = world.delegates(job, child("1")).unwrap();
    assert_eq!(world.store.records[&first].accepted.constraints.expires_at_ms, Some(START_MS + 60_000));
    assert_eq!(world.delegates(job, child("1")).unwrap_err().code, Code::InternalError, "too many live");
}

#[test]
fn two_children_cannot_both_have_all_that_is_left() {
    let mut world = World::new(Limits::default());
    let job = world.run(parent());
    world.cost(job, "USD", "3");
    world.delegates(job, child("2")).unwrap();
    let refused = world.delegates(job, child("2")).unwrap_err();
    assert_eq!((refused.code, world.dollars(job).as_str()), (Code::BudgetExhausted, "0"));
}

#[test]
fn what_a_child_does_not_spend_returns() {
    let mut world = World::new(Limits::default());
    let job = world.run(parent());
    let id = world.delegates(job, child("2")).unwrap();
    assert_eq!(world.dollars(job), "3");
    world.cost(id, "USD", "0.5");
    world.done(id);
    let effects = world.turn();
    assert_eq!(world.dollars(job), "4.5");
    assert!(told(&effects, job).iter().any(|told| matches!(told, Told::Child { job, .. } if *job == id)));
    let gauge = world.events(job).pop().unwrap().1;
    assert_eq!((&gauge["name"], &gauge["value"]), (&json!("cost.budget.remaining"), &json!(4.5)));

    let greedy = world.delegates(job, child("1")).unwrap();
    world.cost(greedy, "USD", "7");
    world.done(greedy);
    world.turn();
    assert_eq!(world.dollars(job), "3.5", "who spends more than it has costs its parent no more than was reserved");
}

#[test]
fn costs_of_a_child_without_a_budget_are_its_parents() {
    let mut world = World::new(Limits::default());
    let job = world.run(parent());
    let id = world.delegates(job, delegation("other", lease(json!({"fs.read": ["/work/**"]})))).unwrap();
    world.cost(id, "USD", "1.5");
    assert_eq!(world.asks(id, Namespace::FsRead, "/work/x"), Some(Ok(())));
    assert_eq!(world.dollars(job), "3.5");
    world.cost(id, "USD", "3.5");
    let refused = world.asks(id, Namespace::FsRead, "/work/x").unwrap().unwrap_err();
    assert_eq!(refused.code, Code::BudgetExhausted);
}

#[test]
fn jobs_that_were_delegated_are_cancelled_before_whoever_delegated_them() {
    let mut world = World::new(Limits::default());
    let job = world.run(parent());
    let id = world.delegates(job, child("2")).unwrap();
    let grandchild = world.delegates(id, child("1")).unwrap();
    world.cancel(job).unwrap();
    let effects = world.turn();
    let ends = effects.iter().filter_map(|effect| match effect {
        Effect::Log(entry) if matches!(entry.what, What::End(_)) => Some(entry.job),
        _ => None,
    });
    assert_eq!(ends.collect::<Vec<_>>(), [grandchild, id, job]);
    assert_eq!(world.failed(grandchild), Some((FinalStatus::Cancelled, Code::Cancelled)));
    assert_eq!((world.dollars(job).as_str(), world.jobs.live_all), ("5", 0));
}

#[test]
fn after_a_success_children_go_on_unless_the_parent_bore_their_costs() {
    let mut world = World::new(Limits::default());
    let job = world.run(parent());
    let own = world.delegates(job, child("2")).unwrap();
    let borne = world.delegates(job, delegation("other", Lease::default())).unwrap();
    world.done(job);
    world.turn();
    assert_eq!(world.status(own), Some(Status::Pending));
    assert_eq!(world.failed(borne), Some((FinalStatus::Cancelled, Code::Cancelled)));
    world.done(own);
    world.turn();
    assert_eq!(world.status(own), Some(Status::Success));
}

#[test]
fn who_goes_on_after_its_parent_returns_to_its_grandparent_and_ends_with_it() {
    let mut world = World::new(Limits::default());
    let top = world.run(parent());
    let middle = world.delegates(top, child("3")).unwrap();
    let (first, second) = (world.delegates(middle, child("1")).unwrap(), world.delegates(middle, child("1")).unwrap());
    world.done(middle);
    world.turn();
    assert_eq!(world.dollars(top), "3");
    world.done(first);
    world.turn();
    assert_eq!(world.dollars(top), "4");
    world.jobs.lost(top, world.now, &mut world.effects);
    world.turn();
    assert_eq!(world.failed(second), Some((FinalStatus::Cancelled, Code::Cancelled)));
}

#[test]
fn a_parents_end_leaves_no_credential_of_a_child() {
    for is_made in [true, false] {
        let mut world = World::new(Limits::default());
        let job = world.run(parent());
        let allowed = Allowed { may: true, provisioned: 1 };
        world.say_with(job, Said::Delegate { call: 9, delegation: child("2").into() }, allowed);
        world.turn();
        let (id, credential_id) = world.store.credentials.first().copied().unwrap();
        let make = |world: &mut World| {
            world.jobs.issued(id, credential_id, Ok(credential()), world.now, &mut world.effects);
        };
        assert_eq!(world.dollars(job), "3");
        if is_made {
            make(&mut world);
            world.turn();
            assert_eq!(world.status(id), Some(Status::Pending));
        }
        world.done(job);
        world.turn();
        if !is_made {
            make(&mut world);
            world.turn();
        }
        assert_eq!(world.store.revoked, [credential_id]);
        assert_eq!((world.dollars(job).as_str(), world.jobs.live_all), ("5", 0));
        assert_eq!(world.failed(id).is_some(), is_made);
    }
}

#[test]
fn a_child_whose_credential_cannot_be_made_returns_what_was_reserved() {
    let mut world = World::new(Limits::default());
    let job = world.run(parent());
    let said = Said::Delegate { call: 9, delegation: child("2").into() };
    world.say_with(job, said, Allowed { may: true, provisioned: 1 });
    world.turn();
    let (id, credential) = world.store.credentials.first().copied().unwrap();
    let failed = Err(crate::credentials::ProvisionError("down".into()));
    world.jobs.issued(id, credential, failed, world.now, &mut world.effects);
    let effects = world.turn();
    assert!(told(&effects, job).iter().any(|told| matches!(told, Told::Delegated { call: 9, child: Err(_) })));
    assert_eq!((world.dollars(job).as_str(), world.jobs.live_all), ("5", 1));
}

#[test]
fn delegation_has_a_depth_and_a_breadth() {
    let mut world = World::new(Limits { depth: 2, children: 2, ..Limits::default() });
    let job = world.run(parent());
    let (first, second) = (world.delegates(job, child("1")).unwrap(), world.delegates(job, child("1")).unwrap());
    assert_eq!(world.delegates(job, child("1")).unwrap_err().code, Code::InternalError);
    let third = world.delegates(first, child("0.5")).unwrap();
    assert_eq!(world.delegates(third, child("0.1")).unwrap_err().code, Code::InvalidRequest);
    world.done(second);
    world.delegates(job, child("1")).unwrap();
}
