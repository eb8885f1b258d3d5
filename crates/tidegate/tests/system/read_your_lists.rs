//! Many clients, many queries, all transports, random writes; they re-anchor, leave and come back as they like. Once the
//! writes end, every list is what its query gives.

use std::net::SocketAddr;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tidegate_testkit::clients::{EventSocket, LiveSocket, ModelList, SseStream, within, write};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::fixture::{assert_shows, gateway};

const WRITERS: u64 = 3;
const TRANSACTIONS: usize = 80;
const CLIENTS: u64 = 24;
const IDS: u32 = 40;

/// One transaction of one to six changes to rows of the writer's own.
fn transaction(random: &mut StdRng, writer: u64) -> Value {
    let mut ids: Vec<u32> = (0..random.random_range(1..=6)).map(|_| random.random_range(0..IDS)).collect();
    ids.sort_unstable();
    ids.dedup();
    let change = |id: u32| {
        let id = format!("{writer}-{id:02}");
        if random.random_range(0..5) == 0 {
            return json!({ "delete": { "id": id } });
        }
        let null_or =
            |random: &mut StdRng, value: Value| if random.random_range(0..6) == 0 { Value::Null } else { value };
        let names = ["a", "b", "né", "z 🦀", "A", ""];
        let prices = ["1.0", "1.00", "-2", "12345678901234567890.5", "NaN"];
        let temps = [json!(-0.0), json!(0), json!(1.5), json!("NaN"), json!("Infinity"), json!(-3)];
        let name = json!(names[random.random_range(0..names.len())]);
        let price = json!(prices[random.random_range(0..prices.len())]);
        let temp = temps[random.random_range(0..temps.len())].clone();
        let n = json!(random.random_range(0..8));
        let kind = if random.random() { "pump" } else { "valve" };
        json!({ "upsert": {
            "id": id, "name": null_or(random, name), "kind": kind,
            "temp": null_or(random, temp), "n": null_or(random, n), "price": null_or(random, price),
            "seen": "2024-02-29T12:00:00.5Z",
        } })
    };
    ids.into_iter().map(change).collect()
}

fn query(random: &mut StdRng) -> Value {
    let filters = [
        json!([]),
        json!([{ "column": "kind", "op": "eq", "value": "pump" }]),
        json!([{ "column": "n", "op": "gte", "value": 3 }]),
        json!([{ "column": "name", "op": "ilike", "value": "a%" }]),
        json!([{ "or": [{ "column": "temp", "op": "gt", "value": 0 }, { "column": "price", "op": "isnull" }] }]),
        json!([{ "not": { "column": "n", "op": "in", "value": [1, 2, null] } }]),
        json!([{ "column": "price", "op": "eq", "value": "1" }]),
        json!([{ "column": "name", "op": "ne", "value": "a" }]),
    ];
    let sorts = [
        json!([]),
        json!([{ "column": "n" }]),
        json!([{ "column": "temp", "desc": true }, { "column": "name" }]),
        json!([{ "column": "price" }]),
        json!([{ "column": "kind", "desc": true }, { "column": "n", "desc": true }]),
    ];
    json!({
        "entity": "asset",
        "where": filters[random.random_range(0..filters.len())],
        "sort": sorts[random.random_range(0..sorts.len())],
        "limit": random.random_range(1..=12),
    })
}

/// Another place for the window: the head, or after one of the rows that it shows.
fn move_window(random: &mut StdRng, query: &mut Value, list: &ModelList) -> Value {
    let limit = random.random_range(1..=12);
    let mut command = json!({ "limit": limit });
    query["limit"] = limit.into();
    query.as_object_mut().unwrap().remove("cursor");
    if !list.entries().is_empty() && random.random() {
        let cursor = list.entries()[random.random_range(0..list.entries().len())].cursor.clone();
        command["cursor"] = cursor.clone();
        query["cursor"] = cursor;
    }
    command
}

/// What a client does at its next turn.
enum Turn {
    Read,
    Move,
    Return,
}

fn turn(random: &mut StdRng) -> Turn {
    match random.random_range(0..20) {
        0..=1 => Turn::Move,
        2 => Turn::Return,
        _ => Turn::Read,
    }
}

/// How far the writers are.
#[derive(Debug, Clone, Copy)]
enum Phase {
    Writing,
    /// Clients read on, but no longer move or leave.
    Settling,
    /// The position of the very last write, made when all clients had settled.
    Over(u64),
}

/// A client's view of the whole.
#[derive(Clone)]
struct Course {
    phase: watch::Receiver<Phase>,
    settled: Arc<watch::Sender<u64>>,
}

impl Course {
    fn is_writing(&self) -> bool {
        matches!(*self.phase.borrow(), Phase::Writing)
    }

    /// Tells that this client has settled; gives the position of the last write.
    async fn end(mut self) -> u64 {
        self.settled.send_modify(|count| *count += 1);
        let phase = self.phase.wait_for(|phase| matches!(phase, Phase::Over(_))).await.unwrap();
        match *phase {
            Phase::Over(position) => position,
            _ => unreachable!("waited for"),
        }
    }
}

