//! What the store promises, on real files.

use bytes::Bytes;
use serde_json::value::RawValue;
use tempfile::TempDir;

mod crash;
mod hostile;
mod model;
mod size;

use super::*;
use crate::lease::{Constraints, Lease};
use crate::*;
use std::sync::Arc;

fn job_id(i: u64) -> JobId {
    JobId::new(1_700_000_000_000 + i, u128::from(i) << 7 | 1)
}

fn session_id(i: u64) -> SessionId {
    SessionId::new(1_700_000_000_000 + i, u128::from(i) << 7 | 1)
}

fn owner() -> Owner {
    Owner { tenant: "acme".into(), name: "user:ann".into() }
}

fn record(i: u64) -> Arc<Record> {
    let accepted = Accepted {
        job: job_id(i),
        agent: AgentRef { name: "echo".into(), version: "1.0.0".into() },
        lease: Lease::default(),
        constraints: Constraints { expires_at_ms: Some(u64::MAX) },
        budget: None,
        accepted_at_ms: 1_700_000_000_000,
        trace: TraceId::new(u128::from(i) + 1),
        parent: (i % 2 == 1).then(|| (job_id(0), "d1".into())),
    };
    Arc::new(Record {
        accepted: Arc::new(accepted),
        owner: owner(),
        session: session_id(0),
        request_id: Some("req".into()),
        key: Some(Idempotency { key: "k".into(), parameters: [7; 32] }),
        ends_at_ms: Some(i),
        depth: 0,
    })
}

fn event(i: u64, n: u64, bytes: usize) -> Arc<Entry> {
    let payload = format!("{{\"kind\":\"log\",\"n\":{n},\"fill\":\"{}\"}}", "x".repeat(bytes));
    Arc::new(Entry {
        job: job_id(i),
        n,
        trace: Some(TraceId::new(u128::from(i) + 1)),
        what: What::Event(Bytes::from(payload)),
    })
}

fn end(i: u64, n: u64, result: &str) -> Arc<Entry> {
    let result: Option<Box<RawValue>> = Some(serde_json::from_str::<&RawValue>(result).unwrap().to_owned());
    let outcome = Outcome::Result { result, summary: Some("done".into()) };
    let ending = Ending { status: FinalStatus::Success, at_ms: 17, outcome };
    let trace = Some(TraceId::new(u128::from(i) + 1));
    Arc::new(Entry { job: job_id(i), n, trace, what: What::End(Arc::new(ending)) })
}

/// All of an entry, to be compared.
fn shown(entry: &Entry) -> String {
    match &entry.what {
        What::Event(payload) => format!("{} {} {:?} {payload:?}", entry.job, entry.n, entry.trace),
        What::End(ending) => {
            format!("{} {} {:?} {}", entry.job, entry.n, entry.trace, serde_json::to_string(ending).unwrap())
        }
    }
}

fn open(dir: &TempDir) -> (Store, Stored) {
    Store::open(dir.path()).unwrap()
}

fn log(store: &Store, i: u64) -> Vec<u64> {
    let entries = store.reader().unwrap().entries(job_id(i), 0, u64::MAX, usize::MAX).unwrap();
    entries.iter().map(|entry| entry.n).collect()
}

