//! Identity from outside: tokens in, sessions, users and tenants out, over the API and the command line.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod api;
mod cli;
mod device;
mod encrypted;
mod fixture;
mod histories;
mod revocation;
mod seat;
mod stale;
mod stalled;