async fn over_websocket(address: SocketAddr, mut random: StdRng, mut course: Course) -> Vec<(Value, ModelList)> {
    let mut query = query(&mut random);
    let mut socket = LiveSocket::subscribe(address, &query, ModelList::new()).await.unwrap();
    socket.until("a snapshot", |_| true).await;
    while course.is_writing() {
        match turn(&mut random) {
            Turn::Read => tokio::select! {
                frame = socket.next() => drop(frame.expect("the connection stays")),
                _ = course.phase.changed() => {}
            },
            Turn::Move => {
                let mut command = move_window(&mut random, &mut query, &socket.list);
                command["action"] = "reanchor".into();
                let resets = socket.list.resets;
                socket.send(command.to_string()).await.unwrap();
                socket.until("the re-anchored window", |list| list.resets > resets).await;
            }
            Turn::Return => socket = LiveSocket::subscribe(address, &query, socket.list).await.unwrap(),
        }
    }
    let last = Some(course.end().await);
    socket.until("the last write", |list| list.synced() >= last).await;
    vec![(query, socket.list)]
}

async fn over_sse(address: SocketAddr, mut random: StdRng, mut course: Course) -> Vec<(Value, ModelList)> {
    let query = query(&mut random);
    let mut stream = SseStream::subscribe(address, &query, ModelList::new()).await.unwrap();
    while course.is_writing() {
        match turn(&mut random) {
            Turn::Read | Turn::Move => tokio::select! {
                frame = stream.next() => drop(frame.expect("the connection stays")),
                _ = course.phase.changed() => {}
            },
            Turn::Return => stream = SseStream::subscribe(address, &query, stream.list).await.unwrap(),
        }
    }
    let last = Some(course.end().await);
    stream.until("the last write", |list| list.synced() >= last).await;
    vec![(query, stream.list)]
}

async fn over_events(address: SocketAddr, mut random: StdRng, mut course: Course) -> Vec<(Value, ModelList)> {
    let names = ["one", "two", "three"];
    let mut queries: Vec<Value> = names.iter().map(|_| query(&mut random)).collect();
    let mut socket = EventSocket::connect(address).await.unwrap();
    for (name, query) in names.iter().zip(&queries) {
        socket.subscribe(name, query, ModelList::new()).await;
    }
    while course.is_writing() {
        let which = random.random_range(0..names.len());
        let (name, query) = (names[which], &mut queries[which]);
        match turn(&mut random) {
            Turn::Read => tokio::select! {
                message = socket.next() => drop(message.expect("the connection stays")),
                _ = course.phase.changed() => {}
            },
            Turn::Move => {
                let resets = socket.lists[name].resets;
                let mut command = move_window(&mut random, query, &socket.lists[name]);
                command["sub"] = name.into();
                let reply = socket.call("live.reanchor", command, "move").await;
                assert!(reply.error.is_null(), "{reply:?}");
                socket.until("the re-anchored window", |lists| lists[name].resets > resets).await;
            }
            Turn::Return => {
                let reply = socket.call("live.unsubscribe", json!({ "sub": name }), "leave").await;
                assert!(reply.error.is_null(), "{reply:?}");
                let list = socket.lists.remove(name).unwrap();
                socket.subscribe(name, query, list).await;
            }
        }
    }
    let last = Some(course.end().await);
    socket.until("the last write", |lists| lists.values().all(|list| list.synced() >= last)).await;
    names.iter().zip(queries).map(|(name, query)| (query, socket.lists.remove(*name).unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_list_is_its_page_once_the_writes_end() {
    let seed: u64 = rand::random();
    eprintln!("seed {seed}");
    // A small outbox and log, so that catching up and resets have their part too.
    let gateway = gateway("[edge]\noutbox_frames = 64\n[live]\nlog_batches = 16\ncushion = 1");
    let address = gateway.address();
    let (phase, watched) = watch::channel(Phase::Writing);
    let settled = Arc::new(watch::Sender::new(0));
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let random = StdRng::seed_from_u64(seed ^ client);
        let course = Course { phase: watched.clone(), settled: settled.clone() };
        match client % 3 {
            0 => clients.spawn(over_websocket(address, random, course)),
            1 => clients.spawn(over_sse(address, random, course)),
            _ => clients.spawn(over_events(address, random, course)),
        };
    }
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let mut random = StdRng::seed_from_u64(seed ^ (1000 + writer));
        writers.spawn(async move {
            for _ in 0..TRANSACTIONS {
                write(address, "asset", transaction(&mut random, writer)).await;
            }
        });
    }
    within("the writes", writers.join_all()).await;
    phase.send_replace(Phase::Settling);
    within("the clients", settled.subscribe().wait_for(|count| *count == CLIENTS)).await.unwrap();
    let last = write(address, "asset", json!([{ "upsert": { "id": "last", "kind": "last" } }])).await;
    phase.send_replace(Phase::Over(last));
    for (query, list) in within("the clients", clients.join_all()).await.into_iter().flatten() {
        assert_shows(address, &query, &list).await;
    }
}
