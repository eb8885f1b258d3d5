//! What agents say: numbers, events, costs, streamed results.

use super::*;
use crate::{BODY_BYTES_MAX, CHUNK_BYTES_MAX, Chunk};

fn budgeted() -> Submit {
    leased(json!({"cost.budget": ["USD:1.00", "credits:10"], "tool.call": ["*"]}))
}

fn text(data: &str, is_last: bool) -> Said {
    Said::Chunk { data: Chunk::Text(data.into()), is_last }
}

#[test]
fn what_was_heard_is_not_heard_again_and_agents_are_told_how_far() {
    let mut world = World::new(Limits::default());
    let job = world.run(submit());
    let mut hear = |numbers: &[u64]| {
        for n in numbers {
            let body = raw(&json!({"text": n.to_string()}));
            let spoken = Spoken { job, n: *n, said: Said::Event { kind: Kind::THOUGHT, body } };
            world.jobs.hear(spoken, Allowed::default(), world.now, &mut world.effects);
        }
        let heard = world.turn().iter().rev().find_map(|effect| match effect {
            Effect::Tell { told: Told::Heard(n), .. } => Some(*n),
            _ => None,
        });
        (heard, world.events(job).len() - 1)
    };
    assert_eq!(hear(&[1, 2, 3]), (Some(3), 3));
    assert_eq!(hear(&[1, 2, 3]), (None, 3));
    assert_eq!(hear(&[2, 3, 4, 4]), (Some(4), 4));
}

#[test]
fn costs_are_counted_in_decimals() {
    let mut world = World::new(Limits::default());
    let job = world.run(budgeted());
    for _ in 0..10 {
        world.cost(job, "USD", "0.0234");
    }
    world.cost(job, "USD", "1e-2");
    world.cost(job, "EUR", "5");
    world.event(job, "metric", json!({"name": "tokens", "value": 9, "unit": "USD"}));
    world.turn();
    assert_eq!(world.dollars(job), "0.756");
    let left = json!({"name": "cost.budget.remaining", "value": 0.756, "unit": "USD"});
    let events = world.events(job);
    assert_eq!(events.iter().filter(|(_, body)| *body == left).count(), 1);
    assert_eq!(events.len(), 1 + 11 * 2 + 2, "what is left follows a cost that is budgeted");
}

#[test]
fn a_negative_cost_is_refused_and_the_job_goes_on() {
    let mut world = World::new(Limits::default());
    let job = world.run(budgeted());
    for (unit, value) in [("USD", "-0.5"), ("EUR", "-1"), ("USD", "-1e400")] {
        world.cost(job, unit, value);
    }
    world.event(job, "metric", json!({"name": "cost.budget.remaining", "value": 99, "unit": "USD"}));
    world.turn();
    assert_eq!((world.dollars(job).as_str(), world.status(job)), ("1", Some(Status::Running)));
    let events = world.events(job);
    let warnings = events.iter().filter(|(kind, body)| kind == "log" && body["level"] == "warn");
    assert_eq!((events.len(), warnings.count()), (5, 4), "no metric is told");
}

#[test]
fn without_budget_what_is_left_and_costs_are_metrics_like_others() {
    let mut world = World::new(Limits::default());
    let job = world.run(submit());
    world.cost(job, "USD", "5");
    world.event(job, "metric", json!({"name": "cost.budget.remaining", "value": 99, "unit": "USD"}));
    world.event(job, "metric", json!({"name": "m", "value": 1, "dimensions": {"a": "b"}}));
    world.turn();
    let events = world.events(job);
    assert_eq!(events.iter().map(|(kind, _)| &**kind).collect::<Vec<_>>(), ["status", "metric", "metric", "metric"]);
    assert_eq!(events[3].1["dims"], json!({"a": "b"}));
}

#[test]
fn with_a_budget_used_up_every_operation_is_refused_and_the_agent_decides() {
    let mut world = World::new(Limits::default());
    let job = world.run(budgeted());
    assert_eq!(world.asks(job, Namespace::ToolCall, "x"), Some(Ok(())));
    world.cost(job, "credits", "10");
    for (op, target) in [(Namespace::ToolCall, "x"), (Namespace::FsRead, "/x"), (Namespace::ModelUse, "m")] {
        let fault = world.asks(job, op, target).unwrap().unwrap_err();
        assert_eq!((fault.code, fault.retryable), (Code::BudgetExhausted, false));
    }
    world.done(job);
    world.turn();
    assert_eq!(world.status(job), Some(Status::Success));
}

