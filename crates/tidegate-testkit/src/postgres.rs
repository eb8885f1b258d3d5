//! A throwaway PostgreSQL: real, local, gone with its handle; stopped, killed, put back and promoted as a test likes.

pub mod decoding;
pub mod kinds;
mod programs;
pub mod queries;
pub mod replica;
mod session;
pub mod tables;
pub mod wire;
pub mod writers;

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use programs::{Programs, run};
pub use session::{Session, lsn};

/// How much of what the server writes is kept for failure messages.
const SAID_BYTES_MAX: usize = 32 * 1024;
/// What a server that is followed needs, and room for many at once.
const LOGICAL: &[(&str, &str)] = &[
    ("wal_level", "logical"),
    ("max_replication_slots", "20"),
    ("max_wal_senders", "20"),
    ("max_connections", "100"),
    ("max_prepared_transactions", "20"),
];

/// A server on a free port of 127.0.0.1 in a directory of its own: UTF-8, locale C, superuser `postgres`, no password.
/// Stopped and removed on drop; if the test is failing then, what it wrote is printed.
pub struct Postgres {
    programs: Programs,
    settings: Vec<(String, String)>,
    port: u16,
    child: Option<Child>,
    said: Arc<Mutex<String>>,
    // Removed after the server has stopped.
    directory: TempDir,
}

/// How a server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// In order: clients are cut, replication is sent to its end, a checkpoint is made.
    Fast,
    /// At once; it recovers at the next start.
    Immediate,
    /// SIGKILL to every process of it.
    Kill,
}

/// A copy of a server's data, made while it did not run.
pub struct Backup(TempDir);

/// A server to be started.
#[derive(Debug, Clone, Default)]
pub struct Builder {
    settings: Vec<(String, String)>,
}

impl Builder {
    /// Sets one of the server's settings, such as `("wal_sender_timeout", "2s")`.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it; takes a second or two.
    ///
    /// Without PostgreSQL on the machine this says so loudly and gives `None`, and the test that asked proves nothing;
    /// where `CI` is set that is a failure.
    ///
    /// # Panics
    /// Where a server is there and does not start, with what it said.
    #[must_use]
    pub fn start(self) -> Option<Postgres> {
        let Some(programs) = Programs::find() else {
            let message = "NOT TESTED: no PostgreSQL server found; `cargo xtask setup` installs one";
            assert!(std::env::var_os("CI").is_none(), "{message}");
            eprintln!("\n=== {message} ===\n");
            return None;
        };
        let directory = TempDir::new().expect("a temporary directory");
        programs.own(directory.path());
        let mut initdb = programs.command("initdb");
        initdb.args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"]);
        run(initdb.arg(directory.path().join("data"))).unwrap_or_else(|said| panic!("{said}"));
        Some(Postgres::place(programs, directory, self.settings))
    }
}

impl Postgres {
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

    /// A server that can be followed: `wal_level = logical`, room for many slots, senders, connections and prepared
    /// transactions.
    #[must_use]
    pub fn logical() -> Option<Self> {
        Self::logical_builder().start()
    }

    /// As [`Postgres::logical`], with settings of the test's own on top.
    #[must_use]
    pub fn logical_builder() -> Builder {
        LOGICAL.iter().fold(Builder::default(), |builder, (name, value)| builder.set(name, value))
    }

    /// Where it listens. The same after a restart.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Parameters in libpq's form, for the superuser and the database `postgres`.
    #[must_use]
    pub fn parameters(&self) -> String {
        self.parameters_of("postgres")
    }

    /// Parameters in libpq's form, for the superuser and a database.
    #[must_use]
    pub fn parameters_of(&self, database: &str) -> String {
        format!("host=127.0.0.1 port={} user=postgres dbname={database}", self.port)
    }

