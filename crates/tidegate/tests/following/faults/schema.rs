//! Tables change their shape in mid-stream, or go.

use tidegate_testkit::postgres::kinds::Kind;
use tidegate_testkit::postgres::queries::Question;
use tidegate_testkit::postgres::tables::{Column, Table};

use super::{Scene, done, eventually};
use crate::follower::{Followers, Report};

/// What is done to a table `id, v integer, w integer, big`, and what it is then.
struct Case {
    name: &'static str,
    ddl: &'static str,
    columns: &'static [(&'static str, &'static str)],
}

const CASES: &[Case] = &[
    Case {
        name: "added",
        ddl: "alter table added add column extra text default 'of all'",
        columns: &[("id", "integer"), ("v", "integer"), ("w", "integer"), ("big", "text"), ("extra", "text")],
    },
    Case {
        name: "dropped",
        ddl: "alter table dropped drop column v",
        columns: &[("id", "integer"), ("w", "integer"), ("big", "text")],
    },
    Case {
        name: "renamed",
        ddl: "alter table renamed rename column v to u",
        columns: &[("id", "integer"), ("u", "integer"), ("w", "integer"), ("big", "text")],
    },
    Case {
        name: "widened",
        ddl: "alter table widened alter column v type bigint",
        columns: &[("id", "integer"), ("v", "bigint"), ("w", "integer"), ("big", "text")],
    },
    Case {
        name: "retyped",
        ddl: "alter table retyped alter column v type text using 'n' || v",
        columns: &[("id", "integer"), ("v", "text"), ("w", "integer"), ("big", "text")],
    },
    Case {
        name: "emptied",
        ddl: "truncate emptied",
        columns: &[("id", "integer"), ("v", "integer"), ("w", "integer"), ("big", "text")],
    },
    Case {
        name: "replaced",
        ddl: "begin; alter table replaced rename to older; create table replaced (id int primary key, v int, w int, big text);
              insert into replaced values (77, 7, 7, 'new'); commit",
        columns: &[("id", "integer"), ("v", "integer"), ("w", "integer"), ("big", "text")],
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_change_in_mid_stream() {
    let mut tables: Vec<_> = CASES.iter().map(|case| Table::of_kind(case.name, Kind::named("integer"))).collect();
    tables.push(Table::of_kind("churn", Kind::named("text")));
    let Some(mut scene) = Scene::of("schema", 1, tables, None).await else { return };
    let session = scene.world.session().await;
    scene.rest().await;
    // They would find columns that they did not ask for.
    scene.followers = Followers::none();
    // From now on only one table is written to at random.
    let churn = scene.world.tables[CASES.len()].clone();
    for case in CASES {
        println!("{}", case.name);
        let writing =
            tidegate_testkit::postgres::writers::start(&scene.world.parameters, std::slice::from_ref(&churn), 7, 2, 20);
        session.run(&format!("insert into {} (id, w) values (100, 1)", case.name)).await;
        session.run(case.ddl).await;
        session.run(&format!("insert into {0} (id, w) values (101, 2); update {0} set w = 3 where id = 100; delete from {0} where id = 1", case.name)).await;
        done(writing).await;
        shows_anew(&scene, &now(case)).await;
    }
    shows_anew(&scene, &churn).await;
}

/// New subscriptions to a table, as it is now, show what is in it.
async fn shows_anew(scene: &Scene, table: &Table) {
    let questions: Vec<_> =
        [false, true].map(|streamed| (Question::everything(table, streamed), table.clone())).into_iter().collect();
    let (_address, watched) = crate::world::address_of(&scene.gateway);
    let mut followers = Followers::start(&watched, &questions, None);
    let session = scene.world.session().await;
    session.run(tidegate_testkit::postgres::wire::SESSION).await;
    let answer = questions[1].0.list_of_server(table, &session.rows(&questions[1].0.sql).await);
    let is_right = |_, report: &Report| {
        report.sights.last().is_some_and(|sight| {
            let mut rows = sight.rows.to_vec();
            rows.sort();
            rows == answer
        })
    };
    followers.until(&format!("{} as it is", table.name), is_right).await;
}

fn now(case: &Case) -> Table {
    let mut table = Table::of_kind(case.name, Kind::named("integer"));
    let column = |(name, kind): &(&str, &str)| Column { name: (*name).to_owned(), kind: Kind::named(kind) };
    table.columns = case.columns.iter().map(column).collect();
    table
}

/// A table that is gone ends its subscriptions with a reason and leaves the others alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_is_dropped() {
    let Some(mut scene) = Scene::open("drop_table").await else { return };
    let session = scene.world.session().await;
    session.run("drop table t1").await;
    let gone = scene.world.tables.remove(1);
    scene.write(10).await;
    let (questions, reports) = (&scene.questions, || scene.followers.reports());
    eventually("subscriptions of the table to end with a reason", || async {
        let concerned = questions.iter().zip(reports()).filter(|((question, _), _)| question.query["entity"] == "t1");
        concerned.into_iter().all(|(_, report)| !report.errors.is_empty())
    })
    .await;
    // Those of the others go on.
    let end = scene.world.beacon().await;
    let end = crate::world::reached(scene.gateway.address(), end).await;
    let others: Vec<bool> = scene.questions.iter().map(|(question, _)| question.query["entity"] != "t1").collect();
    scene.followers.until("the others", |number, report| !others[number] || report.position() >= end).await;
    // Once it is there again, so are they.
    session.run(&gone.create()).await;
    scene.world.tables.insert(1, gone);
    scene.write(10).await;
    scene.restart_gateway();
    scene.rest().await;
}
