//! What topics count, where operators look.

use serde_json::json;
use tidegate_testkit::clients;

use crate::fixture::{Who, accepted, gateway, post, publish};

#[tokio::test]
async fn publications_are_counted() {
    let gateway = gateway();
    let at = gateway.address();
    for topic in ["log:a", "log:b"] {
        publish(at, &Who::Server, topic, json!(1)).await;
    }
    for _ in 0..2 {
        let body = json!({"data": 2, "idempotency_key": "k"});
        accepted(&post(at, &Who::Server, "/v1/topics/log:a/publish", &body).await);
    }
    let text = String::from_utf8(clients::get(at, "/metrics").await.body).unwrap();
    for line in [
        "tidegate_topics 2",
        "tidegate_topics_published_total 4",
        "tidegate_topics_repeated_total 1",
        "tidegate_topics_overloaded_total 0",
        "tidegate_ephemeral_entries 0",
        "tidegate_ephemeral_cleared_total{reason=\"expired\"} 0",
        "tidegate_ephemeral_cleared_total{reason=\"node_lost\"} 0",
    ] {
        assert!(text.lines().any(|given| given == line), "{line}\n{text}");
    }
}
