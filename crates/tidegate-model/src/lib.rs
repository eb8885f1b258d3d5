//! The words of Tidegate as plain types: values and their one total order, rows, entities, filters, queries, cursors,
//! transactions and deltas.
//!
//! # Place in the flow
//! Every room speaks these types and this room speaks to none. A [`Transaction`] leaves the feed, carries old and new
//! [`Row`]s through the mirror to the live engine, and becomes [`Batch`]es of [`Delta`]s for the subscribers of a
//! [`Query`].
//!
//! # Values
//! | type | JSON | order |
//! |---|---|---|
//! | `bool` | `true`, `false` | `false < true` |
//! | `int` | a number; beyond ±2^53 a string | numeric |
//! | `float` | a number; `"NaN"`, `"Infinity"`, `"-Infinity"` | numeric, NaN last, `-0` is `0` |
//! | `decimal` | a string with every digit | by value, NaN last |
//! | `text` | a string | by bytes |
//! | `text` of `char(n)` | a string padded with spaces | by bytes; what a query names is padded first |
//! | `bytes` | base64 | by bytes |
//! | `uuid` | a string | by bytes |
//! | `timestamp` | RFC 3339 UTC with microseconds, `"infinity"`, `"-infinity"` | by time |
//! | `date` | `YYYY-MM-DD`, `"infinity"`, `"-infinity"` | by time |
//! | `time` | `HH:MM:SS.ffffff`, up to `24:00:00` | by time |
//! | `interval` | an ISO 8601 duration | none; equal where as long, with 30 days to a month |
//! | `enum` | the label | as declared |
//! | `json` | itself | none; equal by content |
//! | `int[]` and so on | nested arrays | none; equal with bounds and nulls; `contains`, `overlaps` |
//!
//! Equality and order are PostgreSQL's under the collation `C`, but that the characters before space sort after the
//! padding of a `char(n)`. What reads a value for a column goes through [`Column::value_from_json`] or
//! [`Column::value_from_text`].
//!
//! # Invariants
//! - **One order.** [`key`] turns a value, or a row under an [`Order`], into bytes whose `memcmp` *is* the order.
//!   Windows, cursors and the mirror's indexes store these bytes; nothing else compares values for order.
//! - **One evaluator.** [`Predicate`] is the only code that decides whether a row matches; the stream and the scans
//!   both call it. SQL's three-valued logic.
//! - **No I/O, no clock, no randomness**, and no panic reachable from input: what comes from outside is decoded into a
//!   typed value or a [`ValueError`] / [`QueryError`] that names the path at fault.
//! - Everything a client can make grow is bounded by a constant beside the type: [`query::limits`].

mod address;
mod answer;
pub mod array;
mod canonical;
mod column;
pub mod decimal;
mod entity;
mod filter;
mod guard;
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

pub use address::{Address, ClientId, SubscriptionId};
pub use answer::{Answer, Later};
pub use array::Array;
pub use column::{Column, Detail, LABEL_BYTES_MAX, LABELS_MAX, PADDED_MAX};
pub use decimal::Decimal;
pub use entity::{
    COLUMNS_MAX, Catalog, Entity, EntityBuilder, EntityError, EntityId, MAX_WINDOW_DEFAULT, NAME_BYTES_MAX, Tenant,
    is_name,
};
pub use filter::{Comparison, Filter, InList};
pub use guard::{Changeable, Guard};
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
pub use transaction::{Batch, BatchKind, Body, Change, Delta, Op, Part, Position, Transaction};
pub use value::{Json, Label, Value, ValueError};
