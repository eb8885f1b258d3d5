//! The real binary following a real PostgreSQL: every list at every commit, every type, every fault. What is right is
//! said by PostgreSQL itself, from an independent reading of the same commits.

// The whole crate is a test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod faults;
mod follower;
mod kinds;
mod oracle;
mod world;
