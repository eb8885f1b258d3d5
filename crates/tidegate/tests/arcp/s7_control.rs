//! Sections 7.4 and 7.5: cancelling, and the versions of agents.

use serde_json::json;

use crate::fixture::{House, code, end};
use crate::frames::kind;

#[tokio::test]
pub(crate) async fn a_cancel_is_acknowledged_and_then_the_job_ends() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    // The second one talks on whatever it is told.
    for agent in ["slow", "ignore-cancel"] {
        let job = client.submit(json!({ "agent": agent, "input": { "ms": 600_000 } })).await;
        client.event(&job).await;
        let id = client.say("job.cancel", json!({ "job_id": job, "reason": "changed my mind" })).await;
        let cancelled = client.wait("an end", |frame| kind(frame) != "job.event").await;
        assert_eq!((kind(&cancelled), &cancelled["payload"]["request_id"]), ("job.cancelled", &json!(id)));
        assert_eq!(cancelled["payload"]["reason"], "changed my mind");
        let events = client.events(&job).await;
        let payload = &end(&events)["payload"];
        assert_eq!((code(end(&events)), &payload["final_status"]), ("CANCELLED", &json!("cancelled")));
        assert_eq!(payload["retryable"], false);
        client.is_silent().await;
    }
}

#[tokio::test]
pub(crate) async fn what_has_ended_cannot_be_cancelled() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let job = client.submit(json!({ "agent": "echo" })).await;
    client.events(&job).await;
    let refused = client.ask("job.cancel", json!({ "job_id": job })).await;
    assert_eq!((kind(&refused), code(&refused)), ("session.error", "INVALID_REQUEST"));
    assert_eq!(refused["payload"]["job_id"], job);
    client.is_silent().await;
    assert_eq!(client.list(json!({ "filter": { "status": ["cancelled"] } })).await.len(), 0);
}

#[tokio::test]
pub(crate) async fn only_the_submitting_session_may_cancel() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let job = client.submit(json!({ "agent": "puppet" })).await;
    let part = house.part().await;
    let cancel = json!({ "job_id": job });
    for (user, expected) in [("ann", "PERMISSION_DENIED"), ("auditor", "PERMISSION_DENIED"), ("bob", "JOB_NOT_FOUND")] {
        let mut other = house.connect(user).await;
        assert_eq!(code(&other.ask("job.cancel", cancel.clone()).await), expected, "{user}");
    }
    part.done();
    assert_eq!(kind(end(&client.events(&job).await)), "job.result");
}

#[tokio::test]
pub(crate) async fn a_name_alone_is_the_default_version() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let agents = client.welcome["capabilities"]["agents"].as_array().unwrap().clone();
    let versioned = agents.iter().find(|agent| agent["name"] == "versioned").unwrap();
    assert_eq!(versioned["default"], "10.0.0", "the one that was offered last");
    let mut versions: Vec<_> =
        versioned["versions"].as_array().unwrap().iter().filter_map(|name| name.as_str()).collect();
    versions.sort_unstable();
    assert_eq!(versions, ["10.0.0", "9.0.0"]);
    let accepted = client.accepted(json!({ "agent": "versioned", "input": { "ms": 0 } })).await;
    assert_eq!(accepted["payload"]["agent"], "versioned@10.0.0");
}

#[tokio::test]
pub(crate) async fn a_version_that_is_named_is_the_one_that_runs() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    for version in ["9.0.0", "10.0.0"] {
        let agent = format!("versioned@{version}");
        let accepted = client.accepted(json!({ "agent": agent, "input": { "ms": 1 } })).await;
        assert_eq!(accepted["payload"]["agent"], agent);
        assert_eq!(client.list(json!({ "filter": { "agent": agent } })).await[0]["job_id"], accepted["job_id"]);
    }
}

#[tokio::test]
pub(crate) async fn what_is_not_offered_is_said_to_be_so() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    for (agent, expected) in [
        ("versioned@1.0.0", "AGENT_VERSION_NOT_AVAILABLE"),
        ("versioned@9", "AGENT_VERSION_NOT_AVAILABLE"),
        ("nobody", "AGENT_NOT_AVAILABLE"),
        ("nobody@1.0.0", "AGENT_NOT_AVAILABLE"),
    ] {
        assert_eq!(code(&client.ask("job.submit", json!({ "agent": agent })).await), expected, "{agent}");
    }
}
