//! Writers that do to a followed server whatever applications do, several at once.

use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tokio::task::JoinSet;

use super::session::Session;
use super::tables::Table;

/// Conflicts between writers end soon, in errors that end a transaction.
const SESSION: &str = "set lock_timeout = '300ms'; set deadlock_timeout = '20ms'; set client_min_messages = 'error'";

/// Starts `writers` of them on the server of `parameters`; each ends after `transactions`. What one of them can't do
/// (a conflict, a server that is away) it leaves undone.
#[must_use]
pub fn start(parameters: &str, tables: &[Table], seed: u64, writers: usize, transactions: usize) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for number in 0..writers {
        let (parameters, tables) = (parameters.to_owned(), tables.to_vec());
        tasks.spawn(async move {
            let mut writer = Writer { number, random: StdRng::seed_from_u64(seed + number as u64), prepared: None };
            let mut left = transactions;
            while left > 0 {
                let Ok(session) = Session::connect(&parameters).await else {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                };
                let _ = session.batch_execute(SESSION).await;
                while left > 0 && !session.is_closed() {
                    left -= 1;
                    let _ = writer.transaction(&session, &tables, left).await;
                }
                writer.finish_prepared(&session).await;
            }
        });
    }
    tasks
}

/// For a moment no commit that waits for a standby is answered, because there is none: such commits are decoded before
/// anyone can see them. Ends once a commit has hung, or there was none that could.
pub async fn stall_commits(session: &Session) {
    session.run("alter system set synchronous_standby_names = 'nobody'").await;
    session.run("select pg_reload_conf()").await;
    let begun = Instant::now();
    let hanging = "select count(*) from pg_stat_activity where wait_event = 'SyncRep'";
    while session.text(hanging).await == "0" && begun.elapsed() < Duration::from_secs(2) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // The others go on past the one that hangs.
    tokio::time::sleep(Duration::from_millis(50)).await;
    session.run("alter system reset synchronous_standby_names").await;
    session.run("select pg_reload_conf()").await;
}

struct Writer {
    number: usize,
    random: StdRng,
    prepared: Option<String>,
}

impl Writer {
    async fn transaction(
        &mut self,
        session: &Session,
        tables: &[Table],
        number: usize,
    ) -> Result<(), tokio_postgres::Error> {
        // One that was prepared earlier has been open since.
        let earlier = self.prepared.take();
        let done = self.statements(session, tables, number).await;
        if done.is_err() {
            let _ = session.batch_execute("rollback").await;
        }
        if let Some(earlier) = earlier {
            self.end_prepared(session, &earlier).await;
        }
        done
    }

    async fn statements(
        &mut self,
        session: &Session,
        tables: &[Table],
        number: usize,
    ) -> Result<(), tokio_postgres::Error> {
        let random = &mut self.random;
        let count = match random.random_range(0..20) {
            0 => random.random_range(20..40),
            _ => random.random_range(1..=4),
        };
        let synchronous = ["on", "on", "off", "local"].choose(random).copied().unwrap_or("on");
        session.batch_execute(&format!("begin; set local synchronous_commit = {synchronous}")).await?;
        let mut savepoints = 0;
        for _ in 0..count {
            let statement = match random.random_range(0..10) {
                0 => {
                    savepoints += 1;
                    format!("savepoint s{savepoints}")
                }
                1 if savepoints > 0 => {
                    let to = random.random_range(1..=savepoints);
                    savepoints = to;
                    format!("rollback to savepoint s{to}")
                }
                _ => tables.choose(random).map(|table| table.random_statement(random)).unwrap_or_default(),
            };
            session.batch_execute(&statement).await?;
        }
        match random.random_range(0..10) {
            0 => session.batch_execute("rollback").await,
            1 if self.prepared.is_none() => {
                let name = format!("w{}-{number}", self.number);
                session.batch_execute(&format!("prepare transaction '{name}'")).await?;
                self.prepared = Some(name);
                Ok(())
            }
            _ => session.batch_execute("commit").await,
        }
    }

    async fn finish_prepared(&mut self, session: &Session) {
        if let Some(name) = self.prepared.take() {
            self.end_prepared(session, &name).await;
        }
    }

    async fn end_prepared(&mut self, session: &Session, name: &str) {
        let word = if self.random.random_bool(0.7) { "commit" } else { "rollback" };
        let _ = session.batch_execute(&format!("{word} prepared '{name}'")).await;
    }
}
