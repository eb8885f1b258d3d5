//! What hostile bytes reach first, as functions of bytes. Each must return: no panic, no hang, no unbounded memory.
//!
//! # Who runs them
//! - `cargo test -p tidegate-fuzz` on stable Rust, in CI: each function for a few seconds on mutations of its seeds in
//!   `corpus/` (`TIDEGATE_FUZZ_SECONDS` asks for more). Random, not guided by coverage.
//! - `cargo +nightly fuzz run --fuzz-dir fuzz/libfuzzer query fuzz/corpus/query` with `cargo-fuzz` installed, by hand:
//!   the same functions under libFuzzer, guided by coverage. CI does not run it.
//!
//! The commands of the live and event protocols are decoded by private code of `tidegate-edge`, which has its own
//! property test; `hostile.rs` of the binary sends mutated ones over real sockets.

mod frames;
mod pgoutput;
mod query;
mod value;
mod websocket;

pub use frames::frames;
pub use pgoutput::pgoutput;
pub use query::query;
pub use value::value;
pub use websocket::websocket;

/// A function of bytes.
pub type Target = fn(&[u8]);

/// All of them, by the names of their folders in `corpus/`.
pub const TARGETS: [(&str, Target); 5] =
    [("frames", frames), ("pgoutput", pgoutput), ("query", query), ("value", value), ("websocket", websocket)];
