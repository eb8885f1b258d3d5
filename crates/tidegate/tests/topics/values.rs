//! The last value of each key.

use serde_json::{Value, json};

use crate::fixture::{Who, accepted, gateway, get, post, refusal};

#[tokio::test]
async fn the_last_value_of_each_key_is_kept_until_it_is_removed() {
    let gateway = gateway();
    let at = gateway.address();
    let path = "/v1/topics/board:a/publish";
    for (key, data) in [("b", 1), ("a", 2), ("b", 3), ("c", 4)] {
        accepted(&post(at, &Who::Server, path, &json!({"key": key, "data": data})).await);
    }
    let values = |query: &'static str| async move {
        let answer = get(at, &Who::Server, &format!("/v1/topics/board:a/values{query}")).await.ok();
        let of = |value: &Value| (value["key"].as_str().unwrap().to_owned(), value["data"].as_i64().unwrap());
        let values: Vec<(String, i64)> = answer["values"].as_array().unwrap().iter().map(of).collect();
        (values, answer["next"].clone())
    };
    let expected = |all: &[(&str, i64)]| all.iter().map(|(key, data)| ((*key).to_owned(), *data)).collect::<Vec<_>>();
    assert_eq!(values("").await, (expected(&[("a", 2), ("b", 3), ("c", 4)]), Value::Null));
    assert_eq!(values("?limit=2").await, (expected(&[("a", 2), ("b", 3)]), json!("b")));
    assert_eq!(values("?limit=2&after=b").await, (expected(&[("c", 4)]), Value::Null));
    accepted(&post(at, &Who::Server, path, &json!({"key": "b", "removed": true})).await);
    assert_eq!(values("").await.0, expected(&[("a", 2), ("c", 4)]));
    let keyless = post(at, &Who::Server, path, &json!({"removed": true})).await;
    assert_eq!(
        (refusal(&keyless), &keyless.json()["error"]["path"]),
        ((400, "invalid_body".into()), &json!("removed"))
    );
    let none = get(at, &Who::Server, "/v1/topics/log:a/values").await;
    assert_eq!(refusal(&none), (409, "not_available".into()));
}
