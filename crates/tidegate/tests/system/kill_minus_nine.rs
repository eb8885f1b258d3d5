//! SIGKILL in the middle of a stream of writes: nothing that was answered is lost, no transaction is half there, and
//! clients that come back are told to start again and end with the right lists.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use rand::Rng as _;
use serde_json::{Value, json};
use tidegate_testkit::clients::{API_KEY, LiveSocket, ModelList, SseStream, request, within};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::fixture::{all_rows, assert_shows, gateway};

const WRITERS: usize = 3;
const ROUNDS: usize = 3;

/// Writes until the gateway is gone; gives the number of its last answered transaction. Transaction `k` makes the row
/// `w-k` and sets the writer's own row to `k`, so that a half of one would show.
async fn write_until_gone(address: SocketAddr, writer: usize, from: i64, answered: Arc<watch::Sender<u64>>) -> i64 {
    let mut last = from;
    loop {
        let k = last + 1;
        let changes = json!({ "changes": [
            { "upsert": { "id": format!("w{writer}-{k:06}"), "name": format!("of {writer}"), "kind": "made", "n": k } },
            { "upsert": { "id": format!("w{writer}"), "name": "writer", "kind": "writer", "n": k } },
        ] });
        let headers = [("x-api-key", API_KEY), ("content-type", "application/json")];
        let path = "/v1/entities/asset/changes";
        match request(address, "POST", path, &headers, changes.to_string().as_bytes()).await {
            Ok(answer) if answer.status == 200 => last = k,
            Ok(answer) => panic!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)),
            Err(_) => return last,
        }
        answered.send_modify(|count| *count += 1);
    }
}

fn queries() -> Vec<Value> {
    vec![
        json!({ "entity": "asset", "sort": [{ "column": "n", "desc": true }], "limit": 20 }),
        json!({ "entity": "asset", "where": [{ "column": "kind", "op": "eq", "value": "writer" }] }),
        json!({ "entity": "asset", "where": [{ "column": "id", "op": "like", "value": "w1-%" }], "limit": 500 }),
        json!({ "entity": "asset", "limit": 5, "cursor": { "values": ["w0-000003"] } }),
    ]
}

/// Follows a query until the connection is lost.
async fn follow(address: SocketAddr, query: Value, sse: bool, list: ModelList) -> (Value, bool, ModelList) {
    let resets = list.resets;
    let list = if sse {
        let mut stream = SseStream::subscribe(address, &query, list).await.unwrap();
        stream.until("a snapshot", |list| list.resets > resets).await;
        while stream.next().await.is_some() {}
        stream.list
    } else {
        let mut socket = LiveSocket::subscribe(address, &query, list).await.unwrap();
        socket.until("a snapshot", |list| list.resets > resets).await;
        while socket.next().await.is_some() {}
        socket.list
    };
    (query, sse, list)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_answered_is_lost_and_every_list_is_right() {
    let mut gateway = gateway("");
    let mut done = [0; WRITERS];
    let mut lists: Vec<(Value, bool, ModelList)> = queries()
        .into_iter()
        .flat_map(|query| [false, true].map(|sse| (query.clone(), sse, ModelList::new())))
        .collect();
    for round in 0..ROUNDS {
        let address = gateway.address();
        let answered = Arc::new(watch::Sender::new(0));
        let mut clients = JoinSet::new();
        for (query, sse, list) in lists.drain(..) {
            clients.spawn(follow(address, query, sse, list));
        }
        let mut writers = JoinSet::new();
        for (writer, from) in done.iter().copied().enumerate() {
            let answered = answered.clone();
            writers.spawn(async move { (writer, write_until_gone(address, writer, from, answered).await) });
        }
        let enough = rand::rng().random_range(30..150);
        within("writes", answered.subscribe().wait_for(|count| *count >= enough)).await.unwrap();
        gateway.kill();
        for (writer, last) in within("writers", writers.join_all()).await {
            done[writer] = last;
        }
        lists = within("clients", clients.join_all()).await;
        gateway.restart();
        check_rows(gateway.address(), &mut done, round).await;
        for (query, sse, list) in &lists {
            check_return(gateway.address(), query, *sse, list.clone()).await;
        }
    }
}

/// Whatever was answered is there; a transaction that was not may be there, but whole. Writers go on from what is there.
async fn check_rows(address: SocketAddr, done: &mut [i64], round: usize) {
    let rows: HashMap<String, i64> = all_rows(address)
        .await
        .iter()
        .map(|entry| (entry.row["id"].as_str().unwrap().to_owned(), entry.row["n"].as_i64().unwrap()))
        .collect();
    for (writer, answered) in done.iter_mut().enumerate() {
        let there = rows.get(&format!("w{writer}")).copied().unwrap_or(0);
        assert!(there >= *answered, "round {round}: writer {writer} was answered {answered}, {there} is there");
        let made = rows.keys().filter(|id| id.starts_with(&format!("w{writer}-"))).count();
        assert_eq!(made as i64, there, "round {round}: a transaction of writer {writer} is half there");
        assert!((1..=there).all(|k| rows.contains_key(&format!("w{writer}-{k:06}"))));
        *answered = there;
    }
}

async fn check_return(address: SocketAddr, query: &Value, sse: bool, list: ModelList) {
    let resets = list.resets;
    let list = if sse {
        let mut stream = SseStream::subscribe(address, query, list).await.unwrap();
        stream.until("a reset after the restart", |list| list.resets > resets).await;
        stream.list
    } else {
        let mut socket = LiveSocket::subscribe(address, query, list).await.unwrap();
        socket.until("a reset after the restart", |list| list.resets > resets).await;
        socket.list
    };
    assert_shows(address, query, &list).await;
}
