//! A client that keeps one list up, comes back whenever it is cut off, and remembers what it showed at which position.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tidegate_testkit::clients::{Frame, LiveSocket, ModelList};
use tidegate_testkit::postgres::queries::Question;
use tidegate_testkit::postgres::replica::{Answers, List, compare};
use tidegate_testkit::postgres::tables::Table;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long a subscription that ended is left alone.
const RETURN: Duration = Duration::from_millis(20);

/// What a whole list showed.
#[derive(Debug, Clone)]
pub(crate) struct Sight {
    pub(crate) position: u64,
    /// Snapshots so far: a new one may be of another history than the ones before.
    pub(crate) resets: usize,
    pub(crate) rows: List,
}

/// What a follower has to say at any moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    pub(crate) sights: Vec<Sight>,
    /// Codes and messages of subscriptions that the gateway ended, the last ones.
    pub(crate) errors: Vec<String>,
}

impl Report {
    /// The position of the last sight.
    pub(crate) fn position(&self) -> u64 {
        self.sights.last().map_or(0, |sight| sight.position)
    }

    /// Snapshots seen.
    pub(crate) fn resets(&self) -> usize {
        self.sights.last().map_or(0, |sight| sight.resets)
    }

    /// Compares what was seen after the first `from` snapshots with the answers; gives how often it did so.
    ///
    /// # Errors
    /// The first difference.
    pub(crate) fn check(&self, question: &Question, answers: &Answers, from: usize) -> Result<usize, String> {
        // The first copy is complete at a position before those of the log.
        let sights = self.sights.iter().filter(|sight| sight.resets > from && sight.position >= answers.begin());
        let mut checks = 0;
        let mut last = 0;
        for Sight { position, resets, rows } in sights {
            let expected = answers.at(*position);
            compare(rows, expected).map_err(|difference| {
                let (sql, query) = (&question.sql, &question.query);
                let around = answers.around(*position);
                let at = format!("at {position} (before: {last}), after {resets} resets; right around it: {around:?}");
                format!("{at}\n{query}\n{sql}\n{difference}\n{self}")
            })?;
            checks += 1;
            last = *position;
        }
        Ok(checks)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen: Vec<_> = self.sights.iter().rev().take(5).map(|sight| (sight.position, sight.resets)).collect();
        write!(f, "last seen at (position, resets), latest first: {seen:?}; errors: {:?}", self.errors)
    }
}

/// Followers of several questions.
pub(crate) struct Followers {
    reports: Vec<watch::Receiver<Report>>,
    // Aborted on drop.
    _tasks: JoinSet<()>,
}

impl Followers {
    /// One for each question, of the gateway at the address of the moment. With a seed they come and go.
    pub(crate) fn start(
        address: &watch::Receiver<SocketAddr>,
        questions: &[(Question, Table)],
        restless: Option<u64>,
    ) -> Self {
        let mut tasks = JoinSet::new();
        let mut reports = Vec::new();
        for (question, table) in questions {
            let (report, reported) = watch::channel(Report::default());
            let list = if question.streamed { ModelList::streamed() } else { ModelList::new() };
            let random = restless.map(|seed| StdRng::seed_from_u64(seed + reports.len() as u64));
            let (question, table) = (question.clone(), table.clone());
            let follower = Follower { question, table, list, random, report };
            tasks.spawn(follower.run(address.clone()));
            reports.push(reported);
        }
        Self { reports, _tasks: tasks }
    }

    /// Nobody.
    pub(crate) fn none() -> Self {
        Self { reports: Vec::new(), _tasks: JoinSet::new() }
    }

    /// What each has to say now.
    pub(crate) fn reports(&self) -> Vec<Report> {
        self.reports.iter().map(|report| report.borrow().clone()).collect()
    }

