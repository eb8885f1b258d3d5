//! The live-query engine: which clients' lists does a transaction change, and how, exactly.
//!
//! # Place in the flow
//! Transactions come in from the feed, pages of rows from the mirror; deltas go out to sessions through the [`Sink`]
//! seam. [`Engine`] is pure: `(state, input, now) -> outputs`, so that a test can replay any history. [`Live`] is the
//! thin shell that runs engines on threads, a partition `(tenant, entity)` always on the same one.
//!
//! # Invariants
//! - **A window is a prefix up to a horizon** (`window`): exactly the matching rows with `anchor < key <= horizon`.
//! - **Everything follows from (old, new)** (`view`): no version map, nothing grows with rows a view has merely seen.
//! - **At P means at P**: a page of rows is taken in only at a position where stream and page agree; a page that is
//!   ahead waits for the stream, an older one has the stream replayed onto it. While rows are missing from the visible
//!   part, the view's frames are held back and leave as one net batch.
//! - **A reload is one transaction like any other** (`reload`): an entity that changed in a way not told row by row is
//!   read anew, and what its subscribers have stays right for the position before until the new rows are there.
//! - **One batch per view and position**, so a position names a batch in the log.
//! - **A change costs in proportion to the views that it concerns** (`index`, `partition`).
//! - The engine neither blocks, reads a clock nor draws a random number.

mod delivery;
mod diff;
mod dispatch;
mod engine;
mod index;
mod intervals;
mod limits;
mod linger;
mod log;
mod metrics;
mod numbers;
mod partition;
mod queue;
mod reload;
mod scans;
mod subscribers;
mod subscriptions;
mod sync;
mod synced;
mod transactions;
mod unready;
mod view;
mod window;
mod workers;

pub use delivery::{Address, ClientId, Delivery, EndReason, Parcel, Sink, SubscriptionId, View};
pub use engine::{Engine, Output, Request, Subscriber, Subscribers};
pub use limits::Limits;
pub use metrics::{Counter, Metrics};
pub use workers::{Busy, Config, Live, StartError, Subscribe, Subscription};
