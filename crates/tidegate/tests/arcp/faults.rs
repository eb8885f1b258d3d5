//! Faults that other runtimes have, each named as it is: none of them is found here.

use std::path::Path;

use serde_json::{Value, json};
use tidegate_jobs::lease::Namespace;
use tidegate_jobs::{Code, Fault};
use tidegate_testkit::clients::within;
use tidegate_testkit::gateway::Gateway;

use crate::fixture::{CONFIG, Client, House, bodies, code, end, hello, hello_with, in_ms, job_of};
use crate::frames::kind;
use crate::s10_delegation::{delegate, refused};
use crate::upstream::{SECRET, Upstream};

fn slow() -> Value {
    json!({ "agent": "slow", "input": { "ms": 600_000 } })
}

/// The values of a burst.
fn values(events: &[Value]) -> Vec<u64> {
    bodies(events, "metric").iter().map(|body| body["value"].as_u64().unwrap()).collect()
}

#[tokio::test]
pub(crate) async fn a_transport_drop_kills_a_job() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let job = client.submit(json!({ "agent": "puppet" })).await;
    let part = house.part().await;
    client.event(&job).await;
    let mut hello = hello("ann");
    hello["resume"] = client.resume(1);
    drop(client);
    for _ in 0..3 {
        part.job.log("info", "alone").await.unwrap();
        part.job.flush().await.unwrap();
    }
    let mut again = Client::resumed(house.at, hello, 1).await.unwrap();
    part.done();
    let events = again.events(&job).await;
    assert_eq!((events.len(), kind(end(&events))), (4, "job.result"));
}

#[tokio::test]
pub(crate) async fn a_resume_that_is_fully_caught_up_is_refused() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    client.is_silent().await;
    let head = client.frames.head;
    // Also where all of it is acknowledged, and where nothing ever happened.
    client = client.again(&house, "ann", head).await.unwrap();
    client.say("session.ack", json!({ "last_processed_seq": head })).await;
    client.is_silent().await;
    client = client.again(&house, "ann", head + 2).await.unwrap();
    client.is_silent().await;
    let fresh = house.connect("ann").await;
    fresh.again(&house, "ann", 0).await.unwrap().is_silent().await;
}

#[tokio::test]
pub(crate) async fn the_window_counts_from_the_welcome() {
    let house = House::with("resume_window_ms = 2000").await;
    let mut client = house.connect("ann").await;
    assert_eq!(client.welcome["resume_window_sec"], 2);
    client.run(json!({ "agent": "slow", "input": { "ms": 2_500 } })).await;
    let mut hello = hello("ann");
    hello["resume"] = client.resume(1);
    drop(client);
    let mut again = Client::resumed(house.at, hello, 1).await.unwrap();
    assert_eq!(kind(&again.next().await), "job.result");
}

#[tokio::test]
pub(crate) async fn another_principal_resumes_with_a_stolen_token() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    for user in ["bob", "auditor"] {
        let refused = client.again(&house, user, 0).await.err().unwrap();
        assert_eq!(code(&refused), "PERMISSION_DENIED");
        assert_ne!(refused["session_id"], client.session);
    }
    // Nothing of the session has changed.
    client.is_silent().await;
    assert!(client.again(&house, "ann", 2).await.is_ok());
}

#[tokio::test]
pub(crate) async fn two_connections_write_after_a_resume() {
    let house = House::open().await;
    let mut former = house.connect("ann").await;
    let job = former.submit(json!({ "agent": "puppet" })).await;
    let part = house.part().await;
    former.event(&job).await;
    let mut again = former.again(&house, "ann", 1).await.unwrap();
    assert_eq!(former.closed().await.0, 1008);
    part.done();
    assert_eq!(again.events(&job).await.len(), 1);
    again.is_silent().await;
    let after = again.frames.head;
    assert_eq!((former.frames.head, after), (1, 4));
}

