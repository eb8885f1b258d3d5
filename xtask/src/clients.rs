//! Client libraries of others, as they come, against our binary.
//!
//! `clients/conformance` says which ones, in which versions, with the hashes of their packages, and has the tests. The
//! packages are installed below the output folder, again whenever what is said of them has changed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::checks::{not_run, with_binary};
use crate::setup;
use crate::step::{Outcome, command, run};
use crate::tools;

const JS: &str = "centrifuge-js";
/// Python's, by folder, and how each is called on PyPI.
const PYTHON: [(&str, &str); 2] =
    [("centrifuge-python", "centrifuge-python"), ("arcp-python", "agentruntimecontrolprotocol")];

/// Installs what is missing and runs all tests.
pub(crate) fn run_all() -> Outcome {
    PYTHON.iter().fold(js(), |all, (folder, package)| all.and(python(folder, package)))
}

/// Installs all, where they are not there as they should be.
pub(crate) fn install() -> Outcome {
    PYTHON.iter().fold(install_js(), |all, (folder, _)| all.and(install_python(folder)))
}

fn js() -> Outcome {
    let name = "npm's centrifuge";
    let Some(node) = tools::node() else { return not_run(name, "there is no Node with WebSocket") };
    if let Err(why) = install_js() {
        return not_run(name, &why);
    }
    let mut tests: Vec<_> = files(JS)?;
    tests.retain(|path| path.to_string_lossy().ends_with(".test.mjs"));
    let mut command = command(node, ["--experimental-websocket", "--test"]);
    command.args(tests).env("CENTRIFUGE_JS", tools::own(JS));
    run(name, with_binary(command)?)
}

fn python(name: &str, package: &str) -> Outcome {
    let package = format!("PyPI's {package}");
    if let Err(why) = install_python(name) {
        return not_run(&package, &why);
    }
    let mut command = command(tools::own(name).join("bin/python"), ["-m", "unittest", "discover", "--start-directory"]);
    command.arg(folder(name)).args(["--pattern", "test_*.py", "--verbose"]);
    // For what they share, which lies beside them.
    command.env("PYTHONPATH", tools::root().join("clients/conformance")).env("PYTHONDONTWRITEBYTECODE", "1");
    run(&package, with_binary(command)?)
}

fn install_js() -> Outcome {
    let into = tools::own(JS);
    unless_there(&into, &folder(JS).join("package-lock.json"), || {
        let npm = tools::npm().ok_or("no npm")?;
        for file in ["package.json", "package-lock.json"] {
            copy(&folder(JS).join(file), &into.join(file))?;
        }
        let mut install = command(npm, ["ci", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix"]);
        install.arg(&into);
        run("npm ci", install)
    })
}

fn install_python(name: &str) -> Outcome {
    let into = tools::own(name);
    let requirements = folder(name).join("requirements.txt");
    unless_there(&into, &requirements, || {
        setup::python_environment(&into)?;
        let mut install = command(into.join("bin/python"), ["-m", "pip", "install", "--quiet", "--require-hashes"]);
        install.arg("--requirement").arg(&requirements);
        run("pip install", install)
    })
}

/// Installs into a folder, unless that was filled as `said` says; what was installed is noted last.
fn unless_there(into: &Path, said: &Path, install: impl FnOnce() -> Outcome) -> Outcome {
    let note = into.join("installed");
    let wanted = fs::read(said).map_err(|error| format!("{}: {error}", said.display()))?;
    if fs::read(&note).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    if into.exists() {
        fs::remove_dir_all(into).map_err(|error| format!("{}: {error}", into.display()))?;
    }
    fs::create_dir_all(into).map_err(|error| format!("{}: {error}", into.display()))?;
    install()?;
    fs::write(&note, wanted).map_err(|error| format!("{}: {error}", note.display()))
}

fn folder(name: &str) -> PathBuf {
    tools::root().join("clients/conformance").join(name)
}

fn files(name: &str) -> Result<Vec<PathBuf>, String> {
    let folder = folder(name);
    let files = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut files: Vec<_> = files.flatten().map(|file| file.path()).collect();
    files.sort();
    Ok(files)
}

fn copy(from: &Path, to: &Path) -> Outcome {
    fs::copy(from, to).map(drop).map_err(|error| format!("{}: {error}", from.display()))
}
