//! Transactions out of a PostgreSQL database, by logical replication.

mod binary_copy;
mod connect;
mod conninfo;
mod copy;
mod error;
mod lsn;
mod settings;
mod setup;
mod snapshot;
mod stream;
mod tls;

pub use error::{SourceError, SourceErrorKind};
pub use lsn::{Lsn, LsnError};
pub use settings::{Endpoint, Settings, TlsMode};
