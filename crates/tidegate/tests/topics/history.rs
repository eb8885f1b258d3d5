//! Histories: their bounds, where to begin, which way, and forgetting.

use serde_json::{Value, json};

use crate::fixture::{Who, accepted, ask, gateway, get, publish, refusal, talker, told};

fn offsets(answer: &Value) -> Vec<u64> {
    answer["messages"].as_array().unwrap().iter().map(|message| message["offset"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_history_is_read_from_where_one_was() {
    let gateway = gateway();
    let at = gateway.address();
    for n in 1..=5 {
        assert_eq!(publish(at, &Who::Server, "board:a", json!(n)).await, n);
    }
    let read =
        |query: String| async move { get(at, &Who::Server, &format!("/v1/topics/board:a/history{query}")).await };
    let all = read(String::new()).await.ok();
    assert_eq!((offsets(&all), &all["offset"]), (vec![1, 2, 3, 4, 5], &json!(5)));
    let epoch = all["epoch"].as_str().unwrap();
    assert_eq!(offsets(&read("?limit=2".into()).await.ok()), [1, 2]);
    assert_eq!(offsets(&read("?limit=2&reverse=true".into()).await.ok()), [5, 4]);
    assert_eq!(offsets(&read(format!("?since_epoch={epoch}&since_offset=3")).await.ok()), [4, 5]);
    assert_eq!(offsets(&read(format!("?since_epoch={epoch}&since_offset=3&reverse=true")).await.ok()), [2, 1]);
    let position = read("?limit=0".into()).await.ok();
    assert_eq!((offsets(&position), &position["offset"]), (vec![], &json!(5)));
    for foreign in ["?since_epoch=other&since_offset=3".to_owned(), format!("?since_epoch={epoch}&since_offset=6")] {
        assert_eq!(refusal(&read(foreign).await), (409, "unrecoverable_position".into()));
    }
    for bad in ["?limit=1001", "?limit=-1", "?limit=x", "?since_epoch=e", "?since_offset=x", "?reverse=1", "?no=1"] {
        assert_eq!(refusal(&read(bad.into()).await), (400, "malformed".into()), "{bad}");
    }
}

#[tokio::test]
async fn a_history_has_its_size_and_no_more() {
    let gateway = gateway();
    let at = gateway.address();
    for n in 1..=5 {
        publish(at, &Who::Server, "log:a", json!(n)).await;
    }
    assert_eq!(told(at, &Who::Server, "log:a").await, [3, 4, 5]);
    let none = get(at, &Who::Server, "/v1/topics/plain:a/history").await;
    assert_eq!(refusal(&none), (409, "not_available".into()));
}

#[tokio::test]
async fn servers_forget_histories() {
    let gateway = gateway();
    let at = gateway.address();
    let ann = talker("ann", "acme");
    publish(at, &ann, "log:a", json!(1)).await;
    let path = "/v1/topics/log:a/history";
    let before = get(at, &ann, path).await.ok();
    assert_eq!(refusal(&ask(at, &ann, "DELETE", path, b"").await), (403, "forbidden".into()));
    // Without the tenant it is another topic.
    accepted(&ask(at, &Who::Server, "DELETE", path, b"").await);
    assert_eq!(told(at, &ann, "log:a").await, [1]);
    let forgotten = ask(at, &Who::Server, "DELETE", &format!("{path}?tenant=acme"), b"").await.ok();
    assert_eq!(forgotten, json!({"forgotten": true}));
    let after = get(at, &ann, path).await.ok();
    assert_eq!(after["messages"], json!([]));
    assert_ne!(after["epoch"], before["epoch"]);
    assert_eq!(publish(at, &ann, "log:a", json!(2)).await, 1, "offsets begin anew");
}

#[tokio::test]
async fn what_is_larger_than_an_answer_is_read_in_parts() {
    let gateway = gateway();
    let at = gateway.address();
    // The same bound for every answer: with the largest payloads a history of a hundred is far below it, and whole.
    for n in 0..100 {
        publish(at, &Who::Server, "board:a", json!(format!("{n:0>900}"))).await;
    }
    assert_eq!(told(at, &Who::Server, "board:a").await.len(), 100);
}
