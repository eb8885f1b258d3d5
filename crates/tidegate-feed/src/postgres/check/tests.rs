//! What is amiss on a real server is told, and what is told to mend it does.

use tidegate_testkit::postgres::Postgres;
use tokio_postgres::Client;

use super::*;
use crate::postgres::connect::{Via, connect};
use crate::postgres::inspect;
use crate::postgres::settings::Settings;

const NAMES: Names<'static> = Names { slot: "tide's", publication: "the \"tide\"" };

const SETUP: &str = r#"
create schema "The Shop";
set search_path = "The Shop";
create role "the reader" login;
create table keyless (v text);
create table "un""logged" (id int primary key);
alter table "un""logged" set unlogged;
create table nothing (id int primary key);
alter table nothing replica identity nothing;
create table deferred (id int primary key deferrable initially deferred);
create table parts (id int primary key) partition by range (id);
create table part partition of parts for values from (0) to (10);
alter table part replica identity nothing;
create table secured (id int primary key);
alter table secured enable row level security;
create table coded (id int primary key, code text);
create table indexed (id int primary key, other int not null unique);
alter table indexed replica identity using index indexed_other_key;
create table fine (id int primary key, doubled int generated always as (id * 2) stored);"#;

fn wishes() -> Vec<Wish> {
    let wish = |table: &str, key: Option<&str>| Wish {
        name: "e".to_owned(),
        schema: "The Shop".to_owned(),
        table: table.to_owned(),
        key: key.map(|key| vec![key.to_owned()]),
        ..Wish::default()
    };
    let plain = ["keyless", "un\"logged", "nothing", "deferred", "parts", "secured", "indexed", "fine"];
    plain.into_iter().map(|table| wish(table, None)).chain([wish("coded", Some("code"))]).collect()
}

async fn look(client: &Client, wishes: &[Wish]) -> Vec<Problem> {
    let wanted: Vec<_> = wishes.iter().map(|wish| (wish.schema.clone(), wish.table.clone())).collect();
    let tables = inspect::tables(client, Some(&wanted)).await.unwrap();
    let oids: Vec<u32> = tables.iter().map(|table| table.oid).collect();
    let publication = inspect::publication(client, NAMES.publication, &oids).await.unwrap();
    let slot = inspect::slot(client, NAMES.slot).await.unwrap();
    let server = inspect::server(client).await.unwrap();
    check(&server, &tables, publication.as_ref(), slot.as_ref(), wishes, NAMES)
}

/// Every fatal problem is mended by what is told, though one may have hidden another.
async fn mend(reader: &Client, admin: &Client, wishes: &[Wish]) {
    for _ in 0..4 {
        let problems = look(reader, wishes).await;
        let fatal: Vec<&Problem> = problems.iter().filter(|problem| problem.fatal).collect();
        if fatal.is_empty() {
            return;
        }
        for problem in fatal {
            let done = admin.batch_execute(&problem.mend).await;
            done.unwrap_or_else(|e| panic!("{e:?}: {} to mend {}", problem.mend, problem.what));
        }
    }
    panic!("not mended: {:#?}", look(reader, wishes).await);
}

fn told(problems: &[Problem], words: &str) {
    assert!(problems.iter().any(|problem| problem.what.contains(words)), "{words:?} is not among {problems:#?}");
}

