//! The throwaway PostgreSQL does what its handle says.

// The whole crate is a test.
#![allow(clippy::unwrap_used)]

use tidegate_testkit::postgres::{Postgres, Stop};

#[tokio::test]
async fn data_survives_every_end_and_an_old_copy_is_older() {
    let Some(mut server) = Postgres::logical() else { return };
    server.session().await.run("create table t (n int primary key); insert into t values (1)").await;
    let backup = server.backup();
    for (n, how) in [(2, Stop::Fast), (3, Stop::Immediate), (4, Stop::Kill)] {
        server.session().await.run(&format!("insert into t values ({n})")).await;
        server.restart(how);
        let session = server.session().await;
        assert_eq!(session.text("select count(*) from t").await, n.to_string(), "{how:?}");
        assert_eq!(session.text("show wal_level").await, "logical");
    }
    server.put_back(&backup);
    assert_eq!(server.session().await.text("select count(*) from t").await, "1");
}

#[tokio::test]
async fn a_standby_follows_and_can_be_promoted() {
    let Some(server) = Postgres::logical() else { return };
    server.session().await.run("create table t (n int primary key); insert into t values (1)").await;
    let standby = server.standby();
    assert_eq!(standby.session().await.text("select pg_promote()").await, "t");
    let session = standby.session().await;
    session.run("insert into t values (2)").await;
    assert_eq!(session.text("select count(*) from t").await, "2");
    assert_eq!(server.session().await.text("select count(*) from t").await, "1");
}
