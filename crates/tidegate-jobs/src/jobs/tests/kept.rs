//! What is listed, kept and forgotten.

use super::*;

fn list(world: &World, filter: &Filter, limit: usize, cursor: Option<&str>) -> (Vec<JobId>, Option<Box<str>>) {
    let owner = owner("user:ann");
    let caller = Caller { owner: &owner, session: None, rights: &Plain };
    let page = world.jobs.list(&caller, filter, limit, cursor).unwrap();
    (page.jobs.iter().map(|job| job.accepted.job).collect(), page.next_cursor)
}

fn everything(world: &World) -> Vec<JobId> {
    list(world, &Filter::default(), 1_000, None).0
}

#[test]
fn jobs_are_listed_newest_first_and_pages_are_stable() {
    let mut world = World::new(Limits::default());
    let mut jobs: Vec<JobId> = Vec::new();
    for _ in 0..7 {
        world.now += 1;
        jobs.insert(0, world.run(submit()));
    }
    assert_eq!(everything(&world), jobs);
    let (first, cursor) = list(&world, &Filter::default(), 3, None);
    world.now += 1;
    world.run(submit());
    let (second, cursor) = list(&world, &Filter::default(), 3, cursor.as_deref());
    let (third, end) = list(&world, &Filter::default(), 1, cursor.as_deref());
    assert_eq!([first, second, third].concat(), jobs);
    assert_eq!(end, None);
    let owner = owner("user:ann");
    let caller = Caller { owner: &owner, session: None, rights: &Plain };
    let refused = world.jobs.list(&caller, &Filter::default(), 3, Some("x")).unwrap_err();
    assert_eq!(refused.code, Code::InvalidRequest);
}

#[test]
fn lists_are_filtered() {
    let mut world = World::new(Limits::default());
    let other = world.run(Submit { agent: Asked::parse("other@1").unwrap(), ..submit() });
    world.now += 10;
    let late = world.run(submit());
    world.done(other);
    world.turn();
    let with = |filter: Filter| list(&world, &filter, 10, None).0;
    let agent = |text| Filter { agent: Some(Asked::parse(text).unwrap()), ..Filter::default() };
    assert_eq!(with(Filter { status: vec![Status::Success, Status::Error], ..Filter::default() }), [other]);
    assert_eq!(with(agent("other")), [other]);
    assert_eq!(with(agent("other@2")), []);
    assert_eq!(with(Filter { created_after_ms: Some(START_MS), ..Filter::default() }), [late]);
    assert_eq!(with(Filter { created_before_ms: Some(START_MS + 10), ..Filter::default() }), [other]);
}

#[test]
fn nobody_sees_a_foreign_job_but_who_may_and_nobody_across_tenants() {
    let mut world = World::new(Limits::default());
    let job = world.run(submit());
    let (bob, foreign) = (owner("user:bob"), Owner { tenant: "evil".into(), name: "user:ann".into() });
    let cases: [(&Owner, &dyn Rights, bool); 4] =
        [(&bob, &Plain, false), (&bob, &Observer, true), (&foreign, &Plain, false), (&foreign, &Observer, false)];
    for (owner, rights, sees) in cases {
        let caller = Caller { owner, session: None, rights };
        let page = world.jobs.list(&caller, &Filter::default(), 10, None).unwrap();
        assert_eq!((page.jobs.len(), page.next_cursor), (usize::from(sees), None));
        match world.jobs.find(job, &caller) {
            Ok(found) => assert!(sees && found.accepted.job == job),
            Err(fault) => assert!(!sees && fault == world.jobs.find(JobId::of(1), &caller).unwrap_err()),
        }
    }
}

#[test]
fn a_list_with_few_that_fit_among_many_goes_on_behind_its_cursor() {
    let mut world = World::new(Limits { live: 20_000, live_of_owner: 20_000, ..Limits::default() });
    let first = world.submit(Submit { agent: Asked::parse("other").unwrap(), ..submit() }).job;
    for _ in 0..10_500 {
        world.now += 1;
        world.submit(submit());
    }
    world.turn();
    let filter = Filter { agent: Some(Asked::parse("other").unwrap()), ..Filter::default() };
    let (none, cursor) = list(&world, &filter, 10, None);
    assert!(none.is_empty() && cursor.is_some());
    assert_eq!(list(&world, &filter, 10, cursor.as_deref()), (vec![first], None));
}

