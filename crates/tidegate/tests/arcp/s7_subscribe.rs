//! Section 7.6: looking at a job of another session.

use serde_json::{Value, json};

use crate::fixture::{House, bodies, code, end, in_ms};
use crate::frames::kind;

#[tokio::test]
pub(crate) async fn history_comes_first_and_then_what_is_live() {
    let house = House::open().await;
    let (mut client, mut other) = (house.connect("ann").await, house.connect("ann").await);
    let job = client.submit(json!({ "agent": "puppet" })).await;
    let part = house.part().await;
    part.job.log("info", "one").await.unwrap();
    part.job.log("info", "two").await.unwrap();
    for _ in 0..3 {
        client.event(&job).await;
    }
    // Its own stream has begun already.
    other.is_silent().await;
    let id = other.say("job.subscribe", json!({ "job_id": job, "from_event_seq": 0, "history": true })).await;
    let subscribed = other.next().await;
    assert_eq!((kind(&subscribed), &subscribed["payload"]["request_id"]), ("job.subscribed", &json!(id)));
    assert_eq!(
        (&subscribed["payload"]["replayed"], &subscribed["payload"]["subscribed_from"]),
        (&json!(true), &json!(5))
    );
    part.job.log("info", "three").await.unwrap();
    part.done();
    let events = other.events(&job).await;
    let messages: Vec<_> = bodies(&events, "log").into_iter().map(|body| body["message"].clone()).collect();
    assert_eq!(messages, ["one", "two", "three"]);
    assert_eq!((events.len(), &events[0]["event_seq"]), (5, &json!(3)), "in its own numbers");
    assert_eq!(bodies(&events, "status")[0], &json!({ "phase": "running" }));
}

#[tokio::test]
pub(crate) async fn history_begins_behind_the_number_that_is_named() {
    let house = House::open().await;
    let (mut client, mut other) = (house.connect("ann").await, house.connect("ann").await);
    let first = client.run(json!({ "agent": "count", "input": { "to": 3 } })).await;
    let second = client.run(json!({ "agent": "count", "input": { "to": 3 } })).await;
    for told in [first, second] {
        let job = told[0]["job_id"].as_str().unwrap();
        let numbers: Vec<_> = told.iter().map(|event| event["event_seq"].as_u64().unwrap()).collect();
        for (skipped, from) in [(2, numbers[1]), (4, numbers[3])] {
            other.ask("job.subscribe", json!({ "job_id": job, "from_event_seq": from, "history": true })).await;
            let events = other.events(job).await;
            let payloads = |events: &[Value]| events.iter().map(|event| event["payload"].clone()).collect::<Vec<_>>();
            assert_eq!(payloads(&events), payloads(&told[skipped..]));
        }
    }
}

#[tokio::test]
pub(crate) async fn without_history_only_what_is_new_comes() {
    let house = House::open().await;
    let (mut client, mut other) = (house.connect("ann").await, house.connect("ann").await);
    let job = client.submit(json!({ "agent": "puppet" })).await;
    let part = house.part().await;
    part.job.log("info", "before").await.unwrap();
    client.event(&job).await;
    client.event(&job).await;
    let subscribed = other.ask("job.subscribe", json!({ "job_id": job })).await;
    assert_eq!(
        (&subscribed["payload"]["replayed"], &subscribed["payload"]["current_status"]),
        (&json!(false), &json!("running"))
    );
    part.job.log("info", "after").await.unwrap();
    part.done();
    let events = other.events(&job).await;
    assert_eq!(events.len(), 2);
    assert_eq!(bodies(&events, "log")[0]["message"], "after");
}

