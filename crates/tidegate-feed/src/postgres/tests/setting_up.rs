use tidegate_testkit::postgres::Postgres;

use super::{settings, soon};
use crate::postgres::connect::{Via, connect};
use crate::postgres::lsn::Lsn;
use crate::postgres::setup::{drop_slot, ensure_publication, lag};
use crate::postgres::stream::Gate;

fn tables(names: &[&str]) -> Vec<(String, String)> {
    names.iter().map(|name| ("public".to_owned(), (*name).to_owned())).collect()
}

const MEMBERS: &str =
    "select string_agg(tablename, ',' order by tablename) from pg_publication_tables where pubname = 'tidegate'";

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_gains_what_it_lacks_and_loses_nothing() {
    let Some(server) = Postgres::logical() else { return };
    let session = server.session().await;
    session
        .run(
            "create table a (id int primary key); create table \"B b\" (id int primary key); create table other (id int);
             create table parts (id int primary key) partition by range (id);
             create table parts_1 partition of parts for values from (0) to (9)",
        )
        .await;
    let settings = settings(&server.url());
    let client = soon(connect(&settings, Via::Direct)).await.unwrap();
    soon(ensure_publication(&client, &settings, &tables(&["a"]))).await.unwrap();
    assert_eq!(session.text(MEMBERS).await, "a");
    assert_eq!(session.text("select pubviaroot from pg_publication").await, "t");
    session.run("alter publication tidegate add table other").await;
    soon(ensure_publication(&client, &settings, &tables(&["a", "B b", "parts"]))).await.unwrap();
    assert_eq!(session.text(MEMBERS).await, "B b,a,other,parts");
    let version = "select string_agg(xmin::text, ',') from (select xmin from pg_publication union all select xmin from pg_publication_rel) x";
    let before = session.text(version).await;
    soon(ensure_publication(&client, &settings, &tables(&["B b", "a"]))).await.unwrap();
    assert_eq!(session.text(version).await, before);
    let error = soon(ensure_publication(&client, &settings, &tables(&["gone"]))).await.unwrap_err();
    assert_eq!((error.sqlstate(), error.is_retryable()), (Some("42P01"), false));
    session.run("drop publication tidegate; create publication tidegate for all tables").await;
    soon(ensure_publication(&client, &settings, &tables(&["a"]))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_only_read_and_replicate_is_enough_once_all_is_there() {
    let Some(server) = Postgres::logical() else { return };
    let session = server.session().await;
    session
        .run(
            "create table a (id int primary key, body text); create table b (id int primary key); insert into a values (1, 'x');
             create role reader login replication; grant select on a, b to reader",
        )
        .await;
    let settings = settings(&server.url().replace("postgres://postgres@", "postgres://reader@"));
    let client = soon(connect(&settings, Via::Direct)).await.unwrap();
    // Nothing there yet: what is lacking is the right to make it.
    let error = soon(ensure_publication(&client, &settings, &tables(&["a"]))).await.unwrap_err();
    assert_eq!((error.sqlstate(), error.is_retryable()), (Some("42501"), false));
    session.run("create publication tidegate for table a with (publish_via_partition_root = true)").await;
    soon(ensure_publication(&client, &settings, &tables(&["a"]))).await.unwrap();
    let error = soon(ensure_publication(&client, &settings, &tables(&["a", "b"]))).await.unwrap_err();
    assert_eq!(error.sqlstate(), Some("42501"));
    // And it may do all the rest.
    let mut gate = soon(Gate::open(&settings, Lsn(0))).await.unwrap();
    let created = soon(gate.create_slot()).await.unwrap();
    assert_eq!(super::copying::copied(&settings, "a", Some(created.snapshot)).await.0.len(), 1);
    drop(soon(gate.start()).await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_tells_how_far_it_is_behind() {
    let Some(server) = Postgres::logical_builder().set("max_slot_wal_keep_size", "64MB").start() else { return };
    let session = server.session().await;
    let settings = settings(&server.url());
    let client = soon(connect(&settings, Via::Direct)).await.unwrap();
    let none = soon(lag(&client, "tidegate_postgres")).await.unwrap();
    assert!(none.current > Lsn(0) && none.confirmed.is_none() && none.wal_status.is_none());
    let mut gate = soon(Gate::open(&settings, Lsn(0))).await.unwrap();
    let created = soon(gate.create_slot()).await.unwrap();
    let there = soon(lag(&client, "tidegate_postgres")).await.unwrap();
    assert_eq!(there.confirmed, Some(created.consistent_point));
    assert!(there.restart.is_some_and(|restart| restart <= created.consistent_point));
    assert_eq!(there.wal_status.as_deref(), Some("reserved"));
    assert!(there.safe_wal_size.is_some_and(|size| size > 0));
    session.run("create table t as select generate_series(1, 10000)").await;
    let later = soon(lag(&client, "tidegate_postgres")).await.unwrap();
    assert!(later.current > there.current && later.confirmed == there.confirmed);
    drop(gate);
    super::eventually("the slot can be dropped", || async { drop_slot(&client, "tidegate_postgres").await.is_ok() })
        .await;
    soon(drop_slot(&client, "tidegate_postgres")).await.unwrap();
    assert_eq!(session.text("select count(*) from pg_replication_slots").await, "0");
}
