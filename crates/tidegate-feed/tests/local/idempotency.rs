//! Asking again under an idempotency key.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use tidegate_feed::{Config, TenantScope, WriteErrorCode, WriteRequest};

use super::{ASSET, Fixture, submit, with_key};

fn increment(f: &Fixture, n: u64) -> WriteRequest {
    let body = format!(r#"{{"changes":[{{"upsert":{{"id":"a","n":{n}}}}},{{"delete":{{"id":"b"}}}}]}}"#);
    f.request(ASSET, &TenantScope::Named(None), &body).unwrap()
}

#[test]
fn the_same_body_gets_the_same_answer_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let f = Fixture::open(dir.path(), Config::default());
    let first = submit(&f.feed, with_key(increment(&f, 1), "k", 1)).recv().unwrap().unwrap();
    submit(&f.feed, increment(&f, 2)).recv().unwrap().unwrap();
    let again = submit(&f.feed, with_key(increment(&f, 1), "k", 1)).recv().unwrap().unwrap();
    assert!(again.replayed);
    assert_eq!((again.position, &again.versions), (first.position, &first.versions));
    drop(f);
    let f = Fixture::open(dir.path(), Config::default());
    assert!(submit(&f.feed, with_key(increment(&f, 1), "k", 1)).recv().unwrap().unwrap().replayed);
    assert_eq!(f.row(ASSET, "", "a").unwrap().version(), 2, "nothing was applied again");
    let error = submit(&f.feed, with_key(increment(&f, 3), "k", 2)).recv().unwrap().unwrap_err();
    assert_eq!((error.code, error.code.status()), (WriteErrorCode::IdempotencyConflict, 409));
}

#[test]
fn duplicates_at_the_same_time_are_applied_once() {
    let dir = tempfile::tempdir().unwrap();
    let f = Fixture::open(dir.path(), Config::default());
    let answers: Vec<_> = (0..50).map(|_| submit(&f.feed, with_key(increment(&f, 1), "k", 1))).collect();
    let written: Vec<_> = answers.iter().map(|answer| answer.recv().unwrap().unwrap()).collect();
    assert!(written.iter().all(|written| written.position.0 == 1));
    assert_eq!(written.iter().filter(|written| !written.replayed).count(), 1);
}

#[test]
fn a_refused_batch_is_not_remembered() {
    let dir = tempfile::tempdir().unwrap();
    let f = Fixture::open(dir.path(), Config::default());
    let mut request = increment(&f, 1);
    request.changes[0].if_version = Some(1);
    assert!(submit(&f.feed, with_key(request.clone(), "k", 1)).recv().unwrap().is_err());
    submit(&f.feed, increment(&f, 0)).recv().unwrap().unwrap();
    assert!(!submit(&f.feed, with_key(request, "k", 1)).recv().unwrap().unwrap().replayed);
}

#[test]
fn answers_are_forgotten_by_age_and_by_number() {
    let dir = tempfile::tempdir().unwrap();
    let now = Arc::new(AtomicU64::new(1_000_000));
    let clock = now.clone();
    let config = Config {
        idempotency_ms: 1_000,
        idempotency_max: 10,
        clock: Arc::new(move || UNIX_EPOCH + Duration::from_millis(clock.load(Ordering::SeqCst))),
        ..Config::default()
    };
    let f = Fixture::open(dir.path(), config);
    let ask = |key: &str| submit(&f.feed, with_key(increment(&f, 1), key, 1)).recv().unwrap().unwrap().replayed;
    assert!(!ask("a"));
    now.fetch_add(999, Ordering::SeqCst);
    assert!(!ask("b"));
    assert!(ask("a"));
    now.fetch_add(2, Ordering::SeqCst);
    assert!(!ask("c"));
    assert!(!ask("a"), "older than its time");
    assert!(ask("b"));
    for i in 0..10 {
        assert!(!ask(&format!("n{i}")));
    }
    assert!(!ask("c"), "past the number that is kept");
    assert!(ask("n9"));
}
