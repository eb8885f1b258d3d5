//! Maps: topics that keep the last value of each key.

use serde_json::{Value as Json, json};

use super::{connected, publish_key, refused, result, start};

fn keys(result: &Json) -> Json {
    result["state"].as_array().into_iter().flatten().map(|entry| entry["key"].clone()).collect()
}

#[tokio::test]
async fn a_map_is_told_page_by_page_and_then_as_it_changes() {
    let gateway = start().await;
    for key in ["a", "b", "c"] {
        publish_key(&gateway, "map:m", key, "1", &[]).await;
    }
    let (mut client, _) = connected(&gateway).await;
    let page = json!({"channel": "map:m", "type": 1, "phase": 2, "limit": 2});
    let first = result(&mut client, "subscribe", page).await;
    assert_eq!((keys(&first), &first["phase"], &first["cursor"]), (json!(["a", "b"]), &json!(2), &json!("b")));
    // Between the pages nothing is told, and nothing is lost.
    publish_key(&gateway, "map:m", "a", "2", &[]).await;
    let page = json!({"channel": "map:m", "type": 1, "phase": 2, "limit": 2, "cursor": "b"});
    let last = result(&mut client, "subscribe", page.clone()).await;
    assert_eq!((keys(&last), last.get("phase"), last.get("recoverable")), (json!(["c"]), None, None));
    let push = client.json().await["push"]["pub"].clone();
    assert_eq!((&push["key"], &push["data"]), (&json!("a"), &json!(2)));
    assert_eq!(refused(&mut client, "subscribe", page).await, 105);
    // A client's own.
    client.send(r#"{"id":3,"publish":{"channel":"map:m","type":1,"key":"a","removed":true}}"#).await;
    let mut messages: Vec<Json> = vec![client.json().await, client.json().await];
    messages.sort_by_key(|message| message.get("push").is_some());
    assert_eq!(messages[0], json!({"id": 3, "publish": {}}));
    let push = &messages[1]["push"]["pub"];
    assert_eq!((&push["key"], &push["removed"]), (&json!("a"), &json!(true)));
    result(&mut client, "unsubscribe", json!({"channel": "map:m"})).await;
    let page = json!({"channel": "map:m", "type": 1, "phase": 2});
    assert_eq!(keys(&result(&mut client, "subscribe", page).await), json!(["b", "c"]));
}

#[tokio::test]
async fn who_was_there_goes_on_from_its_position_or_begins_anew() {
    let gateway = start().await;
    publish_key(&gateway, "kept:m", "a", "1", &[("x", "1")]).await;
    let (mut client, _) = connected(&gateway).await;
    let state = json!({"channel": "kept:m", "type": 1, "phase": 2});
    let first = result(&mut client, "subscribe", state.clone()).await;
    assert_eq!((keys(&first), &first["recoverable"], &first["offset"]), (json!(["a"]), &json!(true), &json!(1)));
    result(&mut client, "unsubscribe", json!({"channel": "kept:m"})).await;
    publish_key(&gateway, "kept:m", "b", "1", &[("x", "2")]).await;
    let stream = |offset: u64| json!({"channel": "kept:m", "type": 1, "phase": 1, "recover": true, "epoch": first["epoch"], "offset": offset});
    let back = result(&mut client, "subscribe", stream(1)).await;
    assert_eq!((&back["recovered"], back.get("phase")), (&json!(true), None));
    assert_eq!((&back["publications"][0]["key"], back["publications"].as_array().unwrap().len()), (&json!("b"), 1));
    result(&mut client, "unsubscribe", json!({"channel": "kept:m"})).await;
    assert_eq!(refused(&mut client, "subscribe", stream(9)).await, 112);
    let page = json!({"channel": "kept:m", "type": 1, "phase": 2, "cursor": "a"});
    assert_eq!(refused(&mut client, "subscribe", page).await, 112);
    assert_eq!(refused(&mut client, "subscribe", json!({"channel": "kept:m", "type": 1})).await, 107);
    let filtered = json!({"channel": "kept:m", "type": 1, "phase": 2, "tf": {"key": "x", "cmp": "eq", "val": "2"}});
    assert_eq!(keys(&result(&mut client, "subscribe", filtered).await), json!(["b"]));
}

#[tokio::test]
async fn differences_are_of_each_key() {
    let gateway = start().await;
    let value = |n: u32| format!("{{\"n\":{n},\"filler\":\"{}\"}}", "a".repeat(200));
    for key in ["a", "b"] {
        publish_key(&gateway, "kept:d", key, &value(1), &[]).await;
    }
    let (mut client, _) = connected(&gateway).await;
    let state = json!({"channel": "kept:d", "type": 1, "phase": 2, "delta": "fossil"});
    let first = result(&mut client, "subscribe", state).await;
    assert_eq!((&first["delta"], &first["state"][0]["data"]), (&json!(true), &json!(value(1))));
    for key in ["b", "a", "c"] {
        publish_key(&gateway, "kept:d", key, &value(2), &[]).await;
        let push = client.json().await["push"]["pub"].clone();
        assert_eq!(push["key"], key);
        assert_eq!(push.get("delta").is_some(), key != "c", "{push}");
        if key != "c" {
            let made = fossil_delta::apply(value(1).as_bytes(), push["data"].as_str().unwrap().as_bytes()).unwrap();
            assert_eq!(String::from_utf8(made).unwrap(), value(2));
        }
    }
    // Told in pages: what came between them is told whole.
    let (mut client, _) = connected(&gateway).await;
    let page = |cursor: &str| json!({"channel": "kept:d", "type": 1, "phase": 2, "delta": "fossil", "limit": 2, "cursor": cursor});
    result(&mut client, "subscribe", page("")).await;
    publish_key(&gateway, "kept:d", "c", &value(3), &[]).await;
    let last = result(&mut client, "subscribe", page("b")).await;
    assert_eq!(last["state"][0]["data"], json!(value(3)));
    let push = client.json().await["push"]["pub"].clone();
    assert_eq!((push.get("delta"), &push["data"]), (None, &json!(value(3))));
    publish_key(&gateway, "kept:d", "c", &value(4), &[]).await;
    assert_eq!(client.json().await["push"]["pub"]["delta"], true);
}
