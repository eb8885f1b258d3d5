//! One database with its tables, a gateway that follows it, and the independent reading of its commits.

use std::net::SocketAddr;
use std::time::Duration;

use rand::rngs::StdRng;
use tidegate_testkit::clients::{API_KEY, get, within};
use tidegate_testkit::gateway::Gateway;
use tidegate_testkit::postgres::decoding::{create_slot, next_commits};
use tidegate_testkit::postgres::kinds::{Kind, PRELUDE};
use tidegate_testkit::postgres::queries::Question;
use tidegate_testkit::postgres::replica::{Replica, compare};
use tidegate_testkit::postgres::tables::Table;
use tidegate_testkit::postgres::{Postgres, Session, writers};
use tokio::sync::watch;

use crate::follower::{Followers, Report};

/// How often a condition is looked at again.
pub(crate) const GLANCE: Duration = Duration::from_millis(20);

/// A database on a server, and what is in it.
pub(crate) struct World {
    /// Also of the slots and the publication.
    pub(crate) database: String,
    /// Parameters of the database in libpq's form.
    pub(crate) parameters: String,
    /// All tables that are followed; the last of them is `beacon`.
    pub(crate) tables: Vec<Table>,
    beacons: i64,
    begin: u64,
}

impl World {
    /// Makes the database, the tables and the slot of the independent reading.
    pub(crate) async fn new(server: &Postgres, database: &str, mut tables: Vec<Table>) -> Self {
        tables.push(Table::of_kind("beacon", Kind::named("integer")));
        server.session().await.run(&format!("create database {database}")).await;
        let mut world = Self {
            database: database.to_owned(),
            parameters: server.parameters_of(database),
            tables,
            beacons: 0,
            begin: 0,
        };
        let session = world.session().await;
        session.run(PRELUDE).await;
        create_slot(&session, &world.reading()).await;
        world.begin = session.lsn("select pg_current_wal_insert_lsn()").await;
        for table in &world.tables {
            session.run(&table.create()).await;
        }
        world
    }

