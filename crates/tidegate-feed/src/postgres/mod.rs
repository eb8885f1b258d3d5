//! Transactions out of a PostgreSQL database, by logical replication.

#[allow(dead_code, reason = "sessions are built on it")]
mod binary_copy;
pub mod check;
#[allow(dead_code, reason = "sessions are built on it")]
mod connect;
mod conninfo;
#[allow(dead_code, reason = "sessions are built on it")]
mod copy;
mod error;
pub mod inspect;
mod lsn;
pub mod mapping;
pub mod pgoutput;
pub mod quote;
mod reader;
pub mod resolve;
mod settings;
#[allow(dead_code, reason = "sessions are built on it")]
mod setup;
#[allow(dead_code, reason = "sessions are built on it")]
mod snapshot;
#[allow(dead_code, reason = "sessions are built on it")]
mod stream;
#[cfg(test)]
mod tests;
#[allow(dead_code, reason = "sessions are built on it")]
mod tls;
pub mod values;

pub use error::{SourceError, SourceErrorKind};
pub use lsn::{Lsn, LsnError};
pub use settings::{Endpoint, Settings, TlsMode};
