//! The servers that `docs/benchmarks.md` compares us with, measured by the same client: `tidegate bench`.

mod servers;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::server::{Server, free_address};
use crate::step::{Outcome, cargo, command, run};
use crate::tools;

use servers::{Publish, RIVALS, Rival};

/// A measurement, as options of `tidegate bench`.
struct Run {
    name: &'static str,
    mode: &'static str,
    options: &'static [&'static str],
    quick: &'static [&'static str],
    /// Also by Server-Sent Events, where the server has them.
    events: bool,
}

const RUNS: [Run; 6] = [
    Run {
        name: "fanout-50",
        mode: "fanout",
        options: &["--subscribers", "1000", "--rate", "50", "--backlog", "8"],
        quick: &["--subscribers", "100", "--rate", "50", "--backlog", "8", "--seconds", "2"],
        events: true,
    },
    Run {
        name: "fanout-1000",
        mode: "fanout",
        options: &["--subscribers", "1000", "--rate", "1000"],
        quick: &["--subscribers", "100", "--rate", "500", "--seconds", "2"],
        events: true,
    },
    Run {
        name: "broadcast",
        mode: "fanout",
        options: &["--subscribers", "10000", "--rate", "1", "--seconds", "20"],
        quick: &["--subscribers", "1000", "--rate", "2", "--seconds", "2"],
        events: false,
    },
    Run {
        name: "idle",
        mode: "idle",
        options: &["--connections", "10000"],
        quick: &["--connections", "500"],
        events: true,
    },
    Run {
        name: "storm",
        mode: "storm",
        options: &["--connections", "10000", "--drop", "20%"],
        quick: &["--connections", "500", "--drop", "20%"],
        events: false,
    },
    Run {
        name: "echo",
        mode: "echo",
        options: &["--connections", "100"],
        quick: &["--connections", "10", "--seconds", "2"],
        events: false,
    },
];

/// Which servers and measurements.
#[derive(clap::Args)]
pub(crate) struct Rivals {
    /// Only this server: nchan, ws, socket.io, gorilla; may be given again [default: all]
    #[arg(long)]
    only: Vec<String>,
    /// Only this measurement: fanout-50, fanout-1000, broadcast, idle, storm, echo; may be given again [default: all]
    #[arg(long = "run")]
    runs: Vec<String>,
    /// Small numbers, to see whether everything runs
    #[arg(long)]
    quick: bool,
}

impl Rivals {
    pub(crate) fn run(&self) -> Outcome {
        let known = |name: &String, names: &[&str]| match names.contains(&name.as_str()) {
            true => Ok(()),
            false => Err(format!("{name}: must be one of {}", names.join(", "))),
        };
        self.only.iter().try_for_each(|name| known(name, &RIVALS.map(|rival| rival.name)))?;
        self.runs.iter().try_for_each(|name| known(name, &RUNS.map(|run| run.name)))?;
        run("tidegate", cargo(&["build", "--release", "--locked", "--package", "tidegate", "--bin", "tidegate"]))?;
        let chosen = RIVALS.iter().filter(|rival| chosen(&self.only, rival.name));
        // One that fails does not keep the others from being measured.
        let failures: Vec<String> = chosen.filter_map(|rival| self.measure(rival).err()).collect();
        println!("\nEach report is in target/rivals/, for `tidegate bench all --with <rival>=<file>`.");
        if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
    }

    /// Each report goes to a file of its own, as `tidegate bench all --with` takes them, and all of them into one.
    fn measure(&self, rival: &Rival) -> Outcome {
        let folder = tools::target().join("rivals").join(rival.name);
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let (mut reports, mut versions, mut failures) = (serde_json::Map::new(), String::new(), Vec::new());
        for (wanted, via) in self.runs(rival) {
            let name = format!("{}-{via}", wanted.name);
            // A new server for each, so that none pays for what another has left behind.
            let address = free_address()?;
            let (start, version) = (rival.install)(&folder, address)?;
            let server = Server::start(rival.name, start, address, &folder.join("server.log"))?;
            let report = folder.join(format!("{name}.json"));
            let bench = self.bench(rival, (wanted, via), address, &report);
            match run(&format!("{}: {name}", rival.name), bench).and_then(|()| read(&report)) {
                Ok(report) => _ = reports.insert(name, report),
                Err(message) => failures.push(format!("{}: {message}", rival.name)),
            }
            server.stop()?;
            versions = version;
        }
        let file = tools::target().join("rivals").join(format!("{}.json", rival.name));
        let all = json!({ "rival": rival.name, "version": versions, "reports": reports });
        fs::write(&file, format!("{all:#}\n")).map_err(|error| format!("{}: {error}", file.display()))?;
        println!("\n{}", file.display());
        if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
    }

    /// What it can do and was asked for, with the transport.
    fn runs(&self, rival: &Rival) -> impl Iterator<Item = (&'static Run, &'static str)> {
        let able = RUNS.iter().filter(|run| rival.echo.is_some() || run.mode != "echo");
        let able = able.filter(|run| chosen(&self.runs, run.name));
        able.flat_map(|run| {
            let events = (run.events && rival.events).then_some((run, "sse"));
            [(run, "ws")].into_iter().chain(events)
        })
    }

    fn bench(&self, rival: &Rival, (run, via): (&Run, &str), address: SocketAddr, report: &Path) -> Command {
        let scheme = if via == "sse" { "http" } else { "ws" };
        let path = rival.echo.filter(|_| run.mode == "echo").unwrap_or(rival.subscribe);
        let mut bench = command(tools::target().join("release/tidegate"), ["bench", run.mode, "--via", via]);
        bench.args(["--url", &format!("{scheme}://{address}{path}"), "--json"]).arg(report);
        if let Some((hello, ready)) = rival.hello {
            bench.args(["--subscribe", hello, "--ready", ready]);
        }
        if run.mode == "fanout" {
            match rival.publish {
                Publish::Http(path) => bench.args(["--publish-url", &format!("http://{address}{path}")]),
                Publish::WebSocket(path, message) => bench.args(["--publish-path", path, "--publish-message", message]),
            };
        }
        bench.args(if self.quick { run.quick } else { run.options });
        bench
    }
}

/// Whether a name is among those asked for; all are where nothing was.
fn chosen(wanted: &[String], name: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|wanted| wanted == name)
}

fn read(report: &Path) -> Result<Value, String> {
    let text = fs::read(report).map_err(|error| format!("{}: {error}", report.display()))?;
    serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", report.display()))
}
