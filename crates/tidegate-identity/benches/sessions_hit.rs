//! What it costs to find that a session stands which is held in memory, among a million of them in no order: the table through a
//! lock as the product has it, and `Sessions::check` as a whole, with sessions that came from a real Redis.
//!
//! A hit is far shorter than a clock is exact, so a thousand are timed at once: by the processor time of the thread, which a
//! machine that has something else to do does not add to, and by the clock. Told is the median of a thousand such times, and
//! the best.

#![allow(clippy::expect_used, missing_docs, unreachable_pub, unused)]

#[path = "../src/sessions/cache.rs"]
mod cache;
#[path = "../src/sessions/snapshot.rs"]
mod snapshot;
#[path = "../src/sessions/table.rs"]
mod table;

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, RwLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use cache::Cache;
use rustix::time::{ClockId, clock_gettime};
use snapshot::Snapshot;
use tidegate_identity::{
    Answer, Clock, Principal, PrincipalKind, RedisSettings, Secret, SessionStore, Sessions, SessionsSettings,
};
use tidegate_testkit::redis::Redis;
use tokio::runtime::Runtime;

const SESSIONS: u64 = 1_000_000;
/// Hits that are timed at once.
const AT_ONCE: u64 = 1_000;
const TIMES: u64 = 1_000;
const STREAM: &str = "session_events";
/// Sessions that are sent to Redis at once.
const SENT: u64 = 5_000;

fn id(n: u64) -> String {
    format!("{n:08x}-0000-4000-8000-{n:012x}")
}

fn user(n: u64) -> String {
    id(n ^ 0xffff)
}

fn public_key(n: u64) -> String {
    format!("{n:043x}=")
}

/// In an order that no cache line foresees.
fn scattered(n: u64) -> u64 {
    (n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407) >> 33) % SESSIONS
}

fn busy() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).expect("less than a second"))
}

/// Times hits on this thread: of the processor and by the clock, each sorted. `input` is made beforehand; a hit is `true`.
fn timed<T>(first: u64, input: impl Fn(u64) -> T, hit: impl Fn(&T) -> bool) -> [Vec<Duration>; 2] {
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..TIMES {
        let inputs: Vec<T> = (0..AT_ONCE).map(|n| input(scattered(first + round * AT_ONCE + n))).collect();
        let (start, worked) = (Instant::now(), busy());
        let hits = inputs.iter().filter(|input| hit(input)).count();
        let took = [busy() - worked, start.elapsed()];
        assert_eq!(hits, inputs.len(), "all of them are held");
        times.iter_mut().zip(took).for_each(|(times, took)| times.push(took / AT_ONCE as u32));
    }
    times.iter_mut().for_each(|times| times.sort_unstable());
    times
}

/// The same on this thread alone, and on as many as the machine has cores.
fn report<T>(what: &str, input: impl Fn(u64) -> T + Sync, hit: impl Fn(&T) -> bool + Sync) {
    let tell = |threads: usize, [busy, clock]: [Vec<Duration>; 2]| {
        let at = |times: &[Duration]| (times[times.len() / 2], times[0]);
        let ((busy, least), (clock, soonest)) = (at(&busy), at(&clock));
        println!("{what}, {threads} threads: {busy:?} (best {least:?}), by the clock {clock:?} (best {soonest:?})");
    };
    tell(1, timed(0, &input, &hit));
    let threads = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads as u64).map(|nth| (nth << 32, &input, &hit)).collect();
        let others: Vec<_> =
            others.into_iter().map(|(first, input, hit)| scope.spawn(move || timed(first, input, hit))).collect();
        tell(threads, timed(0, &input, &hit));
        others.into_iter().for_each(|other| drop(other.join()));
    });
}

fn of_the_table() {
    let mut cache = Cache::new(SESSIONS as usize, 1);
    for n in 0..SESSIONS {
        let (id, user, public_key) = (id(n).into(), user(n).into(), public_key(n).into());
        cache.apply(Ok(Snapshot { id, user, public_key, is_revoked: false, revoked_at_ms: None }));
    }
    let cache = RwLock::new(cache);
    report("the table through its lock", id, |id| cache.read().expect("nobody panics").get(id).is_some());
}

/// Sessions that follow a Redis, a million of them.
async fn followed(redis: &Redis, directory: &std::path::Path) -> Sessions {
    let clock: Clock =
        Arc::new(|| SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_millis() as u64));
    let settings = SessionsSettings {
        store: SessionStore::Redis(RedisSettings {
            url: Secret::new(redis.url()),
            root_certificate: None,
            stream: STREAM.to_owned(),
            key_prefix: "session:".to_owned(),
            read_block: Duration::from_secs(5),
            marks: directory.join("marks.db"),
        }),
        ..SessionsSettings::default()
    };
    let handle = tokio::runtime::Handle::current();
    let sessions = Sessions::start(&settings, handle, clock).await.expect("sessions of a Redis");
    let mut writer = redis::Client::open(redis.url()).expect("an address").get_connection().expect("a Redis");
    for first in (0..SESSIONS).step_by(SENT as usize) {
        let mut entries = redis::pipe();
        for n in first..first + SENT {
            let entry = entries.cmd("XADD").arg(STREAM).arg("*").arg("device_session_id").arg(id(n));
            entry.arg("user_id").arg(user(n)).arg("client_public_key").arg(public_key(n)).arg("status").arg("active");
        }
        entries.exec(&mut writer).expect("Redis takes them");
    }
    while sessions.metrics().held.load(Relaxed) < SESSIONS {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    sessions
}

fn of_the_check(redis: &Redis) {
    let directory = tempfile::tempdir().expect("a directory");
    let runtime = Runtime::new().expect("a runtime");
    let sessions = runtime.block_on(followed(redis, directory.path()));
    let principal =
        |n| Principal { user: user(n).into(), session: Some(id(n).into()), ..Principal::new(PrincipalKind::User) };
    let hit = |principal: &Principal| matches!(sessions.check_alone(principal), Answer::Now(Ok(())));
    report("Sessions::check_alone (gate: 1 µs)", principal, hit);
    let hit = |principal: &Principal| matches!(sessions.check(principal), Answer::Now(Ok(Some(_))));
    report("Sessions::check, with the key (gate: 1 µs)", principal, hit);
}

fn main() {
    of_the_table();
    if let Some(redis) = Redis::builder().set("appendonly", &["no"]).start() {
        of_the_check(&redis);
    }
}
