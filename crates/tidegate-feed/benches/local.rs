//! Rows a second through the local feed, each answered after its fsync, and how long a top-50 takes beside it.
//!
//! Prints a table; fsync makes the figures the disk's as much as the code's.
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use tidegate_feed::{ChangeOp, Config, LocalFeed, RowChange, TenantScope, WriteRequest};
use tidegate_mirror::{Mirror, Options};
use tidegate_model::{
    Catalog, Comparison, EntityBuilder, EntityId, Filter, Order, Predicate, RowSource as _, ScanRequest, SortKey,
    Tenant, Type, Value,
};

const ENTITY: EntityId = EntityId(0);
const SCANS: usize = 500;
/// The next row's id: every row is a new one.
static NEXT: AtomicU64 = AtomicU64::new(0);

fn catalog() -> Arc<Catalog> {
    let columns = [("id", Type::Int), ("kind", Type::Text), ("temp", Type::Float), ("name", Type::Text)];
    let builder = EntityBuilder {
        name: "asset".into(),
        columns: columns.map(|(name, kind)| (name.to_owned(), kind)).to_vec(),
        key: vec!["id".into()],
        indexes: Some(vec![vec!["temp".into()], vec!["kind".into(), "temp".into()]]),
        ..EntityBuilder::default()
    };
    Arc::new(Catalog::build(&[builder]).unwrap())
}

fn upsert(id: u64) -> RowChange {
    let kind = ["pump", "valve", "motor", "fan"][(id % 4) as usize];
    // Spread, so that the index is written all over.
    let temp = (id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / 1_000.0;
    let name = format!("a name of usual length {id}");
    let cells = vec![Value::Int(id as i64), Value::text(kind), Value::Float(temp), Value::text(name)];
    RowChange { op: ChangeOp::Upsert, cells: (0u16..).zip(cells).collect(), if_version: None }
}

fn start(dir: &Path) -> (Mirror, LocalFeed) {
    let (mirror, writer) = Mirror::open(dir, &catalog(), &Options::default()).unwrap();
    let feed = LocalFeed::start(Config::default(), catalog(), writer, Box::new(|_| {})).unwrap();
    (mirror, feed)
}

/// `submitters` threads, each waiting for its answer before it goes on.
fn write(feed: &LocalFeed, submitters: u64, transactions: u64, rows: u64) {
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..submitters {
            scope.spawn(move || {
                for _ in 0..transactions {
                    let first = NEXT.fetch_add(rows, Ordering::Relaxed);
                    let changes = (first..first + rows).map(upsert).collect();
                    let tenant = TenantScope::Named(None);
                    let (sender, answer) = bounded(1);
                    let request = WriteRequest { entity: ENTITY, tenant, guard: None, changes, idempotency: None };
                    feed.submit(request, Box::new(move |result| sender.send(result).unwrap()));
                    answer.recv().unwrap().unwrap();
                }
            });
        }
    });
    let all = submitters * transactions * rows;
    let rate = all as f64 / began.elapsed().as_secs_f64();
    println!("{submitters:>3} submitters, {rows:>3} rows a transaction: {rate:>9.0} rows/s");
}

fn scans(mirror: &Mirror, what: &str, sort: &[SortKey], filter: Filter) {
    let catalog = catalog();
    let order = Arc::new(Order::new(catalog.entity(ENTITY), sort));
    let predicate = Arc::new(Predicate::new(filter));
    let mut times: Vec<Duration> = (0..SCANS)
        .map(|_| {
            let (order, predicate) = (order.clone(), predicate.clone());
            let request =
                ScanRequest { entity: ENTITY, tenant: Tenant::common(), order, predicate, after: None, want: 50 };
            let (sender, answer) = bounded(1);
            let began = Instant::now();
            mirror.scan(request, Box::new(move |page| sender.send(page).unwrap()));
            assert_eq!(answer.recv().unwrap().unwrap().rows.len(), 50);
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    println!("top 50 of 100,000, {what}: p50 {:?}, p99 {:?}", times[SCANS / 2], times[SCANS * 99 / 100]);
}

fn main() {
    let dir = tempfile::tempdir().unwrap();
    let (mirror, feed) = start(dir.path());
    write(&feed, 8, 125, 100);
    let by_temp = |desc| [SortKey { column: 2, desc }];
    let pumps = || Filter::compare(1, Comparison::Eq, Value::text("pump"));
    scans(&mirror, "index, ascending", &by_temp(false), Filter::everything());
    scans(&mirror, "index, descending", &by_temp(true), Filter::everything());
    scans(&mirror, "index, kind = pump, descending", &by_temp(true), pumps());
    let other = tempfile::tempdir().unwrap();
    let (_mirror, feed) = start(other.path());
    write(&feed, 1, 300, 100);
    write(&feed, 64, 300, 1);
    write(&feed, 1, 300, 1);
}
