//! The Agent Runtime Control Protocol (ARCP) 1.1, as `docs/arcp.md` settles it: one JSON object a text message.
//!
//! # Place in the flow
//! A carrier hands over a whole message. [`envelope`] reads what is around every message and [`requests`] what is in it; the
//! [`protocol`] says hello, keeps the heart beating, and passes what a client wants on to the runtime. What that answers, and the
//! events of the session, come back as items of the connection's [`Session`](tidegate_session::Session) and are encoded by
//! [`write`], in the [`dialect`] that the client understands.
//!
//! # Invariants
//! - **No panic, no length believed.** A message is bounded by the carrier before it is read, and in depth before it is parsed.
//! - **A bad message costs an answer**, not the session; before the welcome it costs the connection.
//! - **Nothing is told that is not stored**: what is written here comes from the runtime, but for pongs and refusals.
//! - **Under 1 MiB**, each message: clients close on more.

mod dialect;
mod endpoint;
mod envelope;
mod features;
mod fields;
mod hello;
mod protocol;
mod pulse;
mod requests;
mod settings;
mod worker;
mod write;

pub(crate) use endpoint::{is_socket, open};
pub(crate) use worker::open as open_worker;

pub use dialect::{Dialect, Dialects};
pub use settings::ArcpSettings;
