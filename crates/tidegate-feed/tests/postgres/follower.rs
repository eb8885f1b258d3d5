//! A feed with a mirror in a directory of its own, that can be ended and started again.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tidegate_feed::postgres::resolve::Wish;
use tidegate_feed::postgres::{Lsn, Outlets, Place, PostgresFeed, Settings};
use tidegate_mirror::{Mirror, Options};
use tidegate_model::{Catalog, EntityId, Order, Predicate, Row, ScanError, ScanRequest, Tenant, Transaction};
use tidegate_testkit::postgres::{Postgres, Session};

/// How long anything may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What it published, and which entities it ended.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) transactions: Vec<Arc<Transaction>>,
    pub(crate) ended: Vec<(EntityId, Arc<str>)>,
}

pub(crate) struct Follower {
    pub(crate) feed: PostgresFeed,
    pub(crate) mirror: Arc<Mirror>,
    pub(crate) catalog: Catalog,
    pub(crate) heard: Arc<Mutex<Heard>>,
}

/// A wish for everything of a table of the schema `public`.
pub(crate) fn wish(table: &str) -> Wish {
    Wish {
        name: table.to_owned(),
        schema: "public".to_owned(),
        table: table.to_owned(),
        key: None,
        columns: None,
        tenant: None,
        filterable: None,
        sortable: None,
        indexes: None,
        max_window: None,
        row_filter: None,
    }
}

pub(crate) fn settings(url: &str) -> Settings {
    let mut settings = Settings::url(url).unwrap();
    settings.check_interval = Duration::from_millis(200);
    settings
}

impl Follower {
    pub(crate) async fn start(directory: &TempDir, settings: Settings, wishes: Vec<Wish>) -> Self {
        let prepared = PostgresFeed::prepare(settings, wishes).await.unwrap();
        let catalog = Catalog::build(&prepared.builders).unwrap();
        let (mirror, writer) = Mirror::open(directory.path(), &catalog, &Options::default()).unwrap();
        let heard: Arc<Mutex<Heard>> = Arc::default();
        let (published, ended) = (heard.clone(), heard.clone());
        let outlets = Outlets {
            publish: Box::new(move |commit| published.lock().unwrap().transactions.extend(commit)),
            end: Box::new(move |entity, reason| ended.lock().unwrap().ended.push((entity, reason))),
        };
        let feed = PostgresFeed::start(prepared, &catalog, writer, outlets).unwrap();
        Self { feed, mirror: Arc::new(mirror), catalog, heard }
    }

    /// Waits until everything committed by now is applied.
    pub(crate) async fn caught_up(&self, session: &Session) {
        let lsn = Lsn(session.lsn("select pg_current_wal_insert_lsn()").await);
        let reached = tokio::time::timeout(PATIENCE, self.feed.reached(Place::Lsn(lsn))).await;
        reached.unwrap_or_else(|_| panic!("{lsn} is not reached: {:?}", self.feed.status())).unwrap();
        self.until("every entity is ready", |follower| {
            follower.feed.status().entities.iter().all(|entity| matches!(entity.state, "ready" | "unavailable"))
        })
        .await;
    }

    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !condition(self) {
            assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}; {:?}", self.feed.status());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// All rows of the entity of that name in the order of their keys. Nothing may be written meanwhile.
    pub(crate) fn rows(&self, name: &str) -> Result<Vec<Arc<Row>>, ScanError> {
        let entity = self.catalog.by_name(name).unwrap();
        let (mut rows, mut after) = (Vec::new(), None);
        loop {
            let page = self.mirror.page(ScanRequest {
                entity: entity.id(),
                tenant: Tenant::common(),
                order: Arc::new(Order::new(entity, &[])),
                predicate: Arc::new(Predicate::new(tidegate_model::Filter::everything())),
                after,
                want: usize::MAX,
            })?;
            rows.extend(page.rows.into_iter().map(|(_, row)| row));
            match page.upto {
                Some(upto) => after = Some(upto),
                None => return Ok(rows),
            }
        }
    }

    /// The rows as JSON, one text each.
    pub(crate) fn json(&self, name: &str) -> Vec<String> {
        let entity = self.catalog.by_name(name).unwrap();
        let columns: Vec<u16> = (0..entity.columns().len() as u16).collect();
        let text = |row: Arc<Row>| {
            let mut out = Vec::new();
            tidegate_model::json::write_row(entity, &columns, &row, &mut out);
            String::from_utf8(out).unwrap()
        };
        self.rows(name).unwrap().into_iter().map(text).collect()
    }

    pub(crate) fn copies(&self) -> Vec<(&'static str, u64)> {
        self.feed.metrics().copies.counts()
    }
}

/// A server, or `None` with a loud word where there is none.
pub(crate) fn server() -> Option<Postgres> {
    Postgres::logical()
}
