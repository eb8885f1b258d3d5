//! What a million sessions take in memory, and how long the longest entry held everybody up while they came: the process's
//! resident size before and after, then after each was revoked, then after as many others came.
//!
//! Times are told by the clock, and by the processor time of this thread: on a machine that has something else to do
//! the former shows that too.

#![allow(clippy::expect_used, missing_docs, unreachable_pub, unused)]

#[path = "../src/sessions/cache.rs"]
mod cache;
#[path = "../src/sessions/snapshot.rs"]
mod snapshot;
#[path = "../src/sessions/table.rs"]
mod table;

use std::time::{Duration, Instant};

use cache::Cache;
use rustix::time::{ClockId, clock_gettime};
use snapshot::Snapshot;

const SESSIONS: u64 = 1_000_000;

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a Linux machine");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("a resident size");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") * 1024
}

fn id(n: u64) -> String {
    format!("{n:08x}-0000-4000-8000-{n:012x}")
}

fn session(n: u64, is_revoked: bool) -> Snapshot {
    let public_key = format!("{n:043x}=").into();
    Snapshot { id: id(n).into(), user: id(n ^ 0xffff).into(), public_key, is_revoked, revoked_at_ms: None }
}

fn busy() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("less than a second"))
}

/// The longest of them, in processor time and by the clock.
fn apply(cache: &mut Cache, sessions: impl Iterator<Item = Snapshot>) -> [Duration; 2] {
    let took = |session| {
        let (start, worked) = (Instant::now(), busy());
        cache.apply(Ok(session));
        [busy() - worked, start.elapsed()]
    };
    sessions.map(took).fold([Duration::ZERO; 2], |longest, took| [longest[0].max(took[0]), longest[1].max(took[1])])
}

fn main() {
    let before = resident_bytes();
    let mut cache = Cache::new(SESSIONS as usize, 1);
    let report = |what, [busy, waited]: [Duration; 2], len| {
        let held = (resident_bytes() - before) / 1_000_000;
        println!(
            "{what}: {held} MB (gate: 250) for {len}; longest entry {busy:?} (gate: 5 ms), {waited:?} by the clock"
        );
    };
    let longest = apply(&mut cache, (0..SESSIONS).map(|n| session(n, false)));
    report("filled", longest, cache.len());
    let longest = apply(&mut cache, (0..SESSIONS).map(|n| session(n, true)));
    report("all revoked", longest, cache.len());
    let longest = apply(&mut cache, (SESSIONS..2 * SESSIONS).map(|n| session(n, n % 2 == 0)));
    report("others came", longest, cache.len());
    let start = Instant::now();
    let old = cache.empty();
    let emptied = start.elapsed();
    drop(old);
    println!("emptied in {emptied:?}, freed in {:?}", start.elapsed() - emptied);
}
