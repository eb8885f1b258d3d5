//! What is altered on the server while it is followed: afterwards the rows are right, or nobody may read them.

use tempfile::TempDir;
use tidegate_model::ScanError;
use tidegate_testkit::postgres::Session;

use crate::follower::{Follower, server, settings, wish};

async fn table(session: &Session) {
    session.run("create table t (id int primary key, email text not null unique, v int)").await;
    session.run("insert into t select i, 'e' || i, i from generate_series(1, 10) i").await;
}

/// The rows as the server has them, in the form of [`Follower::json`].
async fn theirs(session: &Session) -> Vec<String> {
    let rows = session.rows("select format('{\"id\":%s,\"email\":\"%s\",\"v\":%s}', id, email, v) from t order by id");
    rows.await.into_iter().map(|row| row[0].clone().unwrap()).collect()
}

fn reason(follower: &Follower) -> String {
    follower.feed.status().reason.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_that_leaves_something_out_is_not_followed() {
    let Some(postgres) = server() else { return };
    let session = postgres.session().await;
    table(&session).await;
    let directory = TempDir::new().unwrap();
    let follower = Follower::start(&directory, settings(&postgres.url()), vec![wish("t")]).await;
    follower.caught_up(&session).await;
    session.run("alter publication tidegate set (publish = 'insert')").await;
    follower.until("it is refused", |follower| reason(follower).contains("SET (publish = 'insert, update")).await;
    session.run("update t set v = -1 where id < 5; delete from t where id > 7").await;
    session.run("alter publication tidegate set (publish = 'insert, update, delete, truncate')").await;
    follower.until("it is followed", |follower| follower.feed.status().session == "streaming").await;
    session.run("update t set v = -2 where id = 5").await;
    follower.caught_up(&session).await;
    assert_eq!(follower.json("t"), theirs(&session).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_published_in_part_is_not_served() {
    let Some(postgres) = server() else { return };
    let session = postgres.session().await;
    table(&session).await;
    let directory = TempDir::new().unwrap();
    let follower = Follower::start(&directory, settings(&postgres.url()), vec![wish("t")]).await;
    follower.caught_up(&session).await;
    session.run("alter publication tidegate set table t where (id > 5)").await;
    follower.until("it is unavailable", |follower| matches!(follower.rows("t"), Err(ScanError::Unavailable(_)))).await;
    session.run("alter publication tidegate set table t").await;
    follower.until("it is ready", |follower| follower.feed.status().entities[0].state == "ready").await;
    session.run("update t set v = -2 where id = 2").await;
    follower.caught_up(&session).await;
    assert_eq!(follower.json("t"), theirs(&session).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_made_anew_is_followed_from_then_on() {
    let Some(postgres) = server() else { return };
    let session = postgres.session().await;
    table(&session).await;
    let directory = TempDir::new().unwrap();
    let follower = Follower::start(&directory, settings(&postgres.url()), vec![wish("t")]).await;
    follower.caught_up(&session).await;
    session.run("drop publication tidegate").await;
    // Decoding this fails for ever: at its time there was no such publication.
    session.run("update t set v = 77 where id = 1").await;
    follower.until("it is noticed", |follower| follower.feed.status().session == "waiting").await;
    session.run("create publication tidegate for table t with (publish_via_partition_root = true)").await;
    session.run("update t set v = 78 where id = 2").await;
    follower.caught_up(&session).await;
    // A look at the publication just when it was gone took the table for one that is no longer published: it is copied anew.
    follower.until("it is served", |follower| follower.rows("t").is_ok()).await;
    assert_eq!(follower.json("t"), theirs(&session).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_without_the_key_ends_the_entity() {
    let Some(postgres) = server() else { return };
    let session = postgres.session().await;
    table(&session).await;
    let directory = TempDir::new().unwrap();
    let follower = Follower::start(&directory, settings(&postgres.url()), vec![wish("t")]).await;
    follower.caught_up(&session).await;
    session
        .run("alter table t replica identity full; update t set id = 101 where id = 1; delete from t where id = 2")
        .await;
    follower.caught_up(&session).await;
    assert_eq!(follower.json("t"), theirs(&session).await);
    session.run("alter table t replica identity using index t_email_key").await;
    session.run("update t set id = 100 where id = 3").await;
    follower.caught_up(&session).await;
    let rows = follower.rows("t");
    assert!(matches!(rows, Err(ScanError::Unavailable(_))), "{rows:?}");
    assert!(follower.feed.schema_changed().borrow().is_some(), "it may be another one that can be followed");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_rewritten_are_copied_again() {
    let Some(postgres) = server() else { return };
    let session = postgres.session().await;
    table(&session).await;
    let directory = TempDir::new().unwrap();
    let follower = Follower::start(&directory, settings(&postgres.url()), vec![wish("t")]).await;
    follower.caught_up(&session).await;
    session.run("vacuum full t").await;
    session.run("truncate t; insert into t values (1, 'a', 5)").await;
    follower.caught_up(&session).await;
    session.run("alter table t alter column v type int using v + 1000").await;
    follower.until("it is copied again", |follower| follower.copies().contains(&("table_remarked", 1))).await;
    follower.caught_up(&session).await;
    assert_eq!(follower.json("t"), theirs(&session).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entity_that_failed_in_a_transaction_that_broke_off_is_ended_all_the_same() {
    let Some(postgres) = server() else { return };
    let session = postgres.session().await;
    session.run("create table t (id int primary key, v text); create table u (id int primary key, v text)").await;
    session.run("insert into t values (1, 'one')").await;
    let directory = TempDir::new().unwrap();
    let follower = Follower::start(&directory, settings(&postgres.url()), vec![wish("t"), wish("u")]).await;
    follower.caught_up(&session).await;
    let large = "insert into t select 2, string_agg(md5(i::text), '') from generate_series(1, 50000) i";
    let many = "insert into u select i, repeat('x', 100) from generate_series(1, 300000) i";
    session.run(&format!("begin; {large}; {many}; commit")).await;
    follower
        .until("the large row has come", |follower| follower.feed.status().entities[0].state == "unavailable")
        .await;
    session.run("select pg_terminate_backend(pid) from pg_stat_replication").await;
    assert_eq!(follower.rows("u").unwrap().len(), 0, "it was too fast to break off");
    follower.caught_up(&session).await;
    assert_eq!(follower.rows("u").unwrap().len(), 300_000);
    let rows = follower.rows("t");
    assert!(matches!(rows, Err(ScanError::Unavailable(_))), "{rows:?}");
    assert_eq!(follower.heard.lock().unwrap().ended.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_time_before_the_table_was_altered_end_nothing() {
    let Some(postgres) = server() else { return };
    let session = postgres.session().await;
    table(&session).await;
    let directory = TempDir::new().unwrap();
    let follower = Follower::start(&directory, settings(&postgres.url()), vec![wish("t")]).await;
    follower.caught_up(&session).await;
    drop(follower);
    session.run("update t set v = 1 where id < 5").await;
    session.run("alter table t alter column v type bigint; alter table t add column w int default 7").await;
    session.run("update t set v = 2 where id < 3").await;
    let follower = Follower::start(&directory, settings(&postgres.url()), vec![wish("t")]).await;
    follower.caught_up(&session).await;
    session.run("update t set v = 3 where id = 4").await;
    follower.caught_up(&session).await;
    let whole = session
        .rows("select format('{\"id\":%s,\"email\":\"%s\",\"v\":%s,\"w\":%s}', id, email, v, w) from t order by id");
    let whole: Vec<String> = whole.await.into_iter().map(|row| row[0].clone().unwrap()).collect();
    assert_eq!(follower.json("t"), whole);
    assert_eq!(follower.heard.lock().unwrap().ended, []);
    assert_eq!(*follower.feed.schema_changed().borrow(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_inherits_from_a_table_is_not_published_with_it() {
    let Some(postgres) = server() else { return };
    let session = postgres.session().await;
    table(&session).await;
    session.run("create table u (id int primary key, v int)").await;
    session.run("create table heir () inherits (t); create table heir_2 () inherits (u)").await;
    session.run("insert into heir values (77, 'heir', 1); insert into heir_2 values (77, 1)").await;
    let directory = TempDir::new().unwrap();
    let follower = Follower::start(&directory, settings(&postgres.url()), vec![wish("t")]).await;
    follower.caught_up(&session).await;
    drop(follower);
    let follower = Follower::start(&directory, settings(&postgres.url()), vec![wish("t"), wish("u")]).await;
    follower.caught_up(&session).await;
    // Neither has a key, so that the server would refuse these if the publication had them.
    session.run("update heir set v = 2; delete from heir_2").await;
    assert_eq!(session.rows("select tablename from pg_publication_tables").await.len(), 2);
    follower.caught_up(&session).await;
    assert_eq!(follower.json("t").len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_with_an_identity_of_its_own_is_a_change_of_the_table() {
    let Some(postgres) = server() else { return };
    let session = postgres.session().await;
    session.run("create table p (id int, u int not null, primary key (id)) partition by range (id)").await;
    session.run("create table p1 partition of p for values from (0) to (100); insert into p values (1, 1)").await;
    session.run("create unique index p1u on p1 (u)").await;
    let directory = TempDir::new().unwrap();
    let follower = Follower::start(&directory, settings(&postgres.url()), vec![wish("p")]).await;
    follower.caught_up(&session).await;
    session.run("alter table p1 replica identity using index p1u").await;
    let changed = follower.feed.schema_changed();
    follower.until("it is seen", |_| changed.borrow().as_ref().is_some_and(|why| why.contains("p1"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn row_security_hides_nothing_from_a_copy() {
    let Some(postgres) = server() else { return };
    let session = postgres.session().await;
    session.run("create table p (id int primary key) partition by range (id)").await;
    session.run("create table p1 partition of p for values from (0) to (100)").await;
    session.run("create table p2 partition of p for values from (100) to (200)").await;
    session.run("insert into p select generate_series(1, 150)").await;
    session.run("create role reader login replication; grant select on p to reader").await;
    session.run("create publication tidegate for table p with (publish_via_partition_root = true)").await;
    let directory = TempDir::new().unwrap();
    let url = postgres.url().replacen("postgres@", "reader@", 1);
    let follower = Follower::start(&directory, settings(&url), vec![wish("p")]).await;
    follower.caught_up(&session).await;
    assert_eq!(follower.json("p").len(), 150);
    session.run("alter table p enable row level security; create policy few on p using (id < 10)").await;
    session.run("truncate p2").await;
    let failed = |&(why, count): &(&str, u64)| why == "copy" && count > 0;
    let has_failed = |follower: &Follower| follower.feed.metrics().sessions_ended.counts().iter().any(failed);
    follower.until("the copy has failed", has_failed).await;
    assert!(follower.rows("p").is_err());
    session.run("alter table p disable row level security").await;
    follower.until("it is ready", |follower| follower.feed.status().entities[0].state == "ready").await;
    assert_eq!(follower.json("p").len(), 99);
}
