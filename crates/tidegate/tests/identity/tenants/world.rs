//! A gateway, what is in it, and the markers by which a cell is known wherever it turns up.

mod reads;
mod writes;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tidegate_testkit::postgres::Session;
use tokio::sync::watch;

use super::plan::{Decided, Plan, Row, TENANTS, Who};

/// What a text marker begins with, and its digits.
const TEXT: (&str, usize) = ("MARK", 12);
/// What a number that is a marker begins with, and its further digits.
const NUMBER: (&str, usize) = ("77777", 10);

/// Entity, tenant, key as text.
type Place = (usize, String, String);
/// From which position on what was there, with its version.
type Image = (u64, Option<(Row, u64)>);

pub(crate) struct World {
    pub(crate) at: SocketAddr,
    pub(crate) plan: Plan,
    /// Held over each write until it is answered, so that whoever holds it knows all that can have been seen.
    pub(crate) rows: tokio::sync::Mutex<Rows>,
    markers: Mutex<Markers>,
    /// Places in lists, with what they are of.
    pub(crate) tokens: Mutex<Vec<(String, Decided)>>,
    /// Clients that are not done yet.
    pub(crate) busy: AtomicUsize,
    /// The position that everything has come to, once all are done.
    pub(crate) last: watch::Sender<Option<u64>>,
    checks: AtomicUsize,
    /// Where the rows are written, if not here.
    database: Option<Session>,
}

#[derive(Default)]
struct Markers {
    count: u64,
    /// The images of rows that each was in, and its column.
    images: HashMap<String, Vec<(usize, String, &'static str, Row)>>,
}

#[derive(Default)]
pub(crate) struct Rows {
    /// What was at each place, in order.
    history: BTreeMap<Place, Vec<Image>>,
    /// Keys that wrote, with their scopes.
    idempotent: HashSet<String>,
}

impl Rows {
    fn now(&self, place: &Place) -> Option<&(Row, u64)> {
        self.history.get(place)?.last()?.1.as_ref()
    }

    /// The rows of a partition as they were.
    fn at<'a>(&'a self, entity: usize, tenant: &'a str, position: u64) -> impl Iterator<Item = &'a Row> {
        let of = self.history.iter().filter(move |(place, _)| place.0 == entity && place.1 == tenant);
        let then = of.filter_map(move |(_, images)| images.iter().rev().find(|(from, _)| *from <= position));
        then.filter_map(|(_, row)| row.as_ref()).map(|(row, _)| row)
    }

    /// Every image of every row that there ever was.
    pub(crate) fn all(&self) -> Vec<Row> {
        let images = self.history.values().flatten();
        images.filter_map(|(_, row)| row.as_ref()).map(|(row, _)| row.clone()).collect()
    }
}

impl World {
    pub(crate) fn new(at: SocketAddr, plan: Plan, busy: usize, database: Option<Session>) -> Arc<Self> {
        Arc::new(Self {
            at,
            plan,
            rows: tokio::sync::Mutex::default(),
            markers: Mutex::default(),
            tokens: Mutex::default(),
            busy: AtomicUsize::new(busy),
            last: watch::Sender::new(None),
            checks: AtomicUsize::new(0),
            database,
        })
    }

    pub(crate) fn checks(&self) -> usize {
        self.checks.load(Ordering::Relaxed)
    }

    /// Holds everything that was received against what any of `who` may see. What the client itself has said does not count.
    pub(crate) fn look(&self, text: &str, who: &[&Who], sent: &str) {
        let is_own = |word: &str| sent.contains(word);
        for tenant in TENANTS {
            let is_theirs = who.iter().any(|who| who.tenant.as_deref() == Some(tenant));
            assert!(is_theirs || is_own(tenant) || !text.contains(tenant), "{tenant} is shown to {who:?}: {text}");
        }
        for (start, digits) in [TEXT, NUMBER] {
            for (at, _) in text.match_indices(start) {
                let Some(word) = text.get(at..at + start.len() + digits) else { continue };
                if !word[start.len()..].bytes().all(|byte| byte.is_ascii_digit()) || is_own(word) {
                    continue;
                }
                let markers = self.markers.lock().unwrap();
                let Some(images) = markers.images.get(word) else { panic!("nobody wrote {word}: {text}") };
                let shown = |who: &Who, (entity, tenant, column, row): &(usize, String, &'static str, Row)| {
                    self.plan.seen(who, *entity, tenant, row).contains(column)
                };
                let is_shown = who.iter().any(|who| images.iter().any(|image| shown(who, image)));
                assert!(is_shown, "{word} is shown to {who:?}, and is in {images:?}:\n{text}\n{}", self.plan.toml());
                self.checks.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// The rows that a list must show at a position. All up to there has been answered: the caller holds `rows`.
    pub(crate) fn expected(&self, rows: &Rows, decided: &Decided, position: u64) -> Vec<Row> {
        self.checks.fetch_add(1, Ordering::Relaxed);
        decided.rows(&self.plan, rows.at(decided.entity, &decided.tenant, position))
    }

    /// Whether two questions are answered alike, as far as any row there was can tell.
    pub(crate) fn are_alike(rows: &Rows, a: &Decided, b: &Decided) -> bool {
        let rest = |decided: &Decided| Decided { asked: Vec::new(), granted: Vec::new(), ..decided.clone() };
        let of = rows.history.iter().filter(|(place, _)| place.0 == a.entity && place.1 == a.tenant);
        let mut images = of.flat_map(|(_, images)| images).filter_map(|(_, row)| row.as_ref());
        rest(a) == rest(b) && images.all(|(row, _)| a.holds(row) == b.holds(row))
    }
}
