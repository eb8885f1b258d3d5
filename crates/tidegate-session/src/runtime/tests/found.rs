//! Mistakes that were made once.

use tidegate_jobs::{JobId, Limits, Outcome, What};

use super::world::*;
use crate::runtime::{Reply, Request, SessionLimits, Wants};

fn ann() -> Role {
    role("t", "ann", false)
}

fn events(replies: &[Reply]) -> Vec<(u64, JobId, u64)> {
    let event = |reply: &Reply| match reply {
        Reply::Event { seq, entry } => Some((*seq, entry.job, entry.n)),
        _ => None,
    };
    replies.iter().filter_map(event).collect()
}

fn phases(world: &World, job: JobId, phase: &str) -> usize {
    let says = |what: &What| matches!(what, What::Event(event) if String::from_utf8_lossy(event).contains(phase));
    world.truth.jobs[&job].log.iter().filter(|entry| says(&entry.what)).count()
}

#[test]
fn a_job_with_credentials_is_accepted_before_its_first_event() {
    let mut world = World::new(Setup::default());
    let (conn, _) = world.begin(&ann(), false);
    world.request(conn, Request::Submit(Box::new(submission("keyed"))));
    world.turn();
    world.issued(0, true);
    world.issued(0, true);
    world.turn();
    let replies = world.inbox(conn);
    assert!(matches!(replies[..], [Reply::Accepted { .. }, Reply::Event { seq: 1, .. }]), "{replies:?}");
}

#[test]
fn pressure_that_comes_between_two_entries_of_one_saying_is_logged_after_both() {
    let limits = SessionLimits { lag: 4, ..SessionLimits::default() };
    for before in 0..8 {
        let mut world = World::new(Setup { limits, ..Setup::default() });
        let (conn, _) = world.begin(&ann(), true);
        let job = world.submit(conn, submission("echo"));
        (0..before).for_each(|_| world.event(job));
        world.cost(job);
        world.delegate(job, "echo");
        world.turn();
        assert_eq!(
            phases(&world, job, "back_pressure") + phases(&world, *world.agents.keys().max().unwrap(), "back_pressure"),
            1
        );
    }
}

#[test]
fn pressure_is_told_on_a_jobs_own_session_alone() {
    let limits = SessionLimits { lag: 4, ..SessionLimits::default() };
    let mut world = World::new(Setup { limits, ..Setup::default() });
    let (owner, _) = world.begin(&ann(), false);
    let job = world.submit(owner, submission("echo"));
    let (observer, _) = world.begin(&role("t", "bob", true), true);
    world.subscribe(observer, job, Some(0));
    (0..20).for_each(|_| world.event(job));
    world.turn();
    assert_eq!(phases(&world, job, "back_pressure"), 0, "a slow observer is nobody else's business");
}

#[test]
fn pressure_is_told_once_and_again_after_half_was_acknowledged() {
    let limits = SessionLimits { lag: 10, ..SessionLimits::default() };
    let mut world = World::new(Setup { limits, ..Setup::default() });
    let (conn, _) = world.begin(&ann(), true);
    let job = world.submit(conn, submission("echo"));
    let ack = |world: &mut World, seq| world.take(conn, Wants::Ack { id: "a".into(), seq });
    // The first is that it runs.
    (0..9).for_each(|_| world.event(job));
    assert_eq!(phases(&world, job, "back_pressure"), 0);
    (0..9).for_each(|_| world.event(job));
    assert_eq!(phases(&world, job, "back_pressure"), 1);
    // Of 20.
    ack(&mut world, 14);
    (0..9).for_each(|_| world.event(job));
    assert_eq!(phases(&world, job, "back_pressure"), 1);
    ack(&mut world, 24);
    (0..5).for_each(|_| world.event(job));
    assert_eq!(phases(&world, job, "back_pressure"), 1);
    world.event(job);
    assert_eq!(phases(&world, job, "back_pressure"), 2);
}

#[test]
fn a_connection_that_asks_for_events_is_not_its_client() {
    let mut world = World::new(Setup::default());
    let (conn, welcome) = world.begin(&ann(), false);
    world.submit(conn, submission("echo"));
    world.gone(conn);
    let second = world.resume(&ann(), &welcome, 0);
    // It asks for the replay; its welcome is lost on the way.
    world.rest();
    world.gone(second);
    let third = world.resume(&ann(), &welcome, 0);
    world.rest();
    let replies = world.inbox(third);
    assert!(matches!(&replies[..], [Reply::Welcome(_), Reply::Event { seq: 1, .. }]), "{replies:?}");
    world.take(third, Wants::Heard);
    world.gone(third);
    let fourth = world.resume(&ann(), &welcome, 0);
    world.turn();
    assert!(matches!(world.inbox(fourth)[..], [Reply::Refused(_)]), "now its client is heard");
}

