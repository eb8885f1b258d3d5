//! The suite itself: a Python 2.7, a virtual environment below `target/`, and a run of it.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::step::{command, output, run, succeeds};
use crate::tools;

/// The suite, and the last versions for Python 2.7 of what it needs.
const PACKAGES: [&str; 4] = ["autobahntestsuite==0.8.2", "Twisted==20.3.0", "pyOpenSSL==21.0.0", "cryptography==3.3.2"];
const VIRTUALENV: &str = "virtualenv==20.15.1";

/// Between lines that say how far it is: compression takes minutes.
const PROGRESS: Duration = Duration::from_secs(10);

/// Where a server's specification, logs and reports go.
pub(super) fn folder(server: &str) -> Result<PathBuf, String> {
    let folder = tools::target().join("autobahn").join(server);
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(folder)
}

/// The suite's program, installed if it is not there yet.
///
/// # Errors
/// There is no Python 2.7, or it can't be installed.
pub(super) fn wstest() -> Result<PathBuf, String> {
    let venv = tools::target().join("autobahn/venv");
    let wstest = venv.join("bin/wstest");
    if succeeds(command(&wstest, ["--help"])) {
        return Ok(wstest);
    }
    let python = python().ok_or(
        "Autobahn: NOT RUN: its test suite needs Python 2.7, and there is none on the path or below ~/.pyenv/versions; \
         `pyenv install 2.7.18` gets one",
    )?;
    let mut environment = command(&python, ["-m", "virtualenv", "--quiet"]);
    if !succeeds(command(&python, ["-m", "virtualenv", "--version"])) {
        let modules = tools::target().join("autobahn/virtualenv");
        let mut install = command(&python, ["-m", "pip", "install", "--quiet", VIRTUALENV, "--target"]);
        install.arg(&modules);
        run("virtualenv for Python 2.7", install)?;
        environment.env("PYTHONPATH", modules);
    }
    environment.arg(&venv);
    run("a virtual environment", environment)?;
    let mut install = command(venv.join("bin/pip"), ["install", "--quiet", "--prefer-binary"]);
    install.args(PACKAGES);
    run("the Autobahn test suite", install)?;
    Ok(wstest)
}

/// A Python 2.7 that runs: a shim of pyenv is on the path also where its Python is not chosen.
fn python() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let versions = std::fs::read_dir(home.join(".pyenv/versions")).into_iter().flatten().flatten();
    let pyenv = versions.filter(|version| version.file_name().to_string_lossy().starts_with("2.7"));
    let candidates = pyenv.map(|version| version.path().join("bin/python2.7")).chain([PathBuf::from("python2.7")]);
    candidates.into_iter().find(|python| {
        let version = command(python, ["-c", "import sys; print(sys.version_info[:2] == (2, 7))"]);
        output(version).as_deref() == Some("True")
    })
}

/// Runs the suite's client with its output in `log`: how many cases it said that it would run.
///
/// # Errors
/// It can't be run, or does not say so.
pub(super) fn run_client(name: &str, mut client: Command, log: &Path) -> Result<usize, String> {
    println!("\n=== {name} ===");
    let begun = Instant::now();
    let failed = |error: std::io::Error| format!("wstest: {error}");
    let mut log = File::create(log).map_err(failed)?;
    let errors = log.try_clone().map_err(failed)?;
    let mut child = client.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors).spawn().map_err(failed)?;
    let mut asked = None;
    let (mut run, mut said) = (0_usize, begun);
    for line in BufReader::new(child.stdout.take().ok_or("wstest: no output")?).lines() {
        let line = line.map_err(failed)?;
        writeln!(log, "{line}").map_err(failed)?;
        if let Some(rest) = line.strip_prefix("Ok, will run ") {
            asked = rest.split(' ').next().and_then(|count| count.parse().ok());
        } else if line.starts_with("Running test case ") {
            run += 1;
            if said.elapsed() >= PROGRESS {
                said = Instant::now();
                println!("{run} of {} cases, {} s", asked.unwrap_or_default(), begun.elapsed().as_secs());
            }
        }
    }
    let status = child.wait().map_err(failed)?;
    if !status.success() {
        return Err(format!("wstest: {status}"));
    }
    println!("=== {name}: {run} cases, {} s ===", begun.elapsed().as_secs());
    asked.ok_or_else(|| "wstest did not say how many cases it would run".to_owned())
}