#[tokio::test]
pub(crate) async fn the_resumed_session_gets_no_live_events_or_loses_cancel() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let job = client.submit(json!({ "agent": "puppet" })).await;
    let part = house.part().await;
    let mut again = client.again(&house, "ann", 0).await.unwrap();
    again.event(&job).await;
    part.job.log("info", "live").await.unwrap();
    assert_eq!(again.event(&job).await["payload"]["body"]["message"], "live");
    assert_eq!(kind(&again.ask("job.cancel", json!({ "job_id": job })).await), "job.cancelled");
    assert_eq!(code(end(&again.events(&job).await)), "CANCELLED");
}

/// A session that keeps a hundred events has had many more.
async fn small() -> (House, Client) {
    let house = House::with("session_events = 100\njob_events = 100").await;
    let mut client = house.connect("ann").await;
    for _ in 0..120 {
        client.run(json!({ "agent": "echo" })).await;
    }
    (house, client)
}

#[tokio::test]
pub(crate) async fn a_lifetime_cap_on_events() {
    let (house, mut client) = small().await;
    assert_eq!(client.frames.head, 240);
    client.is_silent().await;
    let mut again = client.again(&house, "ann", 200).await.unwrap();
    assert_eq!(again.next().await["event_seq"], 201);
    again.wait("the last", |frame| frame["event_seq"] == 242).await;
}

#[tokio::test]
pub(crate) async fn unbounded_log() {
    let (house, mut client) = small().await;
    let gone = client.again(&house, "ann", 100).await.err().unwrap();
    assert_eq!(code(&gone), "RESUME_WINDOW_EXPIRED");
    // Nor is one job's.
    let job = client.submit(json!({ "agent": "puppet" })).await;
    let part = house.part().await;
    client.event(&job).await;
    for n in 0..300 {
        part.job.log("info", &n.to_string()).await.unwrap();
        client.event(&job).await;
    }
    let mut other = house.connect("ann").await;
    other.ask("job.subscribe", json!({ "job_id": job, "history": true })).await;
    part.done();
    let events = other.events(&job).await;
    let kept = bodies(&events, "log");
    assert!((1..=115).contains(&kept.len()), "{}", kept.len());
    assert_eq!(kept.last().unwrap()["message"], "299");
}

#[tokio::test]
pub(crate) async fn a_stalled_subscriber_freezes_the_owners_job() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let job = client.submit(json!({ "agent": "puppet" })).await;
    let part = house.part().await;
    let mut stalled = house.connect("ann").await;
    stalled.ask("job.subscribe", json!({ "job_id": job, "history": true })).await;
    // More than sockets hold, and nobody reads it there.
    let text = "x".repeat(16 << 10);
    for n in 0..600 {
        part.job.log("info", &format!("{n} {text}")).await.unwrap();
    }
    part.done();
    assert_eq!(client.events(&job).await.len(), 602);
    // It misses nothing of it, though.
    assert_eq!(stalled.events(&job).await.len(), 602);
}

#[tokio::test]
pub(crate) async fn history_and_live_interleave_out_of_order() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let job = client.submit(json!({ "agent": "burst", "input": { "events": 3_000 } })).await;
    let mut others = Vec::new();
    for _ in 0..3 {
        client.event(&job).await;
        let mut other = house.connect("ann").await;
        other.say("job.subscribe", json!({ "job_id": job, "history": true })).await;
        others.push(other);
    }
    for mut other in others {
        assert_eq!(kind(&other.next().await), "job.subscribed");
        assert_eq!(values(&other.events(&job).await), (1..=3_000).collect::<Vec<_>>());
    }
}

#[tokio::test]
pub(crate) async fn duplicate_key_disturbs_the_original_job() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let job = client.submit(json!({ "agent": "puppet", "idempotency_key": "k" })).await;
    let part = house.part().await;
    let mut other = house.connect("ann").await;
    let refused = other.ask("job.submit", json!({ "agent": "puppet", "input": 2, "idempotency_key": "k" })).await;
    assert_eq!(code(&refused), "DUPLICATE_KEY");
    assert!(!refused.to_string().contains(&job), "it says which job has the key: {refused}");
    other.is_silent().await;
    part.done();
    let events = client.events(&job).await;
    assert_eq!((events.len(), kind(end(&events))), (2, "job.result"));
    client.is_silent().await;
}

