//! Durable, then confirmed; nothing applied twice; no copy before everything older is visible.

use std::time::Duration;

use tempfile::TempDir;
use tidegate_feed::postgres::{Lsn, Place};
use tidegate_model::{EntityId, Value};

use tidegate_testkit::postgres::{Postgres, Session};

use crate::follower::{Follower, PATIENCE, server, settings, wish};

async fn confirmed(session: &Session) -> u64 {
    session.lsn("select confirmed_flush_lsn from pg_replication_slots where slot_name = 'tidegate'").await
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
    // A full disk, as the writer sees it.
    let store = rusqlite::Connection::open(directory.path().join("tidegate.db")).unwrap();
    store.busy_timeout(Duration::from_secs(10)).unwrap();
    let full = "create trigger full before update on store begin select raise(abort, 'full'); end";
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
    let commit =
        tokio::spawn(
            async move { waiting.run("begin; insert into a values (1); insert into b values (1); commit").await },
        );
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
    commit.await.unwrap();
    follower.caught_up(&session).await;
    assert_eq!(follower.json("b"), ["{\"id\":1}"]);
    assert_eq!(follower.copies(), [], "the first goes on");
    let heard = follower.heard.lock().unwrap();
    assert!(heard.transactions.iter().any(|transaction| transaction.reloads == [EntityId(1)]));
}
