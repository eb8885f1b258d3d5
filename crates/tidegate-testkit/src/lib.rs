//! What the tests of all rooms share: naive models to compare with, strategies for hostile data, real child servers,
//! clients that nobody's server code wrote, and a proxy that breaks connections.
//!
//! # Place in the flow
//! Beside it: a development dependency only. It knows the types of `tidegate-model` and the contracts on the wire, and
//! no other room, so that a test's answer never comes from the code under test.
//!
//! # Invariants
//! - [`naive`] shares no code with the engine but the types: it evaluates, compares and sorts by definition, slowly.
//! - Nothing here waits by sleeping for a guessed time: every wait is for a condition, with a bound that fails the test.
//! - Every child process is killed when its handle is dropped, and its output is part of the failure message.

// A broken expectation here is a failed test, which is what this crate is for.
#![allow(clippy::unwrap_used, clippy::expect_used)]

pub mod clients;
pub mod gateway;
pub mod model_client;
pub mod naive;
pub mod postgres;
pub mod proxy;
pub mod redis;
pub mod strategies;
