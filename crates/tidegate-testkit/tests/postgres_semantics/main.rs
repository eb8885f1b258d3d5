//! The engine, the naive model and a real PostgreSQL must agree on every filter and every order, by the thousand.

// The whole crate is a test.
#![allow(clippy::unwrap_used)]

mod sql;

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tidegate_model::{Entity, Position, Predicate, Query, Row, Value};
use tidegate_testkit::naive::{self, Table};
use tidegate_testkit::postgres::Postgres;
use tidegate_testkit::strategies::{self, Alphabet, QueryPlan};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// Schemas, each with up to 24 rows and 8 queries. `TIDEGATE_SEMANTICS_CASES` asks for more.
const CASES: u32 = 400;

type Case = (Arc<Entity>, Vec<Vec<Value>>, Vec<QueryPlan>);

fn case() -> impl Strategy<Value = Case> {
    strategies::entity().prop_flat_map(|entity| {
        let rows = vec(strategies::cells(&entity, Alphabet::Postgres), 0..24);
        let plans = vec(strategies::query_plan(&entity, Alphabet::Postgres), 8);
        (Just(entity), rows, plans)
    })
}

#[test]
fn the_engine_and_the_database_agree_on_every_row_and_order() {
    let Some(server) = Postgres::start() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (client, connection) = runtime.block_on(tokio_postgres::connect(&server.parameters(), NoTls)).unwrap();
    let connection = runtime.spawn(connection);
    runtime.block_on(client.batch_execute(&sql::create_labels())).unwrap();
    let cases = std::env::var("TIDEGATE_SEMANTICS_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(CASES);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let result = runner.run(&case(), |case| runtime.block_on(check(&client, case)));
    drop(client);
    runtime.block_on(connection).unwrap().unwrap();
    if let Err(failure) = result {
        panic!("{failure}");
    }
}

async fn check(client: &Client, (entity, cells, plans): Case) -> Result<(), TestCaseError> {
    let mut table = Table::default();
    let mut rows = Vec::new();
    for cells in &cells {
        let key: Vec<_> = entity.key().iter().map(|column| cells[usize::from(*column)].clone()).collect();
        // The number of the row in the list stands in for its version: it is how a database row is recognised.
        let row = Row::new(Position(rows.len() as u64), cells.clone());
        if table.get(&key).is_none() {
            table.upsert(&entity, row.clone());
        }
        rows.push(row);
    }
    client.batch_execute(&sql::create(&entity)).await.unwrap();
    if let Some(insert) = sql::insert(&entity, &rows) {
        client.batch_execute(&insert).await.unwrap();
    }
    let everything = numbers(client, "select n from t order by n").await;
    let mut kept: Vec<u64> = table.rows().iter().map(|row| row.version()).collect();
    kept.sort_unstable();
    prop_assert_eq!(everything, kept, "which rows have equal keys");
    for plan in &plans {
        let (query, _) = plan.settle(&entity, &[]);
        let query = Query { after: None, limit: u32::MAX, ..query };
        let select = sql::select(&entity, &query);
        let database = numbers(client, &select).await;
        let engine: Vec<u64> = engine(&table.rows(), &query).iter().map(|row| row.version()).collect();
        let naive: Vec<u64> = naive::expected(&table.rows(), &query, None).iter().map(|row| row.version()).collect();
        prop_assert_eq!(&engine, &database, "engine and database: {}", &select);
        prop_assert_eq!(&naive, &database, "naive model and database: {}", &select);
    }
    client.batch_execute("rollback").await.unwrap();
    Ok(())
}

/// As the program does it: one predicate, one memcmp.
fn engine(rows: &[Arc<Row>], query: &Query) -> Vec<Arc<Row>> {
    let predicate = Predicate::new(query.filter.clone());
    let mut rows: Vec<_> = rows.iter().filter(|row| predicate.matches(row)).cloned().collect();
    rows.sort_by_cached_key(|row| query.order.key(row));
    rows
}

async fn numbers(client: &Client, select: &str) -> Vec<u64> {
    let messages = client.simple_query(select).await.unwrap_or_else(|error| panic!("{error:?}: {select}"));
    let number = |message| match message {
        SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap().parse().unwrap()),
        _ => None,
    };
    messages.into_iter().filter_map(number).collect()
}
