//! Configuration: defaults < file < environment < flags, checked as a whole before a port is bound.

mod agents;
mod application;
mod arcp;
mod centrifugo;
mod entities;
mod error;
mod identity;
mod layers;
mod permissions;
mod rooms;
mod show;
mod source;
mod topics;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use tidegate_identity::{Grant, Settings};
use tidegate_model::{Catalog, EntityBuilder};
use toml::Table;

pub use agents::CommandAgent;
pub use application::{Application, ApplicationEndpoint};
pub use arcp::Arcp;

pub(crate) use application::warnings as application_warnings;
pub use centrifugo::Centrifugo;
pub use error::{ConfigError, Origin};
pub(crate) use identity::warnings;
use layers::Layers;
use permissions::Permission;
pub use rooms::{Api, Rooms};
pub use source::{Postgres, Source};
pub use topics::Topics;

/// Everything a gateway is started with, valid as a whole.
#[derive(Debug)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where the embedded store is.
    pub data_dir: PathBuf,
    /// Who may connect, and how that is found out.
    pub identity: Settings,
    /// Where rows come from.
    pub source: Source,
    /// How it logs.
    pub log: Log,
    /// The bounds and times of every room.
    pub rooms: Rooms,
    /// What topics are, and their bounds.
    pub topics: Topics,
    /// The application behind the gateway.
    pub application: Application,
    /// For those who come from Centrifugo.
    pub centrifugo: Centrifugo,
    /// Agent sessions, their jobs, and what runs these.
    pub arcp: Arcp,
    /// Certificate chain and key, where TLS is on.
    pub tls: Option<Tls>,
    /// Who may do what; see [`Config::grants`].
    permissions: Vec<Permission>,
    layers: Layers,
    /// Environment variables that look like settings and are none.
    pub unknown_variables: Vec<String>,
}

/// How it logs.
#[derive(Debug, Clone)]
pub struct Log {
    /// One JSON object a line instead of text.
    pub json: bool,
    /// A filter such as `info,tidegate_live=debug`.
    pub level: String,
}

/// Files for TLS.
#[derive(Debug, Clone)]
pub struct Tls {
    /// PEM certificates.
    pub certificate_file: PathBuf,
    /// PEM private key.
    pub key_file: PathBuf,
}

/// What the command line says; it wins over every other layer.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// `--listen`
    pub listen: Option<String>,
    /// `--data-dir`
    pub data_dir: Option<PathBuf>,
}

