//! The feed and the mirror against a real PostgreSQL: copied, followed, and broken in every way that a session can break.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken expectation is a failed test")]

mod altered;
mod copying;
mod follower;
mod following;
mod proving;
