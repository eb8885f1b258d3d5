//! The same random history seen over several transports at once: readers stall, are cut and come back, and all lists end
//! equal to the query.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tidegate_testkit::clients::{Endpoint, LiveClient, ModelList, Transport, within, write};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::fixture::{Site, seed};

/// Small bounds, so that conflation, catching up and resets have their part too.
pub(crate) const SECTIONS: &str = "[edge]\noutbox_frames = 48\noutbox_bytes = 131072\nwrite_timeout_ms = 60000\n\
                                   messages_per_second = 100000\n[live]\nlog_batches = 16\ncushion = 1\n";

const WRITERS: u64 = 2;
const TRANSACTIONS: usize = 120;
const IDS: u32 = 24;
const CLIENTS_A_TRANSPORT: usize = 3;
const NAME_BYTES_MAX: usize = 6_000;

/// How far the whole is.
#[derive(Debug, Clone, Copy, Default)]
struct Progress {
    /// Transactions written.
    written: usize,
    /// All of them are; nobody stalls or leaves any more.
    is_settling: bool,
    /// The position of the very last write, made when all clients had settled.
    last: Option<u64>,
}

#[derive(Clone)]
struct Course {
    progress: watch::Receiver<Progress>,
    settled: Arc<watch::Sender<usize>>,
}

impl Course {
    fn is_writing(&self) -> bool {
        !self.progress.borrow().is_settling
    }

    /// Waits for so many more transactions, or the end of them.
    async fn pass(&mut self, transactions: usize) {
        let target = self.progress.borrow().written + transactions;
        let passed = self.progress.wait_for(|now| now.written >= target || now.is_settling).await;
        drop(passed.expect("the writers"));
    }

    /// Tells that this client has settled; gives the position of the last write.
    async fn end(mut self) -> u64 {
        self.settled.send_modify(|count| *count += 1);
        let progress = self.progress.wait_for(|now| now.last.is_some()).await.expect("the writers");
        progress.last.expect("waited for")
    }
}

/// Runs the history against `site` with readers on each of `transports`.
pub(crate) async fn same_history(site: &Site, transports: &[Transport]) {
    let seed = seed();
    let (progress, watched) = watch::channel(Progress::default());
    let settled = Arc::new(watch::Sender::new(0));
    let mut readers = JoinSet::new();
    for index in 0..CLIENTS_A_TRANSPORT * transports.len() {
        let course = Course { progress: watched.clone(), settled: settled.clone() };
        // One of each transport has hardly a buffer.
        let is_small = index < transports.len();
        let endpoint = if is_small { site.endpoint().small() } else { site.endpoint() };
        let transport = transports[index % transports.len()];
        readers.spawn(read(endpoint, transport, StdRng::seed_from_u64(seed ^ index as u64), course));
    }
    let writes = async {
        let writer = |writer: u64| {
            let (endpoint, progress) = (site.endpoint(), progress.clone());
            let mut random = StdRng::seed_from_u64(seed ^ (1_000 + writer));
            async move {
                for _ in 0..TRANSACTIONS {
                    write(endpoint.clone(), "asset", transaction(&mut random, writer)).await;
                    progress.send_modify(|progress| progress.written += 1);
                }
            }
        };
        let writers: JoinSet<()> = (0..WRITERS).map(writer).collect();
        writers.join_all().await;
        progress.send_modify(|progress| progress.is_settling = true);
        let count = CLIENTS_A_TRANSPORT * transports.len();
        drop(settled.subscribe().wait_for(|settled| *settled == count).await);
        let last = site.write(json!([{ "upsert": { "id": "last", "name": "last" } }])).await;
        progress.send_modify(|progress| progress.last = Some(last));
        std::future::pending::<()>().await;
    };
    let ends = async {
        let mut ends = Vec::new();
        // A reader that breaks a rule is to be heard at once, not when the others give up waiting for it.
        while let Some(end) = readers.join_next().await {
            ends.push(end.unwrap());
        }
        ends
    };
    let ends = within("the readers", async {
        tokio::select! { ends = ends => ends, () = writes => unreachable!("pending") }
    });
    for (transport, query, list) in ends.await {
        let (rows, position) = tidegate_testkit::clients::page(site.endpoint(), &query).await;
        list.check(&rows).unwrap_or_else(|difference| panic!("{transport:?} at {position}, {query}: {difference}"));
    }
}

async fn read(
    endpoint: Endpoint,
    transport: Transport,
    mut random: StdRng,
    mut course: Course,
) -> (Transport, Value, ModelList) {
    let query = query(&mut random);
    let come = async |list| LiveClient::subscribe(endpoint.clone(), transport, &query, list).await.unwrap();
    let mut client = come(ModelList::new()).await;
    while course.is_writing() {
        match random.random_range(0..40) {
            // A stall; then a cut, in the middle of whatever has been sent since.
            0..=2 => course.pass(random.random_range(1..40)).await,
            3..=4 => client = come(client.list).await,
            _ => tokio::select! {
                frame = client.next() => drop(frame.expect("the connection stays")),
                _ = course.progress.changed() => {}
            },
        }
    }
    let last = Some(course.end().await);
    client.until("the last write", |list| list.synced() >= last).await;
    (transport, query, client.list)
}

/// One transaction of one to five changes to rows of the writer's own.
fn transaction(random: &mut StdRng, writer: u64) -> Value {
    let mut ids: Vec<u32> = (0..random.random_range(1..=5)).map(|_| random.random_range(0..IDS)).collect();
    ids.sort_unstable();
    ids.dedup();
    let change = |id: u32| {
        let id = format!("{writer}-{id:02}");
        if random.random_range(0..5) == 0 {
            return json!({ "delete": { "id": id } });
        }
        let name = ["a", "é🦀", "z"][random.random_range(0..3)].repeat(random.random_range(0..NAME_BYTES_MAX / 6));
        let kind = if random.random() { "pump" } else { "valve" };
        json!({ "upsert": { "id": id, "name": name, "kind": kind, "n": random.random_range(0..8) } })
    };
    ids.into_iter().map(change).collect()
}

fn query(random: &mut StdRng) -> Value {
    let filters = [
        json!([]),
        json!([{ "column": "kind", "op": "eq", "value": "pump" }]),
        json!([{ "column": "n", "op": "gte", "value": 3 }]),
    ];
    let sorts = [json!([]), json!([{ "column": "n" }]), json!([{ "column": "kind", "desc": true }, { "column": "n" }])];
    json!({
        "entity": "asset",
        "where": filters[random.random_range(0..filters.len())],
        "sort": sorts[random.random_range(0..sorts.len())],
        "limit": random.random_range(2..=10),
    })
}
