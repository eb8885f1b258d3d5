//! Sections 7.1 to 7.3: a job begins, runs and ends.

use serde_json::{Value, json};

use crate::fixture::{House, code, end, hello_with, in_ms, job_of};
use crate::frames::kind;

#[tokio::test]
pub(crate) async fn an_acceptance_says_what_the_job_may_do() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let expires_at = in_ms(600_000);
    let lease = json!({ "fs.read": ["/workspace/**"], "cost.budget": ["USD:5.00", "credits:1000"] });
    let accepted = client
        .accepted(json!({
            "agent": "echo", "lease_request": lease, "lease_constraints": { "expires_at": expires_at },
            "max_runtime_sec": 1800,
        }))
        .await;
    let payload = &accepted["payload"];
    assert_eq!(payload["job_id"], accepted["job_id"]);
    assert_eq!(payload["agent"], "echo@1.0.0");
    assert_eq!(payload["lease"], lease);
    assert_eq!(payload["lease_constraints"], json!({ "expires_at": expires_at }));
    assert_eq!(payload["budget"], json!({ "USD": 5, "credits": 1000 }));
    assert_eq!(payload["trace_id"], accepted["trace_id"]);
    assert!(payload["accepted_at"].is_string() && payload.get("credentials").is_none());
    let bare = client.accepted(json!({ "agent": "echo" })).await;
    assert_eq!(bare["payload"]["lease"], json!({}));
    assert!(bare["payload"].get("lease_constraints").is_none() && bare["payload"].get("budget").is_none());
}

#[tokio::test]
pub(crate) async fn submits_are_answered_in_their_order() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let mut said = Vec::new();
    for payload in [
        json!({ "agent": "echo" }),
        json!({}),
        json!({ "agent": "echo", "max_runtime_sec": 0 }),
        json!({ "agent": "nobody" }),
        json!({ "agent": "echo" }),
        json!({ "agent": "echo", "lease_request": { "nope": ["*"] } }),
        json!({ "agent": "echo" }),
    ] {
        said.push(client.say("job.submit", payload).await);
    }
    let mut answered = Vec::new();
    while answered.len() < said.len() {
        let frame = client.next().await;
        answered.extend(frame["payload"]["request_id"].as_str().map(str::to_owned));
    }
    assert_eq!(answered, said);
}

#[tokio::test]
pub(crate) async fn the_same_key_and_parameters_are_the_same_job() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let submit = json!({
        "agent": "echo", "input": { "a": 1, "b": [2] }, "lease_request": { "tool.call": ["x"] },
        "idempotency_key": "refactor-auth",
    });
    let mut first = client.accepted(submit.clone()).await;
    client.events(&job_of(&first)).await;
    // Whatever the order of fields.
    let other = r#"{"idempotency_key":"refactor-auth","lease_request":{"tool.call":["x"]},"input":{"b":[2],"a":1},"agent":"echo"}"#;
    let mut again = client.accepted(serde_json::from_str(other).unwrap()).await;
    let result = client.event(&job_of(&first)).await;
    assert_eq!(kind(&result), "job.result", "its end is told again");
    // The payload is the same but for which message it answers.
    for accepted in [&mut first, &mut again] {
        accepted["payload"].as_object_mut().unwrap().remove("request_id");
    }
    assert_eq!(first["payload"], again["payload"]);
    assert_eq!(client.list(json!({})).await.len(), 1);
}

#[tokio::test]
pub(crate) async fn other_parameters_under_a_key_are_refused() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let submit = |input: Value, lease: Value| json!({ "agent": "echo", "input": input, "lease_request": lease, "idempotency_key": "k" });
    client.accepted(submit(json!(1), json!({}))).await;
    let refused = client.ask("job.submit", submit(json!(2), json!({}))).await;
    assert_eq!(code(&refused), "DUPLICATE_KEY");
    let refused = client.ask("job.submit", submit(json!(1), json!({ "tool.call": ["*"] }))).await;
    assert_eq!(code(&refused), "DUPLICATE_KEY");
    let mut versioned = submit(json!(1), json!({}));
    versioned["max_runtime_sec"] = 7.into();
    assert_eq!(code(&client.ask("job.submit", versioned).await), "DUPLICATE_KEY");
}