#[tokio::test]
pub(crate) async fn a_refused_cancel_reaches_other_subscribers() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let job = client.submit(json!({ "agent": "puppet" })).await;
    let part = house.part().await;
    let mut others = [house.connect("ann").await, house.connect("auditor").await];
    for other in &mut others {
        other.ask("job.subscribe", json!({ "job_id": job, "history": true })).await;
        other.event(&job).await;
    }
    client.event(&job).await;
    let refused = others[1].ask("job.cancel", json!({ "job_id": job })).await;
    assert_eq!(code(&refused), "PERMISSION_DENIED");
    client.is_silent().await;
    for other in &mut others {
        other.is_silent().await;
    }
    part.done();
    assert_eq!(kind(end(&client.events(&job).await)), "job.result");
}

#[tokio::test]
pub(crate) async fn a_foreign_jobs_existence_leaks() {
    let house = House::open().await;
    let (mut client, mut bob) = (house.connect("ann").await, house.connect("bob").await);
    let job = client.submit(json!({ "agent": "slow", "input": { "ms": 600_000 }, "idempotency_key": "k" })).await;
    let nobodys = "job_01ARZ3NDEKTSV4RRFFQ69G5FAV";
    for kind in ["job.subscribe", "job.cancel"] {
        let mut answers = Vec::new();
        for name in [&*job, nobodys, "nonsense"] {
            let mut answer = bob.ask(kind, json!({ "job_id": name, "history": true })).await["payload"].clone();
            for part in ["request_id", "job_id"] {
                answer.as_object_mut().unwrap().remove(part);
            }
            answers.push(answer);
        }
        assert_eq!(answers[0]["code"], "JOB_NOT_FOUND");
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    }
    assert_eq!(bob.list(json!({})).await.len(), 0);
    assert_ne!(bob.submit(json!({ "agent": "slow", "input": { "ms": 1 }, "idempotency_key": "k" })).await, job);
    bob.say("job.unsubscribe", json!({ "job_id": job })).await;
    // Whoever holds a cursor of it sees no more for that.
    assert_eq!(bob.list(json!({ "cursor": job })).await.len(), 0);
}

#[tokio::test]
pub(crate) async fn a_replayed_submit_of_a_finished_job_has_no_terminal() {
    let house = House::open().await;
    for (agent, of) in [("echo", "job.result"), ("fail", "job.error")] {
        let submit = json!({ "agent": agent, "input": {}, "idempotency_key": agent });
        let mut client = house.connect("ann").await;
        let first = client.run(submit.clone()).await;
        // In the same session and in another.
        for client in [&mut client, &mut house.connect("ann").await] {
            let job = job_of(&client.accepted(submit.clone()).await);
            let again = client.event(&job).await;
            assert_eq!((kind(&again), &again["payload"]), (of, &end(&first)["payload"]));
            client.is_silent().await;
        }
    }
}

#[tokio::test]
pub(crate) async fn a_cancelled_job_ends_in_success() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let job = client.submit(json!({ "agent": "puppet" })).await;
    let part = house.part().await;
    client.event(&job).await;
    client.ask("job.cancel", json!({ "job_id": job })).await;
    // The agent does as if nothing was, in a hurry.
    let _ = part.job.log("info", "and yet").await;
    part.done();
    let events = client.events(&job).await;
    assert_eq!((events.len(), code(end(&events))), (1, "CANCELLED"));
    client.is_silent().await;
    assert_eq!(client.list(json!({ "filter": { "status": ["cancelled"] } })).await[0]["job_id"], job);
}

#[tokio::test]
pub(crate) async fn an_expiry_25_days_ahead_fires_at_once() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    for at in [in_ms(25 * 86_400_000), "9999-12-31T23:59:59Z".to_owned()] {
        let job = client
            .submit(json!({
                "agent": "puppet", "lease_request": { "tool.call": ["*"] }, "lease_constraints": { "expires_at": at },
                "max_runtime_sec": 4_000_000_000_u64,
            }))
            .await;
        let part = house.part().await;
        client.is_silent_but(&job).await;
        assert!(part.job.authorize(Namespace::ToolCall, "x").await.is_ok());
        part.done();
        assert_eq!(kind(end(&client.events(&job).await)), "job.result");
    }
}

