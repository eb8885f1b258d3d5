//! Where transactions come from: local writes, or a PostgreSQL database that is followed.
//!
//! # Place in the flow
//! The leftmost room. A feed owns the mirror's writer, applies one transaction after the other at growing positions, and
//! hands their net changes to whoever follows (the live engine). [`LocalFeed`] makes them of batches that are accepted;
//! [`postgres::PostgresFeed`] takes them out of a database's log. One of them runs.
//!
//! # Invariants
//! - **All or nothing.** A batch or a transaction is applied as a whole; a batch may be refused with the entity, column and
//!   rule at fault.
//! - **Durable first.** What waits is committed together with one fsync. Only then is it published, all at once and in the
//!   order of the positions, and only then answered, or confirmed to its source. A commit that fails is published to nobody.
//! - **Asked again, answered the same.** The answer under an idempotency key is kept in the same commit as its rows.
//! - **Bounded.** Queues are bounded in number and bytes; past either, a write is refused as `overloaded`, and a source
//!   waits.

mod commit;
mod decode;
mod error;
mod local;
mod metrics;
pub mod postgres;
mod request;

pub use decode::{Limits, decode_changes};
pub use error::{WriteError, WriteErrorCode};
pub use local::{Config, LocalFeed};
pub use metrics::Metrics;
pub use request::{ChangeOp, Idempotency, RowChange, TenantScope, WriteRequest, Written};
