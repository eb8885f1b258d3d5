//! The replica that clients' lists are compared with is itself right: after anything that writers do it equals the
//! server.

// The whole crate is a test.
#![allow(clippy::unwrap_used)]

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tidegate_testkit::postgres::decoding::{create_slot, next_commits};
use tidegate_testkit::postgres::kinds::{KINDS, PRELUDE};
use tidegate_testkit::postgres::queries::Question;
use tidegate_testkit::postgres::replica::Replica;
use tidegate_testkit::postgres::tables::Table;
use tidegate_testkit::postgres::{Postgres, wire, writers};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_equals_the_server_after_any_writes() {
    let Some(server) = Postgres::logical() else { return };
    let Some(second) = Postgres::start() else { return };
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut tables: Vec<Table> = (0..5).map(|n| Table::random(&mut random, &format!("t{n}"))).collect();
    tables.extend((0..).zip(KINDS).map(|(n, kind)| Table::of_kind(&format!("k{n}"), kind)));
    let session = server.session().await;
    session.run(PRELUDE).await;
    create_slot(&session, "reading").await;
    for table in &tables {
        session.run(&table.create()).await;
    }
    let mut questions: Vec<Question> = tables.iter().map(|table| Question::everything(table, false)).collect();
    for table in &tables {
        questions.extend((0..4).map(|_| Question::random(&mut random, table)));
    }
    let mut replica = Replica::new(second.session().await, &tables, questions, 0).await;
    let mut writing = writers::start(&server.parameters(), &tables, seed, 4, 60);
    writers::stall_commits(&session).await;
    while writing.join_next().await.is_some() {}
    session.run("create table last (n int primary key); insert into last values (1)").await;
    let mut commits = 0;
    loop {
        let next = next_commits(&session, "reading", 100).await;
        if next.is_empty() {
            break;
        }
        for commit in next {
            replica.step(&commit).await;
            commits += 1;
        }
    }
    assert!(commits > 50, "{commits} commits");
    replica.check_against(&session).await;
}

#[tokio::test]
async fn every_pool_is_in_the_servers_own_words() {
    let Some(server) = Postgres::start() else { return };
    let session = server.session().await;
    session.run(PRELUDE).await;
    session.run(wire::SESSION).await;
    for kind in KINDS {
        for text in kind.cells {
            let literal = format!("'{}'::{}", text.replace('\'', "''"), kind.sql);
            assert_eq!(session.text(&format!("select {literal}")).await, *text, "{}", kind.sql);
            kind.wire.normal(&kind.wire.json(text)).unwrap();
        }
    }
}
