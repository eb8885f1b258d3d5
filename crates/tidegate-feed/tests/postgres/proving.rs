//! Durable, then confirmed; nothing applied twice; no copy before everything older is visible.

use std::time::Duration;

use tempfile::TempDir;
use tidegate_feed::postgres::{Lsn, Place};
use tidegate_model::{EntityId, Value};

use tidegate_testkit::postgres::{Postgres, Session};

use crate::follower::{Follower, PATIENCE, server, settings, wish};

async fn confirmed(session: &Session) -> u64 {
    session.lsn("select confirmed_flush_lsn from pg_replication_slots where slot_name like 'tidegate%'").await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_store_refuses_is_not_confirmed_and_clients_are_sent_elsewhere() {
    let Some(postgres) = server() else { return };
    let session = postgres.session().await;
    session.run("create table t (id int primary key, v int); insert into t values (1, 0)").await;
    let directory = TempDir::new().unwrap();
    let mut settings = settings(&postgres.url());
    settings.status_interval = Duration::from_millis(20);
    let follower = Follower::start(&directory, settings, vec![wish("t")]).await;
    follower.caught_up(&session).await;
    follower.until("it is healthy", |follower| follower.feed.health().is_ok()).await;
    // A full disk, as the writer sees it, and a slow one: whatever is told too early has the time to arrive.
    let store = rusqlite::Connection::open(directory.path().join("tidegate.db")).unwrap();
    store.busy_timeout(Duration::from_secs(10)).unwrap();
    let full = "create table slow (x integer not null);
        insert into slow with recursive n (x) as (select 1 union all select x + 1 from n where x < 4000) select x from n;
        create trigger full before update on store begin
          select count(*) from slow a, slow b where a.x + b.x = -1; select raise(abort, 'full'); end";
    store.execute_batch(full).unwrap();
    let before = session.lsn("select pg_current_wal_insert_lsn()").await;
    session.run("update t set v = 1; insert into t values (2, 2)").await;
    follower.until("the store has failed", |follower| failures(follower) > 2).await;
    assert!(confirmed(&session).await <= before, "told what the store does not have");
    follower.until("it is told to be behind", |follower| follower.feed.health().is_err()).await;
    let failed = failures(&follower);
    follower
        .until("it stays so, whatever is tried", |follower| {
            assert!(follower.feed.health().is_err());
            failures(follower) > failed + 1
        })
        .await;
    store.execute_batch("drop trigger full").unwrap();
    follower.caught_up(&session).await;
    assert_eq!(follower.json("t"), ["{\"id\":1,\"v\":1}", "{\"id\":2,\"v\":2}"]);
    assert_eq!(follower.copies(), [("first_copy", 1)], "it went on from where it was");
    follower.until("it is healthy again", |follower| follower.feed.health().is_ok()).await;
}

fn failures(follower: &Follower) -> u64 {
    let counts = follower.feed.metrics().sessions_ended.counts();
    counts.iter().filter(|(name, _)| matches!(*name, "store_failed" | "stopped")).map(|(_, count)| count).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_again_is_not_applied_again() {
    let Some(postgres) = server() else { return };
    let session = postgres.session().await;
    session.run("create table t (id int primary key, v int); insert into t values (1, 0)").await;
    let directory = TempDir::new().unwrap();
    let mut settings = settings(&postgres.url());
    // The server is told nothing by itself.
    settings.status_interval = Duration::from_secs(3600);
    let follower = Follower::start(&directory, settings, vec![wish("t")]).await;
    follower.caught_up(&session).await;
    for _ in 0..3 {
        for _ in 0..20 {
            session.run("update t set v = v + 1").await;
        }
        follower.caught_up(&session).await;
        session.run("select pg_terminate_backend(pid) from pg_stat_replication").await;
        follower.until("it is noticed", |follower| follower.feed.status().session != "streaming").await;
        follower.until("it goes on", |follower| follower.feed.status().session == "streaming").await;
    }
    session.run("update t set v = v + 1").await;
    follower.caught_up(&session).await;
    let heard = follower.heard.lock().unwrap();
    let values = heard.transactions.iter().flat_map(|transaction| &transaction.changes);
    let values: Vec<i64> = values
        .map(|change| match change.new.as_ref().unwrap().value(1) {
            Value::Int(value) => *value,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(values, (1..=61).collect::<Vec<_>>());
    assert_ne!(follower.feed.metrics().redelivered.load(std::sync::atomic::Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_waits_for_what_was_streamed_and_is_not_visible_yet() {
    let Some(postgres) = Postgres::logical() else { return };
    let session = postgres.session().await;
    session.run("create table a (id int primary key); create table b (id int primary key)").await;
    session.run("create publication tidegate for table a, b with (publish_via_partition_root = true)").await;
    let directory = TempDir::new().unwrap();
    let follower = Follower::start(&directory, settings(&postgres.url()), vec![wish("a")]).await;
    follower.caught_up(&session).await;
    session.run("set synchronous_commit = local").await;
    let waiting = postgres.session().await;
    session.run("alter system set synchronous_standby_names = 'nobody'").await;
    session.run("select pg_reload_conf()").await;
    while waiting.text("show synchronous_standby_names").await != "nobody" {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut commit = tokio::task::JoinSet::new();

    commit.spawn(async move { waiting.run("begin; insert into a values (1); insert into b values (1); commit").await });
    // The stream has told it, and nobody on the server sees it.
    follower.until("it is streamed", |follower| !follower.rows("a").unwrap().is_empty()).await;
    assert_eq!(session.text("select count(*) from b").await, "0");
    drop(follower);
    let follower = Follower::start(&directory, settings(&postgres.url()), vec![wish("a"), wish("b")]).await;
    follower.until("it is copied", |follower| follower.feed.status().entities[1].state == "copying").await;
    let lsn = Lsn(session.lsn("select pg_current_wal_insert_lsn()").await);
    tokio::time::timeout(PATIENCE, follower.feed.reached(Place::Lsn(lsn))).await.unwrap().unwrap();
    session.run("alter system reset synchronous_standby_names").await;
    session.run("select pg_reload_conf()").await;
    commit.join_next().await.unwrap().unwrap();
    follower.caught_up(&session).await;
    assert_eq!(follower.json("b"), ["{\"id\":1}"]);
    assert_eq!(follower.copies(), [], "the first goes on");
    let heard = follower.heard.lock().unwrap();
    assert!(heard.transactions.iter().any(|transaction| transaction.reloads == [EntityId(1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_is_there_as_a_whole_or_not_yet() {
    const ROWS: usize = 40_000;
    let Some(postgres) = server() else { return };
    let session = postgres.session().await;
    session.run("create table t (id int primary key, v text)").await;
    let directory = TempDir::new().unwrap();
    let follower = Follower::start(&directory, settings(&postgres.url()), vec![wish("t")]).await;
    follower.caught_up(&session).await;
    let before = follower.heard.lock().unwrap().transactions.len();
    session.run(&format!("insert into t select i, repeat('x', 100) from generate_series(1, {ROWS}) i")).await;
    follower
        .until("it is there", |follower| {
            let rows = follower.rows("t").unwrap().len();
            assert!(rows == 0 || rows == ROWS, "{rows}");
            rows == ROWS
        })
        .await;
    follower.caught_up(&session).await;
    let heard = follower.heard.lock().unwrap();
    assert_eq!(
        heard.transactions[before..].iter().filter(|told| !told.changes.is_empty() || !told.reloads.is_empty()).count(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_copy_has_not_seen_is_applied_after_it() {
    let Some(postgres) = server() else { return };
    let session = postgres.session().await;
    session.run("create table a (id int primary key); create table big (id int primary key, v int)").await;
    session.run("insert into big select i, 0 from generate_series(1, 200000) i").await;
    let directory = TempDir::new().unwrap();
    let follower = Follower::start(&directory, settings(&postgres.url()), vec![wish("a")]).await;
    follower.caught_up(&session).await;
    drop(follower);
    let follower = Follower::start(&directory, settings(&postgres.url()), vec![wish("a"), wish("big")]).await;
    let mut written = 0;
    // Each row once: nothing later makes up for one that is lost.
    while follower.feed.status().entities[1].state != "ready" {
        written += 1;
        session.run(&format!("update big set v = 1 where id = {written}")).await;
    }
    follower.caught_up(&session).await;
    assert_ne!(recorded(&follower), 0);
    let ones = follower.rows("big").unwrap().iter().filter(|row| *row.value(1) == Value::Int(1)).count();
    assert_eq!(ones, written);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_copy_has_seen_is_not_applied_again() {
    let Some(postgres) = server() else { return };
    let session = postgres.session().await;
    session.run("create table a (id int primary key); create table t (id int primary key, v text)").await;
    session.run("alter table t alter column v set storage external").await;
    session.run("insert into t values (1, repeat('x', 5000))").await;
    let directory = TempDir::new().unwrap();
    let follower = Follower::start(&directory, settings(&postgres.url()), vec![wish("a")]).await;
    follower.caught_up(&session).await;
    drop(follower);
    let open = postgres.session().await;
    open.run("begin; insert into a values (1)").await;
    let follower = Follower::start(&directory, settings(&postgres.url()), vec![wish("a"), wish("t")]).await;
    follower.until("it waits", |follower| follower.feed.status().entities[1].state == "copying").await;
    // The value is not sent again, and a row of another value now has the key that the row had.
    session.run("update t set id = 2 where id = 1").await;
    session.run("insert into t values (1, repeat('y', 5000))").await;
    follower.until("both are recorded", |follower| recorded(follower) == 2).await;
    open.run("commit").await;
    follower.caught_up(&session).await;
    let row = |id: u8, letter: &str| format!("{{\"id\":{id},\"v\":\"{}\"}}", letter.repeat(5000));
    assert_eq!(follower.json("t"), [row(1, "y"), row(2, "x")]);
}

fn recorded(follower: &Follower) -> u64 {
    follower.feed.metrics().recorded.load(std::sync::atomic::Ordering::Relaxed)
}
