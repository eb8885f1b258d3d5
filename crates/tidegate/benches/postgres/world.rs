//! A server, and gateways that follow it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tidegate_testkit::clients::{API_KEY, get, urlencoded};
use tidegate_testkit::gateway::Gateway;
use tidegate_testkit::postgres::{Postgres, Session};

/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(5);

/// A server with logical decoding, and a session of its superuser.
pub(crate) struct World {
    pub(crate) postgres: Postgres,
    pub(crate) session: Session,
}

impl World {
    pub(crate) async fn start(fsync: &str) -> Option<Self> {
        let settings = [("fsync", fsync), ("shared_buffers", "512MB"), ("max_wal_size", "4GB")];
        let builder =
            settings.iter().fold(Postgres::logical_builder(), |builder, (name, value)| builder.set(name, value));
        let postgres = builder.start()?;
        let session = postgres.session().await;
        Some(Self { postgres, session })
    }

    /// Fills the table `item`: seven columns, some 70 bytes as text.
    pub(crate) async fn fill(&self, rows: u64) {
        let sql = format!(
            "drop table if exists item;
             create table item (id bigint primary key, owner int not null, name text not null, kind text not null,
                                n bigint not null, temp float8 not null, seen timestamptz not null);
             insert into item select i, i % 5000, 'a name of usual length ' || i, (array['pump', 'valve', 'fan'])[(i % 3)::int + 1],
                                     i * 7919 % 1000003, i / 8.0, timestamptz '2026-01-02 03:04:05Z' + i * interval '1 s'
               from generate_series(0::bigint, {rows} - 1) i;
             vacuum analyze item; checkpoint"
        );
        for statement in sql.split(';') {
            self.session.run(statement).await;
        }
    }

    /// A gateway that serves `item`, with these lines for the entity. It has not copied anything yet.
    pub(crate) fn gateway(&self, entity: &str) -> Gateway {
        let url = self.postgres.url();
        let config = format!(
            "[log]\nlevel = \"error\"\n[identity]\nanonymous = true\napi_keys = [\"{API_KEY}\"]\n[source]\nkind = \"postgres\"\nurl = \"{url}\"\n\
             [[entity]]\nname = \"item\"\n{entity}\n"
        );
        Gateway::start(env!("CARGO_BIN_EXE_tidegate"), &config)
    }

    /// Stops a gateway and lets the server forget it.
    pub(crate) async fn end(&self, mut gateway: Gateway) {
        gateway.terminate();
        let sql = "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name like 'tidegate%' and not active";
        while self.session.rows(sql).await.is_empty() {
            tokio::time::sleep(LOOK).await;
        }
    }
}

/// Waits until everything is copied.
pub(crate) async fn ready(at: SocketAddr) {
    while get(at, "/readyz").await.status != 200 {
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until views include a place in the log.
pub(crate) async fn reached(at: SocketAddr, lsn: &str) {
    let path = format!("/v1/position?at_least={}", urlencoded(lsn));
    loop {
        // It gives up waiting now and then.
        match get(at, &path).await {
            answer if answer.status == 504 => {}
            answer => return drop(answer.ok()),
        }
    }
}

pub(crate) fn mib(kib: Option<u64>) -> f64 {
    kib.unwrap_or_default() as f64 / 1024.0
}

pub(crate) fn rate(count: u64, since: Instant) -> f64 {
    count as f64 / since.elapsed().as_secs_f64()
}

/// The time a process has had on a core, to a hundredth of a second.
pub(crate) fn cpu(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks: u64 = fields.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Some(Duration::from_millis(ticks * 10))
}

/// What a gateway has needed of all cores since its start for each of so many rows, in microseconds. Unlike its speed it
/// hardly depends on what else the machine does.
pub(crate) fn micros_a_row(gateway: &Gateway, rows: u64) -> f64 {
    gateway.id().and_then(cpu).unwrap_or_default().as_secs_f64() * 1e6 / rows as f64
}
