//! Sections 6.6 and 6.7: the jobs that there are, and the end of a session.

use serde_json::{Value, json};

use crate::fixture::{House, code, end, in_ms};
use crate::frames::kind;

fn ids(jobs: &[Value]) -> Vec<&str> {
    jobs.iter().map(|job| job["job_id"].as_str().unwrap()).collect()
}

#[tokio::test]
pub(crate) async fn jobs_are_listed_with_all_that_is_known_of_them() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    assert_eq!(client.list(json!({})).await, [] as [Value; 0]);
    let lease = json!({ "tool.call": ["a"] });
    let accepted =
        client.accepted(json!({ "agent": "slow", "input": { "ms": 600_000 }, "lease_request": lease })).await;
    let events = client.run(json!({ "agent": "echo" })).await;
    let answer = client.ask("session.list_jobs", json!({ "limit": 100, "cursor": null })).await;
    assert_eq!(kind(&answer), "session.jobs");
    assert!(answer["payload"]["next_cursor"].is_null() && answer["payload"].get("next_cursor").is_some());
    let jobs = answer["payload"]["jobs"].as_array().unwrap();
    assert_eq!(jobs.len(), 2);
    // Newest first, but for those of one millisecond.
    let of = |frame: &Value| jobs.iter().find(|job| job["job_id"] == frame["job_id"]).unwrap();
    let (done, job) = (of(end(&events)), of(&accepted));
    assert_eq!((&done["status"], &done["last_event_seq"]), (&json!("success"), &end(&events)["event_seq"]));
    assert_eq!(job["status"], "running");
    assert_eq!((&job["agent"], &job["lease"]), (&json!("slow@1.0.0"), &lease));
    assert_eq!(job["trace_id"], accepted["trace_id"]);
    assert!(job["parent_job_id"].is_null() && job.get("parent_job_id").is_some());
    assert!(job["created_at"].is_string() && job["created_at"] == job["submitted_at"]);
}

#[tokio::test]
pub(crate) async fn every_filter_may_be_left_out() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let before = in_ms(-60_000);
    let running = client.submit(json!({ "agent": "slow", "input": { "ms": 600_000 } })).await;
    let done = client.submit(json!({ "agent": "echo" })).await;
    client.events(&done).await;
    let after = in_ms(60_000);
    for (filter, expected) in [
        (json!({}), vec![&*done, &running]),
        (json!({ "status": ["running", "pending"] }), vec![&*running]),
        (json!({ "status": ["success"] }), vec![&*done]),
        (json!({ "status": ["error", "cancelled", "timed_out"] }), vec![]),
        (json!({ "agent": "echo" }), vec![&*done]),
        (json!({ "agent": "slow@1.0.0" }), vec![&*running]),
        (json!({ "agent": "slow@2.0.0" }), vec![]),
        (json!({ "created_after": before, "created_before": after }), vec![&*done, &running]),
        (json!({ "created_after": after }), vec![]),
        (json!({ "created_before": before }), vec![]),
        (json!({ "status": null, "agent": null }), vec![&*done, &running]),
    ] {
        let listed = client.list(json!({ "filter": filter })).await;
        let is_listed = |job: &&str| ids(&listed).contains(job);
        assert!(listed.len() == expected.len() && expected.iter().all(is_listed), "{filter}: {listed:?}");
    }
    for payload in [
        json!({ "filter": { "status": ["nope"] } }),
        json!({ "filter": { "agent": "Nope" } }),
        json!({ "filter": { "created_after": "yesterday" } }),
        json!({ "limit": 0 }),
        json!({ "cursor": "nope" }),
    ] {
        assert_eq!(code(&client.ask("session.list_jobs", payload.clone()).await), "INVALID_REQUEST", "{payload}");
    }
}

#[tokio::test]
pub(crate) async fn pages_are_stable_while_jobs_come_and_go() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let mut submitted = Vec::new();
    for _ in 0..6 {
        submitted.push(client.submit(json!({ "agent": "slow", "input": { "ms": 600_000 } })).await);
    }
    let (mut seen, mut cursor) = (Vec::new(), Value::Null);
    loop {
        let answer = client.ask("session.list_jobs", json!({ "limit": 2, "cursor": cursor })).await;
        let jobs = answer["payload"]["jobs"].as_array().unwrap();
        assert!(jobs.len() <= 2);
        seen.extend(ids(jobs).into_iter().map(str::to_owned));
        cursor = answer["payload"]["next_cursor"].clone();
        if cursor.is_null() {
            break;
        }
        // One comes and one ends between any two pages.
        client.submit(json!({ "agent": "echo" })).await;
        client.ask("job.cancel", json!({ "job_id": seen[0] })).await;
    }
    // Each once.
    seen.sort_unstable();
    submitted.sort_unstable();
    assert_eq!(seen, submitted);
}

#[tokio::test]
pub(crate) async fn only_what_one_may_see_is_listed() {
    let house = House::open().await;
    let (mut ann, mut bob) = (house.connect("ann").await, house.connect("bob").await);
    let job = ann.submit(json!({ "agent": "echo" })).await;
    assert_eq!(
        ids(&house.connect("ann").await.list(json!({})).await),
        [&*job],
        "the principal's, whatever the session"
    );
    assert_eq!(bob.list(json!({})).await.len(), 0);
    assert_eq!(ids(&house.connect("auditor").await.list(json!({})).await), [&*job], "policy may open it");
}

#[tokio::test]
pub(crate) async fn a_list_subscribes_to_nothing() {
    let house = House::open().await;
    let (mut client, mut other) = (house.connect("ann").await, house.connect("ann").await);
    let job = client.submit(json!({ "agent": "puppet" })).await;
    let part = house.part().await;
    assert_eq!(ids(&other.list(json!({})).await), [&*job]);
    part.job.log("info", "nobody else is told").await.unwrap();
    part.done();
    client.events(&job).await;
    other.is_silent().await;
}

#[tokio::test]
pub(crate) async fn what_has_ended_is_listed_for_the_window() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let job = client.submit(json!({ "agent": "echo" })).await;
    client.events(&job).await;
    client.say("session.ack", json!({ "last_processed_seq": 2 })).await;
    client.say("session.close", json!({})).await;
    client.closed().await;
    assert_eq!(ids(&house.connect("ann").await.list(json!({})).await), [&*job]);
}

#[tokio::test]
pub(crate) async fn a_close_is_acknowledged_and_jobs_go_on() {
    let house = House::open().await;
    for word in ["session.close", "session.bye"] {
        let mut client = house.connect(word.trim_start_matches("session.")).await;
        let user = word.trim_start_matches("session.");
        let job = client.submit(json!({ "agent": "puppet" })).await;
        let part = house.part().await;
        client.event(&job).await;
        client.say(word, json!({ "reason": "done for today" })).await;
        assert_eq!(kind(&client.next().await), "session.closed");
        assert_eq!(client.closed().await.0, 1000);
        part.job.log("info", "still here").await.unwrap();
        part.done();
        // Within the window it can be gone on with.
        let mut again = client.again(&house, user, 1).await.unwrap();
        let events = again.events(&job).await;
        assert_eq!((events.len(), &end(&events)["payload"]["result"]), (2, &json!("done")));
    }
}
