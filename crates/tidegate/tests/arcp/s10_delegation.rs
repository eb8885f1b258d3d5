//! Sections 9.4, 10 and 11: parts of a job that others do, and the trace that they share.

use std::sync::Arc;

use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use tidegate_jobs::agents::Child;
use tidegate_jobs::lease::{Constraints, Lease};
use tidegate_jobs::{Asked, Code, Delegation, Fault};

use crate::fixture::{House, Part, bodies, end, in_ms};
use crate::frames::kind;

/// Has another agent do a part, with that lease and those constraints.
pub(crate) async fn delegate(part: &Part, agent: &str, lease: Value, constraints: Value) -> Result<Child, Fault> {
    let delegation = Delegation {
        id: Arc::from("part"),
        agent: Asked::parse(agent)?,
        input: to_raw_value(&json!({ "ms": 0 })).unwrap().into(),
        lease: Lease::read(&to_raw_value(&lease).unwrap())?,
        constraints: Constraints::read(&to_raw_value(&constraints).unwrap(), 0)?,
    };
    part.job.delegate(delegation).await
}

pub(crate) fn refused(delegated: Result<Child, Fault>) -> Code {
    delegated.err().unwrap().code
}

#[tokio::test]
pub(crate) async fn a_child_is_told_and_runs_in_the_same_trace() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    for of in [trace.to_owned(), format!("00-{trace}-00f067aa0ba902b7-01")] {
        let lease = json!({ "agent.delegate": ["puppet"], "tool.call": ["a", "b"] });
        let submit = json!({ "agent": "delegate", "input": { "agent": "puppet", "lease": { "tool.call": ["a"] } }, "lease_request": lease });
        let mut message = client.message(&crate::fixture::unique(), "job.submit", submit);
        message["trace_id"] = of.into();
        client.send(&message).await;
        let accepted = client.answer(message["id"].as_str().unwrap()).await;
        let (job, part) = (accepted["job_id"].as_str().unwrap().to_owned(), house.part().await);
        assert_eq!((&accepted["trace_id"], &accepted["payload"]["trace_id"]), (&json!(trace), &json!(trace)));
        assert_eq!(part.job.start().accepted.trace.to_string(), trace, "the agent is told, for its tools");
        let child = part.job.id().to_string();
        part.done();
        let events = client.events(&job).await;
        let said = bodies(&events, "delegate");
        assert_eq!((&said[0]["child_job_id"], &said[0]["agent"]), (&json!(child), &json!("puppet@1.0.0")));
        assert!(events.iter().all(|event| event["trace_id"] == trace));
        let own = client.wait("the child", |frame| frame["job_id"] == *child && kind(frame) == "job.accepted").await;
        assert_eq!(
            (&own["payload"]["parent_job_id"], &own["payload"]["lease"]),
            (&json!(job), &json!({ "tool.call": ["a"] }))
        );
        let events = client.events(&child).await;
        assert!(events.iter().all(|event| event["trace_id"] == trace));
        assert_eq!(end(&events)["payload"]["final_status"], "success");
        let listed = client.list(json!({ "filter": { "agent": "puppet" } })).await;
        assert_eq!((&listed[0]["parent_job_id"], &listed[0]["trace_id"]), (&json!(job), &json!(trace)));
    }
}

#[tokio::test]
pub(crate) async fn a_trace_is_made_where_none_is_given() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let first = client.accepted(json!({ "agent": "echo" })).await;
    let second = client.accepted(json!({ "agent": "echo" })).await;
    assert!(first["trace_id"].is_string() && first["trace_id"] != second["trace_id"]);
}

#[tokio::test]
pub(crate) async fn a_child_may_do_no_more_than_its_parent() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let lease = json!({
        "agent.delegate": ["echo", "slow"], "fs.read": ["/workspace/**"], "tool.call": ["git-*"],
        "model.use": ["tier-fast/*"], "cost.budget": ["USD:5.00"],
    });
    client.submit(json!({ "agent": "puppet", "lease_request": lease })).await;
    let part = house.part().await;
    for more in [
        json!({ "fs.read": ["/**"] }),
        json!({ "fs.write": ["/workspace/a"] }),
        json!({ "tool.call": ["*"] }),
        json!({ "model.use": ["tier-slow/a"] }),
        json!({ "model.use": ["*"] }),
        json!({ "cost.budget": ["EUR:1"] }),
        json!({ "cost.budget": ["USD:5.01"] }),
    ] {
        let code = refused(delegate(&part, "echo", more.clone(), json!({})).await);
        assert_eq!(code, Code::LeaseSubsetViolation, "{more}");
    }
    assert_eq!(refused(delegate(&part, "burst", json!({}), json!({})).await), Code::PermissionDenied);
    let within = json!({ "fs.read": ["/workspace/src/**"], "tool.call": ["git-log"], "model.use": ["tier-fast/a"] });
    assert!(delegate(&part, "echo", within, json!({})).await.is_ok());
    part.done();
}

#[tokio::test]
pub(crate) async fn a_child_gets_of_the_budget_what_is_left() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let lease = json!({ "agent.delegate": ["slow"], "cost.budget": ["USD:5.00"] });
    client.submit(json!({ "agent": "puppet", "lease_request": lease })).await;
    let part = house.part().await;
    part.job.metric("cost.x", 3.into(), Some("USD")).await.unwrap();
    let more = delegate(&part, "slow", json!({ "cost.budget": ["USD:2.01"] }), json!({})).await;
    assert_eq!(refused(more), Code::LeaseSubsetViolation);
    assert!(delegate(&part, "slow", json!({ "cost.budget": ["USD:2.00"] }), json!({})).await.is_ok());
    part.done();
}

#[tokio::test]
pub(crate) async fn a_child_expires_no_later_than_its_parent() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let (earlier, expires_at, later) = (in_ms(500_000), in_ms(600_000), in_ms(700_000));
    let submit = json!({
        "agent": "puppet", "lease_request": { "agent.delegate": ["slow"] },
        "lease_constraints": { "expires_at": expires_at },
    });
    client.submit(submit).await;
    let part = house.part().await;
    let of = |at: &str| json!({ "expires_at": at });
    assert_eq!(refused(delegate(&part, "slow", json!({}), of(&later)).await), Code::LeaseSubsetViolation);
    for (asked, expected) in [(of(&earlier), &earlier), (of(&expires_at), &expires_at), (json!({}), &expires_at)] {
        let child = delegate(&part, "slow", json!({}), asked).await.unwrap().job.to_string();
        let own = client.wait("the child", |frame| frame["job_id"] == *child && kind(frame) == "job.accepted").await;
        assert_eq!(own["payload"]["lease_constraints"]["expires_at"], **expected);
    }
    part.done();
}

#[tokio::test]
pub(crate) async fn without_an_expiry_a_child_may_have_one_or_none() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    client.submit(json!({ "agent": "puppet", "lease_request": { "agent.delegate": ["slow"] } })).await;
    let part = house.part().await;
    for constraints in [json!({}), json!({ "expires_at": in_ms(600_000) })] {
        assert!(delegate(&part, "slow", json!({}), constraints).await.is_ok());
    }
    part.done();
}
