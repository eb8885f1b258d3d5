//! Every order of what comes from the stream and what a look-up finds, step by step.

use std::sync::atomic::AtomicU64;

use tokio::sync::{mpsc, oneshot};

use super::connect::Trouble;
use super::lookup::{Lookup, Outcome, Unread};
use super::*;
use crate::sessions::snapshot::Snapshot;

type Found = Result<Option<Snapshot>, Unread>;

/// The core without Redis: reads are answered, entries come and time passes when the test says so.
struct Bench {
    core: Arc<Core>,
    now_ms: Arc<AtomicU64>,
    told: broadcast::Receiver<Revocation>,
}

/// A look-up whose reads wait for the test.
struct Running {
    reads: mpsc::Receiver<oneshot::Sender<Found>>,
    outcome: tokio::task::JoinHandle<Outcome>,
    _run: AbortOnDropHandle<()>,
}

fn bench() -> Bench {
    let now_ms = Arc::new(AtomicU64::new(1_000));
    let time = Arc::clone(&now_ms);
    let (revocations, told) = broadcast::channel(16);
    let core =
        Core::new(100, Duration::from_secs(60), revocations, Arc::default(), Arc::new(move || time.load(Relaxed)));
    Bench { core: Arc::new(core), now_ms, told }
}

fn session(is_revoked: bool) -> Snapshot {
    let (id, user, public_key) = ("s1".into(), "ann".into(), "key".into());
    Snapshot { id, user, public_key, is_revoked, revoked_at_ms: None }
}

fn record(is_revoked: bool) -> Record {
    session(is_revoked).into()
}

fn run(core: &Arc<Core>, lookup: Lookup, outcomes: Outcomes) -> Running {
    let (asked, reads) = mpsc::channel(1);
    let core = Arc::clone(core);
    let read = move |_| {
        let asked = asked.clone();
        async move {
            let (answer, answered) = oneshot::channel();
            asked.send(answer).await.unwrap();
            answered.await.unwrap()
        }
    };
    let handle = Handle::current();
    let run = AbortOnDropHandle::new(handle.spawn(async move { lookup.run(&core, read).await }));
    Running { reads, outcome: handle.spawn(lookup::outcome(outcomes)), _run: run }
}

impl Running {
    /// The next read is under way.
    async fn read(&mut self) -> oneshot::Sender<Found> {
        self.reads.recv().await.unwrap()
    }
}

impl Bench {
    /// In step; a look-up has begun.
    fn start(&self) -> Running {
        self.core.prove();
        let Asked::Started(lookup, outcomes) = self.core.ask(&"s1".into()) else { panic!("nothing is held") };
        run(&self.core, lookup, outcomes)
    }

    fn entry(&self, status: &str) {
        let fields =
            [("device_session_id", "s1"), ("user_id", "ann"), ("client_public_key", "key"), ("status", status)];
        self.core.apply(&[Entry::of(&fields)]);
    }

    fn ask(&self) -> Asked {
        self.core.ask(&"s1".into())
    }
}

#[tokio::test]
async fn what_the_stream_says_meanwhile_counts() {
    let bench = bench();
    let mut lookup = bench.start();
    let read = lookup.read().await;
    bench.entry("revoked");
    read.send(Ok(Some(session(false)))).unwrap();
    assert_eq!(lookup.outcome.await.unwrap(), Ok(Some(record(true))));
    assert!(matches!(bench.ask(), Asked::Known(record) if record.is_revoked));
}

#[tokio::test]
async fn a_handshake_that_waits_for_a_session_that_ends_is_told_so() {
    let mut bench = bench();
    let mut lookup = bench.start();
    let read = lookup.read().await;
    // Found before the revocation came: who waits is let in, and, being registered, is then closed.
    read.send(Ok(Some(session(false)))).unwrap();
    assert_eq!(lookup.outcome.await.unwrap(), Ok(Some(record(false))));
    bench.entry("revoked");
    assert_eq!(bench.told.recv().await.unwrap(), Revocation::Session("s1".into()));
    assert!(matches!(bench.ask(), Asked::Known(record) if record.is_revoked));
}

#[tokio::test]
async fn it_is_read_again_after_a_malformed_entry_and_after_a_gap() {
    for overtake in [|bench: &Bench| bench.entry("?"), |bench: &Bench| bench.core.gap()] {
        let bench = bench();
        let mut lookup = bench.start();
        let read = lookup.read().await;
        overtake(&bench);
        read.send(Ok(Some(session(false)))).unwrap();
        let read = lookup.read().await;
        read.send(Ok(Some(session(true)))).unwrap();
        assert_eq!(lookup.outcome.await.unwrap(), Ok(Some(record(true))));
    }
}