#[test]
fn what_was_committed_is_read_and_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, stored) = open(&dir);
    assert!(stored.jobs.is_empty() && stored.sessions.is_empty() && stored.credentials.is_empty());
    let kept = Kept { said: 3, is_running: true, ..Kept::default() };
    let credential = CredentialId::new(5, 5);
    store
        .commit(&[
            Write::Job(record(1)),
            Write::Entry(event(1, 1, 10)),
            Write::Keep { job: job_id(1), kept: Arc::new(kept.clone()) },
            Write::Entry(event(1, 2, 20)),
            Write::Entry(end(1, 3, "null")),
            Write::CredentialIssued { job: job_id(1), id: credential },
        ])
        .unwrap();
    let mut reader = store.reader().unwrap();
    let entries = reader.entries(job_id(1), 1, 9, usize::MAX).unwrap();
    let expected = [event(1, 1, 10), event(1, 2, 20), end(1, 3, "null")];
    assert!(entries.iter().map(shown).eq(expected.iter().map(|entry| shown(entry))));
    drop(store);

    let (mut store, stored) = open(&dir);
    let [job] = &stored.jobs[..] else { panic!("{stored:?}") };
    assert_eq!(serde_json::to_string(&job.record).unwrap(), serde_json::to_string(&record(1)).unwrap());
    assert_eq!((&job.kept, job.log.first(), job.log.next()), (&kept, 1, 4));
    assert!(job.log.sizes().eq(expected.iter().map(|entry| entry.bytes() as u32)));
    assert_eq!(job.ending.as_deref().map(shown), Some(shown(&expected[2])), "also a result that is null");
    assert_eq!(stored.credentials, [(job_id(1), credential)]);

    store.commit(&[Write::Forget(job_id(1))]).unwrap();
    store.commit(&[Write::Forget(job_id(1)), Write::Trim { job: job_id(1), through: 1 }]).unwrap();
    assert!(log(&store, 1).is_empty());
    drop(store);
    let (mut store, stored) = open(&dir);
    assert!(stored.jobs.is_empty());
    assert_eq!(stored.credentials.len(), 1, "a credential is there until it is revoked");
    store.commit(&[Write::CredentialRevoked(credential), Write::Job(record(1))]).unwrap();
    drop(store);
    let (_, stored) = open(&dir);
    assert_eq!((stored.credentials.len(), stored.jobs[0].log.next()), (0, 1));
}

#[test]
fn a_page_ends_at_its_bytes_and_has_one_entry_at_least() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(&dir);
    let mut writes = vec![Write::Job(record(1))];
    writes.extend((1..=9).map(|n| Write::Entry(event(1, n, 100))));
    writes.push(Write::Entry(end(1, 10, "[1]")));
    store.commit(&writes).unwrap();
    let mut reader = store.reader().unwrap();
    let mut page = |from, through, bytes_max| -> Vec<u64> {
        let entries = reader.entries(job_id(1), from, through, bytes_max).unwrap();
        entries.iter().map(|entry| entry.n).collect()
    };
    let each = event(1, 1, 100).bytes();
    assert_eq!(page(0, u64::MAX, usize::MAX), (1..=10).collect::<Vec<_>>());
    assert_eq!(page(3, 5, usize::MAX), [3, 4, 5]);
    assert_eq!(page(3, 9, 2 * each), [3, 4]);
    assert_eq!(page(3, 9, 2 * each - 1), [3]);
    assert_eq!(page(3, 9, 0), [3]);
    assert_eq!(page(9, 10, each), [9], "the end is an entry like others");
    assert_eq!(page(10, 10, 0), [10]);
    assert!(page(11, 20, 9_999).is_empty() && page(5, 4, 9_999).is_empty() && page(u64::MAX, u64::MAX, 9).is_empty());
    assert!(reader.entries(job_id(2), 1, 9, 9).unwrap().is_empty());
}

#[test]
fn what_is_trimmed_is_out_of_sight_and_the_end_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(&dir);
    let mut writes = vec![Write::Job(record(1)), Write::Job(record(2))];
    writes.extend((1..=5).flat_map(|n| [Write::Entry(event(1, n, 9)), Write::Entry(event(2, n, 9))]));
    store.commit(&writes).unwrap();
    store.commit(&[Write::Trim { job: job_id(1), through: 2 }]).unwrap();
    store.commit(&[Write::Trim { job: job_id(1), through: 1 }]).unwrap();
    assert_eq!((log(&store, 1), log(&store, 2)), (vec![3, 4, 5], vec![1, 2, 3, 4, 5]));
    // All that there is, and then goes on where it was.
    store.commit(&[Write::Trim { job: job_id(1), through: u64::MAX }, Write::Entry(event(1, 6, 9))]).unwrap();
    assert_eq!(log(&store, 1), [6]);
    store.commit(&[Write::Entry(end(1, 7, "1")), Write::Trim { job: job_id(1), through: u64::MAX }]).unwrap();
    assert_eq!(log(&store, 1), [7]);
    drop(store);
    let (_, stored) = open(&dir);
    assert_eq!((stored.jobs[0].log.first(), stored.jobs[0].log.next()), (7, 8));
}