#[test]
fn a_lease_is_checked_before_each_operation() {
    let mut world = World::new(Limits::default());
    let job = world.run(leased(json!({"fs.read": ["/work/**"]})));
    assert_eq!(world.asks(job, Namespace::FsRead, "/work/a/b"), Some(Ok(())));
    for (op, target) in [(Namespace::FsRead, "/work/../etc/x"), (Namespace::FsWrite, "/work/a")] {
        assert_eq!(world.asks(job, op, target).unwrap().unwrap_err().code, Code::PermissionDenied);
    }
}

#[test]
fn models_are_free_without_model_use_unless_it_is_required() {
    for (require_model_use, granted) in [(false, None), (true, None), (false, Some("a/*")), (true, Some("a/*"))] {
        let mut world = World::new(Limits { require_model_use, ..Limits::default() });
        let lease = granted.map_or(json!({}), |pattern| json!({"model.use": [pattern]}));
        let job = world.run(leased(lease));
        let mut may = |model| world.asks(job, Namespace::ModelUse, model).unwrap().is_ok();
        assert_eq!(may("a/x"), granted.is_some() || !require_model_use);
        assert_eq!(may("b/x"), granted.is_none() && !require_model_use);
    }
}

#[test]
fn a_result_is_streamed_in_chunks_and_the_end_names_it() {
    let mut world = World::new(Limits::default());
    let job = world.run(submit());
    world.say(job, text("héllo ", false));
    world.say(job, Said::Chunk { data: Chunk::Binary(bytes::Bytes::from_static(&[0, 255])), is_last: true });
    world.done(job);
    world.turn();
    let events = world.events(job);
    let id = events[1].1["result_id"].clone();
    assert_eq!(
        events[1].1,
        json!({"result_id": id, "chunk_seq": 0, "data": "héllo ", "encoding": "utf8", "more": true})
    );
    assert_eq!(
        events[2].1,
        json!({"result_id": id, "chunk_seq": 1, "data": "AP8=", "encoding": "base64", "more": false})
    );
    let Outcome::Streamed { result_id, result_size: 9, .. } = world.ending(job).unwrap().outcome else {
        panic!("not streamed")
    };
    assert_eq!(json!(result_id), id);
}

#[test]
fn a_result_that_was_not_said_to_be_whole_gets_an_empty_last_chunk() {
    let mut world = World::new(Limits::default());
    let job = world.run(submit());
    world.say(job, text("a", false));
    world.done(job);
    world.turn();
    let last = world.events(job).pop().unwrap().1;
    assert_eq!((&last["data"], &last["chunk_seq"], &last["more"]), (&json!(""), &json!(1), &json!(false)));
    assert!(matches!(world.ending(job).unwrap().outcome, Outcome::Streamed { result_size: 1, .. }));
}

#[test]
fn a_result_within_its_bounds_is_told_and_one_past_them_fails_the_job() {
    let long = |len: usize| "x".repeat(len);
    let fits = RESULT_BYTES_MAX - 2;
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    for (result, is_fit) in [
        (format!("\"{}\"", long(fits)), true),
        (format!("\"{}\"", long(fits + 1)), false),
        (deep(128), true),
        (deep(129), false),
        ("{\n\"a\":\r\n1}".to_owned(), true),
    ] {
        let mut world = World::new(Limits::default());
        let job = world.run(submit());
        let result = RawValue::from_string(result).unwrap();
        world.say(job, Said::Done { result: Some(result), summary: Some(long(20_000)) });
        world.turn();
        match &world.ending(job).unwrap().outcome {
            Outcome::Result { result: Some(result), summary: Some(summary) } => {
                assert!(is_fit && summary.len() == 16 << 10 && !result.get().contains(['\n', '\r']));
            }
            Outcome::Fault(fault) => assert!(!is_fit && fault.code == Code::InternalError),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_does_not_fit_fails_the_job_and_stops_its_agent() {
    type Say = fn(&mut World, JobId);
    let unfit: [(&str, Say); 5] = [
        ("a chunk too long", |world, job| world.say(job, text(&"x".repeat(CHUNK_BYTES_MAX + 1), false))),
        ("a result too long", |world, job| {
            world.say(job, text(&"x".repeat(60), false));
            world.say(job, text(&"x".repeat(41), true));
        }),
        ("a chunk after the last", |world, job| {
            world.say(job, text("x", true));
            world.say(job, text("y", false));
        }),
        ("a body too long", |world, job| world.event(job, "thought", json!({"text": "x".repeat(BODY_BYTES_MAX)}))),
        ("an event that is not said so", |world, job| world.event(job, "delegate", json!({}))),
    ];
    for (name, say) in unfit {
        let mut world = World::new(Limits { result_bytes: 100, ..Limits::default() });
        let job = world.run(submit());
        say(&mut world, job);
        assert!(is_stopped(&world.turn(), job, Stop::Failed), "{name}");
        assert_eq!(world.failed(job), Some((FinalStatus::Error, Code::InternalError)), "{name}");
    }
}
