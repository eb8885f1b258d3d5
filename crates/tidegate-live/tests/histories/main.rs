//! Promise 1 as a property: whatever the interleaving of writes, scans, subscribes, re-anchors, cuts, resumes and slow
//! readers, a client that only applies frames has, after every batch, exactly the query's rows at the batch's position.
//!
//! A history is a world (a store of two entities that may be ahead of the engine, pages that arrive late, transactions
//! that tell an entity's changes in bulk, entities that are not there for a while) and a list of steps. It is
//! checked against the naive model of the testkit, which shares no code with the engine but the types, and shrinks to
//! the shortest history that still fails. `TIDEGATE_HISTORIES` sets how many are run (10,000 without it).

#![allow(clippy::expect_used)]

mod plan;
mod world;

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tidegate_model::{Entity, EntityId, Filter};
use tidegate_testkit::strategies::{Alphabet, QueryPlan, cells, entity_builder, place, query_plan};

use plan::{Coverage, Plan, Step, Table, Write};
use world::World;

fn write() -> impl Strategy<Value = Write> {
    (proptest::bool::weighted(0.3), place(), place(), 0..10u8).prop_map(|(second, row, cells, kind)| Write {
        second,
        row,
        cells,
        kind,
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (vec(write(), 1..4), 0..16usize).prop_map(|(writes, bulk)| Step::Commit { writes, bulk }),
        1 => place().prop_map(Step::Fill),
        2 => place().prop_map(Step::Ready),
        1 => place().prop_map(Step::EndEntity),
        20 => Just(Step::Apply),
        12 => (place(), place(), any::<bool>()).prop_map(|(scan, cut, whole)| Step::Scan { scan, cut, whole }),
        16 => place().prop_map(Step::Page),
        2 => (place(), place()).prop_map(|(plan, tenant)| Step::Subscribe { plan, tenant }),
        2 => (place(), place(), 0..6u32).prop_map(|(client, cursor, limit)| Step::Reanchor { client, cursor, limit }),
        16 => place().prop_map(Step::Read),
        2 => (place(), place()).prop_map(|(client, frame)| Step::Cut { client, frame }),
        4 => place().prop_map(Step::Resume),
        2 => (place(), any::<bool>()).prop_map(|(client, reset)| Step::CatchUp { client, reset }),
        1 => place().prop_map(Step::Unsubscribe),
        2 => (0..3_000u64).prop_map(Step::Tick),
    ]
}

/// A query of any kind, half of them over every row: most random filters leave too few rows for a window to move.
fn query(entity: &Arc<Entity>) -> impl Strategy<Value = QueryPlan> + use<> {
    (query_plan(entity, Alphabet::Any), any::<bool>()).prop_map(|(query, every)| match every {
        true => QueryPlan { filter: Filter::everything(), ..query },
        false => query,
    })
}

fn table(id: u32) -> impl Strategy<Value = Table> {
    entity_builder().prop_flat_map(move |builder| {
        let entity = Arc::new(builder.build(EntityId(id)).expect("a valid description"));
        (vec(query(&entity), 1..4), vec(cells(&entity, Alphabet::Any), 4..24), 0..16usize)
            .prop_map(move |(queries, pool, initial)| Table { entity: entity.clone(), queries, pool, initial })
    })
}

fn plan() -> impl Strategy<Value = Plan> {
    (
        [table(0), table(1)],
        vec((place(), place()).prop_map(|(plan, tenant)| Step::Subscribe { plan, tenant }), 1..4),
        vec(step(), 1..160),
        prop_oneof![Just(Some(0)), Just(Some(1)), Just(Some(3)), Just(None)],
        1..9usize,
    )
        .prop_map(|(tables, mut steps, more, cushion, log_batches)| {
            steps.extend(more);
            Plan { tables, steps, cushion, log_batches }
        })
}

#[test]
fn every_list_is_exact_after_every_batch() {
    let cases = std::env::var("TIDEGATE_HISTORIES").ok().and_then(|count| count.parse().ok()).unwrap_or(10_000);
    let config = Config { cases, max_shrink_iters: 20_000, ..Config::with_source_file(file!()) };

    let result = TestRunner::new(config).run(&plan(), |plan| {
        let coverage = World::run(&plan).map_err(TestCaseError::fail)?;
        covered_add(&coverage);
        Ok(())
    });
    if let Err(failure) = result {
        panic!("{failure}");
    }
    let covered = COVERED.with(|total| *total.borrow());
    covered.assert(cases);
}

thread_local! {
    static COVERED: std::cell::RefCell<Coverage> = std::cell::RefCell::default();
}

fn covered_add(coverage: &Coverage) {
    COVERED.with(|total| total.borrow_mut().add(coverage));
}
