//! What is there after a crash, and after a commit that failed.

use std::fs;

use super::*;

/// As a process that dies leaves its files: nothing is closed, and of the write-ahead log there may be a part.
fn copied(from: &TempDir, wal_bytes: Option<usize>) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    fs::copy(from.path().join("jobs.db"), to.path().join("jobs.db")).unwrap();
    let wal = fs::read(from.path().join("jobs.db-wal")).unwrap();
    fs::write(to.path().join("jobs.db-wal"), &wal[..wal_bytes.unwrap_or(wal.len())]).unwrap();
    to
}

#[test]
fn a_crash_loses_nothing_that_was_committed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(&dir);
    store.commit(&[Write::Job(record(1))]).unwrap();
    for n in 1..=20 {
        store.commit(&[Write::Entry(event(1, n, 3_000))]).unwrap();
        let crashed = copied(&dir, None);
        let (store, stored) = open(&crashed);
        assert_eq!((stored.jobs[0].log.last(), log(&store, 1).len() as u64), (n, n));
    }
}

#[test]
fn a_torn_log_ends_between_two_commits() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir));
    let (mut store, _) = open(&dir);
    store.commit(&[Write::Job(record(1)), Write::Entry(event(1, 1, 10))]).unwrap();
    for n in 1..=8 {
        // Each of several pages.
        store.commit(&[Write::Entry(event(1, 2 * n, 5_000)), Write::Entry(event(1, 2 * n + 1, 5_000))]).unwrap();
    }
    let bytes = fs::metadata(dir.path().join("jobs.db-wal")).unwrap().len() as usize;
    let mut seen = Vec::new();
    for wal_bytes in (0..=bytes).step_by(1_357).chain([bytes]) {
        let crashed = copied(&dir, Some(wal_bytes));
        let (store, stored) = open(&crashed);
        let last = stored.jobs.first().map_or(0, |job| job.log.last());
        assert_eq!(log(&store, 1), (1..=last).collect::<Vec<_>>());
        assert!(last == 0 || last % 2 == 1, "half a commit: {last}");
        seen.push(last);
    }
    assert!(seen.is_sorted() && seen[0] == 0);
    seen.dedup();
    assert_eq!(seen, [0, 1, 3, 5, 7, 9, 11, 13, 15, 17]);
}

#[test]
fn a_full_disk_takes_nothing_and_the_same_is_taken_later() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(&dir);
    store.commit(&[Write::Job(record(1)), Write::Entry(event(1, 1, 10))]).unwrap();
    let bound = |store: &Store, pages: i64| {
        store.db.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).unwrap();
    };
    bound(&store, 1);
    let mut writes = vec![Write::Job(record(2)), Write::Trim { job: job_id(1), through: 1 }];
    writes.extend((2..=500).map(|n| Write::Entry(event(1, n, 500))));
    writes.push(Write::Entry(event(2, 1, 10)));
    for _ in 0..2 {
        let error = store.commit(&writes).unwrap_err();
        let Reason::Sqlite(cause) = &error.reason else { panic!("{error}") };
        assert_eq!(cause.sqlite_error_code(), Some(rusqlite::ErrorCode::DiskFull));
        assert!(error.to_string().contains("jobs.db") && error.to_string().contains("full"), "{error}");
        assert_eq!((log(&store, 1), log(&store, 2)), (vec![1], vec![]));
    }
    bound(&store, 1 << 30);
    store.commit(&writes).unwrap();
    assert_eq!((log(&store, 1), log(&store, 2)), ((2..=500).collect(), vec![1]));
}
