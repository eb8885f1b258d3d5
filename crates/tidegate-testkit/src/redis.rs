//! A throwaway Redis: real, local, gone with its handle; killed, emptied, frozen and started again as a test likes.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use crate::clients::Certificate;

/// A server on a free port of 127.0.0.1 in a directory of its own, which writes each change to disk before it answers. Killed
/// and removed on drop; if the test is failing then, what it wrote is printed.
pub struct Redis {
    settings: Vec<String>,
    port: u16,
    has_tls: bool,
    child: Option<Child>,
    said: Arc<Mutex<Vec<String>>>,
    // Removed after the server has ended.
    directory: TempDir,
}

/// A server to be started.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    settings: Vec<String>,
    has_tls: bool,
}

impl Builder {
    /// Sets one of the server's settings, such as `("requirepass", &["secret"])`.
    #[must_use]
    pub fn set(mut self, name: &str, values: &[&str]) -> Self {
        self.settings.push(format!("--{name}"));
        self.settings.extend(values.iter().map(|value| (*value).to_owned()));
        self
    }

    /// Listens for TLS alone, as `localhost`.
    #[must_use]
    pub fn tls(mut self, certificate: &Certificate) -> Self {
        self.has_tls = true;
        let [file, key] = [certificate.file(), certificate.key_file()].map(|path| path.display().to_string());
        self.set("tls-cert-file", &[&file]).set("tls-key-file", &[&key]).set("tls-auth-clients", &["no"])
    }

    /// Starts it, in some milliseconds.
    ///
    /// Without Redis on the machine this says so loudly and gives `None`, and the test that asked proves nothing; where `CI`
    /// is set that is a failure.
    ///
    /// # Panics
    /// Where a server is there and does not start, with what it said.
    #[must_use]
    pub fn start(self) -> Option<Redis> {
        if Command::new("redis-server").arg("--version").output().is_err() {
            let message = "NOT TESTED: no Redis server found; `cargo xtask setup` installs one";
            assert!(std::env::var_os("CI").is_none(), "{message}");
            eprintln!("\n=== {message} ===\n");
            return None;
        }
        let directory = TempDir::new().expect("a temporary directory");
        let Self { settings, has_tls } = self;
        let mut server = Redis { settings, port: 0, has_tls, child: None, said: Arc::default(), directory };
        // Between the choice of a port and its use somebody else may take it.
        for _ in 0..5 {
            server.port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
            if server.run_once().is_ok() {
                return Some(server);
            }
        }
        panic!("Redis does not start:\n{}", server.said());
    }
}

impl Redis {
    /// A server with settings of the test's own.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A plain server: [`Builder::start`].
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::builder().start()
    }

    /// Where it listens. The same after a restart.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// As a URL, without a user and for database 0.
    #[must_use]
    pub fn url(&self) -> String {
        match self.has_tls {
            true => format!("rediss://localhost:{}", self.port),
            false => format!("redis://{}", self.address()),
        }
    }

    /// SIGKILL. [`Redis::resume`] starts it again with what it had, [`Redis::resume_empty`] with nothing.
    ///
    /// # Panics
    /// Where it does not run.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the server runs");
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Starts it again after [`Redis::kill`], on the same port and data.
    ///
    /// # Panics
    /// Where it does not start, with what it said.
    pub fn resume(&mut self) {
        assert!(self.run_once().is_ok(), "Redis does not start again:\n{}", self.said());
    }

    /// Starts it again after [`Redis::kill`], on the same port and without data: another server.
    ///
    /// # Panics
    /// Where it does not start, with what it said.
    pub fn resume_empty(&mut self) {
        self.directory = TempDir::new().expect("a temporary directory");
        self.resume();
    }

    /// SIGSTOP: connections stay, and nothing is answered.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    /// The end of what it wrote.
    #[must_use]
    pub fn said(&self) -> String {
        self.said.lock().expect("no writer panics").join("\n")
    }

    /// Without `unsafe` there is no `kill(2)`; every shell has one.
    fn signal(&self, name: &str) {
        let id = self.child.as_ref().expect("the server runs").id();
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {id}")).status();
        assert!(sent.is_ok_and(|status| status.success()), "SIG{name} is sent");
    }

    fn run_once(&mut self) -> Result<(), ()> {
        let port = self.port.to_string();
        let [plain, tls] = if self.has_tls { ["0", &port] } else { [port.as_str(), "0"] };
        let mut command = Command::new("redis-server");
        command.args(["--port", plain, "--tls-port", tls, "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]);
        command.args(["--appendfsync", "always", "--dir"]).arg(self.directory.path()).args(&self.settings);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("redis-server runs");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        for line in lines.by_ref() {
            let is_ready = line.contains("eady to accept connections");
            keep(&self.said, line);
            if is_ready {
                // The log must go on being read, or the server would block on a full pipe.
                let said = Arc::clone(&self.said);
                std::thread::spawn(move || lines.for_each(|line| keep(&said, line)));
                self.child = Some(child);
                return Ok(());
            }
        }
        let _ = child.wait();
        Err(())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.kill();
        }
        if std::thread::panicking() {
            eprintln!("--- Redis said ---\n{}\n---", self.said());
        }
    }
}

fn keep(said: &Mutex<Vec<String>>, line: String) {
    let mut said = said.lock().expect("no reader panics");
    if said.len() == 200 {
        said.drain(..100);
    }
    said.push(line);
}
