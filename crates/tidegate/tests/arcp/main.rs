//! ARCP 1.1 as clients see it, over sockets: one test a statement of the draft, by section, and the faults that other runtimes have.
//!
//! `statements.rs` says which test proves which statement; `docs/arcp-conformance.md` is made of it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod client;
mod fixture;
mod frames;
mod upstream;

mod dialects;
mod faults;
mod s10_delegation;
mod s12_errors;
mod s14_security;
mod s4_transport;
mod s5_envelope;
mod s6_hello;
mod s6_listing;
mod s6_liveness;
mod s6_resume;
mod s7_control;
mod s7_jobs;
mod s7_subscribe;
mod s8_events;
mod s9_budget;
mod s9_credentials;
mod s9_leases;
mod statements;
mod stdio;
mod table;
