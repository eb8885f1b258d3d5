//! Catching up: a burst is committed while the gateway is stopped. Counted from the start of the process until the
//! views include it, and beside it what PostgreSQL takes to decode the same for a program that keeps nothing.

use std::process::Command;
use std::time::Instant;

use crate::report::Report;
use crate::world::{World, mib, micros_a_row, rate, reached, ready};

const ROWS: u64 = 100_000;
/// Transactions, and rows of each.
const BURSTS: [(u64, u64); 3] = [(50_000, 1), (20_000, 10), (300, 1_000)];

pub(crate) async fn run(world: &World, report: &mut Report) {
    world.fill(ROWS).await;
    let mut gateway = world.gateway(r#"indexes = [["n"]]"#);
    ready(gateway.address()).await;
    for (transactions, rows) in BURSTS {
        gateway.terminate();
        world.session.run("select pg_create_logical_replication_slot('bare', 'pgoutput')").await;
        burst(world, transactions, rows).await;
        let lsn = world.session.text("select pg_current_wal_flush_lsn()").await;
        let bare = bare(world, transactions * rows, &lsn);
        world.session.run("select pg_drop_replication_slot('bare')").await;
        let began = Instant::now();
        gateway.restart();
        reached(gateway.address(), &lsn).await;
        let speed = rate(transactions * rows, began);
        let figures = [
            ("rows/s", speed),
            ("decoding only", bare),
            ("ratio", speed / bare),
            ("CPU us/row", micros_a_row(&gateway, transactions * rows)),
            ("peak MiB", mib(gateway.peak_kib())),
        ];
        report.row("catching up", &format!("{transactions} transactions of {rows}"), &figures);
    }
}

/// Updates rows from all over the table.
async fn burst(world: &World, transactions: u64, rows: u64) {
    let sql = format!(
        "do $$ begin
           perform set_config('synchronous_commit', 'off', false);
           for t in 1..{transactions} loop
             update item set n = n + t, temp = t from generate_series(0, {rows} - 1) g
               where id = (t::bigint * {rows} + g) * 7919 % {ROWS};
             commit;
           end loop;
         end $$"
    );
    world.session.run(&sql).await;
    world.session.run("set synchronous_commit = on").await;
    world.session.run("select pg_logical_emit_message(true, 'bench', 'the end')").await;
}

/// Rows a second of `pg_recvlogical` to nowhere.
fn bare(world: &World, rows: u64, lsn: &str) -> f64 {
    let began = Instant::now();
    let options = ["-o", "proto_version=1", "-o", "publication_names=tidegate", "-f", "/dev/null", "--start"];
    let done = Command::new("pg_recvlogical")
        .args(["-d", &world.postgres.parameters(), "--slot", "bare", "--endpos", lsn])
        .args(options)
        .status()
        .unwrap();
    assert!(done.success(), "pg_recvlogical: {done}");
    rate(rows, began)
}
