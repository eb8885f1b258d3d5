//! The embedded store: every entity's rows, at exactly one position.
//!
//! # Place in the flow
//! The feed owns the [`Writer`] and applies transactions through it; the live engine and the HTTP pages read through
//! the [`Mirror`], which is a [`tidegate_model::RowSource`]. The writer reports the **net changes** of each transaction
//! with both images of every row: it is where the engine's old images come from.
//!
//! # How it is kept
//! One SQLite file in write-ahead mode, one writer, a pool of reader threads with a read-only connection each. An
//! entity is a table of (tenant, key, version, row); the key and every indexed column hold the model's order-preserving
//! encoding, so SQLite's comparison of blobs is the program's one order. Filters are decided by
//! [`tidegate_model::Predicate`] alone; SQL only narrows what is held against it.
//!
//! # Invariants
//! - **One position.** A read takes the position and its rows from one snapshot. A commit moves both at once.
//! - **Durable means fsynced.** [`Writer::commit`] returns after the write-ahead log is on disk (`synchronous=FULL`).
//! - **A refused batch leaves nothing.** A batch is folded and checked in memory before its first row is written.
//! - **A source's rows are told or reloaded.** What a source transaction did is either among its changes, row by row,
//!   or its entity is under its `reloads`; its memory is bounded either way.
//! - **A sourced key stands once**, in one partition. A row that its entity's filter turns away, or that has no tenant,
//!   is in a partition that no tenant can name: its cells stay known to the feed and to nobody else.
//! - **Reads are short.** A scan looks at a bounded number of rows where an index serves its order, and holds at most
//!   the rows wanted where none does, so that the log can be checkpointed and memory stays bounded.
//! - **One process.** A lock beside the file keeps a second one out; [`backup`] alone may read beside it.

mod backup;
mod batch;
mod copy;
mod error;
mod fold;
mod idempotency;
mod metrics;
mod migrate;
mod mirror;
mod pass;
mod path;
mod reader;
mod source;
mod store;
mod table;
mod walk;
mod writer;

pub use backup::backup;
pub use batch::{Applied, RowOp, RowWrite};
pub use copy::{Loaded, NOTE_BYTES_MAX, Pending, State};
pub use error::{ApplyError, MirrorError, Refusal};
pub use idempotency::Remembered;
pub use metrics::Metrics;
pub use mirror::Mirror;
pub use source::SourceOp;
pub use store::Options;
pub use writer::Writer;

/// Longest encoded key of a row, in bytes: it is part of every index entry.
pub const KEY_BYTES_MAX: usize = 4_096;
