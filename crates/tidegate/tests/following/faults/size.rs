//! Transactions that are large or twisted, and tables where nothing happens.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tidegate_testkit::postgres::kinds::Kind;
use tidegate_testkit::postgres::tables::Table;

use super::{Scene, eventually};
use crate::world::GLANCE;

const ROWS: usize = 250_000;
/// What following may add to the gateway's memory, in KiB: the fold's bound, SQLite's caches, and some air.
const GROWTH_KIB_MAX: u64 = 300 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_of_many_rows_takes_bounded_memory() {
    let tables = vec![Table::of_kind("many", Kind::named("text")), Table::of_kind("few", Kind::named("integer"))];
    let Some(mut scene) = Scene::of("large", 1, tables, None).await else { return };
    let session = scene.world.session().await;
    session.run("delete from many; delete from few").await;
    scene.rest().await;
    let before = scene.gateway.resident_kib().unwrap_or(0);
    let (most, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let watch = async {
        while !over.load(Ordering::SeqCst) {
            most.fetch_max(scene.gateway.resident_kib().unwrap_or(0), Ordering::SeqCst);
            tokio::time::sleep(GLANCE).await;
        }
    };
    let address = scene.gateway.address();
    let work = async {
        for statements in [
            format!(
                "insert into many select n, repeat('x', 300), n, null from generate_series(1, {ROWS}) n; insert into few values (1, 1, 1)"
            ),
            "update many set w = 'y' where id % 2 = 0".to_owned(),
            "delete from many where id > 20".to_owned(),
            "begin; update few set v = 2; truncate many; insert into many values (1, 'a', 'b'), (2, 'c', 'd'); commit"
                .to_owned(),
        ] {
            session.run(&statements).await;
            let end = session.lsn("select pg_current_wal_insert_lsn()").await;
            crate::world::reached(address, end).await;
        }
        over.store(true, Ordering::SeqCst);
    };
    tokio::join!(watch, work);
    let growth = most.load(Ordering::SeqCst).saturating_sub(before);
    println!("grew by {growth} KiB");
    assert!(growth < GROWTH_KIB_MAX, "grew by {growth} KiB");
    scene.rest().await;
}

/// Keys change places within one transaction, and in one statement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_swapped() {
    let tables = vec![Table::of_kind("pair", Kind::named("text"))];
    let Some(mut scene) = Scene::of("swaps", 1, tables, None).await else { return };
    let session = scene.world.session().await;
    session.run("delete from pair; insert into pair values (1, 'a', 'x', repeat('1', 5000)), (2, 'b', 'y', repeat('2', 5000))").await;
    for _ in 0..10 {
        session.run("begin; update pair set id = 0 where id = 1; update pair set id = 1 where id = 2; update pair set id = 2 where id = 0; commit").await;
        session.run("update pair set id = id + 10").await;
        session.run("update pair set id = id - 10, w = w || v").await;
        session.run("begin; delete from pair where id = 1; insert into pair values (1, 'a', 'new'); update pair set v = 'c' where id = 1; commit").await;
        session.run("begin; insert into pair values (3, 'q'); update pair set id = 4 where id = 3; delete from pair where id = 4; commit").await;
    }
    scene.rest_and_look_back().await;
}

/// The place that the server may forget its log up to moves on with what happens elsewhere, or its disk would fill.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quiet_table_holds_nothing_back() {
    let Some(scene) = Scene::open("quiet").await else { return };
    let session = scene.world.session().await;
    session.run("create table elsewhere (n int primary key, t text)").await;
    session.run("insert into elsewhere select n, repeat('x', 500) from generate_series(1, 20000) n").await;
    let end = session.lsn("select pg_current_wal_insert_lsn()").await;
    crate::world::reached(scene.gateway.address(), end).await;
    let confirmed = "select confirmed_flush_lsn from pg_replication_slots where slot_name = 'quiet'";
    let session = &session;
    eventually("the slot to move on", || async move { session.lsn(confirmed).await >= end }).await;
    assert_eq!(scene.followers.reports().iter().map(|report| report.errors.len()).sum::<usize>(), 0);
}
