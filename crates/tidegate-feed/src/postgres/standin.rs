//! Stand-ins for the public types of this module: to be thrown away when the real ones are merged.
#![allow(missing_docs, clippy::unused_async, clippy::needless_pass_by_value)]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tidegate_mirror::Writer;
use tidegate_model::{Catalog, EntityBuilder, EntityId, Position, Transaction, Type};
use tokio::sync::watch;

use super::Lsn;

#[derive(Clone)]
pub struct Url(String);

#[derive(Clone, Debug)]
pub struct Settings {
    pub url: Url,
    pub copy_url: Option<Url>,
    pub slot: String,
    pub publication: String,
    pub copies: usize,
    pub root_certificate: Option<PathBuf>,
    pub connect_timeout: Duration,
    pub status_interval: Duration,
    pub max_message_bytes: usize,
    pub max_lag_bytes: u64,
    pub check_interval: Duration,
    pub stall_timeout: Duration,
}

impl std::fmt::Debug for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Url(…)")
    }
}

impl Url {
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        let known = text.starts_with("postgres://") || text.starts_with("postgresql://");
        if known { Ok(Self(text.to_owned())) } else { Err(SourceError("must begin with postgres://".into())) }
    }
}

impl Settings {
    pub fn url(text: &str) -> Result<Url, SourceError> {
        Url::parse(text)
    }

    pub fn new(url: Url) -> Self {
        Self {
            url,
            copy_url: None,
            slot: "tidegate".into(),
            publication: "tidegate".into(),
            copies: 2,
            root_certificate: None,
            connect_timeout: Duration::from_secs(10),
            status_interval: Duration::from_secs(10),
            max_message_bytes: 64 << 20,
            max_lag_bytes: 1 << 30,
            check_interval: Duration::from_secs(5),
            stall_timeout: Duration::from_secs(60),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wish {
    pub name: String,
    pub schema: String,
    pub table: String,
    pub key: Option<Vec<String>>,
    pub columns: Option<Vec<(String, Option<Type>)>>,
    pub tenant: Option<String>,
    pub filterable: Option<Vec<String>>,
    pub sortable: Option<Vec<String>>,
    pub indexes: Option<Vec<Vec<String>>>,
    pub max_window: Option<u32>,
    pub row_filter: Option<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub(crate) String);

#[derive(Debug, Clone)]
pub struct Problem {
    pub what: String,
    pub mend: String,
    pub fatal: bool,
}

pub struct Prepared {
    pub builders: Vec<EntityBuilder>,
    pub warnings: Vec<Problem>,
}

pub struct Outlets {
    pub publish: Box<dyn Fn(Arc<Transaction>) + Send>,
    pub end: Box<dyn Fn(EntityId, Arc<str>) + Send + Sync>,
}

#[derive(Debug, Clone)]
pub struct EntityStatus {
    pub name: String,
    pub state: &'static str,
    pub rows_copied: u64,
    pub rows_estimated: u64,
    pub reason: Option<String>,
}

#[derive(Debug, Clone)]
pub struct Status {
    pub session: &'static str,
    pub entities: Vec<EntityStatus>,
}

#[derive(Debug, Default)]
pub struct SourceMetrics {
    pub connected: AtomicU64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Lsn(Lsn),
    Barrier(String),
}

#[derive(Debug, thiserror::Error)]
#[error("the source is gone")]
pub struct ReachError;

#[derive(Clone)]
pub struct PostgresFeed(Arc<watch::Sender<Option<String>>>);

impl PostgresFeed {
    pub async fn prepare(_settings: Settings, _wishes: Vec<Wish>) -> Result<Prepared, SourceError> {
        Err(SourceError("not built yet".into()))
    }

    pub fn start(_: Prepared, _: Arc<Catalog>, _: Writer, _: Outlets) -> std::io::Result<Self> {
        Err(std::io::Error::other("not built yet"))
    }

    pub fn health(&self) -> Result<(), String> {
        Ok(())
    }

    pub fn status(&self) -> Status {
        Status { session: "streaming", entities: Vec::new() }
    }

    pub fn metrics(&self) -> &Arc<SourceMetrics> {
        unimplemented!()
    }

    pub fn reached(&self, _place: Place) -> impl Future<Output = Result<Position, ReachError>> + Send + 'static + use<> {
        async { Err(ReachError) }
    }

    pub fn schema_changed(&self) -> watch::Receiver<Option<String>> {
        self.0.subscribe()
    }
}

#[derive(Debug, Clone)]
pub struct Server {
    pub version_num: i32,
    pub wal_level: String,
    pub role: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    Default,
    Nothing,
    Full,
    Index(Vec<String>),
}

#[derive(Debug, Clone)]
pub struct TableInfo {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    pub kind: char,
    pub is_partition: bool,
    pub persistence: char,
    pub columns: Vec<ColumnInfo>,
    pub primary_key: Vec<String>,
    pub identity: Identity,
    pub readable: bool,
    pub owned: bool,
    pub estimated_rows: f64,
    pub row_security: bool,
}

#[derive(Debug, Clone)]
pub struct ColumnInfo {
    pub name: String,
    pub type_name: String,
    pub not_null: bool,
    pub generated: bool,
}

impl ColumnInfo {
    /// What the column becomes, and whether it may be filtered and sorted.
    pub fn becomes(&self) -> (Type, bool) {
        (Type::Text, true)
    }
}

pub struct Inspection {
    pub server: Server,
    pub tables: Vec<TableInfo>,
    pub problems: Vec<Problem>,
}

pub async fn inspect(_settings: Settings) -> Result<Inspection, SourceError> {
    Err(SourceError("not built yet".into()))
}
