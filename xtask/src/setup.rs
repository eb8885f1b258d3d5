//! Installs what the tests need where it is missing, and says what it does.

use std::path::Path;

use crate::clients;
use crate::step::{Outcome, command, output, run, succeeds};
use crate::tools;

/// Node's package on npm, which brings the binary: for systems whose own is older than WebSocket.
const NODE: &str = "node@22";
const PLAYWRIGHT: &str = "playwright-core@1";
const WEBSOCKETS: &str = "websockets>=13,<17";

/// Tries everything before it fails, so that one look tells all that is missing.
pub(crate) fn all() -> Outcome {
    let results = [
        ("PostgreSQL", postgres()),
        ("pgbouncer", program("pgbouncer")),
        ("Redis", program("redis-server")),
        ("openssl", program("openssl")),
        ("shellcheck", program("shellcheck")),
        ("systemd-analyze", systemd()),
        ("Node", node()),
        ("Chromium", chromium()),
        ("playwright-core", playwright()),
        ("Python's websockets", websockets()),
        ("client libraries of others", clients::install()),
    ];
    let mut missing = Vec::new();
    for (name, result) in results {
        match result {
            Ok(()) => println!("{name}: there"),
            Err(message) => {
                eprintln!("{name}: MISSING: {message}");
                missing.push(name);
            }
        }
    }
    if missing.is_empty() { Ok(()) } else { Err(format!("not installed: {}", missing.join(", "))) }
}

fn postgres() -> Outcome {
    if tools::has_postgres() { Ok(()) } else { apt(&["postgresql"]) }
}

/// A program whose package has its name.
fn program(name: &str) -> Outcome {
    if tools::has_program(name) { Ok(()) } else { apt(&[name]) }
}

/// For its verification of units alone: nothing is started.
fn systemd() -> Outcome {
    if tools::has_program("systemd-analyze") { Ok(()) } else { apt(&["systemd"]) }
}

fn chromium() -> Outcome {
    if tools::chromium().is_some() { Ok(()) } else { apt(&["chromium"]) }
}

fn node() -> Outcome {
    if tools::npm().is_none() {
        apt(&["nodejs", "npm"])?;
    }
    if tools::node().is_some() { Ok(()) } else { npm(NODE) }
}

fn playwright() -> Outcome {
    if tools::has_playwright() { Ok(()) } else { npm(PLAYWRIGHT) }
}

fn websockets() -> Outcome {
    if tools::has_websockets() {
        return Ok(());
    }
    let venv = tools::venv();
    python_environment(&venv)?;
    run("pip install websockets", command(venv.join("bin/python"), ["-m", "pip", "install", "--quiet", WEBSOCKETS]))
}

/// Makes an environment of Python's in a folder.
pub(crate) fn python_environment(folder: &Path) -> Outcome {
    if tools::python().is_none_or(|python| !succeeds(command(python, ["-c", "import venv, ensurepip"]))) {
        apt(&["python3-venv"])?;
    }
    let python = tools::python().ok_or("no python3")?;
    run("python3 -m venv", command(python, [Path::new("-m"), Path::new("venv"), folder]))
}

fn npm(package: &str) -> Outcome {
    npm_into(&tools::node_modules(), package)
}

/// Installs a package into a folder's `node_modules`.
pub(crate) fn npm_into(folder: &Path, package: &str) -> Outcome {
    let npm = tools::npm().ok_or("no npm")?;
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut install = command(npm, ["install", "--no-audit", "--no-fund", "--no-package-lock", package, "--prefix"]);
    install.arg(folder);
    run(&format!("npm install {package}"), install)
}

pub(crate) fn apt(packages: &[&str]) -> Outcome {
    let wanted = packages.join(" ");
    if output(command("id", ["-u"])).as_deref() != Some("0") {
        return Err(format!("install {wanted} with your system's package manager, or run this as root on Debian"));
    }
    let mut update = command("apt-get", ["update", "--quiet"]);
    update.env("DEBIAN_FRONTEND", "noninteractive");
    run("apt-get update", update)?;
    let mut install = command("apt-get", ["install", "--yes", "--quiet", "--no-install-recommends"]);
    install.args(packages).env("DEBIAN_FRONTEND", "noninteractive");
    run(&format!("apt-get install {wanted}"), install)
}
