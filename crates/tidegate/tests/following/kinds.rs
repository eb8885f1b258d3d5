//! Filters and sorts on columns of every type, through real replication, against PostgreSQL's own.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::json;
use tidegate_testkit::clients::page;
use tidegate_testkit::postgres::kinds::KINDS;
use tidegate_testkit::postgres::queries::{Question, comparison};
use tidegate_testkit::postgres::replica::compare;
use tidegate_testkit::postgres::tables::{Table, quoted};
use tidegate_testkit::postgres::{Postgres, wire};

use crate::world::{World, reached};

/// Questions about each kind. `TIDEGATE_KINDS_QUESTIONS` asks for more.
const QUESTIONS: usize = 60;
/// Rows copied, and as many streamed.
const ROWS: usize = 25;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_type_filters_and_sorts_as_in_the_database() {
    let Some(server) = Postgres::logical() else { return };
    let asked = std::env::var("TIDEGATE_KINDS_QUESTIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(QUESTIONS);
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let tables = (0..).zip(KINDS).map(|(n, kind)| Table::of_kind(&format!("k{n}"), kind)).collect();
    let mut world = World::new(&server, "kinds", tables).await;
    insert(&world, &mut random, 0).await;
    let gateway = world.gateway(&server);
    // What comes now is streamed, once the copy is done.
    let copied = world.beacon().await;
    reached(gateway.address(), copied).await;
    insert(&world, &mut random, ROWS).await;
    let end = world.beacon().await;
    reached(gateway.address(), end).await;
    let session = world.session().await;
    session.run(wire::SESSION).await;
    for table in &world.tables {
        for number in 0..asked {
            let question = if number == 0 { Question::everything(table, false) } else { question(&mut random, table) };
            let (entries, _) = page(gateway.address(), &question.query).await;
            let row = |row| question.row_of_wire(table, row).unwrap_or_else(|wrong| panic!("{wrong}"));
            let shown: Vec<_> = entries.iter().map(|entry| row(&entry.row)).collect();
            let expected = question.list_of_server(table, &session.rows(&question.sql).await);
            let (kind, query, sql) = (table.columns[1].kind.sql, &question.query, &question.sql);
            compare(&shown, &expected).unwrap_or_else(|difference| panic!("{kind}\n{query}\n{sql}\n{difference}"));
        }
    }
}

/// Every value of the pool at least once, and pairs of them at random.
async fn insert(world: &World, random: &mut StdRng, from: usize) {
    let session = world.session().await;
    for table in &world.tables {
        let kind = table.columns[1].kind;
        for (at, id) in (from..from + ROWS).enumerate() {
            let v =
                kind.cells.get(at).map_or_else(|| "null".to_owned(), |text| kind.literal(text).replace("::jsonb", ""));
            let w = table.random_cell(random, 2);
            session.run(&format!("insert into {} values ({id}, {v}, {w})", quoted(&table.name))).await;
        }
    }
}

/// A filter and a sort on the two columns of the kind.
fn question(random: &mut StdRng, table: &Table) -> Question {
    let question = Question::random(random, table);
    let column = &table.columns[random.random_range(1..=2)];
    if question.streamed || !column.kind.filterable || random.random() {
        return if question.streamed { Question::everything(table, false) } else { question };
    }
    let (condition, sql) = comparison(random, column);
    let (sort, order) = match column.kind.ordered {
        true => (json!([{ "column": column.name, "desc": true }]), format!("{} desc, id", quoted(&column.name))),
        false => (json!([]), "id".to_owned()),
    };
    let mut narrowed = Question::everything(table, false);
    narrowed.query["where"] = json!([condition]);
    narrowed.query["sort"] = sort;
    narrowed.sql = narrowed.sql.replace("true order by \"id\"", &format!("true and {sql} order by {order}"));
    narrowed
}
