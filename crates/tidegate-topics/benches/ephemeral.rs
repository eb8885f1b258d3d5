//! What ephemeral state costs with a million live entries: of 255 or 256 each to 3,907 connections, in one topic, in a thousand
//! topics, and in a topic each. The lock and what subscribers are told are not in it.

#![allow(clippy::expect_used, missing_docs, unreachable_pub, unused)]

#[path = "../src/ephemeral/entries.rs"]
mod entries;

use std::cell::Cell;
use std::sync::Arc;

use bytes::Bytes;
use divan::{Bencher, black_box};
use entries::Entries;
use tidegate_model::Tenant;
use tidegate_topics::{Entry, Limits, Options, Owner, Set, Topic, TopicError};

const ENTRIES: u64 = 1_000_000;
const OWNERS: u64 = 3_907;

fn main() {
    divan::main();
}

struct World {
    entries: Entries,
    topics: Vec<Arc<Topic>>,
    owners: Vec<Owner>,
}

impl World {
    fn new(entries: u64, topics: u64) -> Self {
        let options: Arc<Options> = Arc::default();
        let topic =
            |n| Topic { tenant: Tenant::new("acme"), name: format!("doc:{n}").into(), options: options.clone() };
        let owner = |n| Owner { tenant: Tenant::new("acme"), client: format!("c_{n:032x}").into() };
        let mut world = Self {
            entries: Entries::new(Limits { entries: usize::MAX, ..Limits::default() }),
            topics: (0..topics).map(|n| Arc::new(topic(n))).collect(),
            // Beyond those that own, some that do not yet.
            owners: (0..OWNERS * 2).map(owner).collect(),
        };
        for n in 0..entries {
            world.entries.set(&world.set(n, n), n / 100).expect("there is room");
        }
        world
    }

    /// The set of the nth entry.
    fn set(&self, n: u64, owned_as: u64) -> Set {
        Set {
            topic: self.topic(n).clone(),
            key: format!("cursor:{n}").into(),
            payload: Bytes::from(vec![b'x'; 40]),
            ttl_ms: 0,
            owner: self.owners[(owned_as % OWNERS) as usize].clone(),
        }
    }

    fn topic(&self, n: u64) -> &Arc<Topic> {
        &self.topics[n as usize % self.topics.len()]
    }
}

/// All numbers below `below` in an order that no cache line foresees.
fn scattered(below: u64) -> impl Fn() -> u64 {
    let next = Cell::new(1u64);
    move || {
        next.set(next.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
        (next.get() >> 33) % below
    }
}

/// One's own key, later: nothing about its timer changes.
#[divan::bench(args = [1, 1_000, 1_000_000], sample_size = 1_000)]
fn set_own(bencher: Bencher<'_, '_>, topics: u64) {
    let mut world = World::new(ENTRIES, topics);
    let next = scattered(ENTRIES);
    let inputs: Vec<_> = (0..200_000).map(|_| next()).map(|n| world.set(n, n)).collect();
    let nth = Cell::new(0);
    bencher
        .with_inputs(|| inputs[nth.replace(nth.get() + 1) % inputs.len()].clone())
        .bench_local_refs(|set| world.entries.set(black_box(set), 20_000));
}

/// One's own key, with a shorter life each time: its timer moves.
#[divan::bench(args = [1_000], sample_size = 1_000)]
fn set_own_shorter(bencher: Bencher<'_, '_>, topics: u64) {
    let mut world = World::new(ENTRIES, topics);
    let next = scattered(ENTRIES);
    let inputs: Vec<_> = (0..200_000).map(|_| next()).map(|n| world.set(n, n)).collect();
    let nth = Cell::new(0usize);
    let input = || {
        let turn = nth.replace(nth.get() + 1);
        Set { ttl_ms: 59_000 - turn as i64 / 100, ..inputs[turn % inputs.len()].clone() }
    };
    bencher.with_inputs(input).bench_local_refs(|set| world.entries.set(black_box(set), 0));
}

/// A key that was not there, in a topic that was.
#[divan::bench(args = [1, 1_000, 1_000_000], sample_size = 1_000)]
fn set_new(bencher: Bencher<'_, '_>, topics: u64) {
    let mut world = World::new(ENTRIES, topics);
    let (next, nth) = (scattered(ENTRIES), Cell::new(ENTRIES));
    let fresh = world.owners.split_off(OWNERS as usize);
    let inputs: Vec<_> = (0..110_000)
        .map(|n| Set {
            key: format!("pointer:{n}").into(),
            owner: fresh[n as usize % fresh.len()].clone(),
            ..world.set(next(), 0)
        })
        .collect();
    let nth = Cell::new(0);
    bencher
        .with_inputs(|| inputs[nth.replace(nth.get() + 1) % inputs.len()].clone())
        .bench_local_refs(|set| world.entries.set(black_box(set), 20_000).expect("there is room"));
}

/// Another's key: both owners' lists change.
#[divan::bench(args = [1_000], sample_size = 1_000)]
fn set_taken_over(bencher: Bencher<'_, '_>, topics: u64) {
    let mut world = World::new(ENTRIES, topics);
    let fresh = world.owners.split_off(OWNERS as usize);
    let next = scattered(ENTRIES);
    let inputs: Vec<_> =
        (0..110_000).map(|n| Set { owner: fresh[n % fresh.len()].clone(), ..world.set(next(), 0) }).collect();
    let nth = Cell::new(0);
    bencher
        .with_inputs(|| inputs[nth.replace(nth.get() + 1) % inputs.len()].clone())
        .bench_local_refs(|set| world.entries.set(black_box(set), 20_000).expect("there is room"));
}

/// A thousand entries, of so many in all.
#[divan::bench(args = [1_000, ENTRIES], sample_size = 10)]
fn list_1000(bencher: Bencher<'_, '_>, total: u64) {
    let world = World::new(total, total / 1_000);
    let next = scattered(total);
    bencher.with_inputs(|| world.topic(next()).clone()).bench_local_refs(|topic| {
        let listed = world.entries.list(black_box(topic), 20_000, usize::MAX).expect("available");
        assert_eq!(listed.len(), 1_000);
        listed
    });
}

/// All of one connection, 256 entries in as many topics.
#[divan::bench(sample_size = 10)]
fn disown_256(bencher: Bencher<'_, '_>) {
    let mut world = World::new(ENTRIES, 1_000);
    let nth = Cell::new(0);
    let input = || world.owners[nth.replace(nth.get() + 1)].clone();
    bencher.with_inputs(input).bench_local_refs(|owner| {
        let gone = world.entries.disown(black_box(owner));
        assert!(gone.len() >= 255);
        gone
    });
}

/// As many as expire while the lock is held.
#[divan::bench(sample_size = 10)]
fn expire_256(bencher: Bencher<'_, '_>) {
    let mut world = World::new(ENTRIES, 1_000);
    bencher.bench_local(|| {
        let gone = world.entries.expire(black_box(1_000_000), 256);
        assert_eq!(gone.len(), 256);
        gone
    });
}
