//! What is wrong is refused by a code, and nothing comes of it.

use serde_json::{Value, json};
use tidegate_testkit::clients::urlencoded;

use crate::fixture::{Who, ask, ask_with, gateway, get, post, publish, refusal, told};

#[tokio::test]
async fn names_that_are_no_topics_are_refused_everywhere() {
    let gateway = gateway();
    let at = gateway.address();
    for name in ["$own", "a\nb", "a\r\nb", "a\u{0}", "\u{85}", &"x".repeat(256)] {
        let name = urlencoded(name);
        for (method, rest) in [
            ("POST", "publish"),
            ("GET", "history"),
            ("DELETE", "history"),
            ("GET", "values"),
            ("GET", "presence"),
            ("GET", "presence/counts"),
        ] {
            let path = format!("/v1/topics/{name}/{rest}");
            let refused = ask(at, &Who::Server, method, &path, b"{\"data\":1}").await;
            assert_eq!(refusal(&refused), (400, "invalid_topic".into()), "{method} {path}");
        }
    }
    // No UTF-8, decoded once and no more, and nothing at all.
    let refused = ask(at, &Who::Server, "POST", "/v1/topics/%ff/publish", b"{\"data\":1}").await;
    assert_eq!(refusal(&refused), (400, "malformed".into()));
    publish(at, &Who::Server, "log:a%252Fb", json!("percent")).await;
    publish(at, &Who::Server, "log:a%2Fb", json!("slash")).await;
    assert_eq!(told(at, &Who::Server, "log:a%2Fb").await, ["slash"]);
    let names = get(at, &Who::Server, "/v1/topics").await.ok();
    assert_eq!(names["topics"], json!(["log:a%2Fb", "log:a/b"]));
    assert_eq!(ask(at, &Who::Server, "POST", "/v1/topics//publish", b"{\"data\":1}").await.status, 400);
    for path in ["/v1/topics/log:a", "/v1/topics/log:a/b/publish"] {
        assert_eq!(ask(at, &Who::Server, "POST", path, b"{\"data\":1}").await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn bodies_that_are_wrong_are_refused_with_their_place() {
    let gateway = gateway();
    let at = gateway.address();
    let long = "x".repeat(256);
    let many: serde_json::Map<String, Value> = (0..17).map(|n| (n.to_string(), json!(""))).collect();
    for (body, path) in [
        (json!({}), json!("data")),
        (json!({"data": 1, "topic": "log:b"}), json!("topic")),
        (json!({"data": 1, "idempotency_key": ""}), json!("idempotency_key")),
        (json!({"data": 1, "idempotency_key": "x".repeat(129)}), json!("idempotency_key")),
        (json!({"data": 1, "key": ""}), json!("key")),
        (json!({"data": 1, "key": long}), json!("key")),
        (json!({"data": 1, "tags": many}), json!("tags")),
        (json!({"data": 1, "tags": {"a": long}}), json!("tags")),
        (json!({"data": 1, "tags": {long.as_str(): "a"}}), json!("tags")),
        (json!({"data": 1, "tags": {"a": 1}}), Value::Null),
        (json!({"data": 1, "no_such": 1}), Value::Null),
        (json!({"data": 1, "skip_history": "yes"}), Value::Null),
        (json!([1]), Value::Null),
        (json!(null), Value::Null),
    ] {
        let refused = post(at, &Who::Server, "/v1/topics/log:a/publish", &body).await;
        assert_eq!(refusal(&refused), (400, "invalid_body".into()), "{body}");
        assert_eq!(refused.json()["error"]["path"], path, "{body}");
    }
    for raw in [&b""[..], b"{", b"{\"data\":1}x", b"{\"data\":\xff}", b"{\"data\":nul}", b"{\"data\":1,\"data\":2}"] {
        let refused = ask(at, &Who::Server, "POST", "/v1/topics/log:a/publish", raw).await;
        assert_eq!(refusal(&refused), (400, "invalid_body".into()), "{}", String::from_utf8_lossy(raw));
    }
    let long = "k".repeat(129);
    let in_head = [("idempotency-key", &*long)];
    let refused = ask_with(at, &Who::Server, "POST", "/v1/topics/log:a/publish", &in_head, b"{\"data\":1}").await;
    assert_eq!(refusal(&refused), (400, "invalid_body".into()));
    let refused = get(at, &Who::Server, "/v1/topics/log:a/publish").await;
    assert_eq!(refusal(&refused), (405, "method_not_allowed".into()));
    assert_eq!(told(at, &Who::Server, "log:a").await, [] as [Value; 0]);
}

#[tokio::test]
async fn payloads_have_their_bound_to_the_byte() {
    let gateway = gateway();
    let at = gateway.address();
    // With its quotes a text has two bytes more.
    publish(at, &Who::Server, "log:a", json!("x".repeat(998))).await;
    let refused = post(at, &Who::Server, "/v1/topics/log:a/publish", &json!({"data": "x".repeat(999)})).await;
    assert_eq!(refusal(&refused), (413, "too_large".into()));
    let body = [b"{\"data\":", &b"[".repeat(100_000)[..], &b"]".repeat(100_000)[..], b"}"].concat();
    let refused = ask(at, &Who::Server, "POST", "/v1/topics/log:a/publish", &body).await;
    assert_eq!(refusal(&refused), (400, "too_deep".into()));
    assert_eq!(told(at, &Who::Server, "log:a").await.len(), 1);
}
