//! What the edge must hold to, seen from outside: every transport, every kind of bad peer, storms and drains. Each file
//! is one capability; `fixture` and the files without a `#[test]` are what they share.

// The whole crate is a test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod admission_rate;
mod compression;
mod deflated;
mod drain;
mod drain_hint;
mod every_transport;
mod fixture;
mod h2_frames;
mod hostile_h2;
mod hostile_http;
mod hostile_ws;
mod keep_alive;
mod lists;
mod memory;
mod pace;
mod segments;
mod stalled;
mod storm;
mod strangers;
