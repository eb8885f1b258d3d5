//! `tidegate serve` on a database: lists, places in its log, changes of its schema.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tidegate_testkit::clients::{LiveSocket, ModelList, get, page, post, request, urlencoded, within};
use tidegate_testkit::gateway::Gateway;
use tidegate_testkit::postgres::{Postgres, Session};

const SCHEMA: &str = "create table orders (
    id bigint primary key, org text not null, total numeric(10,2), tags text[], gone boolean not null default false);
  insert into orders select i, 'org ' || i % 3, i + 0.5, array['a', 'b'] from generate_series(1, 100) i";

fn config(postgres: &Postgres, rest: &str) -> String {
    format!(
        r#"
[edge]
drain_window_ms = 200
[identity]
anonymous = true
api_keys = ["a-key-for-the-tests"]
[source]
kind = "postgres"
url = "{}"
check_interval_ms = 200
[[entity]]
name = "orders"
where = [{{ column = "gone", op = "eq", value = false }}]
{rest}
"#,
        postgres.url()
    )
}

const PERMISSION: &str = r#"
[[permission]]
roles = ["*"]
entities = ["orders"]
may = ["read"]
columns = ["id", "org"]
"#;

fn top() -> Value {
    json!({ "entity": "orders", "sort": [{ "column": "total", "desc": true }], "limit": 10 })
}

/// A PostgreSQL with a table, and a gateway that has copied it.
async fn following(rest: &str) -> Option<(Postgres, Session, Gateway)> {
    let postgres = Postgres::logical()?;
    let session = postgres.session().await;
    session.run(SCHEMA).await;
    let gateway = Gateway::start(env!("CARGO_BIN_EXE_tidegate"), &config(&postgres, rest));
    ready(gateway.address()).await;
    Some((postgres, session, gateway))
}

