//! `tidegate init --from postgres://…`: looks at a database and writes the configuration that follows it.
//!
//! ```text
//! database ─ inspect ─► survey: which tables can be followed, what is amiss ─┬► file: commented TOML
//!                                                                            └► report: a table, or JSON
//! ```
//!
//! Nothing in the database is changed.

mod file;
mod report;
mod survey;

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tidegate_feed::postgres::{Settings, SourceError, inspect};

use crate::cli::{Failure, say};
use survey::Survey;

/// What to look at, and where to write.
#[derive(Debug)]
pub(crate) struct Init {
    pub(crate) settings: Settings,
    /// `table` or `schema.table`; all where there are none.
    pub(crate) tables: Vec<String>,
    pub(crate) output: PathBuf,
    pub(crate) force: bool,
    /// Tell what was found as JSON, and write no file.
    pub(crate) json: bool,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum InitError {
    #[error("{} is there already; name another file with --output, or overwrite it with --force", .0.display())]
    Exists(PathBuf),
    #[error("{}: cannot be written: {source}", path.display())]
    Unwritable { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(
        "the database {database:?} has no tables; create what is to be live, and run this again. For instance:\n  \
         CREATE TABLE messages (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, room text NOT NULL, body text);"
    )]
    Empty { database: String },
    #[error("there is no table {wanted:?}; there are {known}")]
    NoTable { wanted: String, known: String },
}

impl Init {
    /// Looks, writes and tells.
    pub(crate) async fn run(self) -> Result<(), Failure> {
        if !self.json && !self.force && self.output.exists() {
            return Err(InitError::Exists(self.output).into());
        }
        let inspection = inspect(&self.settings).await.map_err(InitError::from)?;
        let survey = Survey::new(&inspection, &self.settings, &self.tables)?;
        if self.json {
            return say(&report::json(&survey));
        }
        write(&self.output, self.force, &file::text(&survey, &self.settings))?;
        say(&report::text(&survey, &self.output))
    }
}

fn write(path: &Path, force: bool, text: &str) -> Result<(), InitError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).create_new(!force);
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => InitError::Exists(path.to_owned()),
        _ => InitError::Unwritable { path: path.to_owned(), source },
    })
}
