//! Sections 9.6 and 9.7: what a job may cost, and which models it may use.

use serde_json::value::to_raw_value;
use serde_json::{Value, json};
use tidegate_jobs::lease::Namespace;
use tidegate_jobs::{Code, Kind};

use crate::fixture::{House, Part, bodies, code, end};

async fn spend(part: &Part, unit: &str, value: &str) {
    let body = format!(r#"{{"name":"cost.inference","value":{value},"unit":"{unit}"}}"#);
    let body = serde_json::value::RawValue::from_string(body).unwrap();
    part.job.event(Kind::METRIC, body).await.unwrap();
}

/// What is said to be left.
fn remaining(events: &[Value]) -> Vec<(String, String)> {
    let of = |body: &&Value| body["name"] == "cost.budget.remaining";
    let metrics = bodies(events, "metric").into_iter().filter(of);
    metrics.map(|body| (body["unit"].as_str().unwrap().to_owned(), body["value"].to_string())).collect()
}

#[tokio::test]
pub(crate) async fn each_cost_is_taken_off_its_own_counter() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let lease = json!({ "cost.budget": ["USD:5.00", "credits:1000"], "tool.call": ["*"] });
    let job = client.submit(json!({ "agent": "puppet", "lease_request": lease })).await;
    let part = house.part().await;
    spend(&part, "USD", "0.0234").await;
    spend(&part, "credits", "250").await;
    // In a currency that has no budget, and of what is no cost.
    spend(&part, "EUR", "70").await;
    part.job.metric("tokens", 12.into(), Some("USD")).await.unwrap();
    spend(&part, "USD", "1e-2").await;
    part.done();
    let events = client.events(&job).await;
    let own = |unit: &str, value: &str| (unit.to_owned(), value.to_owned());
    assert_eq!(remaining(&events), [own("USD", "4.9766"), own("credits", "750"), own("USD", "4.9666")]);
}

#[tokio::test]
pub(crate) async fn a_negative_cost_is_refused() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let job = client.submit(json!({ "agent": "puppet", "lease_request": { "cost.budget": ["USD:1"] } })).await;
    let part = house.part().await;
    spend(&part, "USD", "-0.5").await;
    spend(&part, "USD", "0.25").await;
    part.done();
    let events = client.events(&job).await;
    assert_eq!(remaining(&events), [("USD".to_owned(), "0.75".to_owned())]);
    let costs = bodies(&events, "metric").iter().filter(|body| body["name"] == "cost.inference").count();
    assert_eq!(costs, 1, "the refused one is not told");
}

#[tokio::test]
pub(crate) async fn with_nothing_left_in_any_currency_nothing_may_be_done() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let lease = json!({
        "cost.budget": ["USD:1.00", "credits:10"], "tool.call": ["*"], "fs.read": ["/**"], "fs.write": ["/**"],
        "net.fetch": ["https://a.example/**"], "agent.delegate": ["*"], "model.use": ["*"],
    });
    let job = client.submit(json!({ "agent": "puppet", "lease_request": lease })).await;
    let part = house.part().await;
    assert!(part.job.authorize(Namespace::ToolCall, "x").await.is_ok());
    spend(&part, "credits", "9.999").await;
    assert!(part.job.authorize(Namespace::ToolCall, "x").await.is_ok());
    spend(&part, "credits", "0.001").await;
    for (op, target) in [
        (Namespace::ToolCall, "x"),
        (Namespace::FsRead, "/a"),
        (Namespace::FsWrite, "/a"),
        (Namespace::NetFetch, "https://a.example/x"),
        (Namespace::AgentDelegate, "echo"),
        (Namespace::ModelUse, "m"),
    ] {
        let refused = part.job.authorize(op, target).await.unwrap_err();
        assert_eq!((refused.code, refused.retryable), (Code::BudgetExhausted, false), "{target}");
    }
    // It may still end well.
    part.done();
    assert_eq!(end(&client.events(&job).await)["payload"]["final_status"], "success");
}

#[tokio::test]
pub(crate) async fn an_agent_that_gives_up_ends_in_error() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let lease = json!({ "cost.budget": ["USD:0.30"], "tool.call": ["spend"] });
    let submit = json!({ "agent": "spend", "input": { "per_call": "0.10", "calls": 9 }, "lease_request": lease });
    let events = client.run(submit).await;
    // Three dimes are thirty cents, which no sum of binary fractions is.
    let left: Vec<_> = remaining(&events).into_iter().map(|(_, left)| left).collect();
    assert_eq!(left, ["0.2", "0.1", "0"]);
    let payload = &end(&events)["payload"];
    assert_eq!(
        (code(end(&events)), &payload["final_status"], &payload["retryable"]),
        ("BUDGET_EXHAUSTED", &json!("error"), &json!(false))
    );
}

#[tokio::test]
pub(crate) async fn without_a_budget_none_is_enforced() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let job = client.submit(json!({ "agent": "puppet", "lease_request": { "tool.call": ["*"] } })).await;
    let part = house.part().await;
    spend(&part, "USD", "1000000").await;
    assert!(part.job.authorize(Namespace::ToolCall, "x").await.is_ok());
    part.done();
    let events = client.events(&job).await;
    assert_eq!((remaining(&events).len(), bodies(&events, "metric").len()), (0, 1));
}

#[tokio::test]
pub(crate) async fn what_is_left_is_the_gateways_to_say() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let job = client.submit(json!({ "agent": "puppet", "lease_request": { "cost.budget": ["USD:1"] } })).await;
    let part = house.part().await;
    let body = json!({ "name": "cost.budget.remaining", "value": 100, "unit": "USD" });
    part.job.event(Kind::METRIC, to_raw_value(&body).unwrap()).await.unwrap();
    part.done();
    assert_eq!(remaining(&client.events(&job).await), []);
}

#[tokio::test]
pub(crate) async fn where_models_have_to_be_named_none_is_allowed_without() {
    for (keys, may) in [("require_model_use = true", false), ("", true)] {
        let house = House::with(keys).await;
        let mut client = house.connect("ann").await;
        client.submit(json!({ "agent": "puppet" })).await;
        let part = house.part().await;
        assert_eq!(part.job.authorize(Namespace::ModelUse, "gpt-4o").await.is_ok(), may);
        part.done();
    }
}
