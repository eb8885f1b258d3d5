//! `GET /v1/position`: an application that has written can wait until views include it.

use serde_json::json;
use tidegate_testkit::clients::{LiveSocket, ModelList, get, within, write};

use crate::fixture::{gateway, upsert};

fn position_of(answer: &serde_json::Value) -> u64 {
    answer["position"].as_str().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_is_in_every_view_from_its_position_on() {
    let gateway = gateway("");
    let address = gateway.address();
    for n in 0..50 {
        let position = write(address, "asset", json!([upsert("a", "x", n)])).await;
        let reached = position_of(&get(address, &format!("/v1/position?at_least={position}")).await.ok());
        assert!(reached >= position, "{reached} is before {position}");
        let query = json!({ "entity": "asset", "where": [{ "column": "n", "op": "eq", "value": n }] });
        let mut socket = LiveSocket::subscribe(address, &query, ModelList::new()).await.unwrap();
        socket.until("a snapshot", |_| true).await;
        assert_eq!(socket.list.entries().len(), 1, "the first snapshot has the write");
        assert_eq!(socket.list.entries()[0].version, position);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_ends_with_the_write_that_it_waits_for() {
    let gateway = gateway("");
    let address = gateway.address();
    let now = write(address, "asset", json!([upsert("a", "x", 0)])).await;
    let path = format!("/v1/position?at_least={}", now + 1);
    let mut waiting = Box::pin(get(address, &path));
    // Polled once, so that the request is on its way before the write.
    let early = tokio::select! {
        biased;
        answer = &mut waiting => Some(answer),
        () = std::future::ready(()) => None,
    };
    assert!(early.is_none(), "{early:?}");
    let written = write(address, "asset", json!([upsert("a", "x", 1)])).await;
    let reached = position_of(&within("the write", waiting).await.ok());
    assert!(written > now && reached >= written);
}

#[tokio::test]
async fn what_is_no_position_is_refused() {
    let gateway = gateway("");
    for bad in ["x", "-1", "1e3", "%00", "99999999999999999999999"] {
        let answer = get(gateway.address(), &format!("/v1/position?at_least={bad}")).await;
        assert_eq!(answer.status, 400, "{bad}");
        assert!(answer.json()["error"]["code"].is_string());
    }
}
