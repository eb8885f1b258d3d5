//! `tidegate import`: a file into the store, its schema inferred where none is configured.
//!
//! ```text
//! file ─ records ─► infer ─► schema ─► configuration      first pass, only for an entity that is not configured
//! file ─ records ─► load ──► feed ───► store              second pass
//! ```
//!
//! Both passes hold one batch of records at most, however large the file is.

mod infer;
mod load;
mod records;
mod schema;

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use tidegate_feed::LocalFeed;
use tidegate_mirror::{Mirror, MirrorError};
use tidegate_model::Catalog;

use crate::config::{Config, ConfigError, Flags};
use infer::Inference;
use load::Loaded;
use records::Records;
use schema::Schema;

/// What to import, and where.
#[derive(Debug)]
pub(crate) struct Import {
    pub(crate) file: PathBuf,
    pub(crate) entity: String,
    /// For an entity that is not configured.
    pub(crate) key: Vec<String>,
    pub(crate) tenant_column: Option<String>,
    pub(crate) config: Option<PathBuf>,
    pub(crate) flags: Flags,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Imported {
    pub(crate) loaded: Loaded,
    pub(crate) took: Duration,
    /// The entity's definition, where it was inferred and there is no file to hold it.
    pub(crate) definition: Option<String>,
}

/// An import that cannot go on. Nothing of the batch at fault was written; other batches stay, and importing the corrected
/// file again makes all rows what it says.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImportError {
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{}: the name must end in .csv, .jsonl or .ndjson", path.display())]
    Ending { path: PathBuf },
    #[error("line {line}{}: {rule}", column.as_ref().map(|c| format!(", column {c:?}")).unwrap_or_default())]
    Record { line: u64, column: Option<String>, rule: String },
    #[error("entity {0:?} is not configured, so --key must name its key columns")]
    KeyNeeded(String),
    #[error("{}: cannot be written: {source}", path.display())]
    Unwritable { path: PathBuf, source: std::io::Error },
    #[error(
        "rows come from a database here (source.kind = \"postgres\"); load the file there, for instance with psql's \\copy"
    )]
    Sourced,
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Mirror(#[from] MirrorError),
    #[error("the store failed: {0}")]
    Store(String),
}

impl ImportError {
    fn at(line: u64, rule: impl Into<String>) -> Self {
        Self::Record { line, column: None, rule: rule.into() }
    }
}

impl Import {
    /// Runs to the end. Says on standard error what it finds and how far it is. Blocks.
    pub(crate) fn run(&self) -> Result<Imported, ImportError> {
        let began = Instant::now();
        let text = self.config_text()?;
        let config = self.load_config(text.as_deref().unwrap_or_default())?;
        let (config, definition) = match entities(&config)?.by_name(&self.entity) {
            Some(_) => (config, None),
            None => {
                let definition = self.infer()?.toml();
                (self.load_config(&appended(text.as_deref(), &definition))?, Some(definition))
            }
        };
        let options = &config.rooms.mirror;
        let (mirror, writer) = Mirror::open(&config.data_dir, entities(&config)?, options)?;
        // The store is ours now: what is about to be in it may be written down.
        let definition = match (&self.config, definition) {
            (Some(path), Some(definition)) => {
                append(path, text.as_deref(), &definition)?;
                None
            }
            (_, definition) => definition,
        };
        let nobody_follows = Box::new(|_| {});
        let feed = LocalFeed::start(config.rooms.feed.clone(), entities(&config)?.clone(), writer, nobody_follows)
            .map_err(|e| ImportError::Store(e.to_string()))?;
        let loaded = self.load(&config, &feed)?;
        drop(feed);
        drop(mirror);
        Ok(Imported { loaded, took: began.elapsed(), definition })
    }

    /// The configuration file's text; one that is not there yet is to be made.
    fn config_text(&self) -> Result<Option<String>, ImportError> {
        let Some(path) = &self.config else { return Ok(None) };
        match fs::read_to_string(path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ImportError::Unreadable { path: path.clone(), source }),
        }
    }

    fn load_config(&self, text: &str) -> Result<Config, ImportError> {
        let path = self.config.as_deref().unwrap_or(Path::new("inferred"));
        let variables = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Ok(Config::layered(Some((path, text)), variables, &self.flags)?)
    }

    fn infer(&self) -> Result<Schema, ImportError> {
        if self.key.is_empty() {
            return Err(ImportError::KeyNeeded(self.entity.clone()));
        }
        let mut records = Records::open(&self.file)?;
        let progress = self.progress("reading the schema")?;
        let mut inference = Inference::default();
        while let Some(record) = records.next()? {
            inference.observe(&record);
            progress.set_position(records.bytes());
        }
        progress.finish_and_clear();
        let tenant = self.tenant_column.as_deref();
        let schema = Schema::new(&self.entity, &self.key, tenant, records.columns(), &mut inference);
        eprintln!("{}: {} rows\n{}", self.file.display(), inference.records, schema.table());
        Ok(schema)
    }

    fn load(&self, config: &Config, feed: &LocalFeed) -> Result<Loaded, ImportError> {
        let entity =
            entities(config)?.by_name(&self.entity).ok_or_else(|| ImportError::KeyNeeded(self.entity.clone()))?;
        let mut records = Records::open(&self.file)?;
        let progress = self.progress("importing")?;
        let loaded = load::load(&mut records, entity, feed, |bytes| progress.set_position(bytes))?;
        progress.finish_and_clear();
        Ok(loaded)
    }

    /// A bar on standard error, where that is a terminal.
    fn progress(&self, what: &'static str) -> Result<ProgressBar, ImportError> {
        let unreadable = |source| ImportError::Unreadable { path: self.file.clone(), source };
        let bytes = fs::metadata(&self.file).map_err(unreadable)?.len();
        let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        Ok(ProgressBar::new(bytes).with_style(style).with_message(what))
    }
}

/// The entities, which must be the store's own.
fn entities(config: &Config) -> Result<&Arc<Catalog>, ImportError> {
    config.catalog().ok_or(ImportError::Sourced)
}

fn appended(text: Option<&str>, definition: &str) -> String {
    match text {
        Some(text) if !text.trim().is_empty() => format!("{}\n\n{definition}", text.trim_end()),
        _ => definition.to_owned(),
    }
}

/// Adds the definition at the end of the file, so that everything a person wrote stays as it is.
fn append(path: &Path, text: Option<&str>, definition: &str) -> Result<(), ImportError> {
    let unwritable = |source| ImportError::Unwritable { path: path.to_owned(), source };
    let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(unwritable)?;
    let gap = match text {
        Some(text) if text.ends_with('\n') => "\n",
        Some(text) if !text.is_empty() => "\n\n",
        _ => "",
    };
    file.write_all(format!("{gap}{definition}").as_bytes()).map_err(unwritable)
}
