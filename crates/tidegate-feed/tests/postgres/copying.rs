//! Copies beside a stream that never rests: nothing is missed, nothing comes twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tempfile::TempDir;
use tidegate_testkit::postgres::{Postgres, Session};
use tokio::task::JoinSet;

use crate::follower::{Follower, server, settings, wish};

const TABLES: [&str; 3] = ["a", "b", "c"];

/// Writers that go on until they are dropped.
struct Writers {
    tasks: JoinSet<()>,
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
}

impl Writers {
    async fn start(postgres: &Postgres, count: u64) -> Self {
        let (mut tasks, stop, written) =
            (JoinSet::new(), Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        for seed in 0..count {
            let (session, stop, written) = (postgres.session().await, stop.clone(), written.clone());
            tasks.spawn(async move {
                let mut random = StdRng::seed_from_u64(seed);
                while !stop.load(Ordering::Relaxed) {
                    session.run(&transaction(&mut random)).await;
                    written.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self { tasks, stop, written }
    }

    async fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
        self.written.load(Ordering::Relaxed)
    }
}

/// A few statements on any of the tables; some are taken back, whole or in part. Keys are taken in order, so that
/// writers do not wait for one another in circles.
fn transaction(random: &mut StdRng) -> String {
    let mut statements = String::from("begin;");
    let mut key = 0;
    for _ in 0..random.random_range(1..5) {
        key += random.random_range(1..40);
        let table = TABLES[0];
        let value = random.random_range(0..1000);
        let table = if random.random_bool(0.5) { table } else { TABLES[1] };
        statements += &match random.random_range(0..6) {
            0 | 1 => format!(
                "insert into {table} values ({key}, {value}, repeat('t', {value} * 10)) on conflict (id) do update set v = excluded.v;"
            ),
            2 => format!("update {table} set v = v + 1 where id = {key};"),
            3 => format!("delete from {table} where id = {key};"),
            4 => format!("savepoint s; update {table} set v = -1 where id = {key}; rollback to s;"),
            _ => format!(
                "update {table} set id = id + 1000 where id = {key} and not exists (select from {table} where id = {key} + 1000);"
            ),
        };
    }
    statements += if random.random_bool(0.9) { "commit" } else { "rollback" };
    statements
}

async fn prepare(session: &Session) {
    for table in TABLES {
        session.run(&format!("create table {table} (id int primary key, v int, t text)")).await;
        session
            .run(&format!("insert into {table} select i, i, repeat('x', i * 20) from generate_series(1, 300) i"))
            .await;
    }
}

async fn assert_same(follower: &Follower, session: &Session, tables: &[&str]) {
    follower.caught_up(session).await;
    for table in tables {
        let query = format!("select json_build_object('id', id, 'v', v, 't', t)::jsonb::text from {table} order by id");
        let theirs: Vec<serde_json::Value> = session
            .rows(&query)
            .await
            .iter()
            .map(|row| serde_json::from_str(row[0].as_ref().unwrap()).unwrap())
            .collect();
        let ours: Vec<serde_json::Value> =
            follower.json(table).iter().map(|row| serde_json::from_str(row).unwrap()).collect();
        assert_eq!(ours, theirs, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_are_copied_beside_writers_and_later_ones_beside_the_stream() {
    let Some(postgres) = server() else { return };
    let session = postgres.session().await;
    prepare(&session).await;
    let directory = TempDir::new().unwrap();
    let writers = Writers::start(&postgres, 3).await;
    let follower = Follower::start(&directory, settings(&postgres.url()), vec![wish("a")]).await;
    follower.until("copied", |follower| follower.feed.status().entities[0].state == "ready").await;
    // Another process: the second table is new to it, the first goes on.
    drop(follower);
    let open = postgres.session().await;
    open.run("begin; update b set v = 77777 where id in (5000, 5001); insert into b values (5000, 1, 'open')").await;
    let follower = Follower::start(&directory, settings(&postgres.url()), vec![wish("a"), wish("b")]).await;
    follower
        .until("it waits for the open transaction", |follower| follower.feed.status().entities[1].state == "copying")
        .await;
    let before = follower.heard.lock().unwrap().transactions.len();
    follower
        .until("the first table goes on", |follower| follower.heard.lock().unwrap().transactions.len() > before + 5)
        .await;
    open.run("commit").await;
    follower.until("copied", |follower| follower.feed.status().entities[1].state == "ready").await;
    assert_eq!(follower.copies(), [], "the first table was not copied again");
    assert!(writers.end().await > 20);
    assert_same(&follower, &session, &["a", "b"]).await;
    let versions: Vec<u64> = follower.heard.lock().unwrap().transactions.iter().map(|t| t.position.0).collect();
    assert!(versions.is_sorted_by(|a, b| a < b), "positions only grow");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_break_lose_and_repeat_nothing() {
    let Some(postgres) = server() else { return };
    let session = postgres.session().await;
    prepare(&session).await;
    let directory = TempDir::new().unwrap();
    let writers = Writers::start(&postgres, 2).await;
    let follower = Follower::start(&directory, settings(&postgres.url()), vec![wish("a"), wish("b"), wish("c")]).await;
    for _ in 0..5 {
        let sent = writers.written.load(Ordering::Relaxed);
        follower.until("something is written", |_| writers.written.load(Ordering::Relaxed) > sent + 5).await;
        let before = sessions_ended(&follower);
        while sessions_ended(&follower) == before {
            session.run(TERMINATE).await;
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
    writers.end().await;
    assert_same(&follower, &session, &["a", "b", "c"]).await;
    let copies: Vec<(&str, u64)> =
        follower.copies().into_iter().filter(|(reason, _)| *reason != "first_copy").collect();
    assert_eq!(copies, [], "continuity was proven each time");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_breaks_begins_again() {
    let Some(postgres) = server() else { return };
    let session = postgres.session().await;
    session.run("create table big (id int primary key, v int, t text)").await;
    session.run("insert into big select i, i, repeat('x', 100) from generate_series(1, 100000) i").await;
    let directory = TempDir::new().unwrap();
    let follower = Follower::start(&directory, settings(&postgres.url()), vec![wish("big")]).await;
    for _ in 0..2 {
        follower
            .until("rows are copied", |follower| {
                let status = &follower.feed.status().entities[0];
                status.state == "copying" && status.copied_rows > 0
            })
            .await;
        session.run(TERMINATE).await;
        session.run("update big set v = v + 1 where id % 100 = 0; delete from big where id % 1000 = 1").await;
    }
    assert_same(&follower, &session, &["big"]).await;
}

/// Whatever the feed has open: the stream, the copies, the connection beside them.
const TERMINATE: &str = "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()
  and (application_name = 'tidegate' or backend_type = 'walsender')";

fn sessions_ended(follower: &Follower) -> u64 {
    let counts = follower.feed.metrics().sessions_ended.counts();
    counts.iter().filter(|(name, _)| *name != "copy").map(|(_, count)| count).sum()
}
