//! Who comes back gets everything that was missed, or is told that not everything is there.

use serde_json::{Value as Json, json};

use super::{connected, publish, refused, result, start};

fn data(result: &Json) -> Json {
    result["publications"].as_array().into_iter().flatten().map(|publication| publication["data"].clone()).collect()
}

#[tokio::test]
async fn what_was_missed_is_in_the_answer() {
    let gateway = start().await;
    let (mut client, _) = connected(&gateway).await;
    let first = result(&mut client, "subscribe", json!({"channel": "chat:a"})).await;
    assert!(first.get("recovered").is_none() && first.get("was_recovering").is_none());
    result(&mut client, "unsubscribe", json!({"channel": "chat:a"})).await;
    for n in 1..=3 {
        publish(&gateway, "chat:a", &n.to_string()).await;
    }
    let again =
        |offset: u64, epoch: &Json| json!({"channel": "chat:a", "recover": true, "offset": offset, "epoch": epoch});
    let back = result(&mut client, "subscribe", again(1, &first["epoch"])).await;
    assert_eq!((&back["recovered"], &back["was_recovering"]), (&json!(true), &json!(true)));
    assert_eq!((data(&back), &back["offset"]), (json!([2, 3]), &json!(3)));
    assert_eq!(back["publications"][0]["offset"], 2);
    publish(&gateway, "chat:a", "4").await;
    assert_eq!(client.json().await["push"]["pub"]["offset"], 4);
    for (offset, epoch, recovered, missed) in [
        (4, first["epoch"].clone(), true, json!([])),
        (5, first["epoch"].clone(), false, json!([])),
        (4, json!("other"), false, json!([])),
        (0, first["epoch"].clone(), true, json!([1, 2, 3, 4])),
        (0, json!(""), true, json!([1, 2, 3, 4])),
        (1, json!(""), false, json!([])),
    ] {
        result(&mut client, "unsubscribe", json!({"channel": "chat:a"})).await;
        let back = result(&mut client, "subscribe", again(offset, &epoch)).await;
        let is_recovered = back["recovered"] == true;
        assert_eq!((is_recovered, data(&back)), (recovered, missed), "{offset} {epoch}");
    }
}

#[tokio::test]
async fn what_cannot_be_recovered_is_refused_to_who_wants_that() {
    let gateway = start().await;
    let (mut client, _) = connected(&gateway).await;
    let first = result(&mut client, "subscribe", json!({"channel": "small:a"})).await;
    result(&mut client, "unsubscribe", json!({"channel": "small:a"})).await;
    for n in 1..=4 {
        publish(&gateway, "small:a", &n.to_string()).await;
    }
    let back = json!({"channel": "small:a", "recover": true, "epoch": first["epoch"], "flag": 3});
    assert_eq!(refused(&mut client, "subscribe", back.clone()).await, 112);
    assert_eq!(gateway.subscriptions(), 0);
    let mut back = back;
    back["flag"] = json!(1);
    let back = result(&mut client, "subscribe", back).await;
    assert!(back.get("recovered").is_none() && back["was_recovering"] == true, "{back}");
    assert_eq!(back["offset"], 4);
}

#[tokio::test]
async fn the_last_value_is_told_to_who_comes_new() {
    let gateway = start().await;
    publish(&gateway, "last:a", "1").await;
    publish(&gateway, "last:a", "2").await;
    let (mut client, _) = connected(&gateway).await;
    let first = result(&mut client, "subscribe", json!({"channel": "last:a"})).await;
    assert_eq!(data(&first), json!([2]));
}

#[tokio::test]
async fn what_is_too_long_for_one_answer_is_not_recovered_and_closes_nothing() {
    let gateway = start().await;
    let (mut client, _) = connected(&gateway).await;
    let first = result(&mut client, "subscribe", json!({"channel": "delta:a"})).await;
    result(&mut client, "unsubscribe", json!({"channel": "delta:a"})).await;
    // Told so that differences may follow it is text in a string, and longer for its quotes.
    let long = format!("[{}1]", "\"\",".repeat(20_000));
    for _ in 0..15 {
        publish(&gateway, "delta:a", &long).await;
    }
    let back = json!({"channel": "delta:a", "recover": true, "epoch": first["epoch"], "delta": "fossil"});
    let mut rejecting = back.clone();
    rejecting["flag"] = json!(2);
    assert_eq!(refused(&mut client, "subscribe", rejecting).await, 112);
    let back = result(&mut client, "subscribe", back).await;
    assert!(
        back.get("recovered").is_none() && back["was_recovering"] == true && data(&back) == json!([]),
        "{back:.200}"
    );
    assert_eq!(back["offset"], 15);
}
