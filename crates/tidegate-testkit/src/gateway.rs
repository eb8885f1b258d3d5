//! The real binary as a child process: started, killed, started again on the same data.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;

/// How long a start or an orderly stop may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How much of what it writes is kept for failure messages.
const SAID_BYTES_MAX: usize = 64 * 1024;

/// A running `tidegate serve` on a free port, with its configuration and data in a directory of their own. Killed on
/// drop; if the test is failing then, what it wrote is printed. All of what every one wrote is kept where the environment
/// variable `GATEWAY_LOGS` names a directory.
pub struct Gateway {
    binary: PathBuf,
    directory: TempDir,
    running: Option<Running>,
    said: Arc<Mutex<String>>,
    logs: Option<PathBuf>,
}

struct Running {
    child: Child,
    /// Ends when it has.
    collector: JoinHandle<()>,
    address: SocketAddr,
}

impl Gateway {
    /// Starts `binary` (`env!("CARGO_BIN_EXE_tidegate")`) with `toml` as its configuration; `listen` and `data_dir` are
    /// given as flags.
    ///
    /// # Panics
    /// Where it does not say `listening on` within a minute, with what it said instead.
    #[must_use]
    pub fn start(binary: impl AsRef<Path>, toml: &str) -> Self {
        let mut gateway = Self::idle(binary, toml);
        gateway.restart();
        gateway
    }

    /// As [`Gateway::start`], but not started yet.
    ///
    /// # Panics
    /// Where its configuration can't be written.
    #[must_use]
    pub fn idle(binary: impl AsRef<Path>, toml: &str) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let logs = std::env::var_os("GATEWAY_LOGS").map(PathBuf::from);
        let gateway = Self { binary: binary.as_ref().to_owned(), directory, running: None, said: Arc::default(), logs };
        gateway.configure(toml);
        gateway
    }

    /// Where it listens. Another port after each start.
    ///
    /// # Panics
    /// While it does not run.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.running.as_ref().expect("the gateway runs").address
    }

    /// Ends it as a power cut would: SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.child.kill();
            let _ = running.child.wait();
            let _ = running.collector.join();
        }
    }

    /// Keeps all that it writes to standard error from the next start on in files in `directory`.
    pub fn log_into(&mut self, directory: impl Into<PathBuf>) {
        self.logs = Some(directory.into());
    }

    /// Asks it to stop (SIGTERM).
    ///
    /// # Panics
    /// While it does not run.
    pub fn ask_to_stop(&self) {
        signal("TERM", &self.running.as_ref().expect("the gateway runs").child);
    }

    /// Asks it to stop (SIGTERM) and waits until it has.
    ///
    /// # Panics
    /// Where it has not stopped within a minute, or does not run.
    pub fn terminate(&mut self) -> ExitStatus {
        self.ask_to_stop();
        self.stopped()
    }

    /// Waits until it has stopped, as it was asked to.
    ///
    /// # Panics
    /// Where it has not stopped within a minute, or does not run.
    pub fn stopped(&mut self) -> ExitStatus {
        let running = self.running.take().expect("the gateway runs");
        let (done, gone) = sync_channel(1);
        let id = running.child.id();
        let mut child = running.child;
        std::thread::spawn(move || done.send(child.wait()));
        match gone.recv_timeout(PATIENCE) {
            Ok(status) => {
                let _ = running.collector.join();
                status.expect("a child can be waited for")
            }
            Err(_) => panic!("process {id} does not end after SIGTERM:\n{}", self.said()),
        }
    }

    /// Starts it, again if it ran before, on the same data.
    ///
    /// # Panics
    /// As [`Gateway::start`].
    pub fn restart(&mut self) {
        let started = self.try_restart();
        started.unwrap_or_else(|said| panic!("{} does not say where it listens:\n{said}", self.binary.display()));
    }

    /// As [`Gateway::restart`], where a start may be refused.
    ///
    /// # Errors
    /// What it said instead of where it listens.
    pub fn try_restart(&mut self) -> Result<(), String> {
        self.kill();
        // A file that may not grow is to be an error that it gets to see, not its end: see `limit_file_bytes`.
        let mut child = Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
            .arg(&self.binary)
            .args(["serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(self.directory.path().join("tidegate.toml"))
            .arg("--data-dir")
            .arg(self.data_dir())
            .current_dir(self.directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", self.binary.display()));
        let stderr = child.stderr.take().expect("a pipe");
        let said = self.said.clone();
        let log = self.logs.as_deref().map(|directory| log_file(directory, child.id()));
        let collector = std::thread::spawn(move || collect(stderr, &said, log));
        let line = first_line(child.stdout.take().expect("a pipe")).recv_timeout(PATIENCE);
        let address = line.ok().and_then(|line| {
            let address = line.trim().strip_prefix("listening on ")?;
            address.strip_prefix("http://").or(address.strip_prefix("https://"))?.parse().ok()
        });
        let Some(address) = address else {
            let _ = child.kill();
            let _ = child.wait();
            let _ = collector.join();
            return Err(self.said());
        };
        self.running = Some(Running { child, collector, address });
        Ok(())
    }

    /// Another configuration from the next start on.
    ///
    /// # Panics
    /// Where it can't be written.
    pub fn configure(&self, toml: &str) {
        std::fs::write(self.directory.path().join("tidegate.toml"), toml).expect("the configuration is written");
    }

    /// No file of it may grow past so many bytes from now on, as on a full disk; `None`: no limit.
    ///
    /// # Panics
    /// While it does not run.
    pub fn limit_file_bytes(&self, limit: Option<u64>) {
        let running = self.running.as_ref().expect("the gateway runs");
        let limit = limit.map_or("unlimited".to_owned(), |limit| limit.to_string());
        let id = running.child.id().to_string();
        let set = Command::new("prlimit").args(["--pid", &id, &format!("--fsize={limit}:")]).status();
        assert!(set.is_ok_and(|status| status.success()), "the limit could not be set");
    }

    /// Copies its data directory to another place, or back from there. It must not run.
    ///
    /// # Panics
    /// While it runs, or where the copy fails.
    pub fn copy_data(&self, from: &Path, to: &Path) {
        assert!(self.running.is_none(), "the gateway runs");
        let _ = std::fs::remove_dir_all(to);
        let copied = Command::new("cp").arg("-a").arg(from).arg(to).status();
        assert!(copied.is_ok_and(|status| status.success()), "{} could not be copied", from.display());
    }

    /// Its data directory.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Its resident memory in KiB, where the system says (`/proc`).
    #[must_use]
    pub fn resident_kib(&self) -> Option<u64> {
        self.status_kib("VmRSS:")
    }

    /// The most that it had resident since it was started, in KiB, where the system says (`/proc`).
    #[must_use]
    pub fn peak_kib(&self) -> Option<u64> {
        self.status_kib("VmHWM:")
    }

    /// Its process, while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        Some(self.running.as_ref()?.child.id())
    }

    fn status_kib(&self, name: &str) -> Option<u64> {
        let id = self.id()?;
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    }

    /// Whether the process is still there.
    pub fn is_running(&mut self) -> bool {
        self.running.as_mut().is_some_and(|running| matches!(running.child.try_wait(), Ok(None)))
    }

    /// The end of what it wrote to standard error.
    #[must_use]
    pub fn said(&self) -> String {
        self.said.lock().expect("no writer panics").clone()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- the gateway said ---\n{}---", self.said());
        }
    }
}