#[tokio::test]
async fn it_is_not_read_for_ever() {
    let bench = bench();
    let mut lookup = bench.start();
    for _ in 0..3 {
        let read = lookup.read().await;
        bench.core.gap();
        read.send(Ok(Some(session(false)))).unwrap();
    }
    assert_eq!(lookup.outcome.await.unwrap().unwrap_err().status, 503);
    assert!(matches!(bench.ask(), Asked::Started(..)));
}

#[tokio::test]
async fn all_who_ask_share_one_read() {
    let bench = bench();
    let mut lookup = bench.start();
    let Asked::Joined(joined) = bench.ask() else { panic!("a look-up is under way") };
    lookup.read().await.send(Ok(Some(session(false)))).unwrap();
    assert_eq!(lookup::outcome(joined).await, Ok(Some(record(false))));
    assert_eq!(lookup.outcome.await.unwrap(), Ok(Some(record(false))));
    assert_eq!(bench.core.metrics.lookups.load(Relaxed), 1);
}

#[tokio::test]
async fn who_joined_a_look_up_that_was_overtaken_follows_the_next_one() {
    let bench = bench();
    let mut first = bench.start();
    let read = first.read().await;
    bench.core.gap();
    let Asked::Started(second, outcomes) = bench.ask() else { panic!("the first is out of date") };
    let mut second = run(&bench.core, second, outcomes);
    let second_read = second.read().await;
    read.send(Ok(Some(session(false)))).unwrap();
    second_read.send(Ok(Some(session(true)))).unwrap();
    assert_eq!(first.outcome.await.unwrap(), Ok(Some(record(true))));
    assert_eq!(second.outcome.await.unwrap(), Ok(Some(record(true))));
}

#[tokio::test]
async fn a_read_that_fails_lets_nobody_in() {
    for (found, status) in [
        (Err(Unread::Malformed("it is no hash")), 401),
        (Err(Unread::Trouble(Trouble::Late)), 503),
        (Ok(Some(Snapshot { id: "s2".into(), ..session(false) })), 503),
    ] {
        let bench = bench();
        let mut lookup = bench.start();
        lookup.read().await.send(found).unwrap();
        assert_eq!(lookup.outcome.await.unwrap().unwrap_err().status, status);
        assert!(matches!(bench.ask(), Asked::Started(..)), "nothing is held");
    }
    let bench = bench();
    let mut lookup = bench.start();
    lookup.read().await.send(Ok(None)).unwrap();
    assert_eq!(lookup.outcome.await.unwrap(), Ok(None));
}

#[tokio::test]
async fn a_look_up_that_is_given_up_is_an_answer_too() {
    let bench = bench();
    let lookup = bench.start();
    let Running { outcome, _run, .. } = lookup;
    drop(_run);
    assert_eq!(outcome.await.unwrap().unwrap_err().status, 503);
}

#[test]
fn nothing_is_looked_up_before_the_place_is_known() {
    let bench = bench();
    assert!(matches!(bench.ask(), Asked::Refused(_)));
    bench.core.prove();
    assert!(matches!(bench.ask(), Asked::Started(..)));
}

#[test]
fn what_is_held_is_believed_for_a_time_and_that_it_ended_for_ever() {
    let bench = bench();
    bench.core.prove();
    bench.entry("active");
    bench.now_ms.store(61_000, Relaxed);
    assert!(matches!(bench.ask(), Asked::Known(_)));
    bench.now_ms.store(61_001, Relaxed);
    assert!(matches!(bench.ask(), Asked::Refused(_)));
    assert!(bench.core.trouble().is_some());
    bench.entry("revoked");
    assert!(matches!(bench.ask(), Asked::Known(record) if record.is_revoked));
    bench.core.prove();
    assert!(bench.core.trouble().is_none());
}

#[test]
fn after_a_gap_who_is_checked_again_can_be_looked_up() {
    let mut bench = bench();
    bench.core.prove();
    bench.now_ms.store(100_000, Relaxed);
    assert!(matches!(bench.ask(), Asked::Refused(_)), "out of reach for too long");
    bench.core.gap();
    assert_eq!(bench.told.try_recv(), Ok(Revocation::RecheckAll));
    assert!(matches!(bench.ask(), Asked::Started(..)));
}

#[test]
fn a_clock_that_is_put_back_makes_nothing_believed_for_ever() {
    let bench = bench();
    bench.now_ms.store(1_000_000, Relaxed);
    bench.core.prove();
    bench.entry("active");
    bench.now_ms.store(940_000, Relaxed);
    assert!(matches!(bench.ask(), Asked::Known(_)));
    bench.now_ms.store(939_999, Relaxed);
    assert!(matches!(bench.ask(), Asked::Refused(_)));
}
