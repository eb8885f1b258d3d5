//! Live queries.

use serde_json::{Value as Json, json};
use tidegate_edge::EdgeConfig;

use super::{connected, refused, result, start, start_with};
use crate::gateway::{Client, List};

const CHANNEL: &str = "live:asset:mine";

fn subscribe(position: Option<(&Json, &Json)>) -> Json {
    let query = json!({"entity": "asset", "sort": [{"column": "name"}], "limit": 2});
    let mut request = json!({"channel": CHANNEL, "data": query});
    if let Some((epoch, offset)) = position {
        (request["recover"], request["epoch"], request["offset"]) = (json!(true), epoch.clone(), offset.clone());
    }
    request
}

fn apply(list: &mut List, data: &Json) {
    data["deltas"].as_array().unwrap().iter().for_each(|frame| list.change(frame));
}

async fn told(client: &mut Client) -> Json {
    let message = client.json().await;
    assert_eq!(message["push"]["channel"], CHANNEL, "{message}");
    message["push"]["pub"].clone()
}

#[tokio::test]
async fn a_list_is_in_the_answer_and_stays_right() {
    let gateway = start().await;
    gateway.write(&[("1", "b", 0.0), ("2", "c", 0.0), ("3", "d", 0.0)]);
    let (mut client, _) = connected(&gateway).await;
    let first = result(&mut client, "subscribe", subscribe(None)).await;
    assert_eq!((&first["offset"], &first["recoverable"], first.get("recovered")), (&json!(11), &json!(true), None));
    let mut list = List::default();
    apply(&mut list, &first["data"]);
    assert_eq!(list.ids, ["1", "2"]);
    gateway.write(&[("4", "a", 0.0)]);
    let publication = told(&mut client).await;
    assert_eq!(publication["offset"], 12);
    apply(&mut list, &publication["data"]);
    assert_eq!(list.ids, ["4", "1"]);
    assert_eq!(refused(&mut client, "subscribe", subscribe(None)).await, 105);
    result(&mut client, "unsubscribe", json!({"channel": CHANNEL})).await;
    assert_eq!(gateway.subscriptions(), 0);

    // Who comes back to its position gets what it missed, and the list that it has stays.
    gateway.write(&[("5", "0", 0.0)]);
    gateway.write(&[("6", "1", 0.0)]);
    let back = result(&mut client, "subscribe", subscribe(Some((&first["epoch"], &json!(12))))).await;
    assert_eq!((&back["recovered"], &back["was_recovering"]), (&json!(true), &json!(true)));
    assert_eq!((&back["epoch"], &back["offset"], back.get("data")), (&first["epoch"], &json!(12), None));
    for offset in [13, 14] {
        let publication = told(&mut client).await;
        assert_eq!(publication["offset"], offset);
        apply(&mut list, &publication["data"]);
    }
    assert_eq!(list.ids, ["5", "6"]);

    // Who comes back to another one begins anew.
    for (epoch, offset) in [(json!("other"), json!(14)), (first["epoch"].clone(), json!(1)), (json!(""), json!(0))] {
        result(&mut client, "unsubscribe", json!({"channel": CHANNEL})).await;
        let anew = result(&mut client, "subscribe", subscribe(Some((&epoch, &offset)))).await;
        assert_eq!((anew.get("recovered"), &anew["was_recovering"]), (None, &json!(true)), "{epoch} {offset}");
        let mut list = List::default();
        apply(&mut list, &anew["data"]);
        assert_eq!(list.ids, ["5", "6"]);
    }
}

#[tokio::test]
async fn a_window_moves() {
    let gateway = start().await;
    gateway.write(&[("1", "a", 0.0), ("2", "b", 0.0), ("3", "c", 0.0)]);
    let (mut client, _) = connected(&gateway).await;
    let first = result(&mut client, "subscribe", subscribe(None)).await;
    let cursor = first["data"]["deltas"][1]["cursor"].clone();
    let data = json!({"channel": CHANNEL, "cursor": cursor, "limit": 5});
    let moved = result(&mut client, "rpc", json!({"method": "live.reanchor", "data": data})).await;
    assert_eq!(moved["data"], json!({"position": "11"}));
    let publication = told(&mut client).await;
    let epoch = publication["epoch"].clone();
    assert!(epoch.is_string() && epoch != first["epoch"]);
    let mut list = List::default();
    apply(&mut list, &publication["data"]);
    assert_eq!(list.ids, ["2", "3"]);
    gateway.write(&[("4", "d", 0.0)]);
    let publication = told(&mut client).await;
    assert!(publication.get("epoch").is_none());
    apply(&mut list, &publication["data"]);
    assert_eq!(list.ids, ["2", "3", "4"]);
}

#[tokio::test]
async fn who_missed_too_much_begins_anew() {
    let gateway = start().await;
    gateway.write(&[("1", "a", 0.0)]);
    let (mut client, _) = connected(&gateway).await;
    let first = result(&mut client, "subscribe", subscribe(None)).await;
    // Another keeps the view's log growing; it is as long as configured, which may be less than this.
    for n in 0..301 {
        gateway.write(&[("1", "a", f64::from(n))]);
    }
    let mut seen = 0;
    while seen < 311 {
        seen = told(&mut client).await["offset"].as_u64().unwrap().saturating_sub(1);
    }
    result(&mut client, "unsubscribe", json!({"channel": CHANNEL})).await;
    let anew = result(&mut client, "subscribe", subscribe(Some((&first["epoch"], &first["offset"])))).await;
    assert!(anew.get("recovered").is_none() && anew["data"]["deltas"].is_array(), "{anew}");
}

#[tokio::test]
async fn a_query_that_ends_is_subscribed_to_again() {
    let gateway = start().await;
    let (mut client, _) = connected(&gateway).await;
    result(&mut client, "subscribe", subscribe(None)).await;
    gateway.end_entity("the table is gone");
    let push = client.json().await["push"].clone();
    assert_eq!(push["unsubscribe"]["code"], 2500);
    let again = super::ask(&mut client, 7, "subscribe", subscribe(None)).await;
    assert!(again["subscribe"].is_object() || again["error"]["temporary"] == true, "{again}");
}

#[tokio::test]
async fn a_snapshot_that_is_too_large_is_refused() {
    let config = EdgeConfig { outbox_bytes: 1_000, ..EdgeConfig::default() };
    let gateway = start_with(config).await;
    let long = "x".repeat(2_000);
    gateway.write(&[("1", &long, 0.0)]);
    let (mut client, _) = connected(&gateway).await;
    assert_eq!(refused(&mut client, "subscribe", subscribe(None)).await, 106);
}
