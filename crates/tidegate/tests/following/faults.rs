//! What breaks, one fault a test: afterwards every list is right, or its subscription was ended with a reason and comes
//! back.

mod gateway;
mod network;
mod schema;
mod server;
mod size;
mod slot;

use std::future::Future;
use std::net::SocketAddr;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tidegate_testkit::clients::within;
use tidegate_testkit::gateway::Gateway;
use tidegate_testkit::postgres::queries::Question;
use tidegate_testkit::postgres::tables::Table;
use tidegate_testkit::postgres::{Postgres, Session, wire, writers};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::follower::{Followers, Report};
use crate::oracle::check_all;
use crate::world::{GLANCE, World, check_rest, settle};

/// So that a connection that is dead is found dead soon.
const QUICK: &str = "check_interval_ms = 200\nstall_timeout_ms = 2000\nstatus_interval_ms = 200";

/// A server, a gateway that follows it, clients of the gateway, and writers.
struct Scene {
    server: Postgres,
    world: World,
    questions: Vec<(Question, Table)>,
    followers: Followers,
    gateway: Gateway,
    address: watch::Sender<SocketAddr>,
    seed: u64,
}

impl Scene {
    /// Starts everything, with some random tables that have rows already.
    async fn open(name: &str) -> Option<Self> {
        let seed = rand::random();
        println!("seed {seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let tables = (0..3).map(|n| Table::random(&mut random, &format!("t{n}"))).collect();
        Self::of(name, seed, tables, None).await
    }

    /// The same with these tables; the gateway goes by way of `via` where that is given.
    async fn of(name: &str, seed: u64, tables: Vec<Table>, via: Option<(Postgres, SocketAddr)>) -> Option<Self> {
        let (server, address) = match via {
            Some((server, address)) => (server, address),
            None => {
                let server = Postgres::logical()?;
                let address = server.address();
                (server, address)
            }
        };
        let mut random = StdRng::seed_from_u64(seed);
        let world = World::new(&server, name, tables).await;
        let questions = world.questions(&mut random, 2);
        world.write(seed, 2, 20).await;
        let gateway = Gateway::start(env!("CARGO_BIN_EXE_tidegate"), &world.toml(address, QUICK));
        let (address, watched) = watch::channel(gateway.address());
        let mut followers = Followers::start(&watched, &questions, None);
        followers.until("a first list", |_, report| report.resets() > 0).await;
        Some(Self { server, world, questions, followers, gateway, address, seed })
    }

    /// Writers that run until they are done.
    fn writing(&mut self, transactions: usize) -> JoinSet<()> {
        self.seed += 1000;
        let tables = &self.world.tables[..self.world.tables.len() - 1];
        writers::start(&self.world.parameters, tables, self.seed, 3, transactions)
    }

    /// Runs writers to their end.
    async fn write(&mut self, transactions: usize) {
        done(self.writing(transactions)).await;
    }

    /// Starts the gateway again, wherever it was.
    fn restart_gateway(&mut self) {
        self.gateway.restart();
        self.address.send_replace(self.gateway.address());
    }

    /// Everything that was written is shown, and every list is what the server answers.
    async fn rest(&mut self) -> Session {
        let end = self.world.beacon().await;
        settle(self.gateway.address(), &mut self.followers, end).await;
        // After a restart on older data or of an older server a sight may have a later position and be of another past.
        let session = self.world.session().await;
        let mut answers = Vec::new();
        session.run(wire::SESSION).await;
        for (question, table) in &self.questions {
            answers.push(question.list_of_server(table, &session.rows(&question.sql).await));
        }
        let is_right =
            |number: usize, report: &Report| report.sights.last().is_some_and(|sight| *sight.rows == answers[number]);
        if !self.followers.are_soon(is_right).await {
            check_rest(&session, &self.questions, &self.followers.reports()).await;
        }
        session
    }

    /// As [`Scene::rest`], and no list was ever anything but the answer at its position. For histories of one server.
    async fn rest_and_look_back(&mut self) {
        let session = self.rest().await;
        let second = Postgres::start().expect("there is one already");
        let (replica, _) = self.world.replica(&second, &self.questions).await;
        replica.check_against(&session).await;
        check_all(&self.questions, &self.followers.reports(), &replica);
    }

    /// Snapshots that each follower has seen.
    fn resets(&self) -> Vec<usize> {
        self.followers.reports().iter().map(Report::resets).collect()
    }

    /// Every follower has been given a new snapshot since `before`.
    async fn reset_since(&mut self, before: &[usize]) {
        self.followers.until("a reset", |number, report| report.resets() > before[number]).await;
    }
}

/// Waits for writers.
async fn done(mut writing: JoinSet<()>) {
    while let Some(done) = within("the writers", writing.join_next()).await {
        done.unwrap();
    }
}

/// Looks again and again until it is so.
async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let wait = async {
        while !condition().await {
            tokio::time::sleep(GLANCE).await;
        }
    };
    within(what, wait).await;
}
