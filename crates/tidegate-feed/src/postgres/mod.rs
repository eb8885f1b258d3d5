//! Transactions out of a PostgreSQL database, by logical replication.
//!
//! # The flow
//! ```text
//!                 ┌─ session: judge, then ────────────────────────────────┐
//!  PostgreSQL ═══►│ stream ─► pump ──────────┐                            │
//!             ═══►│ copies: COPY, beside it ─┼─► applier ─► mirror::Writer│─► publish
//!             ◄──►│ monitor: lag, marks ─────┘      │  commit, fsync      │
//!                 └──────── confirm ◄───────────────┘                     │
//! ```
//! [`PostgresFeed::prepare`] looks at the database ([`mod@inspect`]), says what is amiss ([`mod@check`]) and makes entities of
//! tables ([`mod@resolve`]). Sessions follow one another (`session`): each proves that the stream goes on from where the
//! mirror is (`continuity`), or has everything copied again; then the stream is pumped to the one thread that owns the
//! mirror's writer (`applier`), tables that want it are copied beside it (`copies`), and what the stream does not tell is
//! asked for (`monitor`).
//!
//! # Invariants
//! - **Durable, then confirmed.** Where the source stands is noted in the same commit of the mirror as the rows; the
//!   server is told no more than that.
//! - **Whole transactions.** In commit order, each at a position of its own: the end of its commit record, as a number,
//!   or the next free one. Half a transaction is never committed.
//! - **No place proves a history.** What the server sends again must be what was applied; else everything is copied.
//! - **A copy misses nothing.** From before its snapshot until it is complete, changes of its table are recorded, and
//!   replayed but for transactions that the snapshot saw.
//! - **One entity's trouble is its own.** A table that is gone, or a row that can't be held, ends that entity's
//!   subscriptions with the reason; the others go on.
//! - **Bounded.** Queues are counted in batches of bounded bytes; while the applier is busy nothing more is read. A
//!   transaction of any size goes through the store, not through memory.

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
mod mapping;
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