/// Without `unsafe` there is no `kill(2)`; every shell has one.
fn signal(name: &str, child: &Child) {
    let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {}", child.id())).status();
    assert!(sent.is_ok_and(|status| status.success()), "SIG{name} could not be sent");
}

/// The first line, and after it everything is read and dropped, so that the child never blocks on a full pipe.
fn first_line(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = sync_channel(1);
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        if let Some(line) = lines.next() {
            let _ = sender.send(line);
        }
        lines.for_each(drop);
    });
    receiver
}

/// A file of the child's own.
fn log_file(directory: &Path, child: u32) -> File {
    // Process ids come again, the pair of a test's and its child's hardly.
    let file = directory.join(format!("gateway-{}-{child}.log", std::process::id()));
    let opened = File::options().create(true).append(true).open(&file);
    opened.unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

fn collect(from: impl Read, said: &Mutex<String>, mut log: Option<File>) {
    for line in BufReader::new(from).lines().map_while(Result::ok) {
        if let Some(log) = &mut log {
            writeln!(log, "{line}").expect("the log of a gateway is kept");
        }
        let mut said = said.lock().expect("no reader panics");
        said.push_str(&line);
        said.push('\n');
        if said.len() > SAID_BYTES_MAX {
            let middle = said[..].char_indices().map(|(at, _)| at).find(|at| *at >= SAID_BYTES_MAX / 2);
            said.drain(..middle.unwrap_or_default());
        }
    }
}
