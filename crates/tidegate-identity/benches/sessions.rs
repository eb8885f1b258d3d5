//! What it costs to hold sessions in memory: a million of them, ids and users of 36 bytes, keys of 44. What a hit costs is in
//! `sessions_hit`.

#![allow(clippy::expect_used, missing_docs, unreachable_pub, unused)]

#[path = "../src/sessions/cache.rs"]
mod cache;
#[path = "../src/sessions/snapshot.rs"]
mod snapshot;
#[path = "../src/sessions/table.rs"]
mod table;

use std::cell::Cell;

use cache::Cache;
use divan::{Bencher, black_box};
use snapshot::{Snapshot, decode};

const SESSIONS: u64 = 1_000_000;

fn main() {
    divan::main();
}

fn id(n: u64) -> String {
    format!("{n:08x}-0000-4000-8000-{n:012x}")
}

fn session(n: u64) -> Snapshot {
    let user = id(n ^ 0xffff).into();
    let public_key = format!("{n:043x}=").into();
    Snapshot { id: id(n).into(), user, public_key, is_revoked: false, revoked_at_ms: None }
}

fn full() -> Cache {
    let mut cache = Cache::new(SESSIONS as usize, 1);
    for n in 0..SESSIONS {
        cache.apply(Ok(session(n)));
    }
    cache
}

/// All numbers below `SESSIONS` in an order that no cache line foresees.
fn scattered() -> impl Fn() -> u64 {
    let next = Cell::new(1u64);
    move || {
        next.set(next.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
        (next.get() >> 33) % SESSIONS
    }
}

#[divan::bench(sample_size = 1_000)]
fn miss(bencher: Bencher<'_, '_>) {
    let cache = full();
    let next = scattered();
    bencher.with_inputs(|| id(next() + SESSIONS)).bench_local_refs(|id| cache.get(black_box(id)).is_none());
}

#[divan::bench(sample_size = 1_000)]
fn replaced(bencher: Bencher<'_, '_>) {
    let mut cache = full();
    let next = scattered();
    bencher.with_inputs(|| session(next())).bench_local_values(|session| cache.apply(Ok(session)));
}

#[divan::bench(sample_size = 1_000)]
fn stored_at_the_cap(bencher: Bencher<'_, '_>) {
    let mut cache = full();
    let next = Cell::new(SESSIONS);
    let input = || session(next.replace(next.get() + 1));
    bencher.with_inputs(input).bench_local_values(|session| cache.apply(Ok(session)));
}

#[divan::bench(sample_size = 1_000)]
fn decoded(bencher: Bencher<'_, '_>) {
    let Snapshot { id, user, public_key, .. } = session(7);
    let fields: [(&[u8], &[u8]); 5] = [
        (b"device_session_id", id.as_bytes()),
        (b"user_id", user.as_bytes()),
        (b"client_public_key", public_key.as_bytes()),
        (b"status", b"revoked"),
        (b"revoked_at_ms", b"1700000000000"),
    ];
    bencher.bench(|| decode(black_box(fields).into_iter()));
}
