//! The Autobahn test suite against our WebSocket servers.
//!
//! The suite runs on Python 2.7 alone. Its client mode exits 0 whatever happens, so what counts is the report that it
//! writes. See `report.rs` for what passes.

mod report;
mod suite;

use std::path::Path;
use std::process::Command;

use crate::server::{Server, free_address};
use crate::step::{Outcome, cargo, command, run};
use crate::tools;

use report::Report;

/// The longest ones: big messages (9), and compression (12, 13) where it is offered.
const SLOW: [&str; 3] = ["9.*", "12.*", "13.*"];

/// What to run the suite against, and how much of it.
#[derive(clap::Args)]
pub(crate) struct Autobahn {
    /// A server that runs already, ws://… [default: our echo examples, each on a port of its own]
    #[arg(long)]
    url: Option<String>,
    /// Only the edge's echo example: the sockets that clients of a gateway meet
    #[arg(long, conflicts_with = "url")]
    edge: bool,
    /// The server offers permessage-deflate, so that 12.* and 13.* must pass
    #[arg(long)]
    deflate: bool,
    /// Leave out 9.*, 12.* and 13.*
    #[arg(long, conflicts_with = "deflate")]
    quick: bool,
    /// Only these cases, such as 6.* or 7.1.3; may be given again [default: all]
    #[arg(long = "case")]
    cases: Vec<String>,
}

impl Autobahn {
    pub(crate) fn run(&self) -> Outcome {
        let wstest = suite::wstest()?;
        if let Some(url) = &self.url {
            return self.judge(&wstest, "given", url);
        }
        let packages: &[&str] = if self.edge { &["tidegate-edge"] } else { &["tidegate-ws", "tidegate-edge"] };
        let mut outcome = Ok(());
        for package in packages {
            outcome = outcome.and(self.example(&wstest, package));
        }
        outcome
    }

    fn example(&self, wstest: &Path, package: &str) -> Outcome {
        run(
            &format!("the echo example of {package}"),
            cargo(&["build", "--release", "--locked", "--package", package, "--example", "echo"]),
        )?;
        // Both packages' examples have the same name: the file is there from the build right above.
        let address = free_address()?;
        let mut server = command(tools::target().join("release/examples/echo"), [address.to_string()]);
        if self.deflate {
            server.arg("--deflate");
        }
        let log = suite::folder(package)?.join("server.log");
        let mut server = Server::start(package, server, address, &log)?;
        let outcome = self.judge(wstest, package, &format!("ws://{address}/"));
        server.running().and(outcome)
    }

    fn judge(&self, wstest: &Path, name: &str, url: &str) -> Outcome {
        let folder = suite::folder(name)?;
        let reports = folder.join("reports");
        // A report of an earlier run must not pass for this one's.
        if reports.exists() {
            std::fs::remove_dir_all(&reports).map_err(|error| format!("{}: {error}", reports.display()))?;
        }
        let cases = if self.cases.is_empty() { vec!["*".to_owned()] } else { self.cases.clone() };
        let excluded: &[&str] = if self.quick { &SLOW } else { &[] };
        let specification = serde_json::json!({
            "outdir": &reports,
            "servers": [{ "agent": name, "url": url }],
            "cases": cases,
            "exclude-cases": excluded,
            "exclude-agent-cases": {},
        });
        let file = folder.join("specification.json");
        std::fs::write(&file, specification.to_string()).map_err(|error| format!("{}: {error}", file.display()))?;
        let mut client = Command::new(wstest);
        client.args(["--mode", "fuzzingclient", "--spec"]).arg(&file).current_dir(&folder);
        let asked =
            suite::run_client(&format!("Autobahn against {name} at {url}"), client, &folder.join("wstest.log"))?;
        let report = Report::read(&reports)?;
        report.print();
        report.judge(asked, self.deflate).map_err(|message| format!("Autobahn against {name}: {message}"))
    }
}
