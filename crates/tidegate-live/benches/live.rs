//! The workloads of the gates: what one changed row costs. Each apply goes through the whole engine: routing, window,
//! deltas, the batch with its log, and one delivery a concerned view. `turn_many_subscribers` goes through the shell too.

#![allow(clippy::expect_used, missing_docs, unreachable_pub, dead_code)]

mod world;

use divan::{Bencher, black_box};
use tidegate_model::{Predicate, Query, Transaction};
use world::shell::Shell;
use world::{World, row};

fn main() {
    divan::main();
}

/// eq + gt + ilike on one row that matches.
#[divan::bench]
fn predicate_eval(bencher: Bencher<'_, '_>) {
    let query = r#"{"entity":"asset","where":[{"column":"kind","op":"eq","value":"pump"},
        {"column":"temp","op":"gt","value":50},{"column":"name","op":"ilike","value":"NORTH-%"}]}"#;
    let predicate = Predicate::new(Query::from_json(&world::catalog(), query).expect("a valid query").filter);
    let row = row(7, "pump", 60.0, 0);
    bencher.bench(|| black_box(&predicate).matches(black_box(&row)));
}

/// A row in mid-window changes a column that is not sorted on.
#[divan::bench(args = [10, 100, 1_000])]
fn window_update(bencher: Bencher<'_, '_>, window: i64) {
    let mut world = World::new((0..5_000).map(|id| row(id, "pump", id as f64, 0)).collect(), Some(16));
    world.subscribe(&format!(r#"{{"entity":"asset","sort":[{{"column":"temp"}}],"limit":{window}}}"#));
    let images = [row(window / 2, "pump", (window / 2) as f64, 0), row(window / 2, "pump", (window / 2) as f64, 1)];
    let forth = world.change(Some(images[0].clone()), Some(images[1].clone()));
    let back = world.change(Some(images[1].clone()), Some(images[0].clone()));
    toggle(bencher, world, forth, back, 1);
}

/// A row enters in mid-window and leaves again; each time another is displaced or handed up. One iteration is both.
#[divan::bench]
fn window_churn(bencher: Bencher<'_, '_>) {
    let mut world = World::new((0..5_000).map(|id| row(id, "pump", id as f64, 0)).collect(), Some(16));
    world.subscribe(r#"{"entity":"asset","where":[{"column":"kind","op":"eq","value":"pump"}],"sort":[{"column":"temp"}],"limit":100}"#);
    let (inside, outside) = (row(9_000, "pump", 50.5, 0), row(9_000, "fan", 50.5, 0));
    let mut enter = world.change(Some(outside.clone()), Some(inside.clone()));
    let mut leave = world.change(Some(inside), Some(outside));
    bencher.bench_local(|| {
        world.apply(&mut enter, 1);
        world.apply(&mut leave, 1);
    });
}

/// One update that every view shows: distinct views, all concerned.
#[divan::bench(args = [100, 1_000, 10_000])]
fn one_change_many_views(bencher: Bencher<'_, '_>, views: usize) {
    let mut world = World::new((0..200).map(|id| row(id, "pump", id as f64, 0)).collect(), Some(8));
    for view in 0..views {
        let query = format!(
            r#"{{"entity":"asset","where":[{{"column":"temp","op":"lt","value":{}}}],"sort":[{{"column":"temp"}}],"limit":20}}"#,
            100 + view
        );
        world.subscribe(&query);
    }
    let images = [row(5, "pump", 5.0, 0), row(5, "pump", 5.0, 1)];
    let forth = world.change(Some(images[0].clone()), Some(images[1].clone()));
    let back = world.change(Some(images[1].clone()), Some(images[0].clone()));
    toggle(bencher, world, forth, back, views);
}

/// One update that all subscribers of one view are handed: from publishing until their sink has the parcel.
#[divan::bench(args = [1, 1_000, 10_000])]
fn turn_many_subscribers(bencher: Bencher<'_, '_>, subscribers: usize) {
    let mut shell = Shell::new(subscribers);
    bencher.bench_local(|| shell.change());
}

/// Distinct equality views, of which one change concerns ten.
#[divan::bench(args = [1_000, 10_000, 100_000, 1_000_000], sample_size = 100, sample_count = 50)]
fn routing_eq(bencher: Bencher<'_, '_>, views: usize) {
    let mut world = World::new(Vec::new(), Some(8));
    for view in 0..views - 10 {
        world.subscribe(&format!(
            r#"{{"entity":"asset","where":[{{"column":"note","op":"eq","value":{view}}}],"limit":10}}"#
        ));
    }
    for limit in 1..=10 {
        world.subscribe(&format!(
            r#"{{"entity":"asset","where":[{{"column":"note","op":"eq","value":-1}}],"limit":{limit}}}"#
        ));
    }
    route(bencher, world, -1);
}

/// Distinct ranges, of which one change concerns ten.
#[divan::bench(args = [1_000, 10_000, 1_000_000], sample_size = 100, sample_count = 50)]
fn routing_range(bencher: Bencher<'_, '_>, views: usize) {
    let mut world = World::new(Vec::new(), Some(8));
    // Overlapping ranges of length 100, one every 10: ten hold any point.
    for view in 0..views {
        let low = view * 10;
        world.subscribe(&format!(
            r#"{{"entity":"asset","where":[{{"column":"note","op":"gte","value":{low}}},{{"column":"note","op":"lt","value":{}}}],"limit":10}}"#,
            low + 100
        ));
    }
    route(bencher, world, (views * 10 / 2 + 5) as i64);
}

fn route(bencher: Bencher<'_, '_>, mut world: World, note: i64) {
    let first = row(1, "pump", 1.0, note);
    world.apply(&mut world.change(None, Some(first.clone())), 10);
    let second = row(1, "pump", 2.0, note);
    let forth = world.change(Some(first.clone()), Some(second.clone()));
    let back = world.change(Some(second), Some(first));
    toggle(bencher, world, forth, back, 10);
}

/// One change forth, the next back, in the steady state: the logs are full, as they are after a while.
fn toggle(
    bencher: Bencher<'_, '_>,
    mut world: World,
    mut forth: Transaction,
    mut back: Transaction,
    deliveries: usize,
) {
    for _ in 0..150 {
        world.apply(&mut forth, deliveries);
        world.apply(&mut back, deliveries);
    }
    let mut turn = false;
    bencher.bench_local(|| {
        turn = !turn;
        world.apply(if turn { &mut forth } else { &mut back }, deliveries);
    });
}
