//! The words of Tidegate as plain types: values and their one total order, rows, entities, filters, queries, cursors,
//! transactions and deltas.
//!
//! # Place in the flow
//! Every room speaks these types and this room speaks to none. A [`Transaction`] leaves the feed, carries old and new
//! [`Row`]s through the mirror to the live engine, and becomes [`Batch`]es of [`Delta`]s for the subscribers of a
//! [`Query`].
//!
//! # Invariants
//! - **One order.** [`key`] turns a value, or a row under an [`Order`], into bytes whose `memcmp` *is* the order.
//!   Windows, cursors and the mirror's indexes store these bytes; nothing else compares values for order.
//! - **One evaluator.** [`Predicate`] is the only code that decides whether a row matches; the stream and the scans
//!   both call it. SQL's three-valued logic.
//! - **No I/O, no clock, no randomness**, and no panic reachable from input: what comes from outside is decoded into a
//!   typed value or a [`ValueError`] / [`QueryError`] that names the path at fault.
//! - Everything a client can make grow is bounded by a constant beside the type: [`query::limits`].

pub mod array;
mod canonical;
mod column;
pub mod decimal;
mod entity;
mod filter;
mod interval;
pub mod json;
pub mod key;
mod kind;
mod like;
mod object;
mod predicate;
pub mod query;
mod row;
mod scan;
mod temporal;
mod token;
mod transaction;
mod value;

pub use array::Array;
pub use column::{Column, Detail, LABEL_BYTES_MAX, LABELS_MAX, PADDED_MAX};
pub use decimal::Decimal;
pub use entity::{
    COLUMNS_MAX, Catalog, Entity, EntityBuilder, EntityError, EntityId, MAX_WINDOW_DEFAULT, NAME_BYTES_MAX, Tenant,
    is_name,
};
pub use filter::{Comparison, Filter, InList};
pub use interval::Interval;
pub use key::{Key, Order, SortKey};
pub use kind::{Element, Type};
pub use like::{PATTERN_BYTES_MAX, Pattern, PatternError};
pub use object::Object;
pub use predicate::Predicate;
pub use query::{Mode, Query, QueryError};
pub use row::Row;
pub use scan::{Page, RowSource, ScanError, ScanReply, ScanRequest};
pub use token::{Token, TokenError};
pub use transaction::{Batch, BatchKind, Body, Change, Delta, Op, Position, Transaction};
pub use value::{Json, Label, Value, ValueError};
