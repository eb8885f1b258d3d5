//! Publishing one, many, and the same to many.

use serde_json::{Value, json};

use crate::fixture::{Who, accepted, ask_with, gateway, get, post, publish, refusal, talker, told};

#[tokio::test]
async fn what_is_published_is_kept_in_order_as_it_was_written() {
    let gateway = gateway();
    let at = gateway.address();
    let ann = talker("ann", "acme");
    let path = "/v1/topics/log:a/publish";
    let raw = b"{\"data\": {\"n\": 12345678901234567890.0, \"a\" :[ ] } }";
    let first = ask_with(at, &ann, "POST", path, &[], raw).await.ok();
    let epoch = first["epoch"].as_str().unwrap().to_owned();
    assert!(!epoch.is_empty());
    let full = json!({"data": null, "tags": {"b": "2", "a": "1"}, "tenant": "acme"});
    let second = post(at, &Who::Server, path, &full).await.ok();
    assert_eq!(second, json!({"epoch": epoch, "offset": 2}));

    let answer = get(at, &ann, "/v1/topics/log:a/history").await;
    let text = String::from_utf8(answer.body.clone()).unwrap();
    assert!(text.contains("\"data\":{\"n\": 12345678901234567890.0, \"a\" :[ ] }"), "{text}");
    let messages = &answer.ok()["messages"];
    assert_eq!((&messages[0]["user"], &messages[0]["offset"]), (&json!("ann"), &json!(1)));
    assert!(messages[0]["time_ms"].as_u64().unwrap() > 1_600_000_000_000);
    let second = &messages[1];
    assert_eq!((&second["data"], &second["offset"]), (&Value::Null, &json!(2)));
    assert_eq!(second["tags"], json!({"a": "1", "b": "2"}));
    assert_eq!(second.get("user"), None, "a server does not say who it is");
}

#[tokio::test]
async fn an_idempotency_key_publishes_once() {
    let gateway = gateway();
    let at = gateway.address();
    let path = "/v1/topics/log:a/publish";
    let in_body = json!({"data": "one", "idempotency_key": "k1"});
    let first = post(at, &Who::Server, path, &in_body).await.ok();
    assert_eq!(post(at, &Who::Server, path, &in_body).await.ok(), first);
    // The same key in the head is the same key.
    let in_head = ask_with(at, &Who::Server, "POST", path, &[("idempotency-key", "k1")], b"{\"data\":\"two\"}").await;
    assert_eq!(in_head.ok(), first);
    let other = post(at, &Who::Server, path, &json!({"data": "three", "idempotency_key": "k2"})).await.ok();
    assert_eq!(other["offset"], 2);
    // In another topic it is another key.
    assert_eq!(post(at, &Who::Server, "/v1/topics/log:b/publish", &in_body).await.ok()["offset"], 1);
    assert_eq!(told(at, &Who::Server, "log:a").await, ["one", "three"]);
    assert_eq!(told(at, &Who::Server, "log:b").await, ["one"]);
}

#[tokio::test]
async fn nobody_uses_up_the_idempotency_key_of_somebody_else() {
    let gateway = gateway();
    let at = gateway.address();
    let (ann, bob) = (talker("ann", "acme"), talker("bob", "acme"));
    let path = "/v1/topics/log:a/publish";
    for (who, offset) in [(&ann, 1), (&bob, 2), (&ann, 1)] {
        let answer = post(at, who, path, &json!({"data": offset, "idempotency_key": "k"})).await.ok();
        assert_eq!(answer["offset"], offset);
    }
    let server = json!({"data": 3, "idempotency_key": "k", "tenant": "acme"});
    assert_eq!(post(at, &Who::Server, path, &server).await.ok()["offset"], 3);
    assert_eq!(told(at, &ann, "log:a").await, [1, 2, 3]);
}

#[tokio::test]
async fn without_history_there_is_no_offset() {
    let gateway = gateway();
    let at = gateway.address();
    let answer = post(at, &Who::Server, "/v1/topics/anything/publish", &json!({"data": 1})).await.ok();
    assert_eq!(answer, json!({"epoch": "", "offset": 0}));
    publish(at, &Who::Server, "log:a", json!("kept")).await;
    let skipped = json!({"data": "passed on", "skip_history": true});
    accepted(&post(at, &Who::Server, "/v1/topics/log:a/publish", &skipped).await);
    assert_eq!(told(at, &Who::Server, "log:a").await, ["kept"]);
}