    /// A new session of the superuser in the database.
    pub(crate) async fn session(&self) -> Session {
        Session::connect(&self.parameters).await.unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// The slot of the independent reading.
    fn reading(&self) -> String {
        format!("{}_reading", self.database)
    }

    /// A configuration that follows all tables by way of `address`, with more lines for `[source]`.
    pub(crate) fn toml(&self, address: SocketAddr, source: &str) -> String {
        self.toml_of(&self.tables, address, source)
    }

    /// As [`World::toml`], for some tables.
    pub(crate) fn toml_of(&self, tables: &[Table], address: SocketAddr, source: &str) -> String {
        let name = &self.database;
        let entities: String = tables.iter().map(Table::toml).collect();
        format!(
            "[log]\nlevel = \"info\"\n[identity]\nanonymous = true\napi_keys = [\"{API_KEY}\"]\n\
             [source]\nkind = \"postgres\"\nurl = \"postgres://postgres@{address}/{name}\"\n\
             slot = \"{name}\"\npublication = \"{name}\"\n{source}\n{entities}"
        )
    }

    /// A gateway that follows all tables, without anything in between.
    pub(crate) fn gateway(&self, server: &Postgres) -> Gateway {
        Gateway::start(env!("CARGO_BIN_EXE_tidegate"), &self.toml(server.address(), ""))
    }

    /// A question about everything in each table, in both modes, and `more` random ones about each.
    pub(crate) fn questions(&self, random: &mut StdRng, more: usize) -> Vec<(Question, Table)> {
        let mut questions = Vec::new();
        for table in &self.tables {
            questions.push((Question::everything(table, false), table.clone()));
            questions.push((Question::everything(table, true), table.clone()));
            questions.extend((0..more).map(|_| (Question::random(random, table), table.clone())));
        }
        questions
    }

    /// Runs writers to their end.
    pub(crate) async fn write(&self, seed: u64, writers: usize, transactions: usize) {
        let tables = &self.tables[..self.tables.len() - 1];
        let mut writing = writers::start(&self.parameters, tables, seed, writers, transactions);
        while let Some(done) = writing.join_next().await {
            done.unwrap();
        }
    }

    /// One more commit, durable, with everything before it. Gives the log's end after it.
    pub(crate) async fn beacon(&mut self) -> u64 {
        let session = self.session().await;
        self.beacons += 1;
        let n = self.beacons;
        session
            .run(&format!("insert into beacon (id, v) values (1, {n}) on conflict (id) do update set v = excluded.v"))
            .await;
        session.lsn("select pg_current_wal_insert_lsn()").await
    }

    /// A replica that asks these questions, taken through every commit so far. Each world has one, once.
    pub(crate) async fn replica(&self, second: &Postgres, questions: &[(Question, Table)]) -> (Replica, u64) {
        let name = &self.database;
        second.session().await.run(&format!("create database {name}")).await;
        let session = Session::connect(&second.parameters_of(name)).await.unwrap();
        let questions = questions.iter().map(|(question, _)| question.clone()).collect();
        let mut replica = Replica::new(session, &self.tables, questions, self.begin).await;
        let end = self.catch_up(&mut replica).await;
        (replica, end)
    }

    /// Takes the replica through every commit that it has not seen; gives the end of the last.
    pub(crate) async fn catch_up(&self, replica: &mut Replica) -> u64 {
        let session = self.session().await;
        let mut end = 0;
        loop {
            let commits = next_commits(&session, &self.reading(), 200).await;
            let Some(last) = commits.last() else { return end };
            end = last.end;
            for commit in &commits {
                replica.step(commit).await;
            }
        }
    }

    /// Drops the database's slots, so that the server forgets its log.
    pub(crate) async fn forget(&self) {
        let session = self.session().await;
        let drop = "select pg_drop_replication_slot(slot_name) from pg_replication_slots
            where database = current_database() and not active";
        session.run(drop).await;
    }
}

/// Waits until the gateway has everything up to `lsn`, and every follower shows it; then every list must be what the
/// server itself answers.
pub(crate) async fn settle(address: SocketAddr, followers: &mut Followers, lsn: u64) -> u64 {
    let position = reached(address, lsn).await;
    followers.until("the last commit", |_, report| report.position() >= position).await;
    position
}

/// Asks until the gateway, which may be coming back, has everything up to `lsn`; gives its position then.
pub(crate) async fn reached(address: SocketAddr, lsn: u64) -> u64 {
    let path = format!("/v1/position?at_least={:X}/{:X}", lsn >> 32, lsn & u64::from(u32::MAX));
    let answer = async {
        loop {
            let answer = get(address, &path).await;
            if answer.status == 200 {
                let answer = answer.json();
                let position = answer["position"].as_str().and_then(|position| position.parse().ok());
                return position.unwrap_or_else(|| panic!("no position: {answer}"));
            }
            tokio::time::sleep(GLANCE).await;
        }
    };
    within("the gateway's position", answer).await
}

/// Each follower's last sight must be the server's answer.
pub(crate) async fn check_rest(server: &Session, questions: &[(Question, Table)], reports: &[Report]) {
    server.run(tidegate_testkit::postgres::wire::SESSION).await;
    for ((question, table), report) in questions.iter().zip(reports) {
        let expected = question.list_of_server(table, &server.rows(&question.sql).await);
        let sight = report.sights.last().unwrap_or_else(|| panic!("nothing was shown: {}", question.query));
        let same = compare(&sight.rows, &expected);
        same.unwrap_or_else(|difference| panic!("{}\n{}\n{difference}\n{report}", question.query, question.sql));
    }
}

/// The address of the gateway of the moment, for followers.
pub(crate) fn address_of(gateway: &Gateway) -> (watch::Sender<SocketAddr>, watch::Receiver<SocketAddr>) {
    watch::channel(gateway.address())
}
