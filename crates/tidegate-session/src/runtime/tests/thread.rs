//! The thread, with the real store and real agents: stopped and started again, and a disk that takes nothing for a while.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tempfile::TempDir;
use tidegate_jobs::agents::{Agents, channel, fixtures};
use tidegate_jobs::{FinalStatus, JobId, Limits, What};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::world::{START_MS, link, raw, role, submission};
use crate::runtime::{
    Command, Hello, Letter, Link, Options, Reply, Request, Resume, Runtime, SessionLimits, Wants, Welcome, token_hash,
};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

struct Gateway {
    runtime: Runtime,
    letters: mpsc::Receiver<Vec<Letter>>,
    waiting: Vec<Reply>,
    link: Link,
    sent: u64,
}

impl Gateway {
    fn start(dir: &Path) -> Self {
        let (sayings, ear) = channel();
        let agents = Arc::new(Agents::new(Handle::current(), sayings));
        fixtures::register(&agents).unwrap();
        let options = Options {
            dir: dir.to_owned(),
            jobs: Limits::default(),
            sessions: SessionLimits::default(),
            provisioner: None,
            clock: Arc::new(|| START_MS),
        };
        let runtime = Runtime::start(options, agents, ear).unwrap();
        let (port, letters) = runtime.port().unwrap();
        let link = Link { port, ..link(1) };
        Self { runtime, letters, waiting: Vec::new(), link, sent: 0 }
    }

    fn want(&self, wants: Wants) {
        self.runtime.send(Command { from: self.link, wants }).unwrap();
    }

    /// The next that its connection is told.
    async fn next(&mut self) -> Reply {
        while self.waiting.is_empty() {
            let bundle = timeout(PATIENCE, self.letters.recv()).await.expect("nothing comes").expect("it has ended");
            self.waiting.extend(bundle.into_iter().map(|letter| letter.reply));
        }
        self.waiting.remove(0)
    }

    async fn hello(&mut self, resume: Option<Resume>) -> Arc<Welcome> {
        let role = role("t", "ann", false);
        let hello = Hello { owner: role.owner.clone(), rights: Arc::new(role), acks: false, resume };
        self.want(Wants::Session(Box::new(hello)));
        match self.next().await {
            Reply::Welcome(welcome) => welcome,
            other => panic!("{other:?}"),
        }
    }

    fn submit(&mut self, agent: &str, input: &str) {
        self.sent += 1;
        let submission = crate::runtime::Submission { input: raw(input).into(), ..submission(agent) };
        self.want(Wants::Request(format!("msg_{}", self.sent).into(), Request::Submit(Box::new(submission))));
    }

    /// Events from that number on, without a gap, until so many jobs have ended: how each did.
    async fn events(&mut self, after: u64, ends: usize) -> (u64, Vec<(JobId, FinalStatus)>) {
        let (mut last, mut ended) = (after, Vec::new());
        while ended.len() < ends {
            match self.next().await {
                Reply::Event { seq, entry } => {
                    assert_eq!(seq, last + 1);
                    last = seq;
                    if let What::End(ending) = &entry.what {
                        ended.push((entry.job, ending.status));
                    }
                }
                Reply::Accepted { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        (last, ended)
    }

    /// The whole page that is asked for.
    async fn page(&mut self, after: u64) -> Vec<(JobId, u64)> {
        self.want(Wants::Events { after });
        match self.next().await {
            Reply::Events { after: of, events, .. } => {
                assert_eq!(of, after);
                events.iter().map(|entry| (entry.job, entry.n)).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    async fn stop(self) {
        timeout(PATIENCE, self.runtime.stop()).await.expect("it does not stop");
    }
}

fn resume(welcome: &Welcome, last_event_seq: u64) -> Option<Resume> {
    Some(Resume { session: Some(welcome.session), token: token_hash(&welcome.token), last_event_seq })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runtime_with_nothing_to_do_stops() {
    let dir = TempDir::new().unwrap();
    Gateway::start(dir.path()).stop().await;
    let mut gateway = Gateway::start(dir.path());
    gateway.hello(None).await;
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_never_stops_talking_does_not_keep_a_runtime_from_stopping() {
    let dir = TempDir::new().unwrap();
    let mut gateway = Gateway::start(dir.path());
    gateway.hello(None).await;
    gateway.submit("burst", r#"{"events":1000000000}"#);
    while !matches!(gateway.next().await, Reply::Event { .. }) {}
    gateway.letters.close();
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_told_is_there_after_a_stop_and_what_ran_has_ended() {
    let dir = TempDir::new().unwrap();
    let mut gateway = Gateway::start(dir.path());
    let welcome = gateway.hello(None).await;
    gateway.submit("echo", "[1]");
    gateway.submit("count", r#"{"to":20}"#);
    gateway.submit("burst", r#"{"events":2000}"#);
    let (last, ended) = gateway.events(0, 3).await;
    assert_eq!(last, 2 + 22 + 2002);
    assert!(ended.iter().all(|(_, status)| *status == FinalStatus::Success));
    gateway.submit("slow", r#"{"ms":3600000}"#);
    while !matches!(gateway.next().await, Reply::Event { .. }) {}
    gateway.stop().await;

    let mut gateway = Gateway::start(dir.path());
    let again = gateway.hello(resume(&welcome, last)).await;
    assert_eq!((again.after, again.head, again.resumed), (last, last + 2, true));
    let rest = gateway.page(last).await;
    assert_eq!(rest.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [1, 2], "it runs, and has ended with the process");
    let mut all = Vec::new();
    while (all.len() as u64) < again.head {
        all.extend(gateway.page(all.len() as u64).await);
    }
    assert_eq!(all.len() as u64, again.head);
    for (job, _) in ended {
        let places: Vec<u64> = all.iter().filter(|(of, _)| *of == job).map(|(_, n)| *n).collect();
        assert!(places.iter().copied().eq(1..=places.len() as u64));
    }
    // What was submitted is not submitted again.
    gateway.submit("echo", "2");
    gateway.sent = 100;
    gateway.submit("echo", "2");
    assert_eq!(gateway.events(last + 2, 1).await.0, last + 4);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_fails_is_told_to_nobody_and_leaves_no_gap() {
    let dir = TempDir::new().unwrap();
    let mut gateway = Gateway::start(dir.path());
    let welcome = gateway.hello(None).await;
    let failures = |gateway: &Gateway| gateway.runtime.metrics().commit_failures.load(Ordering::Relaxed);
    // Whoever else writes into the file keeps the runtime from it.
    let other = rusqlite::Connection::open(dir.path().join("jobs.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    gateway.submit("burst", r#"{"events":3000}"#);
    let failing = async {
        while failures(&gateway) == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, failing).await.expect("no commit fails");
    assert!(gateway.letters.try_recv().is_err(), "told before it was stored");
    other.execute_batch("ROLLBACK").unwrap();
    let (last, ended) = gateway.events(0, 1).await;
    assert_eq!((last, ended[0].1), (3002, FinalStatus::Success));
    gateway.stop().await;
    let mut gateway = Gateway::start(dir.path());
    assert_eq!(gateway.hello(resume(&welcome, 0)).await.head, last);
    let page = gateway.page(last - 3).await;
    assert_eq!(page.iter().map(|(_, n)| *n).collect::<Vec<_>>(), [last - 2, last - 1, last]);
    gateway.stop().await;
}