#[test]
fn only_the_next_entry_of_a_job_that_is_there_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(&dir);
    store.commit(&[Write::Job(record(1)), Write::Entry(event(1, 1, 9))]).unwrap();
    store.commit(&[Write::Job(record(2)), Write::Entry(end(2, 1, "1"))]).unwrap();
    for wrong in [
        Write::Entry(event(1, 1, 9)),
        Write::Entry(event(1, 4, 9)),
        Write::Entry(event(2, 2, 9)),
        Write::Entry(event(3, 1, 9)),
        Write::Entry(event(1, u64::MAX, 9)),
        Write::Keep { job: job_id(3), kept: Arc::default() },
        Write::Floor { session: session_id(1), seq: 1 },
        Write::Segment { session: session_id(1), seq: 1, job: job_id(1), n: 1 },
    ] {
        let writes = [Write::Entry(event(1, 2, 9)), wrong.clone()];
        let error = store.commit(&writes).unwrap_err();
        assert!(matches!(error.reason, Reason::Refused(_)), "{wrong:?}: {error}");
        assert_eq!(log(&store, 1), [1], "nothing of it is there");
    }
    store.commit(&[Write::Entry(event(1, 2, 9))]).unwrap();
}

#[test]
fn a_session_is_found_again_with_what_its_numbers_are_of() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(&dir);
    let mut session =
        SessionRecord { id: session_id(1), owner: owner(), token: [1; 32], previous: None, created_ms: 5 };
    let segment = |seq, i, n| Write::Segment { session: session_id(1), seq, job: job_id(i), n };
    let floor = |seq| Write::Floor { session: session_id(1), seq };
    store.commit(&[Write::Session(session.clone()), segment(1, 1, 1), segment(5, 2, 1), segment(9, 1, 5)]).unwrap();
    (session.token, session.previous) = ([2; 32], Some([1; 32]));
    store.commit(&[Write::Session(session.clone()), floor(3)]).unwrap();
    let reopened = |store: Store| {
        drop(store);
        let (store, stored) = open(&dir);
        let [found] = &stored.sessions[..] else { panic!("{stored:?}") };
        let segments = found.segments.iter().map(|segment| (segment.seq, segment.job, segment.n)).collect::<Vec<_>>();
        (store, found.record.clone(), found.floor, segments)
    };
    let (one, two, three) = ((1, job_id(1), 1), (5, job_id(2), 1), (9, job_id(1), 5));
    let (mut store, record, at, segments) = reopened(store);
    assert_eq!((record, at, segments), (session, 3, vec![one, two, three]));
    store.commit(&[floor(4)]).unwrap();
    let (mut store, _, at, segments) = reopened(store);
    assert_eq!((at, segments), (4, vec![two, three]));
    store.commit(&[floor(100), floor(50)]).unwrap();
    let (mut store, _, at, segments) = reopened(store);
    assert_eq!((at, segments), (100, vec![three]), "the last stays");
    store.commit(&[Write::SessionEnded(session_id(1)), Write::SessionEnded(session_id(2))]).unwrap();
    drop(store);
    assert!(open(&dir).1.sessions.is_empty());
}

#[test]
fn one_process_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(&dir);
    let error = Store::open(dir.path()).unwrap_err();
    assert!(matches!(error.reason, Reason::Locked));
    assert!(error.to_string().starts_with(&dir.path().display().to_string()), "{error}");
    drop(store);
    open(&dir);
}
