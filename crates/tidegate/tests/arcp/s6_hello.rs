//! Sections 6.1 and 6.2: who is there, and what both sides may use.

use serde_json::{Value, json};
use tidegate_testkit::gateway::Gateway;

use crate::fixture::{CONFIG, Client, FEATURES, House, code, hello, hello_with, in_ms, token, unique};
use crate::frames::{is_named, kind};

#[tokio::test]
pub(crate) async fn who_is_there_is_said_in_the_hello() {
    let house = House::open().await;
    let client = house.connect("ann").await;
    assert!(is_named(&client.session, "sess_"));
    // Nowhere else.
    let path = format!("/arcp?token={}&access_token={}", token("ann"), token("ann"));
    let refused = Client::open(house.at, &path, "hello", json!({})).await.err().unwrap();
    assert_eq!(code(&refused), "UNAUTHENTICATED");
}

#[tokio::test]
pub(crate) async fn other_schemes_than_bearer_are_refused() {
    let house = House::open().await;
    let mut basic = hello("ann");
    basic["auth"]["scheme"] = "basic".into();
    assert_eq!(code(&Client::open(house.at, "/arcp", "h", basic).await.err().unwrap()), "UNAUTHENTICATED");
}

#[tokio::test]
pub(crate) async fn a_welcome_says_all_that_a_client_needs() {
    let house = House::open().await;
    let welcome = house.connect("ann").await.welcome;
    assert_eq!(welcome["runtime"]["name"], "tidegate");
    assert!(welcome["runtime"]["version"].is_string());
    assert_eq!((&welcome["resume_window_sec"], &welcome["heartbeat_interval_sec"]), (&json!(600), &json!(30)));
    assert!(is_named(welcome["session_id"].as_str().unwrap(), "sess_") && welcome["accepted_at"].is_string());
    let capabilities = &welcome["capabilities"];
    assert_eq!(capabilities["encodings"], json!(["json"]));
    let agents = capabilities["agents"].as_array().unwrap();
    let echo = agents.iter().find(|agent| agent["name"] == "echo").unwrap();
    assert_eq!(echo, &json!({ "name": "echo", "versions": ["1.0.0"], "default": "1.0.0" }));
}

#[tokio::test]
pub(crate) async fn features_are_what_both_sides_have() {
    let house = House::open().await;
    let of = |client: &Client| client.welcome["capabilities"]["features"].clone();
    let without: Vec<_> = FEATURES.into_iter().filter(|feature| *feature != "provisioned_credentials").collect();
    assert_eq!(of(&house.connect("ann").await), json!(without));
    assert_eq!(of(&house.enter(hello_with("ann", &["ack", "x-vendor.acme.more", "nope"])).await), json!(["ack"]));
    let bare = house.enter(json!({ "auth": { "token": token("ann") } })).await;
    assert_eq!(of(&bare), json!([]));
    assert!(bare.welcome.get("heartbeat_interval_sec").is_none());
}

#[tokio::test]
pub(crate) async fn kinds_that_were_not_agreed_to_are_told_under_another_name() {
    let house = House::open().await;
    let kinds = |events: &[Value]| -> Vec<String> {
        let kinds = events.iter().filter_map(|event| event["payload"]["kind"].as_str());
        kinds.filter(|kind| *kind != "status").map(str::to_owned).collect()
    };
    let count = || json!({ "agent": "count", "input": { "to": 1 } });
    let stream = || json!({ "agent": "stream", "input": { "chunks": 1, "bytes": 1 } });
    let mut client = house.enter(hello_with("ann", &["progress"])).await;
    assert_eq!(kinds(&client.run(count()).await), ["progress"]);
    let chunks = kinds(&client.run(stream()).await);
    assert!(!chunks.is_empty() && chunks.iter().all(|kind| kind == "x-vendor.tidegate.result_chunk"), "{chunks:?}");
    let mut client = house.enter(hello_with("ann", &[])).await;
    assert_eq!(kinds(&client.run(count()).await), ["x-vendor.tidegate.progress"]);
    let mut bare = house.enter(json!({ "auth": { "token": token("ann") } })).await;
    assert_eq!(
        kinds(&bare.run(count()).await),
        ["progress"],
        "one that says nothing of features is told the draft's names"
    );
}

#[tokio::test]
pub(crate) async fn what_was_not_agreed_to_is_refused() {
    let house = House::open().await;
    let mut client = house.enter(hello_with("ann", &[])).await;
    let job = client.submit(json!({ "agent": "slow", "input": { "ms": 600_000 } })).await;
    let submit = |more: Value| {
        let mut payload = json!({ "agent": "echo" });
        more.as_object().unwrap().iter().for_each(|(name, value)| payload[name] = value.clone());
        ("job.submit", payload)
    };
    for (name, payload) in [
        ("session.ping", json!({ "nonce": "n" })),
        ("session.ack", json!({ "last_processed_seq": 0 })),
        ("session.list_jobs", json!({})),
        ("job.subscribe", json!({ "job_id": job })),
        ("job.unsubscribe", json!({ "job_id": job })),
        submit(json!({ "agent": "echo@1.0.0" })),
        submit(json!({ "lease_request": { "cost.budget": ["USD:1"] } })),
        submit(json!({ "lease_request": { "model.use": ["*"] } })),
        submit(json!({ "lease_constraints": { "expires_at": in_ms(600_000) } })),
    ] {
        let refused = client.ask(name, payload.clone()).await;
        assert_eq!((kind(&refused), code(&refused)), ("session.error", "INVALID_REQUEST"), "{name} {payload}");
    }
}

#[tokio::test]
pub(crate) async fn before_the_welcome_only_a_hello_counts() {
    let house = House::open().await;
    for text in [
        "no JSON".to_owned(),
        json!({ "arcp": "1.1", "id": unique(), "type": "session.ping", "payload": { "nonce": "n" } }).to_string(),
        json!({ "arcp": "1.1", "id": unique(), "type": "job.submit", "payload": { "agent": "echo" } }).to_string(),
    ] {
        let mut client = Client::dial(house.at, "/arcp").await;
        client.send_text(text).await;
        let error = client.next().await;
        assert_eq!((kind(&error), code(&error)), ("session.error", "INVALID_REQUEST"));
        assert_eq!(client.closed().await.0, 1008);
    }
}

#[tokio::test]
pub(crate) async fn a_second_hello_is_refused_and_changes_nothing() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    let refused = client.ask("session.hello", hello("bob")).await;
    assert_eq!(code(&refused), "INVALID_REQUEST");
    client.is_silent().await;
}

#[tokio::test]
pub(crate) async fn who_says_no_hello_is_closed_after_a_while() {
    let config = CONFIG.replace("[edge]", "[edge]\nauth_timeout_ms = 300");
    let gateway = Gateway::start(env!("CARGO_BIN_EXE_tidegate"), &config);
    let mut client = Client::dial(gateway.address(), "/arcp").await;
    assert_eq!(client.closed().await, (1008, "first_message".to_owned()));
}