#[test]
fn a_job_that_is_forgotten_for_want_of_room_is_let_go_by_those_who_hold_it() {
    let jobs = Limits { kept: 1, ..Limits::default() };
    let mut world = World::new(Setup { jobs, ..Setup::default() });
    let (conn, _) = world.begin(&ann(), false);
    for _ in 0..3 {
        let job = world.submit(conn, submission("echo"));
        world.event(job);
        world.done(job);
        world.turn();
    }
    let session = &world.state.sessions[&world.session(conn).unwrap()];
    assert_eq!((session.sequence.floor(), session.sequence.head()), (6, 9));
}

#[test]
fn what_is_behind_an_unsubscribed_job_can_be_read() {
    let mut world = World::new(Setup::default());
    let (owner, _) = world.begin(&ann(), false);
    let (first, second) = (world.submit(owner, submission("echo")), world.submit(owner, submission("echo")));
    let (conn, welcome) = world.begin(&ann(), false);
    world.subscribe(conn, first, Some(0));
    world.request(conn, Request::Unsubscribe { job: first });
    world.event(first);
    world.subscribe(conn, second, Some(0));
    world.event(first);
    world.rest();
    assert_eq!(events(&world.inbox(conn)), [(1, first, 1), (2, second, 1)]);
    world.crash(None);
    let again = world.resume(&ann(), &welcome, 0);
    world.rest();
    assert_eq!(events(&world.inbox(again))[..2], [(1, first, 1), (2, second, 1)]);
}

#[test]
fn a_session_that_unsubscribed_is_shown_no_more_after_a_crash() {
    let mut world = World::new(Setup::default());
    let (owner, _) = world.begin(&ann(), false);
    let job = world.submit(owner, submission("remote"));
    let (conn, welcome) = world.begin(&ann(), false);
    world.subscribe(conn, job, Some(0));
    world.request(conn, Request::Unsubscribe { job });
    world.event(job);
    world.turn();
    world.crash(Some(0));
    world.event(job);
    let again = world.resume(&ann(), &welcome, 0);
    world.rest();
    assert_eq!(events(&world.inbox(again)), [(1, job, 1)]);
}

#[test]
fn a_history_longer_than_a_session_keeps_is_shown_as_far_as_it_fits() {
    let mut world = World::new(Setup::caps(16));
    let (owner, _) = world.begin(&ann(), false);
    let job = world.submit(owner, submission("echo"));
    (0..40).for_each(|_| world.event(job));
    world.turn();
    let (conn, _) = world.begin(&ann(), false);
    world.subscribe(conn, job, Some(0));
    // Before the first page was read.
    (0..4).for_each(|_| world.event(job));
    world.rest();
    let replies = world.inbox(conn);
    let Reply::Subscribed(subscribed) = &replies[0] else { panic!("{replies:?}") };
    assert_eq!((subscribed.replayed, subscribed.subscribed_from), (8, 8));
    let expected: Vec<_> = (1..=12).map(|seq| (seq, job, 33 + seq)).collect();
    assert_eq!(events(&replies), expected);
}

#[test]
fn refusals_of_submits_keep_their_place_also_where_too_many_wait() {
    let limits = SessionLimits { waiting: 2, ..SessionLimits::default() };
    let mut world = World::new(Setup { limits, ..Setup::default() });
    let (conn, _) = world.begin(&ann(), false);
    let sent: Vec<_> = ["keyed", "echo", "echo", "echo", "echo"]
        .into_iter()
        .map(|agent| world.request(conn, Request::Submit(Box::new(submission(agent)))))
        .collect();
    world.turn();
    assert!(world.inbox(conn).is_empty());
    world.issued(0, true);
    world.issued(0, false);
    world.turn();
    let answers: Vec<_> = world
        .inbox(conn)
        .into_iter()
        .filter_map(|reply| match reply {
            Reply::Accepted { request_id, .. } => Some((request_id.unwrap(), true)),
            Reply::Rejected { request_id, .. } => Some((request_id, false)),
            _ => None,
        })
        .collect();
    let expected: Vec<_> = sent.into_iter().zip([false, true, true, false, false]).collect();
    assert_eq!(answers, expected);
}

