//! Transactions out of a PostgreSQL database, by logical replication.

mod lsn;
mod standin;

pub use lsn::{Lsn, LsnError};
pub use standin::*;
