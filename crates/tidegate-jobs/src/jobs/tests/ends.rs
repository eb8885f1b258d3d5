//! Every way in which jobs end, and that they end once.

use super::*;
use crate::jobs::agenda::EXPIRY_GRACE_MS;

fn expiring(at_ms: u64) -> Submit {
    Submit { constraints: Constraints { expires_at_ms: Some(at_ms) }, ..leased(json!({"tool.call": ["*"]})) }
}

#[test]
fn a_cancelled_job_has_one_end_whatever_its_agent_does() {
    let mut world = World::new(Limits::default());
    let job = world.run(submit());
    world.cancel(job).unwrap();
    let effects = world.turn();
    assert!(is_stopped(&effects, job, Stop::Cancelled));
    world.done(job);
    world.event(job, "log", json!({"level": "info", "message": "late"}));
    world.say(job, Said::Failed(Fault::invalid("late")));
    world.jobs.lost(job, world.now, &mut world.effects);
    world.jobs.note(job, &Kind::STATUS, &raw(&json!({"phase": "x"})), world.now, &mut world.effects);
    assert!(world.turn().is_empty());
    assert_eq!(world.failed(job), Some((FinalStatus::Cancelled, Code::Cancelled)));
    assert_eq!(world.status(job), Some(Status::Cancelled));
}

#[test]
fn a_job_may_be_cancelled_before_it_runs() {
    let mut world = World::new(Limits::default());
    let job = world.submit(submit()).job;
    world.cancel(job).unwrap();
    world.jobs.started(job, world.now, &mut world.effects);
    assert!(is_stopped(&world.turn(), job, Stop::Ended), "an agent that comes late is told");
    assert_eq!(world.events(job).len(), 0);
    assert_eq!(world.failed(job), Some((FinalStatus::Cancelled, Code::Cancelled)));
}

#[test]
fn only_the_session_that_submitted_a_job_cancels_it() {
    let mut world = World::new(Limits::default());
    let job = world.run(submit());
    let (ann, bob) = (owner("user:ann"), owner("user:bob"));
    let foreign = Owner { tenant: "evil".into(), name: "user:ann".into() };
    let (own, other) = (Some(SessionId::of(SESSION)), Some(SessionId::of(2)));
    let cases: [(&Owner, Option<SessionId>, &dyn Rights, Code); 6] = [
        (&ann, other, &Plain, Code::PermissionDenied),
        (&ann, None, &Plain, Code::PermissionDenied),
        (&bob, other, &Observer, Code::PermissionDenied),
        (&bob, other, &Plain, Code::JobNotFound),
        (&foreign, other, &Observer, Code::JobNotFound),
        (&foreign, own, &Plain, Code::JobNotFound),
    ];
    for (owner, session, rights, code) in cases {
        let caller = Caller { owner, session, rights };
        let refused = world.jobs.cancel(job, Some(&caller), None, world.now, &mut world.effects);
        assert_eq!(refused.unwrap_err().code, code, "{owner:?}");
    }
    let absent = world.jobs.cancel(JobId::of(1), None, None, world.now, &mut world.effects);
    assert_eq!(absent.unwrap_err().code, Code::JobNotFound);
    assert!(world.turn().is_empty(), "a refused cancel changes nothing");
    world.jobs.cancel(job, None, Some("maintenance"), world.now, &mut world.effects).unwrap();
    world.turn();
    let Outcome::Fault(fault) = &world.ending(job).unwrap().outcome else { panic!("no fault") };
    assert_eq!(fault.message, "maintenance");
}

#[test]
fn a_job_that_has_ended_cannot_be_cancelled() {
    let mut world = World::new(Limits::default());
    let job = world.run(submit());
    world.done(job);
    world.turn();
    assert_eq!(world.cancel(job).unwrap_err().code, Code::InvalidRequest);
    assert!(world.turn().is_empty());
    assert_eq!(world.status(job), Some(Status::Success));
}