#[tokio::test]
async fn every_problem_is_told_and_its_mend_works() {
    let Some(server) = Postgres::logical() else { return };
    let admin = connect(&Settings::url(&server.url()).unwrap(), Via::Direct).await.unwrap();
    admin.batch_execute(SETUP).await.unwrap();
    let url = format!("postgres://the%20reader@{}/postgres", server.address());
    let reader = connect(&Settings::url(&url).unwrap(), Via::Direct).await.unwrap();
    let wishes = wishes();

    let problems = look(&reader, &wishes).await;
    for words in [
        "may not replicate",
        "has no primary key",
        "is UNLOGGED",
        "identity of \"The Shop\".\"nothing\" is NOTHING",
        "identity of \"The Shop\".\"deferred\" is the primary key, and there is none",
        "same key (id)",
        "the partition \"The Shop\".\"part\" of",
        "may be null",
        "same key (code)",
        "identity of \"The Shop\".\"indexed\" does not have every column",
        "may not read",
        "there is no publication",
        "\"doubled\" of \"fine\" is generated",
    ] {
        told(&problems, words);
    }
    mend(&reader, &admin, &wishes).await;
    // Row security shows once the table may be read; it was mended, or there would be a problem.
    let bypass = "select rolbypassrls from pg_roles where rolname = 'the reader'";
    assert!(admin.query_one(bypass, &[]).await.unwrap().get::<_, bool>(0));
    // Nobody who writes is harmed by being published.
    for table in ["keyless", "un\"logged", "nothing", "deferred", "parts", "secured", "indexed", "coded"] {
        let path = quote::table("The Shop", table);
        admin.batch_execute(&format!("delete from {path}")).await.unwrap();
    }

    for (harm, words) in [
        ("alter publication \"the \"\"tide\"\"\" set (publish = 'insert')", "leaves out some of"),
        ("alter publication \"the \"\"tide\"\"\" set (publish_via_partition_root = false)", "tells of partitions"),
        ("alter publication \"the \"\"tide\"\"\" drop table \"The Shop\".fine", "does not have \"The Shop\".\"fine\""),
        (
            "alter publication \"the \"\"tide\"\"\" drop table \"The Shop\".fine;
             alter publication \"the \"\"tide\"\"\" add table \"The Shop\".fine where (id > 1)",
            "only some rows of",
        ),
        (
            "alter publication \"the \"\"tide\"\"\" drop table \"The Shop\".fine;
             alter publication \"the \"\"tide\"\"\" add table \"The Shop\".fine (id)",
            "only some columns of",
        ),
    ] {
        let before = inspect::publication(&admin, NAMES.publication, &[]).await.unwrap().unwrap();
        admin.batch_execute(harm).await.unwrap();
        told(&look(&reader, &wishes).await, words);
        mend(&reader, &admin, &wishes).await;
        let after = inspect::publication(&admin, NAMES.publication, &[]).await.unwrap().unwrap();
        assert_eq!(after.fingerprint == before.fingerprint, !harm.contains("set ("), "{harm}");
    }

    let part = Wish { table: "part".to_owned(), ..wishes[0].clone() };
    told(&look(&reader, &[part]).await, "is a partition, and its changes");
    let gone = Wish { table: "gone".to_owned(), ..wishes[0].clone() };
    told(&look(&reader, &[gone]).await, "there is no table \"The Shop\".\"gone\"");

    admin.batch_execute("select pg_create_logical_replication_slot('x', 'test_decoding')").await.unwrap();
    let slot = inspect::slot(&admin, "x").await.unwrap().unwrap();
    let server = inspect::server(&admin).await.unwrap();
    let problems = check(&server, &[], None, Some(&slot), &[], NAMES);
    told(&problems, "its plugin is test_decoding");
}

#[test]
fn the_server_itself() {
    let server = Server {
        version_num: 130_009,
        wal_level: "replica".into(),
        in_recovery: true,
        max_replication_slots: 2,
        used_replication_slots: 2,
        max_wal_senders: 0,
        used_wal_senders: 0,
        database: "d".into(),
        role: "r".into(),
        superuser: false,
        may_replicate: false,
        may_create: false,
        encoding: "SQL_ASCII".into(),
    };
    let problems = check(&server, &[], None, None, &[], NAMES);
    for words in [
        "PostgreSQL 13",
        "wal_level is replica",
        "standby",
        "all 2 replication slots",
        "all 0 WAL senders",
        "may not replicate",
        "SQL_ASCII",
    ] {
        told(&problems, words);
    }
    assert_eq!(problems.len(), 7);
    let mends: Vec<&str> = problems.iter().map(|problem| problem.mend.as_str()).collect();
    assert!(mends.contains(&"ALTER SYSTEM SET max_replication_slots = 12; -- then restart the server"), "{mends:?}");
    let slot = SlotInfo {
        plugin: Some("pgoutput".into()),
        database: Some("d".into()),
        active: true,
        active_pid: Some(7),
        confirmed_flush: None,
        restart_lsn: None,
        wal_status: Some("lost".into()),
        invalidation: None,
        temporary: false,
    };
    let sound = Server {
        version_num: 170_000,
        wal_level: "logical".into(),
        in_recovery: false,
        may_replicate: true,
        encoding: "UTF8".into(),
        ..server
    };
    let lost = check(&sound, &[], None, Some(&slot), &[], NAMES);
    assert_eq!(lost.len(), 1);
    assert_eq!((lost[0].mend.as_str(), lost[0].fatal), ("SELECT pg_drop_replication_slot('tide''s');", false));
    assert!(check(&sound, &[], None, Some(&SlotInfo { wal_status: None, ..slot.clone() }), &[], NAMES).is_empty());
    told(
        &check(&sound, &[], None, Some(&SlotInfo { database: Some("e".into()), ..slot }), &[], NAMES),
        "another database, e",
    );
}
