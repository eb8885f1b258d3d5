//! `ephemeral.*` over `/ws`, and what subscribers are told of it.

use serde_json::{Value as Json, json};
use tidegate_edge::EdgeConfig;

use crate::gateway::Gateway;
use crate::topics::Person;

fn set(key: &str) -> Json {
    json!({"topic": "doc:7", "key": key, "payload": "eyJ4IjoxfQ=="})
}

fn was_set(key: &str, name: &str) -> Json {
    json!({"_orama": "ephemeral.set", "topic": "doc:7", "key": key, "client_id": name, "payload": "eyJ4IjoxfQ=="})
}

fn was_cleared(key: &str, name: &str, reason: &str) -> Json {
    json!({"_orama": "ephemeral.clear", "topic": "doc:7", "key": key, "client_id": name, "reason": reason})
}

/// The next message of `doc:7` is exactly that, and has no offset.
async fn told(person: &mut Person, data: Json) {
    assert_eq!(person.message().await, json!({"topic": "doc:7", "data": data}));
}

async fn people(gateway: &Gateway) -> (Person, String, Person, String) {
    let (mut ann, mut bob) = (Person::of(gateway, "ann/s1///").await, Person::of(gateway, "bob/s2///").await);
    let (ann_name, bob_name) = (ann.name("ann/s1///").await, bob.name("bob/s2///").await);
    bob.ask("topic.subscribe", json!({"topic": "doc:7"})).await;
    (ann, ann_name, bob, bob_name)
}

#[tokio::test]
async fn entries_are_set_cleared_listed_and_told() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let (mut ann, ann_name, mut bob, bob_name) = people(&gateway).await;
    assert_eq!(ann.ask("ephemeral.set", set("b")).await, json!({}));
    told(&mut bob, was_set("b", &ann_name)).await;
    // Without an `id` there is no reply, and it is done all the same.
    ann.client.send(&json!({"event": "ephemeral.set", "data": set("a")}).to_string()).await;
    told(&mut bob, was_set("a", &ann_name)).await;
    let listed = ann.ask("ephemeral.list", json!({"topic": "doc:7"})).await;
    let entries = listed["entries"].as_array().unwrap();
    assert_eq!(entries.len(), 2);
    for (entry, key) in entries.iter().zip(["a", "b"]) {
        let left_ms = entry["expires_in_ms"].as_u64().unwrap();
        assert!((1..=60_000).contains(&left_ms), "{left_ms}");
        let (name, payload) = (&entry["client_id"], &entry["payload"]);
        assert_eq!((&entry["key"], name, payload), (&json!(key), &json!(ann_name), &json!("eyJ4IjoxfQ==")));
    }
    // Another's key is not cleared, but taken over; then its former owner's end does not touch it.
    assert_eq!(bob.ask("ephemeral.clear", json!({"topic": "doc:7", "key": "a"})).await, json!({}));
    bob.ask("ephemeral.set", set("a")).await;
    told(&mut bob, was_set("a", &bob_name)).await;
    drop(ann);
    told(&mut bob, was_cleared("b", &ann_name, "disconnect")).await;
    assert_eq!(bob.ask("ephemeral.clear", json!({"topic": "doc:7", "key": "a"})).await, json!({}));
    told(&mut bob, was_cleared("a", &bob_name, "explicit")).await;
    assert_eq!(bob.ask("ephemeral.list", json!({"topic": "doc:7"})).await, json!({"entries": []}));
    // Nothing of it is in a history.
    bob.ask("ephemeral.set", json!({"topic": "chat:a", "key": "k", "payload": ""})).await;
    assert_eq!(bob.ask("topic.history", json!({"topic": "chat:a"})).await["messages"], json!([]));
}

#[tokio::test]
async fn an_entry_ends_with_its_time() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let (mut ann, ann_name, mut bob, _) = people(&gateway).await;
    let mut short = set("k");
    short["ttl_ms"] = json!(1);
    ann.ask("ephemeral.set", short).await;
    told(&mut bob, was_set("k", &ann_name)).await;
    told(&mut bob, was_cleared("k", &ann_name, "expired")).await;
    assert_eq!(bob.ask("ephemeral.list", json!({"topic": "doc:7"})).await, json!({"entries": []}));
}

#[tokio::test]
async fn a_revocation_clears_all_that_was_owned() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let (mut ann, ann_name, mut bob, _) = people(&gateway).await;
    ann.ask("ephemeral.set", set("k")).await;
    told(&mut bob, was_set("k", &ann_name)).await;
    gateway.door.revoke("s1");
    told(&mut bob, was_cleared("k", &ann_name, "revoked")).await;
}

#[tokio::test]
async fn a_client_owns_so_many_keys_and_may_always_overwrite_its_own() {
    let config = EdgeConfig { messages_per_second: 1_000_000, ..EdgeConfig::default() };
    let gateway = Gateway::start(config).await;
    let mut ann = Person::of(&gateway, "ann////").await;
    for key in 0..256 {
        ann.ask("ephemeral.set", set(&key.to_string())).await;
    }
    assert_eq!(ann.refused("ephemeral.set", set("more")).await, "too_many_keys");
    ann.ask("ephemeral.set", set("7")).await;
    ann.ask("ephemeral.clear", json!({"topic": "doc:7", "key": "7"})).await;
    ann.ask("ephemeral.set", set("more")).await;
}
