//! The real binary under real clients: crashes, cuts, stalls, floods. One scenario a file.

// The whole crate is a test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod admission;
mod cut_anywhere;
mod fixture;
mod hostile;
mod kill_minus_nine;
mod position;
mod python_client;
mod read_your_lists;
mod stalled_reader;
