//! The edge on real sockets, over the real engine and a store in memory.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails where it stands")]

mod admission;
mod arcp;
mod carried;
mod centrifugo;
mod deflate;
mod door;
mod ephemeral;
mod events;
mod gateway;
mod live_ws;
mod slow;
mod sse;
mod standing;
mod topic_stream;
mod topics;
mod workers;
