//! Where transactions come from: local writes.
//!
//! # Place in the flow
//! The leftmost room. [`LocalFeed`] owns the mirror's writer, turns each accepted batch into one transaction at the
//! next position, and hands its net changes to whoever follows (the live engine). A database that is followed is to be
//! another feed with the same outlet.
//!
//! # Invariants
//! - **All or nothing.** A batch is applied as a whole, or refused with the entity, column and rule at fault.
//! - **Durable first.** Batches that wait are committed together with one fsync. Only then are they published, in the
//!   order of their positions, and only then answered. A commit that fails is published to nobody.
//! - **Asked again, answered the same.** The answer under an idempotency key is kept in the same commit as its rows.
//! - **Bounded.** The queue is bounded in requests and bytes; past either, a write is refused as `overloaded`.

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
