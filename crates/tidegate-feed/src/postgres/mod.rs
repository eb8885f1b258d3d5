//! Transactions out of a PostgreSQL database, by logical replication.

mod continuity;
mod lsn;

pub use lsn::{Lsn, LsnError};
