//! What the file does when jobs are forgotten.

use super::*;

fn number(store: &Store, sql: &str) -> i64 {
    store.db.query_row(sql, [], |row| row.get(0)).unwrap()
}

fn filled(dir: &TempDir, jobs: u64, entries: u64, bytes: usize) -> Store {
    let (mut store, _) = open(dir);
    for i in 1..=jobs {
        let mut writes = vec![Write::Job(record(i))];
        writes.extend((1..=entries).map(|n| Write::Entry(event(i, n, bytes))));
        store.commit(&writes).unwrap();
    }
    store
}

#[test]
fn what_is_forgotten_is_deleted_in_pieces_and_its_room_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = filled(&dir, 3, 5_000, 600);
    let pages = number(&store, "PRAGMA page_count");
    store.commit(&[Write::Forget(job_id(1)), Write::Forget(job_id(2))]).unwrap();
    assert!(log(&store, 1).is_empty() && log(&store, 2).is_empty(), "out of sight at once");
    let mut left = number(&store, "SELECT count(*) FROM entry");
    assert_eq!(left, 15_000 - 4_096, "one piece, by number");
    drop(store);
    // The rest is remembered, and a job of the same name is another.
    let (mut store, stored) = open(&dir);
    assert_eq!(stored.jobs.len(), 1);
    store.commit(&[Write::Job(record(1)), Write::Entry(event(1, 1, 10))]).unwrap();
    while number(&store, "SELECT count(*) FROM garbage") > 0 {
        store.commit(&[]).unwrap();
        let now = number(&store, "SELECT count(*) FROM entry");
        assert!(now < left);
        left = now;
    }
    assert_eq!(left, 5_001);
    assert_eq!((log(&store, 1), log(&store, 3).len()), (vec![1], 5_000));
    let mut free = number(&store, "PRAGMA freelist_count");
    while free > number(&store, "PRAGMA page_count") / 4 && free >= 1_024 {
        store.commit(&[]).unwrap();
        let now = number(&store, "PRAGMA freelist_count");
        assert_eq!(now, free - 256, "one piece");
        free = now;
    }
    let now = number(&store, "PRAGMA page_count");
    assert!(now < pages * 3 / 4, "{now} of {pages}, {free} free");
    assert_eq!((log(&store, 1), log(&store, 3).len()), (vec![1], 5_000));
}

#[test]
fn pieces_are_bounded_by_bytes_and_larger_than_what_is_added() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = filled(&dir, 2, 40, 500_000);
    store.commit(&[Write::Forget(job_id(1))]).unwrap();
    assert_eq!(number(&store, "SELECT count(*) FROM entry"), 80 - 9, "4 MiB");
    let added: Vec<_> = (41..=60).map(|n| Write::Entry(event(2, n, 500_000))).collect();
    store.commit(&added).unwrap();
    assert_eq!(number(&store, "SELECT count(*) FROM entry WHERE job = 1"), 0, "10 MB and twice as much");
}

#[test]
fn a_log_that_is_trimmed_as_it_grows_does_not_grow_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = filled(&dir, 1, 2_000, 600);
    let pages = number(&store, "PRAGMA page_count");
    for last in (2_250..=10_000).step_by(250) {
        let mut writes: Vec<_> = (last - 249..=last).map(|n| Write::Entry(event(1, n, 600))).collect();
        writes.push(Write::Trim { job: job_id(1), through: last - 2_000 });
        store.commit(&writes).unwrap();
    }
    assert!(number(&store, "PRAGMA page_count") < pages + pages / 4);
}

#[test]
fn what_waits_to_be_deleted_is_out_of_sight_and_of_no_other_job() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = filled(&dir, 1, 10_000, 10);
    store.commit(&[Write::Trim { job: job_id(1), through: 9_000 }]).unwrap();
    assert_eq!(number(&store, "SELECT count(*) FROM entry"), 10_000 - 4_096);
    assert_eq!(log(&store, 1), (9_001..=10_000).collect::<Vec<_>>());
    drop(store);
    let (mut store, stored) = open(&dir);
    assert_eq!((stored.jobs[0].log.first(), stored.jobs[0].log.next()), (9_001, 10_001));
    // The newest goes, and another comes.
    let mut writes = vec![Write::Forget(job_id(1)), Write::Job(record(2))];
    writes.extend((1..=20).map(|n| Write::Entry(event(2, n, 10))));
    store.commit(&writes).unwrap();
    while number(&store, "SELECT count(*) FROM garbage") > 0 {
        assert_eq!(log(&store, 2), (1..=20).collect::<Vec<_>>());
        store.commit(&[]).unwrap();
    }
    assert_eq!((log(&store, 2), number(&store, "SELECT count(*) FROM entry")), ((1..=20).collect(), 20));
}