    /// Whether every report comes to be `enough` within a while.
    pub(crate) async fn are_soon(&mut self, enough: impl Fn(usize, &Report) -> bool) -> bool {
        let wait = async {
            for (number, report) in self.reports.iter_mut().enumerate() {
                let _ = report.wait_for(|report| enough(number, report)).await;
            }
        };
        tokio::time::timeout(SOON, wait).await.is_ok()
    }

    /// Waits until every report is `enough`.
    pub(crate) async fn until(&mut self, what: &str, enough: impl Fn(usize, &Report) -> bool) {
        for (number, report) in self.reports.iter_mut().enumerate() {
            let waited = report.wait_for(|report| enough(number, report));
            match tokio::time::timeout(PATIENCE, waited).await.map(|there| there.map(drop)) {
                Ok(Ok(())) => {}
                Ok(Err(_)) => panic!("follower {number} is gone before {what}"),
                Err(_) => {
                    let report = report.borrow();
                    panic!("not within {PATIENCE:?}: {what}: follower {number}: {}", *report);
                }
            }
        }
    }
}

/// How long a list that is not right may take to be.
const SOON: Duration = Duration::from_secs(15);
/// What a busy machine explains.
const PATIENCE: Duration = Duration::from_secs(60);

struct Follower {
    question: Question,
    table: Table,
    list: ModelList,
    random: Option<StdRng>,
    report: watch::Sender<Report>,
}

impl Follower {
    async fn run(mut self, address: watch::Receiver<SocketAddr>) {
        loop {
            let at = *address.borrow();
            if let Ok(mut socket) = LiveSocket::subscribe(at, &self.question.query, self.list.clone()).await {
                // The number of frames starts anew; the socket's own list is not used.
                self.list.reconnected();
                while let Some(frame) = socket.next_raw().await {
                    let frame: Frame = serde_json::from_value(frame).expect("a frame");
                    if !self.take(&frame) {
                        break;
                    }
                }
            }
            if self.report.is_closed() {
                return;
            }
            tokio::time::sleep(RETURN).await;
        }
    }

    /// Applies a frame; `false` where the connection is to end.
    fn take(&mut self, frame: &Frame) -> bool {
        if frame.op == "error" {
            let error = format!("{} {}", frame.code.as_deref().unwrap_or(""), frame.message.as_deref().unwrap_or(""));
            self.report.send_modify(|report| {
                // It comes back to the same error again and again.
                if report.errors.last() != Some(&error) {
                    report.errors.push(error);
                }
            });
            return false;
        }
        self.list.apply(frame).unwrap_or_else(|rule| panic!("{}: {rule}", self.question.query));
        if self.list.is_whole() {
            self.look(frame);
        }
        self.random.as_mut().is_none_or(|random| !random.random_bool(0.005))
    }

    fn look(&mut self, frame: &Frame) {
        let (position, rows) = match self.list.synced().filter(|_| frame.op == "synced") {
            Some(position) => (position, self.report.borrow().sights.last().map(|sight| sight.rows.clone())),
            None => (position_of(self.list.token().expect("a whole list has a token")), None),
        };
        let rows = rows.unwrap_or_else(|| self.rows(position));
        self.report.send_modify(|report| {
            report.sights.push(Sight { position, resets: self.list.resets, rows });
        });
    }

    fn rows(&self, position: u64) -> List {
        let mut rows = Vec::new();
        for entry in self.list.entries() {
            assert!(entry.version <= position, "a row of the future: {entry:?} at {position}");
            let row = self.question.row_of_wire(&self.table, &entry.row);
            rows.push(row.unwrap_or_else(|wrong| panic!("{}: {wrong}", self.question.query)));
        }
        if self.question.streamed {
            rows.sort();
        }
        Arc::new(rows)
    }
}

/// The third part of a token, without the mark of a batch of the client's own.
fn position_of(token: &str) -> u64 {
    let position = token.rsplit('.').next().and_then(|position| position.trim_end_matches('s').parse().ok());
    position.unwrap_or_else(|| panic!("no position in {token}"))
}
