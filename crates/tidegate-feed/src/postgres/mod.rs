//! Transactions out of a PostgreSQL database, by logical replication.

mod applier;
mod binary_copy;
pub mod check;
mod connect;
mod conninfo;
mod continuity;
mod copies;
mod copy;
mod error;
mod feed;
mod follow;
pub mod inspect;
mod lsn;
mod marks;
mod monitor;
pub mod pgoutput;
mod pump;
pub mod quote;
mod reader;
pub mod resolve;
mod session;
mod settings;
mod setup;
mod snapshot;
mod status;
mod stream;
#[cfg(test)]
mod tests;
mod tls;
pub mod values;

pub use error::{SourceError, SourceErrorKind};
pub use feed::{Inspection, Outlets, Place, PostgresFeed, Prepared, ReachError, inspect};
pub use lsn::{Lsn, LsnError};
pub use settings::{Endpoint, Settings, TlsMode};
pub use status::{BARRIER_BYTES_MAX, EntityStatus, Reasons, SourceMetrics, Status};
