//! What client libraries read differently.

use serde_json::{Value, json};

use crate::fixture::{Client, House, code, end, hello};
use crate::frames::kind;

/// A session whose hello has that id.
async fn of(house: &House, id: &str) -> Client {
    Client::open(house.at, "/arcp", id, hello("ann")).await.unwrap()
}

async fn budget(client: &mut Client) -> Value {
    let accepted = client.accepted(json!({ "agent": "echo", "lease_request": { "cost.budget": ["USD:5.00"] } })).await;
    accepted["payload"]["budget"].clone()
}

/// How a job that is cancelled ends.
async fn cancelled(client: &mut Client) -> Value {
    let job = client.submit(json!({ "agent": "slow", "input": { "ms": 600_000 } })).await;
    client.say("job.cancel", json!({ "job_id": job })).await;
    let end = end(&client.events(&job).await).clone();
    assert_eq!((kind(&end), code(&end)), ("job.error", "CANCELLED"));
    end["payload"]["final_status"].clone()
}

const TYPESCRIPT: &str = "msg_01ARZ3NDEKTSV4RRFFQ69G5FAV";
const PYTHON: &str = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
const GO: &str = "018f3c1e-7b2a-7c3d-9e4f-0123456789ab";

#[tokio::test]
pub(crate) async fn budgets_are_numbers_but_for_python() {
    let house = House::open().await;
    for (id, expected) in [
        (TYPESCRIPT, json!({ "USD": 5 })),
        (PYTHON, json!({ "USD": "USD:5.00" })),
        (GO, json!({ "USD": 5 })),
        ("other", json!({ "USD": 5 })),
    ] {
        assert_eq!(budget(&mut of(&house, id).await).await, expected, "{id}");
    }
}

#[tokio::test]
pub(crate) async fn what_stopped_a_job_is_its_final_status_but_for_python() {
    let house = House::open().await;
    for (id, expected) in [(TYPESCRIPT, "cancelled"), (PYTHON, "error"), (GO, "cancelled"), ("other", "cancelled")] {
        assert_eq!(cancelled(&mut of(&house, id).await).await, expected, "{id}");
    }
}

#[tokio::test]
pub(crate) async fn a_refused_submit_is_said_as_each_library_looks_for_it() {
    let house = House::open().await;
    for id in [GO, "other"] {
        let refused = of(&house, id).await.ask("job.submit", json!({ "agent": "nobody" })).await;
        assert_eq!((kind(&refused), code(&refused)), ("session.error", "AGENT_NOT_AVAILABLE"));
    }
    let refused = of(&house, TYPESCRIPT).await.ask("job.submit", json!({ "agent": "nobody" })).await;
    assert_eq!((kind(&refused), code(&refused)), ("job.error", "AGENT_NOT_AVAILABLE"));
    assert!(refused["job_id"].is_string(), "a job that nobody has heard of");
    // One library of two looks for the one, the other for the other.
    let mut client = of(&house, PYTHON).await;
    let id = client.say("job.submit", json!({ "agent": "nobody" })).await;
    let refused = client.take("job.error").await;
    assert_eq!((&refused["id"], refused.get("job_id")), (&json!(id), None));
    assert_eq!(client.take("session.error").await["payload"]["request_id"], id);
    client.is_silent().await;
}

#[tokio::test]
pub(crate) async fn a_dialect_may_be_asked_for_by_address_name_or_principal() {
    let house = House::with(
        "[[arcp.dialect]]\nclient = \"conformance\"\ndialect = \"python\"\n\
         [[arcp.dialect]]\nuser = \"bob\"\ndialect = \"go\"",
    )
    .await;
    assert_eq!(budget(&mut house.connect("ann").await).await, json!({ "USD": "USD:5.00" }));
    assert_eq!(budget(&mut house.connect("bob").await).await, json!({ "USD": 5 }));
    assert_eq!(budget(&mut house.speaking("python", "bob").await).await, json!({ "USD": "USD:5.00" }));
    assert_eq!(budget(&mut house.speaking("spec", "ann").await).await, json!({ "USD": 5 }));
}
