//! Device sessions in a real Redis: what is announced, what is looked up, and what happens when Redis, its stream or the way
//! there fails.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken expectation is a failed test")]

mod faults;
mod fixture;
mod following;
mod gaps;
mod malformed;
mod reaching;