#[tokio::test]
async fn each_of_a_batch_has_its_own_answer() {
    let gateway = gateway();
    let at = gateway.address();
    let ann = talker("ann", "acme");
    let batch = json!({"publish": [
        {"topic": "log:a", "data": "first"},
        {"topic": "", "data": 1},
        {"topic": "secret:a", "data": 1},
        {"data": 1},
        {"topic": "log:a", "data": "x".repeat(1_001)},
        {"topic": "log:a"},
        {"topic": "log:a", "data": 1, "tenant": "other"},
        {"topic": "log:a", "topics": ["log:b"], "data": 1},
        {"topic": "log:a", "data": "last"},
    ]});
    let results = post(at, &ann, "/v1/topics/publish", &batch).await.ok()["results"].clone();
    let results = results.as_array().unwrap();
    let codes: Vec<(&str, &str)> = results
        .iter()
        .map(|result| &result["error"])
        .map(|error| (error["code"].as_str().unwrap_or(""), error["path"].as_str().unwrap_or("")))
        .collect();
    assert_eq!(
        codes,
        [
            ("", ""),
            ("invalid_topic", "publish[1]"),
            ("forbidden", "publish[2]"),
            ("invalid_body", "publish[3].topic"),
            ("too_large", "publish[4]"),
            ("invalid_body", "publish[5].data"),
            ("forbidden", "publish[6]"),
            ("invalid_body", "publish[7].topics"),
            ("", ""),
        ]
    );
    assert_eq!((&results[0]["offset"], &results[8]["offset"]), (&json!(1), &json!(2)));
    assert_eq!(results[1]["error"]["retryable"], false);
    assert_eq!(told(at, &ann, "log:a").await, ["first", "last"]);
}

#[tokio::test]
async fn a_broadcast_reaches_each_topic_once() {
    let gateway = gateway();
    let at = gateway.address();
    let body = json!({"topics": ["log:a", "$own", "log:b"], "data": {"n": 1}, "idempotency_key": "k"});
    for _ in 0..2 {
        let results = post(at, &Who::Server, "/v1/topics/broadcast", &body).await.ok()["results"].clone();
        assert_eq!((&results[0]["offset"], &results[2]["offset"]), (&json!(1), &json!(1)), "{results}");
        assert_eq!(results[1]["error"]["code"], "invalid_topic");
        assert_eq!(results[1]["error"]["path"], "topics[1]");
    }
    for topic in ["log:a", "log:b"] {
        assert_eq!(told(at, &Who::Server, topic).await, [json!({"n": 1})]);
    }
    let of_one = json!({"topic": "log:a", "data": 1});
    assert_eq!(refusal(&post(at, &Who::Server, "/v1/topics/broadcast", &of_one).await), (400, "invalid_body".into()));
}

#[tokio::test]
async fn a_request_brings_a_thousand_at_most() {
    let gateway = gateway();
    let at = gateway.address();
    let of = |count: usize| json!({"publish": vec![json!({"topic": "log:a", "data": 1}); count]});
    let results = post(at, &Who::Server, "/v1/topics/publish", &of(1_000)).await.ok();
    assert_eq!(results["results"][999]["offset"], 1_000);
    for bad in [of(1_001), of(0), json!({"publish": {}}), json!({"topics": []}), json!([])] {
        let refused = post(at, &Who::Server, "/v1/topics/publish", &bad).await;
        assert_eq!(refusal(&refused), (400, "invalid_body".into()));
    }
    let broadcast = |count: usize| json!({"topics": vec!["log:a"; count], "data": 1});
    accepted(&post(at, &Who::Server, "/v1/topics/broadcast", &broadcast(1_000)).await);
    for count in [0, 1_001] {
        let refused = post(at, &Who::Server, "/v1/topics/broadcast", &broadcast(count)).await;
        assert_eq!(refusal(&refused), (400, "invalid_body".into()));
    }
    assert_eq!(
        publish(at, &Who::Server, "log:a", json!("next")).await,
        2_001,
        "nothing of what was refused was published"
    );
}