#[tokio::test]
pub(crate) async fn two_children_each_get_the_whole_remaining_budget() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let lease = json!({ "agent.delegate": ["*"], "cost.budget": ["USD:5.00"] });
    client.submit(json!({ "agent": "puppet", "lease_request": lease })).await;
    let part = house.part().await;
    let all = json!({ "cost.budget": ["USD:5.00"] });
    let first = delegate(&part, "puppet", all.clone(), json!({})).await.unwrap();
    let child = house.part().await;
    // The parent has nothing left then, not even for asking.
    assert_eq!(refused(delegate(&part, "puppet", all, json!({})).await), Code::BudgetExhausted);
    child.job.metric("cost.x", 2.into(), Some("USD")).await.unwrap();
    child.done();
    first.ended().await.unwrap();
    // What it did not spend is there again, and no more.
    for (amount, may) in [("USD:3.01", false), ("USD:2.00", true), ("USD:1.01", false), ("USD:1.00", true)] {
        let delegated = delegate(&part, "slow", json!({ "cost.budget": [amount] }), json!({})).await;
        assert_eq!(
            delegated.map(drop).map_err(|fault| fault.code),
            if may { Ok(()) } else { Err(Code::LeaseSubsetViolation) },
            "{amount}"
        );
    }
    part.done();
}

#[tokio::test]
pub(crate) async fn float_budgets() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let lease = json!({ "cost.budget": ["USD:0.3", "credits:999999999999.0123456789"], "tool.call": ["*"] });
    let job = client.submit(json!({ "agent": "puppet", "lease_request": lease })).await;
    let part = house.part().await;
    for _ in 0..3 {
        assert!(part.job.authorize(Namespace::ToolCall, "x").await.is_ok());
        part.job.metric("cost.x", "0.1".parse().unwrap(), Some("USD")).await.unwrap();
    }
    // 0.1 + 0.1 + 0.1 is 0.3: nothing is left.
    let refused: Fault = part.job.authorize(Namespace::ToolCall, "x").await.unwrap_err();
    assert_eq!(refused.code, Code::BudgetExhausted);
    let subscribed = house.speaking("python", "ann").await.ask("job.subscribe", json!({ "job_id": job })).await;
    assert_eq!(subscribed["payload"]["budget"]["credits"], "credits:999999999999.0123456789");
    part.done();
}

/// Whether a file below a directory has these bytes.
fn holds(dir: &Path, bytes: &[u8]) -> bool {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).any(|path| match path.is_dir() {
        true => holds(&path, bytes),
        false => std::fs::read(&path).unwrap().windows(bytes.len()).any(|window| window == bytes),
    })
}

#[tokio::test]
pub(crate) async fn secrets_in_the_event_log() {
    let house = House::provisioned(Upstream::default()).await;
    let mut client = house.connect("ann").await;
    let submit = json!({ "agent": "echo", "input": "an-input", "lease_request": { "model.use": ["m"] } });
    let accepted = client.accepted(submit).await;
    let events = client.events(&job_of(&accepted)).await;
    assert!(accepted.to_string().contains(SECRET), "the submitter has it");
    assert!(events.iter().all(|event| !event.to_string().contains(SECRET)));
    let mut other = house.connect("ann").await;
    other.ask("job.subscribe", json!({ "job_id": accepted["job_id"], "history": true })).await;
    assert!(other.events(&job_of(&accepted)).await.iter().all(|event| !event.to_string().contains(SECRET)));
    let dir = house.dir.path();
    assert!(holds(dir, b"an-input"), "what is kept is found this way");
    assert!(!holds(dir, SECRET.as_bytes()), "a credential's value is stored");
    assert!(!holds(dir, client.resume_token().as_bytes()), "a resume token is stored");
}

#[tokio::test]
pub(crate) async fn failed_authentication_leaves_the_socket_open() {
    let house = House::open().await;
    for auth in [json!({ "scheme": "bearer", "token": "no token" }), json!({ "token": "" }), json!({}), json!(null)] {
        let mut hello = hello_with("ann", &[]);
        hello["auth"] = auth.clone();
        // Waits for the close, too.
        let refused = Client::open(house.at, "/arcp", "h", hello).await.err().unwrap();
        assert_eq!((kind(&refused), code(&refused)), ("session.error", "UNAUTHENTICATED"), "{auth}");
    }
}

