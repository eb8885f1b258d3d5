//! What is wrong with a configuration: which key, which value, from where, and the rule.

use std::fmt;
use std::path::PathBuf;

/// Where a setting came from; later ones win.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Built in.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// An environment variable, by its name.
    Environment(String),
    /// A command-line flag, by its name.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Flag(name) => f.write_str(name),
        }
    }
}

/// A configuration that breaks a rule. The values of secrets are never part of it.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{}: cannot be read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("{}, line {line}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Why.
        message: String,
    },
    /// A key that does not exist, or a value that breaks its rule.
    #[error("{key}{}{}: {rule}", value.as_ref().map(|v| format!(" = {v}")).unwrap_or_default(), from(origin))]
    Rule {
        /// The key, such as `edge.max_connections` or `entity[0].key`.
        key: String,
        /// The value as given, unless it is secret or too large to show.
        value: Option<String>,
        /// Where it came from.
        origin: Option<Origin>,
        /// What must hold.
        rule: String,
    },
}

impl ConfigError {
    pub(crate) fn rule(key: impl Into<String>, rule: impl Into<String>) -> Self {
        Self::Rule { key: key.into(), value: None, origin: None, rule: rule.into() }
    }

    pub(crate) fn of(
        key: impl Into<String>,
        value: &(impl std::fmt::Display + ?Sized),
        origin: Option<&Origin>,
        rule: impl Into<String>,
    ) -> Self {
        Self::Rule { key: key.into(), value: Some(value.to_string()), origin: origin.cloned(), rule: rule.into() }
    }
}

fn from(origin: &Option<Origin>) -> String {
    origin.as_ref().map(|origin| format!(" (from {origin})")).unwrap_or_default()
}
