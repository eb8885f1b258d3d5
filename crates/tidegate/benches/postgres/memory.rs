//! The most memory that following takes: while many rows are copied, and while one transaction changes a million.

use std::time::Instant;

use crate::report::Report;
use crate::world::{World, mib, rate, reached, ready};

const COPIED: u64 = 5_000_000;
const CHANGED: u64 = 1_000_000;

pub(crate) async fn run(world: &World, report: &mut Report) {
    world.fill(COPIED).await;
    let began = Instant::now();
    let mut gateway = world.gateway(r#"indexes = [["n"]]"#);
    ready(gateway.address()).await;
    let mut row = |case: &str, rate: f64, peak: Option<u64>| {
        report.row("memory", case, &[("rows/s", rate), ("peak MiB", mib(peak))]);
    };
    row("copy of 5,000,000 rows", rate(COPIED, began), gateway.peak_kib());
    gateway.restart();
    ready(gateway.address()).await;
    let sql = format!("update item set n = n + 1 where id < {CHANGED}");
    world.session.run(&sql).await;
    let began = Instant::now();
    let lsn = world.session.text("select pg_current_wal_flush_lsn()").await;
    reached(gateway.address(), &lsn).await;
    row("transaction of 1,000,000 updates", rate(CHANGED, began), gateway.peak_kib());
}