#[tokio::test]
pub(crate) async fn finished_jobs_vanish() {
    let house = House::with("resume_window_ms = 1000").await;
    let mut client = house.connect("ann").await;
    let job = job_of(end(&client.run(json!({ "agent": "echo" })).await));
    assert_eq!(client.list(json!({})).await[0]["job_id"], job);
    house.two_seconds().await;
    // A session still has its events, though its window is over.
    assert_eq!(client.list(json!({})).await[0]["job_id"], job);
    let subscribed = client.ask("job.subscribe", json!({ "job_id": job, "history": true })).await;
    assert_eq!(subscribed["payload"]["current_status"], "success");
    assert_eq!(client.events(&job).await.len(), 2);
}

#[tokio::test]
pub(crate) async fn a_slow_handler_blocks_pings() {
    let house = House::provisioned(Upstream::closed()).await;
    let mut client = house.connect("ann").await;
    // Its credentials are not made, and what is behind it has to wait for its turn.
    let first = client.say("job.submit", json!({ "agent": "echo", "lease_request": { "model.use": ["m"] } })).await;
    let second = client.say("job.submit", json!({ "agent": "echo" })).await;
    for nonce in ["a", "b"] {
        client.say("session.ping", json!({ "nonce": nonce })).await;
        assert_eq!(client.next().await["payload"]["ping_nonce"], nonce);
    }
    house.upstream.open();
    assert_eq!(kind(&client.answer(&first).await), "job.accepted");
    assert_eq!(kind(&client.answer(&second).await), "job.accepted");
}

/// The built binary, which the same clients may use.
fn process() -> Gateway {
    Gateway::start(env!("CARGO_BIN_EXE_tidegate"), &format!("{CONFIG}\n[arcp]\nfixtures = true\n"))
}

#[tokio::test]
pub(crate) async fn a_failed_write_leaves_a_gap_in_the_sequence() {
    let gateway = process();
    let mut client = Client::open(gateway.address(), "/arcp", "h", hello("ann")).await.unwrap();
    let job = client.submit(json!({ "agent": "count", "input": { "to": 40, "every_ms": 50 } })).await;
    client.event(&job).await;
    gateway.limit_file_bytes(Some(4_096));
    // What is behind the failed write is answered after it.
    let listed = client.say("session.list_jobs", json!({})).await;
    let failed = async {
        while !gateway.said().contains("jobs cannot be stored") {
            tokio::task::yield_now().await;
        }
    };
    within("a write that fails", failed).await;
    gateway.limit_file_bytes(None);
    let events = client.events(&job).await;
    let counted: Vec<_> = bodies(&events, "progress").iter().map(|body| body["current"].as_u64().unwrap()).collect();
    assert_eq!(counted, (1..=40).collect::<Vec<_>>());
    client.answer(&listed).await;
    let mut again = client.again_at(gateway.address(), "ann", 0).await.unwrap();
    assert_eq!(again.events(&job).await.len(), 42);
}

#[tokio::test]
pub(crate) async fn a_kill_loses_what_was_told() {
    let mut gateway = process();
    let mut client = Client::open(gateway.address(), "/arcp", "h", hello("ann")).await.unwrap();
    let submit = json!({ "agent": "echo", "input": 1, "idempotency_key": "k" });
    let told = client.run(submit.clone()).await;
    let running = client.submit(slow()).await;
    client.event(&running).await;
    gateway.kill();
    gateway.restart();
    let mut again = client.again_at(gateway.address(), "ann", 1).await.unwrap();
    assert_eq!(again.next().await["payload"], told[1]["payload"]);
    let events = again.events(&running).await;
    let payload = &end(&events)["payload"];
    assert_eq!((code(end(&events)), &payload["retryable"]), ("INTERNAL_ERROR", &json!(true)));
    for status in ["error", "success"] {
        assert_eq!(again.list(json!({ "filter": { "status": [status] } })).await.len(), 1);
    }
    assert_eq!(again.submit(submit).await, job_of(&told[0]));
}
