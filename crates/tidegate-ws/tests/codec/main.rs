//! The codec against what others know of the protocol: Autobahn's cases, other libraries, and itself.

// The whole crate is a test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod autobahn;
mod bounds;
mod oracle;
mod roundtrip;
mod utf8;
mod wire;
