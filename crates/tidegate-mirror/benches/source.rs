//! What the store makes of a source: transactions as they come, many to a commit, and copies in bulk.
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use divan::{Bencher, counter::ItemsCount};
use tempfile::TempDir;
use tidegate_mirror::{Mirror, Options, SourceOp, Writer};
use tidegate_model::{Catalog, EntityBuilder, EntityId, Position, Type, Value};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ENTITY: EntityId = EntityId(0);
/// Rows that are there before transactions change them.
const ROWS: i64 = 100_000;

fn main() {
    divan::main();
}

/// Rows of five columns with one index; with a tenant column beside the key there is one more, on the key.
fn open(tenant: bool) -> (TempDir, Mirror, Writer) {
    let kinds = [Type::Int, Type::Text, Type::Int, Type::Float, Type::Text];
    let builder = EntityBuilder {
        name: "asset".into(),
        columns: ["id", "org", "n", "temp", "text"].map(str::to_owned).into_iter().zip(kinds).collect(),
        key: vec!["id".into()],
        tenant: tenant.then(|| "org".into()),
        indexes: Some(vec![vec!["n".into()]]),
        sourced: true,
        ..EntityBuilder::default()
    };
    let dir = tempfile::tempdir().unwrap();
    let catalog = Catalog::build(&[builder]).unwrap();
    let (mirror, mut writer) = Mirror::open(dir.path(), &catalog, &Options::default()).unwrap();
    writer.begin().unwrap();
    (dir, mirror, writer)
}

fn row(id: i64, round: i64) -> Box<[Value]> {
    let org = Value::text(format!("org-{}", id % 16));
    let text = Value::text(format!("the {id}th row, as a person would write it"));
    Box::new([Value::Int(id), org, Value::Int((id * 7_919 + round) % 1_000), Value::Float(round as f64 / 8.0), text])
}

fn filled(tenant: bool) -> (TempDir, Mirror, Writer) {
    let (dir, mirror, mut writer) = open(tenant);
    writer.load(ENTITY, &mut (0..ROWS).map(|id| row(id, 0)), Position(1)).unwrap();
    writer.set_ready(ENTITY).unwrap();
    writer.advance(Position(1)).unwrap();
    writer.commit().unwrap();
    (dir, mirror, writer)
}

/// One commit of `transactions`, each of `rows` updates of rows from all over the table.
fn commit(writer: &mut Writer, transactions: u64, rows: u64) {
    writer.begin().unwrap();
    for _ in 0..transactions {
        let position = writer.position().0 + 1;
        writer.open(Position(position)).unwrap();
        for i in 0..rows {
            let id = ((position * rows + i) * 7_919 % ROWS as u64) as i64;
            let cells = row(id, position as i64).into_iter().map(Some).collect();
            writer.write(ENTITY, SourceOp::Upsert { old_key: None, cells }).unwrap();
        }
        divan::black_box(writer.close().unwrap());
    }
    writer.commit().unwrap();
}

/// Updates, by (transactions to a commit, rows to a transaction).
#[divan::bench(args = [(1, 1), (100, 1), (1, 1_000), (100, 1_000)], sample_count = 20, sample_size = 1)]
fn updates(bencher: Bencher<'_, '_>, (transactions, rows): (u64, u64)) {
    let (_dir, _mirror, mut writer) = filled(false);
    bencher.counter(ItemsCount::new(transactions * rows)).bench_local(|| commit(&mut writer, transactions, rows));
}

/// The same where a row is looked up by its key across tenants.
#[divan::bench(args = [(100, 1), (1, 1_000)], sample_count = 20, sample_size = 1)]
fn updates_with_tenants(bencher: Bencher<'_, '_>, (transactions, rows): (u64, u64)) {
    let (_dir, _mirror, mut writer) = filled(true);
    bencher.counter(ItemsCount::new(transactions * rows)).bench_local(|| commit(&mut writer, transactions, rows));
}

/// A copy of a million rows in commits of 65,536.
#[divan::bench(args = [false, true], sample_count = 1, sample_size = 1)]
fn load(bencher: Bencher<'_, '_>, tenant: bool) {
    const MILLION: i64 = 1_000_000;
    bencher.counter(ItemsCount::new(MILLION as u64)).with_inputs(|| open(tenant)).bench_local_values(|mut store| {
        for first in (0..MILLION).step_by(1 << 16) {
            let rows = first..MILLION.min(first + (1 << 16));
            store.2.load(ENTITY, &mut rows.map(|id| row(id, 0)), Position(1)).unwrap();
            store.2.commit().unwrap();
            store.2.begin().unwrap();
        }
        store
    });
}

/// A table of 100,000 rows made empty.
#[divan::bench(args = [false, true], sample_count = 3, sample_size = 1)]
fn clear(bencher: Bencher<'_, '_>, tenant: bool) {
    bencher.with_inputs(|| filled(tenant)).bench_local_values(|mut store| {
        store.2.begin().unwrap();
        store.2.clear(ENTITY).unwrap();
        store.2.commit().unwrap();
        store
    });
}