    /// The superuser and the database `postgres` as a URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@{}/postgres", self.address())
    }

    /// Its directory: `data` is inside, and it may hold files that the server is to read.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A new session of the superuser.
    ///
    /// # Panics
    /// Where the server does not let it in.
    pub async fn session(&self) -> Session {
        Session::connect(&self.parameters()).await.unwrap_or_else(|error| panic!("{error:?}:\n{}", self.said()))
    }

    /// Ends it. [`Postgres::resume`] starts it again.
    ///
    /// # Panics
    /// Where it does not run.
    pub fn stop(&mut self, how: Stop) {
        let mut child = self.child.take().expect("the server runs");
        signal(child.id(), how);
        let _ = child.wait();
    }

    /// Starts it again after [`Postgres::stop`], on the same port and data.
    ///
    /// # Panics
    /// Where it does not start, with what it said.
    pub fn resume(&mut self) {
        // What a killed server leaves behind may take a moment to be gone.
        for _ in 0..50 {
            if self.run_once().is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("PostgreSQL does not start again:\n{}", self.said());
    }

    /// Ends it and starts it again.
    pub fn restart(&mut self, how: Stop) {
        self.stop(how);
        self.resume();
    }

    /// Stops it in order, copies its data and starts it again.
    pub fn backup(&mut self) -> Backup {
        self.stop(Stop::Fast);
        let copy = TempDir::new().expect("a temporary directory");
        self.programs.own(copy.path());
        self.copy(&self.data(), &copy.path().join("data"));
        self.resume();
        Backup(copy)
    }

    /// Puts an old copy in the place of its data, and starts it.
    pub fn put_back(&mut self, backup: &Backup) {
        self.stop(Stop::Immediate);
        std::fs::remove_dir_all(self.data()).expect("the data can be removed");
        self.copy(&backup.0.path().join("data"), &self.data());
        self.resume();
    }

    /// A streaming standby of this server, which `select pg_promote()` makes a server of its own on the next timeline.
    ///
    /// # Panics
    /// Where it does not start.
    #[must_use]
    pub fn standby(&self) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        self.programs.own(directory.path());
        let mut basebackup = self.programs.command("pg_basebackup");
        basebackup.args(["--no-sync", "-R", "-c", "fast", "-X", "stream", "-d", &self.parameters(), "-D"]);
        run(basebackup.arg(directory.path().join("data"))).unwrap_or_else(|said| panic!("{said}"));
        Self::place(self.programs.clone(), directory, self.settings.clone())
    }

    /// The end of what it wrote.
    #[must_use]
    pub fn said(&self) -> String {
        self.said.lock().expect("no writer panics").clone()
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn copy(&self, from: &Path, to: &Path) {
        run(self.programs.as_account(Path::new("cp")).arg("-a").arg(from).arg(to))
            .unwrap_or_else(|said| panic!("{said}"));
    }

    /// Starts a server on the data in `directory`, on a port that is free.
    fn place(programs: Programs, directory: TempDir, settings: Vec<(String, String)>) -> Self {
        let mut server = Self { programs, settings, port: 0, child: None, said: Arc::default(), directory };
        // Between the choice of a port and its use somebody else may take it.
        for _ in 0..5 {
            server.port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
            if server.run_once().is_ok() {
                return server;
            }
        }
        panic!("PostgreSQL does not start:\n{}", server.said());
    }

    fn run_once(&mut self) -> Result<(), ()> {
        let mut command = self.programs.command("postgres");
        command.args(["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1", "-p", &self.port.to_string()]);
        for (name, value) in &self.settings {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        command.arg("-k").arg(self.directory.path()).arg("-D").arg(self.data());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("postgres runs");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
        for line in lines.by_ref() {
            let ready = line.contains("ready to accept");
            keep(&self.said, &line);
            if ready {
                // The log must go on being read, or the server would block on a full pipe.
                let said = self.said.clone();
                std::thread::spawn(move || lines.for_each(|line| keep(&said, &line)));
                self.child = Some(child);
                return Ok(());
            }
        }
        let _ = child.wait();
        Err(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // A fast shutdown would wait for whoever follows; SIGKILL would leave shared memory behind.
        if self.child.is_some() {
            self.stop(Stop::Immediate);
        }
        if std::thread::panicking() {
            eprintln!("--- PostgreSQL said ---\n{}---", self.said());
        }
    }
}

/// Without `unsafe` there is no `kill(2)`; every shell has one.
fn signal(id: u32, how: Stop) {
    let script = match how {
        Stop::Fast => format!("kill -INT {id}"),
        Stop::Immediate => format!("kill -QUIT {id}"),
        // Stopped first, so that it starts no further child.
        Stop::Kill => {
            format!("kill -STOP {id}; children=$(cat /proc/{id}/task/{id}/children); kill -KILL {id} $children")
        }
    };
    let _ = Command::new("sh").arg("-c").arg(script).stderr(Stdio::null()).status();
}

fn keep(said: &Mutex<String>, line: &str) {
    let mut said = said.lock().expect("no reader panics");
    said.push_str(line);
    said.push('\n');
    if said.len() > SAID_BYTES_MAX {
        let middle = said[..].char_indices().map(|(at, _)| at).find(|at| *at >= SAID_BYTES_MAX / 2);
        said.drain(..middle.unwrap_or_default());
    }
}
