//! Sections 6.4 and 6.5: heartbeats, and what a client has processed.

use serde_json::{Value, json};

use crate::fixture::{Client, House, bodies, code, end, hello_with};
use crate::frames::kind;

#[tokio::test]
pub(crate) async fn a_ping_is_answered_with_its_nonce() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    for nonce in ["p_1", "another"] {
        client.say("session.ping", json!({ "nonce": nonce, "sent_at": "2026-05-13T19:42:13.000Z" })).await;
        let pong = client.next().await;
        assert_eq!((kind(&pong), &pong["payload"]["ping_nonce"]), ("session.pong", &json!(nonce)));
        assert!(pong["payload"]["received_at"].is_string());
    }
}

#[tokio::test]
pub(crate) async fn an_idle_connection_gets_a_ping_and_who_answers_none_is_given_up() {
    let house = House::with("heartbeat_interval_ms = 1000").await;
    let mut client = house.connect("ann").await;
    assert_eq!(client.welcome["heartbeat_interval_sec"], 1);
    let job = client.submit(json!({ "agent": "slow", "input": { "ms": 600_000 } })).await;
    client.event(&job).await;
    let ping = client.take("session.ping").await;
    assert!(ping.get("event_seq").is_none() && ping["payload"]["sent_at"].is_string());
    let nonce = ping["payload"]["nonce"].clone();
    client.say("session.pong", json!({ "ping_nonce": nonce })).await;
    client.take("session.ping").await;
    let lost = client.take("session.error").await;
    assert_eq!(code(&lost), "HEARTBEAT_LOST");
    client.closed().await;
    // The job runs on, and the session is there.
    let mut again = client.again(&house, "ann", 1).await.unwrap();
    let listed = again.list(json!({ "filter": { "status": ["running"] } })).await;
    assert_eq!(listed[0]["job_id"], job);
}

#[tokio::test]
pub(crate) async fn heartbeats_are_for_who_agreed_to_them() {
    let house = House::with("heartbeat_interval_ms = 1000").await;
    let mut client = house.enter(hello_with("ann", &["ack"])).await;
    // Longer than it takes to be given up.
    let job = client.submit(json!({ "agent": "slow", "input": { "ms": 2_500 } })).await;
    assert_eq!(client.events(&job).await.len(), 2);
    client.is_silent().await;
}

#[tokio::test]
pub(crate) async fn what_is_acknowledged_is_let_go() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    client.run(json!({ "agent": "count", "input": { "to": 8 } })).await;
    client.say("session.ack", json!({ "last_processed_seq": 6 })).await;
    // An older one changes nothing.
    client.say("session.ack", json!({ "last_processed_seq": 2 })).await;
    client.is_silent().await;
    assert_eq!(code(&client.again(&house, "ann", 5).await.err().unwrap()), "RESUME_WINDOW_EXPIRED");
    let mut again = client.again(&house, "ann", 6).await.unwrap();
    assert_eq!(again.next().await["event_seq"], 7);
}

#[tokio::test]
pub(crate) async fn what_is_not_acknowledged_outlives_the_window() {
    let house = House::with("resume_window_ms = 1000").await;
    let mut client = house.connect("ann").await;
    let told = client.run(json!({ "agent": "count", "input": { "to": 8 } })).await;
    client.run(json!({ "agent": "slow", "input": { "ms": 2_500 } })).await;
    let mut again = client.again(&house, "ann", 0).await.unwrap();
    for event in told {
        assert_eq!(again.next().await["payload"], event["payload"]);
    }
}

#[tokio::test]
pub(crate) async fn an_acknowledgement_above_the_head_is_refused() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    client.is_silent().await;
    for seq in [json!(3), json!(-1), json!("2"), json!(null), json!(1.5)] {
        let refused = client.ask("session.ack", json!({ "last_processed_seq": seq })).await;
        assert_eq!(code(&refused), "INVALID_REQUEST", "{seq}");
    }
    client.say("session.ack", json!({ "last_processed_seq": 2 })).await;
    client.is_silent().await;
}

#[tokio::test]
pub(crate) async fn an_acknowledgement_says_nothing_of_what_was_received() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    client.run(json!({ "agent": "count", "input": { "to": 8 } })).await;
    // It acknowledged nothing and has seen all.
    let head = client.frames.head;
    let mut again = client.again(&house, "ann", head).await.unwrap();
    again.is_silent().await;
}

async fn burst(client: &mut Client, events: u64) -> Vec<Value> {
    client.run(json!({ "agent": "burst", "input": { "events": events } })).await
}

fn pressed(events: &[Value]) -> usize {
    bodies(events, "status").iter().filter(|body| body["phase"] == "back_pressure").count()
}

#[tokio::test]
pub(crate) async fn who_lags_behind_is_told_once_and_again_when_it_has_caught_up() {
    let house = House::open().await;
    let mut client = house.connect("ann").await;
    assert_eq!(pressed(&burst(&mut client, 990).await), 0);
    assert_eq!(pressed(&burst(&mut client, 1_500).await), 1);
    assert_eq!(pressed(&burst(&mut client, 10).await), 0, "it was told");
    let head = client.frames.head;
    client.say("session.ack", json!({ "last_processed_seq": head })).await;
    let events = burst(&mut client, 1_500).await;
    assert_eq!(pressed(&events), 1, "it had caught up");
    assert_eq!(end(&events)["payload"]["result"]["events"], 1_500);
}

#[tokio::test]
pub(crate) async fn who_never_acknowledges_is_not_told_to() {
    let house = House::open().await;
    let mut client = house.enter(hello_with("ann", &["list_jobs"])).await;
    assert_eq!(pressed(&burst(&mut client, 1_500).await), 0);
}
