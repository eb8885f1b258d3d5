//! The bounds of the queue, what shares a commit, and what a failing store leaves.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender, bounded};
use tidegate_feed::{Config, LocalFeed, TenantScope, WriteErrorCode, WriteRequest};
use tidegate_mirror::{Mirror, Options};

use super::{ASSET, Fixture, catalog, submit};

/// A feed whose thread is held in `publish` until it is let go, once for each commit.
struct Held {
    fixture: Fixture,
    /// How many transactions it was given.
    reached: Receiver<usize>,
    let_go: Sender<()>,
}

fn held(dir: &std::path::Path, config: Config) -> Held {
    let catalog = catalog();
    let (mirror, writer) = Mirror::open(dir, &catalog, &Options::default()).unwrap();
    let (publish, published) = bounded(100);
    let ((reach, reached), (let_go, gone)) = (bounded(100), bounded(100));
    let publish = Box::new(move |commit: Vec<_>| {
        let count = commit.len();
        commit.into_iter().for_each(|transaction| publish.send(transaction).unwrap());
        reach.send(count).unwrap();
        gone.recv().unwrap();
    });
    let feed = LocalFeed::start(config, catalog.clone(), writer, publish).unwrap();
    Held { fixture: Fixture { feed, mirror, catalog, published }, reached, let_go }
}

fn row(fixture: &Fixture, id: &str, text: &str) -> WriteRequest {
    let body = format!(r#"{{"changes":[{{"upsert":{{"id":"{id}","text":"{text}"}}}}]}}"#);
    fixture.request(ASSET, &TenantScope::Named(None), &body).unwrap()
}

#[test]
fn what_waits_shares_one_commit_and_is_published_together_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let Held { fixture: f, reached, let_go } = held(dir.path(), Config::default());
    let first = submit(&f.feed, row(&f, "first", ""));
    assert_eq!(reached.recv().unwrap(), 1);
    let rest: Vec<_> = (0..20).map(|i| submit(&f.feed, row(&f, &format!("r{i}"), ""))).collect();
    let_go.send(()).unwrap();
    assert_eq!(reached.recv().unwrap(), 20);
    assert!(rest.iter().all(Receiver::is_empty), "published first, answered then");
    let_go.send(()).unwrap();
    assert_eq!(first.recv().unwrap().unwrap().position.0, 1);
    for (i, answer) in rest.iter().enumerate() {
        assert_eq!(answer.recv().unwrap().unwrap().position.0, i as u64 + 2);
    }
    let positions: Vec<u64> = f.published.try_iter().map(|transaction| transaction.position.0).collect();
    assert_eq!(positions, (1..=21).collect::<Vec<_>>());
    assert_eq!(f.mirror.metrics().commits.load(Ordering::Relaxed), 2);
    assert_eq!(f.feed.metrics().transactions.load(Ordering::Relaxed), 21);
}

#[test]
fn what_is_published_is_durable_and_readable() {
    let dir = tempfile::tempdir().unwrap();
    let Held { fixture: f, reached, let_go } = held(dir.path(), Config::default());
    let answer = submit(&f.feed, row(&f, "a", ""));
    reached.recv().unwrap();
    assert!(f.row(ASSET, "", "a").is_some());
    assert!(answer.is_empty(), "published first, answered then");
    let_go.send(()).unwrap();
    answer.recv().unwrap().unwrap();
}

#[test]
fn past_its_bounds_the_queue_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { queue_requests: 2, queue_bytes: 4_000, ..Config::default() };
    let Held { fixture: f, reached, let_go } = held(dir.path(), config);
    let mut answers = vec![submit(&f.feed, row(&f, "first", ""))];
    reached.recv().unwrap();
    answers.push(submit(&f.feed, row(&f, "second", &"x".repeat(3_000))));
    let error = submit(&f.feed, row(&f, "large", &"x".repeat(3_000))).recv().unwrap().unwrap_err();
    assert_eq!((error.code, error.code.retryable()), (WriteErrorCode::Overloaded, true));
    answers.push(submit(&f.feed, row(&f, "third", "")));
    let error = submit(&f.feed, row(&f, "fourth", "")).recv().unwrap().unwrap_err();
    assert_eq!(error.code, WriteErrorCode::Overloaded);
    (0..2).for_each(|_| let_go.send(()).unwrap());
    for answer in answers {
        answer.recv().unwrap().unwrap();
    }
    let metrics = f.feed.metrics();
    assert_eq!(metrics.overloaded.load(Ordering::Relaxed), 2);
    assert_eq!(metrics.queue_bytes.load(Ordering::Relaxed) + metrics.queue_requests.load(Ordering::Relaxed), 0);
}

#[test]
fn what_waits_when_the_last_handle_goes_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let Held { fixture, reached, let_go } = held(dir.path(), Config::default());
    let first = submit(&fixture.feed, row(&fixture, "a", ""));
    reached.recv().unwrap();
    let second = submit(&fixture.feed, row(&fixture, "b", ""));
    (0..2).for_each(|_| let_go.send(()).unwrap());
    drop(fixture);
    first.recv().unwrap().unwrap();
    second.recv().unwrap().unwrap();
    let again = Fixture::open(dir.path(), Config::default());
    assert!(again.row(ASSET, "", "b").is_some());
}

#[test]
fn a_failed_commit_is_answered_published_to_nobody_and_got_over() {
    let dir = tempfile::tempdir().unwrap();
    let f = Fixture::open(dir.path(), Config::default());
    submit(&f.feed, row(&f, "a", "")).recv().unwrap().unwrap();
    let db = rusqlite::Connection::open(dir.path().join("tidegate.db")).unwrap();
    // The rows are written; moving the position, the last step before COMMIT, fails.
    db.execute_batch("CREATE TRIGGER broken BEFORE UPDATE ON store BEGIN SELECT RAISE(ABORT, 'no space'); END")
        .unwrap();
    let error = submit(&f.feed, row(&f, "b", "")).recv().unwrap().unwrap_err();
    assert_eq!((error.code, error.code.status()), (WriteErrorCode::StoreFailed, 500));
    assert!(f.feed.health().unwrap_err().contains("no space"));
    assert!(f.row(ASSET, "", "b").is_none());
    db.execute_batch("DROP TRIGGER broken").unwrap();
    assert_eq!(submit(&f.feed, row(&f, "c", "")).recv().unwrap().unwrap().position.0, 2);
    assert_eq!(f.feed.health(), Ok(()));
    assert!(f.row(ASSET, "", "b").is_none());
    let positions: Vec<u64> = f.published.try_iter().map(|transaction| transaction.position.0).collect();
    assert_eq!(positions, [1, 2]);
}

#[test]
fn concurrent_writers_each_get_their_own_position() {
    let dir = tempfile::tempdir().unwrap();
    let f = Fixture::open(dir.path(), Config::default());
    let positions = Arc::new(std::sync::Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (f, positions) = (&f, positions.clone());
            scope.spawn(move || {
                for i in 0..25 {
                    let answer = submit(&f.feed, row(f, &format!("{thread}-{i}"), ""));
                    positions.lock().unwrap().push(answer.recv().unwrap().unwrap().position.0);
                }
            });
        }
    });
    let mut positions = positions.lock().unwrap().clone();
    positions.sort_unstable();
    assert_eq!(positions, (1..=200).collect::<Vec<_>>());
    assert_eq!(f.mirror.row_count(ASSET).unwrap(), 200);
}
