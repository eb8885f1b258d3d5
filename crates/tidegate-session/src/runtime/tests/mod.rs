//! The machine, driven without threads, clock or SQLite: scenarios, and histories of any kind.

#![allow(clippy::expect_used)]

mod disk;
mod found;
mod histories;
mod thread;
mod truth;
mod world;