#[tokio::test]
pub(crate) async fn a_subscriber_is_told_the_bounds_of_the_job() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let expires_at = in_ms(600_000);
    let lease = json!({ "tool.call": ["spend"], "cost.budget": ["USD:5.00"] });
    let accepted = client
        .accepted(json!({
            "agent": "puppet", "lease_request": lease, "lease_constraints": { "expires_at": expires_at },
        }))
        .await;
    let part = house.part().await;
    part.job.metric("cost.inference", "1.42".parse().unwrap(), Some("USD")).await.unwrap();
    part.job.flush().await.unwrap();
    let job = part.job.id().to_string();
    for user in ["ann", "auditor"] {
        let subscribed = house.connect(user).await.ask("job.subscribe", json!({ "job_id": job })).await;
        let payload = &subscribed["payload"];
        assert_eq!(payload["job_id"], job);
        assert_eq!((&payload["agent"], &payload["current_status"]), (&json!("puppet@1.0.0"), &json!("running")));
        assert_eq!((&payload["lease"], &payload["budget"]), (&lease, &json!({ "USD": 3.58 })));
        assert_eq!(payload["lease_constraints"], json!({ "expires_at": expires_at }));
        assert_eq!(payload["trace_id"], accepted["trace_id"]);
        assert!(payload["parent_job_id"].is_null() && payload.get("parent_job_id").is_some());
    }
    part.done();
}

#[tokio::test]
pub(crate) async fn events_of_several_jobs_are_in_one_sequence() {
    let house = House::open().await;
    let (mut client, mut other) = (house.connect("ann").await, house.connect("ann").await);
    let job = client.submit(json!({ "agent": "puppet" })).await;
    let part = house.part().await;
    other.ask("job.subscribe", json!({ "job_id": job, "history": true })).await;
    // The client of these tests fails on a gap.
    for _ in 0..5 {
        part.job.log("info", "between").await.unwrap();
        part.job.flush().await.unwrap();
        other.run(json!({ "agent": "echo" })).await;
    }
    part.done();
    assert_eq!(other.events(&job).await.len(), 7);
    assert_eq!(other.frames.head, 17);
}

#[tokio::test]
pub(crate) async fn who_may_not_see_a_job_is_told_that_there_is_none() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let job = client.submit(json!({ "agent": "slow", "input": { "ms": 600_000 } })).await;
    let mut bob = house.connect("bob").await;
    let refused = bob.ask("job.subscribe", json!({ "job_id": job, "history": true })).await;
    assert_eq!((kind(&refused), code(&refused)), ("session.error", "JOB_NOT_FOUND"));
    bob.is_silent().await;
}

#[tokio::test]
pub(crate) async fn a_subscription_may_be_ended() {
    let house = House::open().await;
    let (mut client, mut other) = (house.connect("ann").await, house.connect("ann").await);
    let job = client.submit(json!({ "agent": "puppet" })).await;
    let part = house.part().await;
    client.event(&job).await;
    other.ask("job.subscribe", json!({ "job_id": job })).await;
    part.job.log("info", "seen").await.unwrap();
    assert_eq!(other.event(&job).await["payload"]["body"]["message"], "seen");
    other.say("job.unsubscribe", json!({ "job_id": job })).await;
    other.is_silent().await;
    part.job.log("info", "not seen").await.unwrap();
    part.done();
    client.events(&job).await;
    other.is_silent().await;
}

#[tokio::test]
pub(crate) async fn a_subscriber_may_only_look() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let job = client.submit(json!({ "agent": "puppet" })).await;
    let part = house.part().await;
    for user in ["ann", "auditor"] {
        let mut other = house.connect(user).await;
        other.ask("job.subscribe", json!({ "job_id": job })).await;
        assert_eq!(code(&other.ask("job.cancel", json!({ "job_id": job })).await), "PERMISSION_DENIED");
    }
    part.done();
    assert_eq!(kind(end(&client.events(&job).await)), "job.result");
}

#[tokio::test]
pub(crate) async fn what_has_ended_can_be_looked_at() {
    let house = House::open().await;
    let (mut client, mut other) = (house.connect("ann").await, house.connect("ann").await);
    let told = client.run(json!({ "agent": "count", "input": { "to": 2 } })).await;
    let job = told[0]["job_id"].as_str().unwrap();
    let subscribed = other.ask("job.subscribe", json!({ "job_id": job })).await;
    assert_eq!(subscribed["payload"]["current_status"], "success");
    other.is_silent().await;
    let again = client.ask("job.subscribe", json!({ "job_id": job, "history": true })).await;
    assert_eq!(again["payload"]["subscribed_from"], 8, "the sequence of its own session goes on");
    assert_eq!(client.events(job).await.len(), told.len());
}
