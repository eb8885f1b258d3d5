//! What CI and people run: `cargo xtask --help`.

mod autobahn;
mod checks;
mod clients;
mod logs;
mod packaging;
mod rivals;
mod server;
mod setup;
mod step;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Tasks of the Tidegate repository.
#[derive(Parser)]
#[command(name = "cargo xtask", version = None)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Installs what the tests need and this machine lacks: PostgreSQL, pgbouncer, openssl, shellcheck,
    /// systemd-analyze, Node, Chromium (by apt-get, as root only), and Python's `websockets`, npm's
    /// `playwright-core` and the client libraries of others (below target/).
    Setup,
    /// All that CI checks: format, lints, docs, packaging, the JavaScript client, client libraries of others, the pages in a
    /// browser, every test, and that no gateway of the tests has logged a secret.
    Ci,
    /// The release script, the systemd unit and the example configuration: whether they are well formed.
    Packaging,
    /// The JavaScript client's tests, also against the real binary.
    Js,
    /// npm's `centrifuge`, PyPI's `centrifuge-python` and `agentruntimecontrolprotocol`, in the versions that
    /// clients/conformance says (below target/), against the real binary.
    Clients,
    /// The demo page, and that of examples/postgres, in headless Chromium.
    Browser,
    /// The engine's random histories, as many as asked for.
    Histories {
        /// How many.
        #[arg(long, default_value_t = 1_000_000)]
        count: u64,
    },
    /// Random filters and orders against a real PostgreSQL, as many schemas as asked for.
    Semantics {
        /// How many schemas, with 8 queries each.
        #[arg(long, default_value_t = 20_000)]
        cases: u64,
    },
    /// Lists of clients against a real PostgreSQL that is followed, commit by commit, as many as asked for.
    Oracle {
        /// How many.
        #[arg(long, default_value_t = 1_000_000)]
        checks: u64,
    },
    /// The Autobahn test suite (Python 2.7) against our WebSocket echo servers; what it needs goes below target/.
    Autobahn(autobahn::Autobahn),
    /// Connects, cuts, stalls and publications for long against a gateway in release: whether memory stays flat and
    /// nothing leaks.
    Soak {
        /// For how long.
        #[arg(long, default_value_t = 30)]
        minutes: u64,
    },
    /// `tidegate bench` against the servers that we are compared with: nginx with nchan (by apt-get, as root only), npm's
    /// ws and socket.io, Go's gorilla/websocket (below target/). One JSON file each, in target/rivals/.
    Rivals(rivals::Rivals),
    /// The fuzz targets on mutations of their seeds, on stable Rust and without guidance by coverage.
    Fuzz {
        /// Seconds for each target.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Setup => setup::all(),
        Task::Ci => checks::all(),
        Task::Packaging => packaging::check(),
        Task::Js => checks::js(),
        Task::Clients => clients::run_all(),
        Task::Browser => checks::browser(),
        Task::Histories { count } => checks::histories(count),
        Task::Semantics { cases } => checks::semantics(cases),
        Task::Oracle { checks: count } => checks::oracle(count),
        Task::Autobahn(autobahn) => autobahn.run(),
        Task::Rivals(rivals) => rivals.run(),
        Task::Soak { minutes } => checks::soak(minutes),
        Task::Fuzz { seconds } => checks::fuzz(seconds),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("\nFAILED: {message}");
            ExitCode::FAILURE
        }
    }
}
