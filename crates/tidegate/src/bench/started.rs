//! Servers that the bench starts: each has a directory of its own, and both go when the bench does.

use std::fs::DirBuilder;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use super::BenchError;
use super::options::Common;

/// Open, and with one entity; the last table is `edge`.
const CONFIG: &str = include_str!("bench.toml");
/// Of a directory's name; what follows is the bench's process and a number.
const DIRECTORY: &str = "tidegate-bench-";
/// Where a gateway stores, in its directory.
const DATA: &str = "data";
/// As a shell has it for who was interrupted.
const INTERRUPTED: i32 = 130;

/// Those that run, for when the bench is told to end.
static RUNNING: Mutex<Vec<(u32, PathBuf)>> = Mutex::new(Vec::new());

/// The bounds of a server that is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bounds {
    /// None that a measurement would run into.
    Wide,
    /// The product's own, but for the number of connections: what a storm meets.
    Products,
}

impl Bounds {
    /// Lines of the table `edge`.
    fn lines(self) -> &'static str {
        match self {
            Self::Wide => "max_other_sockets = 10000\nmax_unauthenticated = 100000\nconnections_per_second = 0\n",
            Self::Products => "",
        }
    }
}

/// Killed when dropped.
pub(crate) struct Started {
    child: Child,
    pub(crate) address: SocketAddr,
    directory: PathBuf,
    data: PathBuf,
}

impl Started {
    /// A Tidegate: this program or the one that is named, on a free port.
    /// `tables` come last in the bench's own configuration.
    pub(crate) fn gateway(common: &Common, bounds: Bounds, tables: &str) -> Result<Self, BenchError> {
        let directory = scratch()?;
        let program = common.server.clone().map_or_else(std::env::current_exe, Ok)?;
        let config = directory.join("tidegate.toml");
        match &common.server_config {
            Some(own) => drop(std::fs::copy(own, &config)?),
            None => std::fs::write(&config, format!("{CONFIG}{}{tables}", bounds.lines()))?,
        }
        let mut command = Command::new(program);
        command.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(config);
        command.arg("--data-dir").arg(directory.join(DATA));
        Self::start(command, directory)
    }

    /// The loop of `send()`.
    pub(crate) fn bare() -> Result<Self, BenchError> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["bench", "bare-server"]);
        Self::start(command, scratch()?)
    }

    fn start(mut command: Command, directory: PathBuf) -> Result<Self, BenchError> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        running(|all| all.push((child.id(), directory.clone())));
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let address = line.trim().strip_prefix("listening on http://").and_then(|address| address.parse().ok());
        // Where it does not serve it has said why on standard error; the drop ends what is left of it.
        let data = directory.join(DATA);
        let mut started = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)), directory, data };
        started.address = address.ok_or(BenchError::NotServing)?;
        Ok(started)
    }

    /// Where it stores.
    pub(crate) fn data_directory(&self) -> &Path {
        &self.data
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        // Off the list before the wait gives its number to somebody else.
        running(|all| all.retain(|(id, _)| *id != self.child.id()));
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn running<T>(with: impl FnOnce(&mut Vec<(u32, PathBuf)>) -> T) -> T {
    with(&mut RUNNING.lock().unwrap_or_else(PoisonError::into_inner))
}

/// From now on a signal to end ends the servers, too.
pub(super) fn end_with_signals() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let wait = async {
        let [mut interrupt, mut terminate] = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        std::io::Result::Ok(())
    };
    let end = move || {
        if runtime.block_on(wait).is_ok() {
            running(|all| all.drain(..).for_each(|(id, directory)| end(id, &directory)));
            std::process::exit(INTERRUPTED);
        }
    };
    std::thread::Builder::new().name("bench-signals".to_owned()).spawn(end).map(drop)
}

fn end(id: u32, directory: &Path) {
    if let Some(process) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        let _ = kill_process(process, Signal::KILL);
    }
    let _ = std::fs::remove_dir_all(directory);
}

/// A new directory that nobody else has. Those of benches that were killed go.
fn scratch() -> std::io::Result<PathBuf> {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NTH: AtomicU32 = AtomicU32::new(0);
    let all = std::env::temp_dir();
    for entry in std::fs::read_dir(&all)?.flatten() {
        if entry.file_name().to_str().and_then(owner).is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    let nth = NTH.fetch_add(1, Ordering::Relaxed);
    let path = all.join(format!("{DIRECTORY}{}-{nth}", std::process::id()));
    // What is written there may hold secrets.
    DirBuilder::new().mode(0o700).create(&path)?;
    Ok(path)
}

/// The process that a directory is of.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(DIRECTORY)?.split_once('-')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_of_benches_have_an_owner() {
        assert_eq!((owner("tidegate-bench-42-0"), owner("tidegate-bench-x-0"), owner("other")), (Some(42), None, None));
    }

    #[test]
    fn who_ended_leaves_no_directory_behind() {
        let gone = std::env::temp_dir().join(format!("{DIRECTORY}{}-0", u32::MAX));
        std::fs::create_dir_all(&gone).unwrap();
        let path = scratch().unwrap();
        assert!(!gone.exists() && path.exists());
        std::fs::remove_dir(path).unwrap();
    }
}