#[test]
fn a_job_that_has_ended_stays_for_the_window_and_as_long_as_it_is_held() {
    let mut world = World::new(Limits::default());
    let (short, held) = (world.run(submit()), world.run(submit()));
    world.jobs.hold(held);
    for job in [short, held] {
        world.done(job);
    }
    world.turn();
    world.tick(599_999);
    assert!(world.turn().is_empty());
    assert_eq!(everything(&world).len(), 2);
    world.tick(1);
    world.turn();
    assert_eq!((everything(&world), world.jobs.due()), (vec![held], None));
    assert!(!world.store.records.contains_key(&short));
    world.tick(1_000_000);
    world.jobs.release(held);
    assert!(world.jobs.due().unwrap() <= world.now);
    world.tick(0);
    world.turn();
    assert!(world.store.records.is_empty() && world.store.logs.is_empty());
    assert_nothing_is_left(&world);
}

#[test]
fn of_a_job_with_a_key_record_and_end_stay_for_a_day() {
    let mut world = World::new(Limits::default());
    let job = world.run(Submit { idempotency_key: Some("k".into()), ..submit() });
    world.event(job, "thought", json!({"text": "x"}));
    world.done(job);
    world.turn();
    world.tick(600_000);
    world.turn();
    assert_eq!((everything(&world), world.events(job).len()), (vec![], 0));
    assert!(world.ending(job).is_some() && world.status(job) == Some(Status::Success));
    world.tick(24 * 3_600_000);
    world.turn();
    assert_nothing_is_left(&world);
}

#[test]
fn a_log_past_its_bounds_loses_its_oldest() {
    let mut world = World::new(Limits { log_entries: 80, ..Limits::default() });
    let job = world.run(submit());
    for n in 0..1_000 {
        world.event(job, "thought", json!({"text": n.to_string()}));
        world.turn();
        let (log, stored) = (world.jobs.log(job).unwrap(), &world.store.logs[&job]);
        assert!(log.len() <= 80 && log.last() == n + 2);
        assert_eq!((log.first(), log.len()), (*stored.keys().next().unwrap(), stored.len()));
    }
    assert_eq!(world.jobs.counts().log_bytes, world.jobs.log(job).unwrap().bytes());
}

#[test]
fn past_the_bounds_of_all_those_that_ended_first_are_forgotten_and_none_that_lives() {
    for limits in [Limits { kept: 3, ..Limits::default() }, Limits { kept_bytes: 2_000, ..Limits::default() }] {
        let mut world = World::new(limits);
        let mut jobs = Vec::new();
        for _ in 0..6 {
            let job = world.run(submit());
            world.jobs.hold(job);
            world.event(job, "thought", json!({"text": "x".repeat(100)}));
            world.turn();
            jobs.push(job);
        }
        assert!(jobs.iter().all(|job| world.status(*job) == Some(Status::Running)));
        for job in jobs.iter().rev() {
            world.now += 1;
            world.done(*job);
        }
        world.turn();
        assert!(world.status(jobs[0]).is_some() && world.status(jobs[5]).is_none());
        assert!(world.store.records.len() <= 3 && world.jobs.log_bytes <= 4_000);
    }
}

#[test]
fn there_is_a_count_of_what_there_is_and_was() {
    let mut world = World::new(Limits::default());
    world.submit(submit());
    let (first, second) = (world.run(submit()), world.run(submit()));
    world.run(submit());
    world.done(first);
    world.cancel(second).unwrap();
    let counts = world.jobs.counts();
    assert_eq!((counts.pending, counts.running, counts.kept), (1, 1, 2));
    let ended: Vec<_> = counts.ended.iter().map(|(agent, status, count)| (&**agent, *status, *count)).collect();
    assert_eq!(ended, [("worker", FinalStatus::Success, 1), ("worker", FinalStatus::Cancelled, 1)]);
}

#[test]
fn the_newest_live_job_is_found() {
    let mut world = World::new(Limits::default());
    let first = world.run(submit());
    world.now += 1;
    let second = world.run(submit());
    let newest = |world: &World| world.jobs.newest_live([second, first, JobId::of(1)].into_iter());
    assert_eq!(newest(&world), Some(second));
    world.done(second);
    assert_eq!(newest(&world), Some(first));
    world.done(first);
    assert_eq!(newest(&world), None);
}