#[test]
fn a_number_above_all_asks_for_nothing() {
    let mut world = World::new(Setup::default());
    let (owner, _) = world.begin(&ann(), false);
    let job = world.submit(owner, submission("remote"));
    // Nothing knows the numbers of a session that has ended.
    let (conn, _) = world.begin(&ann(), false);
    for since in [u64::MAX, u64::MAX - 1, 2] {
        world.subscribe(conn, job, Some(since));
        world.turn();
        let replies = world.inbox(conn);
        assert!(matches!(&replies[..], [Reply::Subscribed(subscribed)] if subscribed.replayed == 0), "{replies:?}");
    }
    world.take(owner, Wants::Ack { id: "a".into(), seq: 1 });
    let other = world.submit(owner, submission("echo"));
    world.take(owner, Wants::Ack { id: "a".into(), seq: 2 });
    assert_ne!(job, other);
    world.turn();
    world.crash(None);
    let (conn, _) = world.begin(&ann(), false);
    world.subscribe(conn, job, Some(u64::MAX));
    world.turn();
    let replies = world.inbox(conn);
    assert!(matches!(&replies[..], [Reply::Subscribed(subscribed)] if subscribed.replayed == 0), "{replies:?}");
}

#[test]
fn a_session_sees_jobs_of_others_however_many_it_has_itself() {
    let limits = SessionLimits { subscriptions: 1, ..SessionLimits::default() };
    let mut world = World::new(Setup { limits, ..Setup::default() });
    let (owner, _) = world.begin(&ann(), false);
    let (first, second) = (world.submit(owner, submission("echo")), world.submit(owner, submission("echo")));
    let (conn, _) = world.begin(&ann(), false);
    world.submit(conn, submission("echo"));
    // The same again is no more than it was.
    for (job, is_seen) in [(first, true), (first, true), (second, false)] {
        world.subscribe(conn, job, None);
        world.turn();
        let replies = world.inbox(conn);
        let seen = replies.iter().any(|reply| matches!(reply, Reply::Subscribed(_)));
        assert_eq!(seen, is_seen, "{replies:?}");
    }
}

#[test]
fn a_submit_that_was_done_is_not_done_again_after_a_crash() {
    let mut world = World::new(Setup::default());
    let (conn, welcome) = world.begin(&ann(), false);
    let envelope = world.request(conn, Request::Submit(Box::new(submission("echo"))));
    world.turn();
    let job = *world.agents.keys().next().unwrap();
    world.done(job);
    // The acceptance is lost.
    world.crash(Some(0));
    let again = world.resume(&ann(), &welcome, 0);
    world.send(again, envelope, Request::Submit(Box::new(submission("echo"))));
    world.turn();
    assert_eq!(world.truth.jobs.len(), 1, "it was done twice");
}

#[test]
fn numbers_that_were_given_first_are_known_after_a_crash() {
    let mut world = World::new(Setup::default());
    let (owner, _) = world.begin(&ann(), false);
    let job = world.submit(owner, submission("remote"));
    (0..4).for_each(|_| world.event(job));
    // 6 to 10 are 1 to 5 again.
    world.subscribe(owner, job, Some(0));
    world.event(job);
    world.turn();
    world.crash(None);
    let (conn, _) = world.begin(&ann(), false);
    world.list(conn, 9, None);
    world.subscribe(conn, job, Some(8));
    world.rest();
    let replies = world.inbox(conn);
    let [Reply::Jobs { jobs, .. }, Reply::Subscribed(subscribed), ..] = &replies[..] else { panic!("{replies:?}") };
    assert_eq!((jobs[0].last_event_seq, subscribed.replayed), (11, 1));
}

#[test]
fn a_workers_job_may_delegate_after_a_crash_when_its_client_is_back() {
    let mut world = World::new(Setup::default());
    let (conn, welcome) = world.begin(&ann(), false);
    let job = world.submit(conn, submission("remote"));
    world.crash(None);
    world.resume(&ann(), &welcome, 0);
    world.turn();
    world.delegate(job, "echo");
    world.turn();
    assert_eq!(world.truth.jobs.len(), 2);
}

