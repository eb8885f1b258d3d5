//! Transactions out of a PostgreSQL database, by logical replication.

mod lsn;

pub use lsn::{Lsn, LsnError};