#[test]
fn a_job_that_takes_too_long_is_timed_out() {
    let mut world = World::new(Limits::default());
    let job = world.run(Submit { max_runtime_sec: Some(2), ..submit() });
    let endless = world.run(Submit { max_runtime_sec: Some(u64::MAX), ..submit() });
    assert_eq!(world.jobs.due(), Some(START_MS + 2_000));
    world.tick(1_999);
    assert!(world.turn().is_empty());
    world.tick(1);
    assert!(is_stopped(&world.turn(), job, Stop::TimedOut));
    assert_eq!(world.failed(job), Some((FinalStatus::TimedOut, Code::Timeout)));
    world.tick(400 * 365 * 86_400_000);
    world.turn();
    assert_eq!(world.status(endless), Some(Status::Running));
}

#[test]
fn an_expiry_in_300_years_does_not_come_today() {
    let mut world = World::new(Limits::default());
    let far = START_MS + 300 * 365 * 86_400_000;
    let job = world.run(expiring(far));
    world.run(expiring(u64::MAX));
    world.tick(26 * 86_400_000);
    assert_eq!((world.turn().len(), world.jobs.due()), (0, Some(far + EXPIRY_GRACE_MS)));
    assert_eq!(world.asks(job, Namespace::ToolCall, "x"), Some(Ok(())));
}

#[test]
fn after_its_expiry_an_operation_fails_and_the_next_ends_the_job() {
    let mut world = World::new(Limits::default());
    let job = world.run(expiring(START_MS + 500));
    world.tick(499);
    assert_eq!(world.asks(job, Namespace::ToolCall, "x"), Some(Ok(())));
    world.tick(1);
    let refused = world.asks(job, Namespace::ToolCall, "x").unwrap().unwrap_err();
    assert_eq!((refused.code, refused.retryable), (Code::LeaseExpired, false));
    world.event(job, "tool_call", json!({"tool": "x", "call_id": "1", "args": {}}));
    world.turn();
    assert_eq!(world.status(job), Some(Status::Running), "an event is no operation");
    assert_eq!(world.asks(job, Namespace::FsRead, "/x"), None);
    assert_eq!(world.failed(job), Some((FinalStatus::Error, Code::LeaseExpired)));
}

#[test]
fn a_job_whose_lease_has_ended_may_finish_within_a_second_and_is_ended_then() {
    let mut world = World::new(Limits::default());
    let (idle, quick) = (world.run(expiring(START_MS + 500)), world.run(expiring(START_MS + 500)));
    world.tick(500 + EXPIRY_GRACE_MS - 1);
    assert!(world.turn().is_empty());
    world.done(quick);
    world.turn();
    assert_eq!(world.status(quick), Some(Status::Success));
    world.tick(1);
    assert!(is_stopped(&world.turn(), idle, Stop::LeaseExpired));
    assert_eq!(world.failed(idle), Some((FinalStatus::Error, Code::LeaseExpired)));
}

#[test]
fn a_job_whose_agent_is_gone_fails_and_may_be_tried_again() {
    let mut world = World::new(Limits::default());
    let job = world.run(submit());
    world.jobs.lost(job, world.now, &mut world.effects);
    world.turn();
    let Outcome::Fault(fault) = &world.ending(job).unwrap().outcome else { panic!("no fault") };
    assert_eq!((fault.code, fault.retryable), (Code::InternalError, true));
}

#[test]
fn an_agents_own_fault_is_the_end() {
    let mut world = World::new(Limits::default());
    let job = world.run(submit());
    let mut fault = Fault { retryable: false, ..Fault::new(Code::InternalError, "x".repeat(20_000)) };
    fault.details = Some(raw(&json!({"code": "E42"})));
    world.say(job, Said::Failed(fault));
    world.turn();
    let Outcome::Fault(fault) = &world.ending(job).unwrap().outcome else { panic!("no fault") };
    assert!(fault.retryable && fault.message.len() == 16 << 10);
    assert_eq!(fault.details.as_ref().unwrap().get(), r#"{"code":"E42"}"#);
}
