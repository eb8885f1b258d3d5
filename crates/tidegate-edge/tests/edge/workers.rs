//! Agents that connect from outside, on real sockets, over the real runtime.

use serde_json::{Value as Json, json};

use crate::arcp::House;
use crate::gateway::Client;

const PATH: &str = "/arcp/worker";

async fn worker(house: &House, agents: &[&str]) -> Client {
    let mut client = house.gateway.ws_with(PATH, &[("x-api-key", "key")]).await.unwrap();
    client.send(&register(agents)).await;
    client
}

fn register(agents: &[&str]) -> String {
    let agents: Vec<_> = agents.iter().map(|name| json!({ "name": name, "version": "1" })).collect();
    json!({ "type": "register", "agents": agents }).to_string()
}

async fn registered(client: &mut Client) {
    assert_eq!(client.text().await, r#"{"type":"registered"}"#);
}

fn is_refused(line: &Json, code: &str) {
    assert_eq!((&line["type"], &line["error"]["code"]), (&json!("refused"), &json!(code)), "{line}");
}

#[tokio::test]
async fn a_worker_serves_jobs_and_is_not_slowed_by_what_clients_are_slowed_by() {
    const EVENTS: u64 = 4_000;
    let house = House::open().await;
    let mut worker = worker(&house, &["far"]).await;
    registered(&mut worker).await;
    let (mut ann, _) = house.ann().await;
    ann.say("job.submit", json!({ "agent": "far", "input": ["x"] })).await;
    let job = worker.json().await;
    assert_eq!((&job["type"], &job["agent"], &job["input"]), (&json!("job"), &json!("far"), &json!(["x"])));
    // Forty seconds' worth of a client's, and a message longer than a client's may be.
    for n in 1..=EVENTS {
        let event = json!({ "type": "event", "job_id": job["job_id"], "n": n, "kind": "thought", "body": { "text": n.to_string() } });
        worker.send(&event.to_string()).await;
    }
    let done = json!({ "type": "result", "job_id": job["job_id"], "n": EVENTS + 1, "result": "x".repeat(400 << 10) });
    worker.send(&done.to_string()).await;
    let messages = ann.until("job.result").await;
    let texts: Vec<u64> =
        messages.iter().filter_map(|said| said["payload"]["body"]["text"].as_str()?.parse().ok()).collect();
    assert_eq!(texts, (1..=EVENTS).collect::<Vec<_>>());
    loop {
        let line = worker.json().await;
        if line["type"] == "stop" {
            assert_eq!((&line["job_id"], &line["reason"]), (&job["job_id"], &json!("ended")));
            break;
        }
        assert_eq!(line["type"], "heard");
    }
    house.runtime.stop().await;
}

#[tokio::test]
async fn whoever_is_not_everybodys_serves_nothing() {
    let house = House::open().await;
    let status = async |headers: &[(&str, &str)]| match house.gateway.ws_with(PATH, headers).await {
        Err(tokio_websockets::Error::Upgrade(error)) => error.to_string(),
        other => panic!("{}", other.is_ok()),
    };
    // Whatever the permissions say, which allow it here.
    assert!(status(&[]).await.contains("403"), "a stranger");
    assert!(status(&[("authorization", "Bearer ann//acme//")]).await.contains("403"), "a tenant's user");
    assert!(status(&[("authorization", "Bearer nobody")]).await.contains("401"));
    // A user of no tenant, by the subprotocol too.
    for header in [("authorization", "Bearer good"), ("sec-websocket-protocol", "bearer.bob")] {
        let mut client = house.gateway.ws_with(PATH, &[header]).await.unwrap();
        client.send(&register(&["far"])).await;
        registered(&mut client).await;
        drop(client);
        house.gateway.eventually("it is gone", |gateway| gateway.connections() == 0).await;
    }
    let mut shut = worker(&house, &["far", "shut"]).await;
    is_refused(&shut.json().await, "PERMISSION_DENIED");
    assert_eq!(shut.close().await, (1008, "refused".into()));
    house.runtime.stop().await;
}

#[tokio::test]
async fn a_worker_that_does_wrong_is_told_what_and_closed() {
    let house = House::open().await;
    for first in ["{}", "register", &register(&["echo@"]), &json!({ "type": "result" }).to_string()] {
        let mut client = house.gateway.ws_with(PATH, &[("x-api-key", "key")]).await.unwrap();
        client.send(first).await;
        is_refused(&client.json().await, "INVALID_REQUEST");
        assert_eq!(client.close().await, (1008, "first_message".into()));
    }
    let mut far = worker(&house, &["far"]).await;
    registered(&mut far).await;
    let mut other = house.gateway.ws_with(PATH, &[("authorization", "Bearer good")]).await.unwrap();
    other.send(&register(&["far"])).await;
    let line = other.json().await;
    is_refused(&line, "INVALID_REQUEST");
    assert_eq!(line["error"]["message"], "far@1 is served by somebody else");
    far.send(&register(&["near"])).await;
    is_refused(&far.json().await, "INVALID_REQUEST");
    assert_eq!(far.close().await, (1008, "refused".into()));
    house.runtime.stop().await;
}
