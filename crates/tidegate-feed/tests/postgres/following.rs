//! What is copied and what is streamed.

use std::time::Duration;

use tempfile::TempDir;
use tidegate_testkit::postgres::Stop;

use crate::follower::{Follower, server, settings, wish};

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_copied_and_then_followed() {
    let Some(postgres) = server() else { return };
    let session = postgres.session().await;
    session.run("create table t (id int primary key, name text, big text)").await;
    // Else it would be so small when compressed that it is sent every time.
    session.run("alter table t alter column big set storage external").await;
    session.run("insert into t select i, 'n' || i, repeat('x', 5000) from generate_series(1, 100) i").await;
    let directory = TempDir::new().unwrap();
    let follower = Follower::start(&directory, settings(&postgres.url()), vec![wish("t")]).await;
    follower.caught_up(&session).await;
    assert_eq!(follower.rows("t").unwrap().len(), 100);
    session.run("update t set name = 'one' where id = 1").await;
    session.run("delete from t where id = 2; insert into t values (200, null, 'y')").await;
    session.run("update t set id = 300 where id = 3").await;
    follower.caught_up(&session).await;
    let rows = follower.json("t");
    assert_eq!(rows.len(), 100);
    assert!(rows[0].starts_with("{\"id\":1,\"name\":\"one\",\"big\":\"xxx"), "{}", &rows[0][..80]);
    assert_eq!(rows[0].len(), "{\"id\":1,\"name\":\"one\",\"big\":\"\"}".len() + 5000, "unchanged TOAST is kept");
    assert_eq!(rows[98], "{\"id\":200,\"name\":null,\"big\":\"y\"}");
    assert!(rows[99].starts_with("{\"id\":300,\"name\":\"n3\""));
    assert_eq!(follower.copies(), [("first_copy", 1)]);
    drop(follower);
    session.run("truncate t; insert into t values (7, 'seven', '')").await;
    let follower = Follower::start(&directory, settings(&postgres.url()), vec![wish("t")]).await;
    follower.caught_up(&session).await;
    assert_eq!(follower.json("t"), ["{\"id\":7,\"name\":\"seven\",\"big\":\"\"}"]);
    assert_eq!(follower.copies(), [], "it went on from where it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lag_grows_while_nothing_is_heard_of_the_server() {
    let Some(mut postgres) = server() else { return };
    let session = postgres.session().await;
    session.run("create table t (id int primary key)").await;
    let directory = TempDir::new().unwrap();
    let follower = Follower::start(&directory, settings(&postgres.url()), vec![wish("t")]).await;
    follower.until("it is up to date", |follower| follower.feed.lag().is_zero()).await;
    postgres.stop(Stop::Immediate);
    follower.until("it lags", |follower| follower.feed.lag() > Duration::from_secs(1)).await;
    postgres.resume();
    follower.until("it is up to date again", |follower| follower.feed.lag().is_zero()).await;
}
