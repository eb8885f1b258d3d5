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

/// Which ones, and how long.
#[derive(clap::Args)]
pub(crate) struct Rivals {
    /// Only this one: nchan, ws, socket.io, gorilla; may be given again [default: all]
    #[arg(long)]
    only: Vec<String>,
    /// Only this mode of `tidegate bench`: idle, fanout, storm, echo; may be given again [default: all that it can do]
    #[arg(long = "mode")]
    modes: Vec<String>,
    /// Options for `tidegate bench`, such as --connections 1000
    #[arg(last = true)]
    options: Vec<String>,
}

impl Rivals {
    pub(crate) fn run(&self) -> Outcome {
        let unknown = self.only.iter().find(|only| RIVALS.iter().all(|rival| rival.name != **only));
        if let Some(unknown) = unknown {
            return Err(format!("{unknown}: there is no such rival; see --help"));
        }
        run("tidegate", cargo(&["build", "--release", "--locked", "--package", "tidegate", "--bin", "tidegate"]))?;
        // One that fails does not keep the others from being measured.
        let chosen =
            RIVALS.iter().filter(|rival| self.only.is_empty() || self.only.iter().any(|only| only == rival.name));
        let failures: Vec<String> = chosen.filter_map(|rival| self.measure(rival).err()).collect();
        if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
    }

    fn measure(&self, rival: &Rival) -> Outcome {
        let folder = tools::target().join("rivals").join(rival.name);
        let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
        fs::create_dir_all(&folder).map_err(failed)?;
        let (mut runs, mut versions, mut outcome) = (Vec::new(), String::new(), Ok(()));
        for (mode, via) in self.modes(rival) {
            // A new server for each, so that none pays for what another has left behind.
            let address = free_address()?;
            let (start, version) = (rival.install)(&folder, address)?;
            let log = folder.join("server.log");
            let server = Server::start(rival.name, start, address, &log)?;
            let report = folder.join(format!("{mode}-{via}.json"));
            let bench = self.bench(rival, (mode, via), address, server.worker(), &report);
            match run(&format!("{}: {mode} by {via}", rival.name), bench).and_then(|()| read(&report)) {
                Ok(report) => runs.push(json!({ "mode": mode, "via": via, "report": report })),
                Err(message) => outcome = outcome.and(Err(format!("{}: {message}", rival.name))),
            }
            server.stop()?;
            versions = version;
        }
        let file = tools::target().join("rivals").join(format!("{}.json", rival.name));
        let all = json!({ "rival": rival.name, "version": versions, "runs": runs });
        fs::write(&file, format!("{all:#}\n")).map_err(failed)?;
        println!("{}", file.display());
        outcome
    }

    /// Modes and transports that it can do and that were asked for.
    fn modes(&self, rival: &Rival) -> Vec<(&'static str, &'static str)> {
        let mut modes = vec![("idle", "ws"), ("fanout", "ws"), ("storm", "ws")];
        if rival.events {
            modes.extend([("idle", "sse"), ("fanout", "sse")]);
        }
        if rival.echo.is_some() {
            modes.push(("echo", "ws"));
        }
        modes.retain(|(mode, _)| self.modes.is_empty() || self.modes.iter().any(|wanted| wanted == mode));
        modes
    }

    fn bench(&self, rival: &Rival, how: (&str, &str), address: SocketAddr, process: u32, report: &Path) -> Command {
        let (mode, via) = how;
        let mut bench = command(tools::target().join("release/tidegate"), ["bench", mode, "--via", via]);
        let scheme = if via == "sse" { "http" } else { "ws" };
        let path = rival.echo.filter(|_| mode == "echo").unwrap_or(rival.subscribe);
        bench
            .args(["--url", &format!("{scheme}://{address}{path}"), "--pid", &process.to_string(), "--json"])
            .arg(report);
        if let Some(hello) = rival.hello {
            bench.args(["--subscribe", hello]);
        }
        if mode != "idle" && mode != "echo" {
            match rival.publish {
                Publish::Http(path) => bench.args(["--publish-url", &format!("http://{address}{path}")]),
                Publish::WebSocket(path, message) => bench.args(["--publish-path", path, "--publish-message", message]),
            };
        }
        bench.args(&self.options);
        bench
    }
}

fn read(report: &Path) -> Result<Value, String> {
    let text = fs::read(report).map_err(|error| format!("{}: {error}", report.display()))?;
    serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", report.display()))
}
