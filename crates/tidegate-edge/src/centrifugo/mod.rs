//! The client protocol of Centrifugo: bytes to commands, and replies and pushes to bytes. Pure: no socket, clock or task.
//!
//! # Place in the flow
//! A carrier hands over a whole message. [`json`] or [`protobuf`] splits it into commands, lazily, and decodes each
//! into the same types, [`wire`]; what the server answers or tells is made of those and encoded by the same two.
//! [`codes`] are the numbers that clients act on, [`filter`] decides which publications a subscriber wants, and
//! [`push`] encodes what subscribers are told, where [`delta`] makes what differs from the one before.
//!
//! # Invariants
//! - **Lazy and counted**: a message of a million empty lines costs a scan of its bytes and no allocation; more commands
//!   than the cap are an error when the one past it is reached.
//! - **No panic, no length believed**: what is read is a slice of what is there.
//! - **A message is a line** in JSON: what is spliced into one is checked to be JSON and has no line feed.

mod channel;
pub(crate) mod codes;
mod connect;
pub(crate) mod delta;
pub(crate) mod encoding;
mod ending;
pub(crate) mod endpoint;
mod fault;
pub(crate) mod filter;
mod items;
pub(crate) mod json;
mod live;
mod map;
pub(crate) mod protobuf;
pub(crate) mod protocol;
pub(crate) mod push;
mod raw;
pub(crate) mod streams;
mod subscribe;
mod topics;
mod waiting;
pub(crate) mod wire;

pub use fault::Fault;

#[cfg(test)]
mod tests;
