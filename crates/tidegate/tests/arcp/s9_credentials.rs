//! Section 9.8: credentials that are made for a job.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::fixture::{House, end, hello_with, in_ms};
use crate::frames::{is_named, kind};
use crate::upstream::{SECRET, Upstream};

fn submit(agent: &str, input: Value) -> Value {
    let lease = json!({ "model.use": ["tier-fast/*"], "cost.budget": ["USD:5.00"] });
    let mut submit = json!({ "agent": agent, "lease_request": lease });
    submit["input"] = input;
    submit
}

fn id(accepted: &Value) -> String {
    accepted["payload"]["credentials"][0]["id"].as_str().unwrap_or_else(|| panic!("{accepted}")).to_owned()
}

#[tokio::test]
pub(crate) async fn a_credential_is_in_the_acceptance() {
    let house = House::provisioned(Upstream::default()).await;
    let mut client = house.connect("ann").await;
    assert!(client.welcome["capabilities"]["features"].as_array().unwrap().contains(&json!("provisioned_credentials")));
    let accepted = client.accepted(submit("puppet", json!(1))).await;
    let part = house.part().await;
    let credential = &accepted["payload"]["credentials"][0];
    let name = id(&accepted);
    assert!(is_named(&name, "cred_"));
    assert_eq!(
        credential,
        &json!({
            "id": name, "scheme": "bearer", "value": format!("{SECRET}{name}"),
            "endpoint": "https://gateway.example.com/v1", "profile": "openai",
            "constraints": { "model.use": ["tier-fast/*"] },
        })
    );
    // The agent has the same.
    assert_eq!(&*part.job.start().credentials[0].value, credential["value"]);
    part.done();
}

#[tokio::test]
pub(crate) async fn each_job_has_its_own() {
    let house = House::provisioned(Upstream::default()).await;
    let mut client = house.connect("ann").await;
    let first = client.accepted(submit("echo", json!(1))).await;
    let second = client.accepted(submit("echo", json!(1))).await;
    assert_ne!(first["payload"]["credentials"][0]["value"], second["payload"]["credentials"][0]["value"]);
    let none = client.accepted(json!({ "agent": "echo" })).await;
    assert!(none["payload"].get("credentials").is_none());
}

#[tokio::test]
pub(crate) async fn they_are_ended_with_the_job_however_that_ends() {
    let house = House::provisioned(Upstream::failing(1)).await;
    let mut client = house.connect("ann").await;
    for (mut payload, status) in [
        (submit("echo", json!(1)), "success"),
        (submit("fail", json!({})), "error"),
        (submit("slow", json!({ "ms": 600_000 })), "cancelled"),
        (submit("slow", json!({ "ms": 600_000 })), "timed_out"),
    ] {
        if status == "timed_out" {
            payload["max_runtime_sec"] = 1.into();
        }
        let accepted = client.accepted(payload).await;
        let job = accepted["job_id"].as_str().unwrap().to_owned();
        if status == "cancelled" {
            client.say("job.cancel", json!({ "job_id": job })).await;
        }
        assert_eq!(end(&client.events(&job).await)["payload"]["final_status"], status);
        // The first of them at the second try.
        house.upstream.revokes(&id(&accepted)).await;
    }
}

#[tokio::test]
pub(crate) async fn they_are_shown_to_the_submitter_alone() {
    let house = House::provisioned(Upstream::default()).await;
    let mut client = house.connect("ann").await;
    let accepted = client.accepted(submit("puppet", json!(1))).await;
    let part = house.part().await;
    let job = part.job.id().to_string();
    let subscribe = json!({ "job_id": job, "history": true });
    let own = house.connect("ann").await.ask("job.subscribe", subscribe.clone()).await;
    assert_eq!(own["payload"]["credentials"], accepted["payload"]["credentials"]);
    let mut auditor = house.connect("auditor").await;
    let seen = auditor.ask("job.subscribe", subscribe).await;
    assert!(seen["payload"].get("credentials").is_none());
    let listed = auditor.list(json!({})).await;
    assert!(listed[0].get("credentials").is_none());
    // Who did not agree to get any has none.
    let features = ["subscribe", "model.use", "cost.budget"];
    let mut plain = house.enter(hello_with("ann", &features)).await;
    assert!(plain.accepted(submit("echo", json!(1))).await["payload"].get("credentials").is_none());
    part.done();
    for event in auditor.events(&job).await {
        assert!(!event.to_string().contains(SECRET), "{event}");
    }
}

#[tokio::test]
pub(crate) async fn what_makes_them_is_told_all_bounds_of_the_job() {
    let house = House::provisioned(Upstream::default()).await;
    let mut client = house.connect("ann").await;
    let mut payload = submit("echo", json!(1));
    let expires_at = in_ms(600_000);
    payload["lease_constraints"] = json!({ "expires_at": expires_at });
    client.accepted(payload).await;
    let made = house.upstream.made.lock().unwrap();
    let (_, purpose) = &made[0];
    assert_eq!(
        purpose.lease.patterns("model.use").iter().map(|pattern| &**pattern).collect::<Vec<_>>(),
        ["tier-fast/*"]
    );
    let budget: Vec<_> =
        purpose.budget.iter().flat_map(|budget| budget.iter()).map(|(unit, left)| format!("{unit}:{left}")).collect();
    assert_eq!(budget, ["USD:5.00"]);
    assert!(purpose.constraints.expires_at_ms.is_some());
}

#[tokio::test]
pub(crate) async fn a_child_has_its_own_which_end_with_the_parent() {
    let house = House::provisioned(Upstream::default()).await;
    let mut client = house.connect("ann").await;
    let lease = json!({ "agent.delegate": ["puppet"], "model.use": ["tier-fast/*"] });
    let input = json!({ "agent": "puppet", "lease": { "model.use": ["tier-fast/a"] } });
    let parent = client.accepted(json!({ "agent": "delegate", "input": input, "lease_request": lease })).await;
    let part = house.part().await;
    let credential = part.job.start().credentials[0].clone();
    assert_ne!(credential.id.to_string(), id(&parent));
    client.say("job.cancel", json!({ "job_id": parent["job_id"] })).await;
    house.upstream.revokes(&credential.id.to_string()).await;
    house.upstream.revokes(&id(&parent)).await;
    let events = client.events(&part.job.id().to_string()).await;
    assert_eq!(end(&events)["payload"]["final_status"], "cancelled");
}

#[tokio::test]
pub(crate) async fn without_a_provisioner_the_feature_is_not_offered() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    assert!(
        !client.welcome["capabilities"]["features"].as_array().unwrap().contains(&json!("provisioned_credentials"))
    );
    let accepted = client.accepted(submit("echo", json!(1))).await;
    assert_eq!(kind(&accepted), "job.accepted");
    assert!(accepted["payload"].get("credentials").is_none());
}

#[tokio::test]
pub(crate) async fn what_could_not_be_revoked_is_after_a_restart() {
    let house = House::provisioned(Upstream::failing(usize::MAX)).await;
    let mut client = house.connect("ann").await;
    let accepted = client.accepted(submit("echo", json!(1))).await;
    client.events(accepted["job_id"].as_str().unwrap()).await;
    drop(client);
    let house = house.restarted(Some(Arc::default())).await;
    house.upstream.revokes(&id(&accepted)).await;
}
