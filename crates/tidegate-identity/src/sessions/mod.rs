//! Device sessions: which are active, and word of those that end.
#![cfg_attr(not(test), expect(dead_code, reason = "nobody asks for a session yet"))]

mod cache;
mod embedded;
mod file;
mod marks;
mod snapshot;
mod table;