#[tokio::test]
pub(crate) async fn a_key_is_a_principals_own() {
    let house = House::open().await;
    let submit = |input: u64| json!({ "agent": "echo", "input": input, "idempotency_key": "k" });
    let (mut ann, mut bob) = (house.connect("ann").await, house.connect("bob").await);
    let first = ann.submit(submit(1)).await;
    assert_ne!(bob.submit(submit(2)).await, first);
    assert_eq!(house.connect("ann").await.submit(submit(1)).await, first, "in any session of the principal");
}

#[tokio::test]
pub(crate) async fn concurrent_submits_with_a_key_are_one_job() {
    let house = House::open().await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        clients.push(house.connect("ann").await);
    }
    let submit = json!({ "agent": "puppet", "idempotency_key": "k" });
    let mut said = Vec::new();
    for client in &mut clients {
        for _ in 0..3 {
            said.push(client.say("job.submit", submit.clone()).await);
        }
    }
    let part = house.part().await;
    let job = part.job.id().to_string();
    for (client, said) in clients.iter_mut().zip(said.chunks(3)) {
        for id in said {
            assert_eq!(job_of(&client.answer(id).await), job);
        }
    }
    part.done();
    for client in &mut clients {
        // Whoever submitted it sees its end.
        let event = client.wait("its end", |frame| kind(frame) == "job.result").await;
        assert_eq!(job_of(&event), job);
        assert_eq!(client.list(json!({})).await.len(), 1);
    }
}

#[tokio::test]
pub(crate) async fn a_job_runs_and_ends_once_in_one_of_four_states() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    for (submit, of, status, error) in [
        (json!({ "agent": "echo", "input": 1 }), "job.result", "success", None),
        (json!({ "agent": "fail", "input": {} }), "job.error", "error", Some("INTERNAL_ERROR")),
        (
            json!({ "agent": "slow", "input": { "ms": 600_000 }, "max_runtime_sec": 1 }),
            "job.error",
            "timed_out",
            Some("TIMEOUT"),
        ),
        (json!({ "agent": "slow", "input": { "ms": 600_000 } }), "job.error", "cancelled", Some("CANCELLED")),
    ] {
        let job = client.submit(submit).await;
        let first = client.event(&job).await;
        assert_eq!(
            (&first["payload"]["kind"], &first["payload"]["body"]),
            (&json!("status"), &json!({ "phase": "running" }))
        );
        if status == "cancelled" {
            client.say("job.cancel", json!({ "job_id": job })).await;
        }
        let events = client.events(&job).await;
        let last = end(&events);
        assert_eq!((kind(last), &last["payload"]["final_status"]), (of, &json!(status)));
        assert_eq!(last["payload"]["code"].as_str(), error);
        assert!(last["payload"]["completed_at"].is_string());
        let listed = client.list(json!({ "filter": { "status": [status] } })).await;
        assert_eq!(listed[0]["job_id"], job);
    }
}

#[tokio::test]
pub(crate) async fn a_result_is_told_under_both_its_names() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    for input in [json!({ "deep": [1, 2.5, "x"] }), json!(true), json!("")] {
        let events = client.run(json!({ "agent": "echo", "input": input })).await;
        let payload = &end(&events)["payload"];
        assert_eq!((&payload["result"], &payload["output"]), (&input, &input));
        assert!(payload.get("result_id").is_none());
    }
}

#[tokio::test]
pub(crate) async fn what_a_submit_asks_for_has_to_be_well_formed() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    for payload in [
        json!({ "agent": 7 }),
        json!({ "agent": "Echo" }),
        json!({ "agent": "echo@" }),
        json!({ "agent": "a@1@2" }),
        json!({ "agent": "echo", "max_runtime_sec": -1 }),
        json!({ "agent": "echo", "max_runtime_sec": 0 }),
        json!({ "agent": "echo", "idempotency_key": "" }),
        json!({ "agent": "echo", "lease_request": { "tool.call": "x" } }),
        json!({ "agent": "echo", "lease_request": { "cost.budget": ["USD"] } }),
        json!({ "agent": "echo", "lease_request": { "cost.budget": ["USD:-1"] } }),
        json!({ "agent": "echo", "lease_request": { "cost.budget": ["USD:1e3"] } }),
    ] {
        assert_eq!(code(&client.ask("job.submit", payload.clone()).await), "INVALID_REQUEST", "{payload}");
    }
    let mut other = house.enter(hello_with("ann", &["list_jobs"])).await;
    assert_eq!(other.list(json!({})).await.len(), 0, "nothing is left of them");
}
