//! Where the programs are that the tests need.

use std::path::{Path, PathBuf};

use crate::step::{command, output, succeeds};

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own)
}

/// Cargo's output folder.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |target| root().join(target))
}

/// Where setup puts what it need not put into the system.
pub(crate) fn own(name: &str) -> PathBuf {
    target().join("xtask").join(name)
}

/// The virtual environment with Python's `websockets`; `crates/tidegate/tests/python_client.rs` looks for it here.
pub(crate) fn venv() -> PathBuf {
    own("venv")
}

/// The folder whose `node_modules` has `playwright-core`, and Node itself where the system's is too old.
pub(crate) fn node_modules() -> PathBuf {
    own("node")
}

/// Whether a program is there, also one that only root's path has.
pub(crate) fn has_program(name: &str) -> bool {
    which(&[name]).is_some()
}

/// A program that is there, also one that only root's path has.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    which(&[name])
}

pub(crate) fn has_websockets() -> bool {
    succeeds(command(venv().join("bin/python"), ["-c", "import websockets"]))
}

pub(crate) fn has_playwright() -> bool {
    node_modules().join("node_modules/playwright-core/package.json").is_file()
}

pub(crate) fn has_postgres() -> bool {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    installed.into_iter().any(|version| version.path().join("bin/initdb").is_file()) || which(&["initdb"]).is_some()
}

pub(crate) fn chromium() -> Option<PathBuf> {
    which(&["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"])
}

pub(crate) fn npm() -> Option<PathBuf> {
    which(&["npm"])
}

pub(crate) fn python() -> Option<PathBuf> {
    which(&["python3"])
}

/// A Node that has `WebSocket`: setup's own, or the system's from 20.10 on.
pub(crate) fn node() -> Option<PathBuf> {
    let candidates = [Some(node_modules().join("node_modules/.bin/node")), which(&["node"])];
    candidates.into_iter().flatten().find(|node| {
        output(command(node, ["--experimental-websocket", "-p", "typeof WebSocket"])).as_deref() == Some("function")
    })
}

fn which(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let mut folders = std::env::split_paths(&path).collect::<Vec<_>>();
    folders.extend(["/usr/bin".into(), "/usr/sbin".into()]);
    names.iter().find_map(|name| folders.iter().map(|folder| folder.join(name)).find(|file| file.is_file()))
}
