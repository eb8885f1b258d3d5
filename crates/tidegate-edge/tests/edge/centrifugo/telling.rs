//! How publications are told: differences, filters.

use serde_json::{Value as Json, json};

use super::{connected, publish, publish_key, result, start};
use crate::gateway::Client;

async fn told(client: &mut Client) -> Json {
    client.json().await["push"]["pub"].clone()
}

fn text(n: u32) -> String {
    format!("{{\"n\":{n},\"filler\":\"{}\"}}", "a".repeat(200))
}

#[tokio::test]
async fn differences_are_to_what_the_client_has() {
    let gateway = start().await;
    publish(&gateway, "delta:a", &text(0)).await;
    let (mut early, _) = connected(&gateway).await;
    let (mut plain, _) = connected(&gateway).await;
    let subscribed = result(&mut early, "subscribe", json!({"channel": "delta:a", "delta": "fossil"})).await;
    assert_eq!(subscribed["delta"], true);
    assert!(result(&mut plain, "subscribe", json!({"channel": "delta:a"})).await.get("delta").is_none());
    publish(&gateway, "delta:a", &text(1)).await;
    let first = told(&mut early).await;
    assert_eq!(first["data"], json!(text(1)));
    assert!(first.get("delta").is_none());
    let (mut late, _) = connected(&gateway).await;
    result(&mut late, "subscribe", json!({"channel": "delta:a", "delta": "fossil"})).await;
    publish(&gateway, "delta:a", &text(2)).await;
    let second = told(&mut early).await;
    assert_eq!(second["delta"], true);
    let made = fossil_delta::apply(text(1).as_bytes(), second["data"].as_str().unwrap().as_bytes()).unwrap();
    assert_eq!(String::from_utf8(made).unwrap(), text(2));
    // Who is new gets the same one whole.
    let whole = told(&mut late).await;
    assert_eq!((whole.get("delta"), &whole["data"]), (None, &json!(text(2))));
    publish(&gateway, "delta:a", &text(3)).await;
    assert_eq!(told(&mut late).await, told(&mut early).await);
    for n in 1..=3 {
        assert_eq!(told(&mut plain).await["data"]["n"], n);
    }
    // Where nothing may be told differently it is said.
    let refused = result(&mut plain, "subscribe", json!({"channel": "chat:a", "delta": "fossil"})).await;
    assert!(refused.get("delta").is_none());
}

#[tokio::test]
async fn a_recovery_is_what_the_next_difference_is_to() {
    let gateway = start().await;
    // What the next one differs from is kept for as long as somebody listens.
    let (mut other, _) = connected(&gateway).await;
    result(&mut other, "subscribe", json!({"channel": "delta:a"})).await;
    for n in 1..=2 {
        publish(&gateway, "delta:a", &text(n)).await;
    }
    let (mut client, _) = connected(&gateway).await;
    let position = result(&mut client, "history", json!({"channel": "delta:a"})).await;
    let recover = json!({"channel": "delta:a", "delta": "fossil", "recover": true, "epoch": position["epoch"]});
    let subscribed = result(&mut client, "subscribe", recover).await;
    assert_eq!(subscribed["publications"][1]["data"], json!(text(2)));
    publish(&gateway, "delta:a", &text(3)).await;
    assert_eq!(told(&mut client).await["delta"], true);
}

#[tokio::test]
async fn a_filter_lets_through_what_is_wanted() {
    let gateway = start().await;
    let (mut client, _) = connected(&gateway).await;
    let filter = json!({"op": "or", "nodes": [
        {"key": "team", "cmp": "eq", "val": "eng"}, {"key": "level", "cmp": "gte", "val": "10"}
    ]});
    let subscribe = json!({"channel": "delta:f", "tf": filter, "delta": "fossil"});
    let subscribed = result(&mut client, "subscribe", subscribe).await;
    // Who does not get all has nothing to tell a difference to.
    assert!(subscribed.get("delta").is_none());
    for (n, tags) in [("1", ("team", "eng")), ("2", ("team", "sales")), ("3", ("level", "9")), ("4", ("level", "10"))] {
        publish_key(&gateway, "delta:f", "", n, &[tags]).await;
    }
    assert_eq!(told(&mut client).await["data"], 1);
    let last = told(&mut client).await;
    assert_eq!((&last["data"], &last["tags"]), (&json!(4), &json!({"level": "10"})));
}