impl Config {
    /// Reads the file, if any, this process's environment and the flags.
    ///
    /// # Errors
    /// The first rule broken, with the key, the value and where it came from.
    pub fn load(file: Option<&Path>, flags: &Flags) -> Result<Self, ConfigError> {
        let text = file.map(|path| {
            std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.into(), source })
        });
        let text = text.transpose()?;
        // A variable that is not Unicode can be no setting of ours.
        let variables = std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)));
        Self::layered(file.zip(text.as_deref()), variables, flags)
    }

    /// The same from given layers.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn layered(
        file: Option<(&Path, &str)>,
        variables: impl IntoIterator<Item = (String, String)>,
        flags: &Flags,
    ) -> Result<Self, ConfigError> {
        let mut layers = Layers::defaults()?;
        if let Some((path, text)) = file {
            layers.file(path, text)?;
        }
        let unknown_variables = layers.environment(variables)?;
        if let Some(listen) = &flags.listen {
            layers.flag("listen", "--listen", listen)?;
        }
        if let Some(dir) = &flags.data_dir {
            layers.flag("data_dir", "--data-dir", &dir.to_string_lossy())?;
        }
        Self::check(layers, unknown_variables)
    }

    /// The entities, where they are known without asking a database.
    #[must_use]
    pub fn catalog(&self) -> Option<&Arc<Catalog>> {
        match &self.source {
            Source::Local(catalog) => Some(catalog),
            Source::Postgres(_) => None,
        }
    }

    /// What the permissions grant on these entities: the configuration's own, or what a database made of them.
    ///
    /// # Errors
    /// A permission names what an entity does not have. Never for the catalog of [`Config::catalog`], with which the
    /// permissions were checked when this was loaded.
    pub fn grants(&self, catalog: &Catalog) -> Result<Vec<Grant>, ConfigError> {
        permissions::grants(&self.permissions, catalog)
    }

    /// How many permissions there are.
    pub(crate) fn permissions(&self) -> usize {
        self.permissions.len()
    }

    /// How many namespaces of topics there are.
    pub(crate) fn namespaces(&self) -> usize {
        self.layers.topics.len()
    }

    /// The catalog of entities as a database has them, in the order of the configuration.
    pub(crate) fn build_catalog(builders: &[EntityBuilder]) -> Result<Catalog, ConfigError> {
        entities::catalog(builders)
    }

    fn check(layers: Layers, unknown_variables: Vec<String>) -> Result<Self, ConfigError> {
        let listen = layers
            .text("listen")
            .parse()
            .map_err(|_| layers.error("listen", "must be an address and port, such as 127.0.0.1:8470 or [::]:8470"))?;
        if layers.text("data_dir").is_empty() {
            return Err(layers.error("data_dir", "must name a directory"));
        }
        let source = source::read(&layers)?;
        let permissions = permissions::read(&layers.permissions, &source)?;
        if let Source::Local(catalog) = &source {
            permissions::grants(&permissions, catalog)?;
        }
        let arcp = arcp::read(&layers)?;
        Ok(Self {
            listen,
            data_dir: layers.text("data_dir").into(),
            identity: identity::read(&layers)?,
            source,
            permissions,
            log: log(&layers)?,
            rooms: rooms::read(&layers, &arcp)?,
            topics: topics::read(&layers)?,
            application: application::read(&layers)?,
            centrifugo: centrifugo::read(&layers),
            arcp,
            tls: tls(&layers)?,
            layers,
            unknown_variables,
        })
    }
}

fn log(layers: &Layers) -> Result<Log, ConfigError> {
    let level = layers.text("log.level").to_owned();
    tracing_subscriber::EnvFilter::builder()
        .parse(&level)
        .map_err(|e| layers.error("log.level", format!("must be a log filter such as \"info\": {e}")))?;
    match layers.text("log.format") {
        "text" => Ok(Log { json: false, level }),
        "json" => Ok(Log { json: true, level }),
        _ => Err(layers.error("log.format", "must be \"text\" or \"json\"")),
    }
}

fn tls(layers: &Layers) -> Result<Option<Tls>, ConfigError> {
    let [certificate_file, key_file] = ["tls.certificate_file", "tls.key_file"].map(|key| layers.text(key));
    match (certificate_file, key_file) {
        ("", "") => Ok(None),
        ("", _) => Err(layers.error("tls.certificate_file", "is needed beside tls.key_file")),
        (_, "") => Err(layers.error("tls.key_file", "is needed beside tls.certificate_file")),
        (certificate, key) => Ok(Some(Tls { certificate_file: certificate.into(), key_file: key.into() })),
    }
}

/// A table as `T`; what does not fit is named by its place.
fn typed<T: DeserializeOwned>(path: &str, table: &Table) -> Result<T, ConfigError> {
    table.clone().try_into().map_err(|e: toml::de::Error| {
        let message = e.to_string();
        // "<what>\nin `<key>`\n" is how the crate words it.
        let mut lines = message.lines();
        let what = lines.next().unwrap_or_default();
        let key = lines.find_map(|line| line.strip_prefix("in `")?.strip_suffix('`'));
        let path = key.map_or(path.to_owned(), |key| format!("{path}.{key}"));
        ConfigError::rule(path, what)
    })
}

#[cfg(test)]
mod tests;