#[test]
fn who_may_observe_no_more_sees_no_more_when_it_is_back() {
    let mut world = World::new(Setup::default());
    let (owner, _) = world.begin(&ann(), false);
    let job = world.submit(owner, submission("echo"));
    let (conn, welcome) = world.begin(&role("t", "bob", true), false);
    world.subscribe(conn, job, Some(0));
    world.turn();
    world.gone(conn);
    let again = world.resume(&role("t", "bob", false), &welcome, 1);
    world.event(job);
    world.rest();
    assert!(events(&world.inbox(again)).is_empty());
}

#[test]
fn a_connection_has_one_session() {
    let mut world = World::new(Setup::default());
    let (conn, first) = world.begin(&ann(), false);
    let hello =
        crate::runtime::Hello { owner: ann().owner, rights: std::sync::Arc::new(ann()), acks: false, resume: None };
    world.take(conn, Wants::Session(Box::new(hello)));
    world.turn();
    world.gone(conn);
    world.pass(600_000);
    assert!(world.state.sessions.is_empty(), "{} is there for ever", first.session);
}

#[test]
fn nothing_is_kept_of_what_a_job_may_once_nobody_watches_its_end() {
    let mut world = World::new(Setup::default());
    let (conn, _) = world.begin(&ann(), false);
    world.request(conn, Request::Submit(Box::new(submission("keyed"))));
    world.turn();
    world.gone(conn);
    world.pass(600_000);
    world.issued(0, true);
    world.issued(0, true);
    world.turn();
    let job = *world.agents.keys().next().unwrap();
    world.done(job);
    world.turn();
    let What::End(ending) = &world.truth.jobs[&job].log.last().unwrap().what else { panic!() };
    assert!(matches!(ending.outcome, Outcome::Result { .. }));
    assert!(world.state.rights.is_empty());
}

/// Whether a job's agent has to wait now.
fn is_held(world: &World, job: JobId) -> bool {
    world.agents[&job].held
}

#[test]
fn an_agent_waits_for_a_client_that_reads_and_for_no_other() {
    let mut world = World::new(Setup::caps(64));
    let (conn, _) = world.begin(&ann(), false);
    let (job, other) = (world.submit(conn, submission("echo")), world.submit(conn, submission("echo")));
    let (observer, _) = world.begin(&ann(), false);
    world.subscribe(observer, job, None);
    let seq = |world: &World| world.session(conn).map_or(0, |id| world.state.sessions[&id].sequence.head());
    for _ in 0..12 {
        world.event(job);
    }
    world.turn();
    assert!(!is_held(&world, job), "the bound is a quarter of what is kept");
    (0..8).for_each(|_| world.event(job));
    world.turn();
    assert!(is_held(&world, job) && !is_held(&world, other), "one that says nothing has nothing to wait with");
    // It has read some: too much is left.
    let head = seq(&world);
    world.take(conn, Wants::Took { seq: head - 12, bytes: 0 });
    world.turn();
    assert!(is_held(&world, job));
    world.take(conn, Wants::Took { seq: head, bytes: 0 });
    world.turn();
    assert!(!is_held(&world, job));
    // From now on it reads nothing. It is waited for a second, and not again.
    (0..20).for_each(|_| world.event(job));
    world.turn();
    assert!(is_held(&world, job));
    world.pass(999);
    assert!(is_held(&world, job));
    world.pass(1);
    assert!(!is_held(&world, job));
    (0..20).for_each(|_| world.event(job));
    world.turn();
    assert!(!is_held(&world, job), "who is stalled holds up nobody");
}

#[test]
fn nobody_waits_for_a_connection_that_is_gone_or_for_a_job_that_has_ended() {
    let mut world = World::new(Setup::caps(64));
    let (conn, welcome) = world.begin(&ann(), false);
    let job = world.submit(conn, submission("echo"));
    (0..20).for_each(|_| world.event(job));
    world.turn();
    assert!(is_held(&world, job));
    let again = world.resume(&ann(), &welcome, 0);
    world.turn();
    assert!(!is_held(&world, job), "who comes back begins to read");
    (0..20).for_each(|_| world.event(job));
    world.turn();
    assert!(is_held(&world, job));
    world.gone(again);
    world.pass(1_000);
    assert!(!is_held(&world, job));
    (0..80).for_each(|_| world.event(job));
    world.turn();
    assert!(!is_held(&world, job));
    world.done(job);
    world.turn();
}
