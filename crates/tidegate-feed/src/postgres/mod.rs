//! Transactions out of a PostgreSQL database, by logical replication.

pub mod check;
mod error;
pub mod inspect;
mod lsn;
pub mod mapping;
pub mod pgoutput;
pub mod quote;
mod reader;
pub mod resolve;
pub mod values;

pub use error::{SourceError, SourceErrorKind};
pub use lsn::{Lsn, LsnError};