async fn ready(at: SocketAddr) {
    within("readiness", async {
        while get(at, "/readyz").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// The position that includes what the session has committed.
async fn now(at: SocketAddr, session: &Session) -> u64 {
    let lsn = session.text("select pg_current_wal_insert_lsn()").await;
    let answer = get(at, &format!("/v1/position?at_least={}", urlencoded(&lsn))).await.ok();
    assert!(answer["lsn"].as_str().unwrap().contains('/'), "{answer}");
    answer["position"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn lists_are_what_was_committed() {
    let Some((_postgres, session, gateway)) = following("").await else { return };
    let at = gateway.address();
    let mut live = LiveSocket::subscribe(at, &top(), ModelList::new()).await.unwrap();
    live.until("the first rows", |list| list.entries().len() == 10).await;
    assert_eq!(live.list.entries()[0].row["total"], "100.50");
    for statements in [
        "insert into orders values (1000, 'org 9', 5000, array['x'])",
        "update orders set total = total + 1000 where id between 3 and 5",
        "update orders set id = 2000 where id = 1000; update orders set gone = true where id = 100",
        "begin; delete from orders where id = 99; insert into orders values (99, 'again', 7000, null); commit",
        "update orders set gone = false where id = 100",
    ] {
        session.run(statements).await;
        let position = now(at, &session).await;
        live.until(statements, |list| list.synced().is_some_and(|synced| synced >= position)).await;
        let (rows, _) = page(at, &top()).await;
        live.list.check(&rows).unwrap();
        let ids: Vec<String> = rows.iter().map(|entry| entry.row["id"].to_string()).collect();
        let told = session
            .rows("select id from orders where not gone order by total desc, id limit 10")
            .await
            .into_iter()
            .map(|row| row[0].clone().unwrap());
        assert_eq!(ids, told.collect::<Vec<_>>(), "{statements}");
    }
    session.run("truncate orders").await;
    live.until("nothing left", |list| list.entries().is_empty()).await;
}

#[tokio::test]
async fn places_writes_and_operations_are_answered() {
    let Some((_postgres, session, gateway)) = following(PERMISSION).await else { return };
    let at = gateway.address();
    let written = post(at, "/v1/entities/orders/changes", &json!({ "changes": [{ "upsert": { "id": 1 } }] })).await;
    assert_eq!((written.status, written.header("allow")), (405, Some("GET,HEAD")));
    assert_eq!(written.json()["error"]["code"], "read_only_source");

    // A transaction with a barrier, and one without rows of ours.
    session
        .run("insert into orders values (7777, 'b', 1, null); select pg_logical_emit_message(true, 'tidegate', 'b 1')")
        .await;
    let _ = get(at, "/v1/position?at_least=barrier:b%201").await.ok();
    assert_eq!(get(at, "/v1/entities/orders/7777").await.ok()["row"]["org"], "b");
    session.run("create table elsewhere (id int); insert into elsewhere values (1)").await;
    now(at, &session).await;
    for wrong in ["x", "barrier:", "1/2/3"] {
        let refused = get(at, &format!("/v1/position?at_least={wrong}")).await;
        assert_eq!((refused.status, refused.json()["error"]["path"].as_str()), (400, Some("at_least")), "{wrong}");
    }

    let source = get(at, "/v1/source").await.ok();
    assert_eq!(
        (&source["kind"], &source["session"], &source["trouble"]),
        (&json!("postgres"), &json!("streaming"), &Value::Null)
    );
    assert_eq!((&source["entities"][0]["name"], &source["entities"][0]["state"]), (&json!("orders"), &json!("ready")));
    let stranger = within("a stranger", request(at, "GET", "/v1/source", &[], b"")).await.unwrap();
    assert_eq!(stranger.status, 403);
    let metrics = String::from_utf8(get(at, "/metrics").await.body).unwrap();
    for line in [
        "tidegate_source_connected 1",
        "tidegate_source_copy_rows_total 100",
        "tidegate_source_entities{state=\"ready\"} 1",
        "tidegate_source_entities{state=\"copying\"} 0",
    ] {
        assert!(metrics.lines().any(|l| l == line), "{line}\n{metrics}");
    }
    assert!(!metrics.contains("tidegate_feed_queue"), "{metrics}");

    // What a permission hides is hidden here too.
    let page = within("a stranger", request(at, "GET", "/v1/entities/orders/7777", &[], b"")).await.unwrap().ok();
    assert_eq!(page["row"], json!({ "id": 7777, "org": "b" }));
}

#[tokio::test]
async fn another_schema_is_served_at_the_same_address() {
    let Some((_postgres, session, gateway)) = following("").await else { return };
    let at = gateway.address();
    let mut live = LiveSocket::subscribe(at, &top(), ModelList::new()).await.unwrap();
    live.until("the first rows", |list| list.entries().len() == 10).await;
    session.run("alter table orders add column note text default 'none'").await;
    session.run("insert into orders (id, org, total, note) values (500, 'n', 500, 'new')").await;
    within("the goodbye", async { while live.next_raw().await.is_some() {} }).await;
    // The address takes connections all the while; who comes before the new column is told to come back.
    within("the new column", async {
        while !String::from_utf8_lossy(&get(at, "/v1/entities").await.body).contains("\"note\"") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let mut live = LiveSocket::subscribe(at, &top(), live.list).await.unwrap();
    live.until("the new column", |list| list.entries().first().is_some_and(|entry| entry.row["note"] == "new")).await;
    ready(at).await;
    let position = now(at, &session).await;
    live.until("all of it", |list| list.synced().is_some_and(|synced| synced >= position)).await;
    live.list.check(&page(at, &top()).await.0).unwrap();
}

#[tokio::test]
async fn a_table_that_is_gone_ends_its_subscriptions_until_it_is_back() {
    let Some((_postgres, session, gateway)) = following("").await else { return };
    let at = gateway.address();
    let mut live = LiveSocket::subscribe(at, &top(), ModelList::new()).await.unwrap();
    live.until("the first rows", |list| list.entries().len() == 10).await;
    session.run("drop table orders").await;
    within("the end", async { while live.next_raw().await.is_some() {} }).await;
    assert_eq!(get(at, "/healthz").await.status, 200);
    session.run(SCHEMA).await;
    within("the table's return", async {
        while get(at, "/v1/entities/orders/1").await.status != 200 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let mut live = LiveSocket::subscribe(at, &top(), ModelList::new()).await.unwrap();
    live.until("the rows again", |list| list.entries().len() == 10).await;
}
