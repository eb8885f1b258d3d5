//! What the store makes of logs: entries a second by the size of commits, and pages.
#![allow(clippy::unwrap_used, reason = "a bench fails by panicking")]

use std::sync::Arc;

use bytes::Bytes;
use divan::Bencher;
use divan::counter::ItemsCount;
use tempfile::TempDir;
use tidegate_jobs::lease::{Constraints, Lease};
use tidegate_jobs::store::{Store, Write};
use tidegate_jobs::{Accepted, AgentRef, Entry, JobId, Owner, Record, SessionId, TraceId, What};

fn main() {
    divan::main();
}

fn record(job: JobId) -> Arc<Record> {
    let accepted = Accepted {
        job,
        agent: AgentRef { name: "burst".into(), version: "1.0.0".into() },
        lease: Lease::default(),
        constraints: Constraints::default(),
        budget: None,
        accepted_at_ms: 0,
        trace: TraceId::new(1),
        parent: None,
    };
    Arc::new(Record {
        accepted: Arc::new(accepted),
        owner: Owner { tenant: "".into(), name: "local".into() },
        session: SessionId::new(0, 1),
        request_id: None,
        key: None,
        ends_at_ms: None,
        depth: 0,
    })
}

/// Jobs that write in turns, entries of 200 bytes, and a trim of each once it has 10,000.
struct Logs {
    store: Store,
    jobs: Vec<JobId>,
    written: u64,
    _dir: TempDir,
}

impl Logs {
    fn open(jobs: u128) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = Store::open(dir.path()).unwrap();
        let jobs: Vec<_> = (0..jobs).map(|i| JobId::new(0, i + 1)).collect();
        store.commit(&jobs.iter().map(|job| Write::Job(record(*job))).collect::<Vec<_>>()).unwrap();
        Self { store, jobs, written: 0, _dir: dir }
    }

    fn commit(&mut self, entries: u64) {
        let payload = Bytes::from(format!("{{\"kind\":\"log\",\"ts\":\"\",\"body\":\"{}\"}}", "x".repeat(166)));
        let mut writes = Vec::with_capacity(entries as usize);
        for _ in 0..entries {
            let jobs = self.jobs.len() as u64;
            let (job, n) = (self.jobs[(self.written % jobs) as usize], self.written / jobs + 1);
            let what = What::Event(payload.clone());
            writes.push(Write::Entry(Arc::new(Entry { job, n, trace: None, what })));
            if n > 10_000 && n % 1_250 == 0 {
                writes.push(Write::Trim { job, through: n - 8_750 });
            }
            self.written += 1;
        }
        self.store.commit(&writes).unwrap();
    }
}

/// Each sample is many commits: the write-ahead log being copied into the file and what is trimmed being deleted are part of it.
#[divan::bench(consts = [1, 100, 1_000], args = [1, 50], sample_count = 5, sample_size = 1)]
fn commits_of<const ENTRIES: u64>(bencher: Bencher<'_, '_>, jobs: u128) {
    let commits = 200;
    let bencher = bencher.counter(ItemsCount::new(commits * ENTRIES as usize));
    let mut logs = Logs::open(jobs);
    bencher.bench_local(|| (0..commits).for_each(|_| logs.commit(ENTRIES)));
}

/// Pages of one of 50 jobs that wrote in turns.
#[divan::bench(args = [1, 100, 1_000])]
fn page_of(bencher: Bencher<'_, '_>, entries: u64) {
    let mut logs = Logs::open(50);
    (0..200).for_each(|_| logs.commit(1_000));
    let mut reader = logs.store.reader().unwrap();
    let mut from = 0;
    bencher.counter(ItemsCount::new(entries)).bench_local(|| {
        from = (from + entries) % 3_000;
        let page = reader.entries(logs.jobs[7], from + 1, from + entries, usize::MAX).unwrap();
        assert_eq!(page.len() as u64, entries);
    });
}

/// 100,000 entries in 50 logs.
#[divan::bench(sample_count = 10)]
fn open(bencher: Bencher<'_, '_>) {
    let mut logs = Logs::open(50);
    (0..100).for_each(|_| logs.commit(1_000));
    let Logs { store, _dir: dir, .. } = logs;
    drop(store);
    bencher.bench_local(|| Store::open(dir.path()).unwrap().1.jobs.len());
}
