//! The `tidegate` program.

use std::process::ExitCode;

use clap::Parser as _;
use tidegate::Cli;

/// A batch is allocated for every view that a change concerns; this allocator takes half of the system's time for it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
