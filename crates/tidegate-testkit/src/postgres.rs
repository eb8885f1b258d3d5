//! A throwaway PostgreSQL: real, local, gone with its handle.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A server on a free port of 127.0.0.1 in a directory of its own: UTF-8, locale C, superuser `postgres`, no password.
/// Stopped and removed on drop.
pub struct Postgres {
    child: Child,
    port: u16,
    // Removed after the server has stopped.
    _directory: TempDir,
}

impl Postgres {
    /// Starts a server; takes a second or two.
    ///
    /// Without PostgreSQL on the machine this says so loudly and gives `None`, and the test that asked proves nothing;
    /// where `CI` is set that is a failure.
    ///
    /// # Panics
    /// Where a server is there and does not start, with what it said.
    #[must_use]
    pub fn start() -> Option<Self> {
        let Some(programs) = find() else {
            let message = "NOT TESTED: no PostgreSQL server found; `cargo xtask setup` installs one";
            assert!(std::env::var_os("CI").is_none(), "{message}");
            eprintln!("\n=== {message} ===\n");
            return None;
        };
        // Between the choice of a port and its use somebody else may take it.
        let mut said = String::new();
        for _ in 0..5 {
            match Self::start_once(&programs) {
                Ok(server) => return Some(server),
                Err(output) => said = output,
            }
        }
        panic!("PostgreSQL does not start:\n{said}");
    }

    /// Parameters in libpq's form, for the database `postgres`.
    #[must_use]
    pub fn parameters(&self) -> String {
        format!("host=127.0.0.1 port={} user=postgres dbname=postgres", self.port)
    }

    fn start_once(programs: &Path) -> Result<Self, String> {
        let directory = TempDir::new().expect("a temporary directory");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let data = directory.path().join("data");
        let account = account(directory.path());
        let output = as_account(account, &programs.join("initdb"))
            .args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync", "-D"])
            .arg(&data)
            .output()
            .expect("initdb runs");
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        let mut child = as_account(account, &programs.join("postgres"))
            .args(["-c", "fsync=off", "-c", "listen_addresses=127.0.0.1", "-c", "max_connections=20", "-p"])
            .arg(port.to_string())
            .arg("-k")
            .arg(directory.path())
            .arg("-D")
            .arg(&data)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("postgres runs");
        let mut said = String::new();
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
        for line in lines.by_ref() {
            if line.contains("ready to accept connections") {
                // The log must go on being read, or the server would block on a full pipe.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(Self { child, port, _directory: directory });
            }
            said.push_str(&line);
            said.push('\n');
        }
        let _ = child.wait();
        Err(said)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGINT is PostgreSQL's fast shutdown; SIGKILL would leave its shared memory behind.
        let _ = Command::new("sh").arg("-c").arg(format!("kill -INT {}", self.child.id())).status();
        let _ = self.child.wait();
    }
}

/// The directory with the server's programs: Debian's, the newest version first, or one in `PATH`.
fn find() -> Option<PathBuf> {
    let version = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()).unwrap_or(0);
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<PathBuf> = installed.map(|entry| entry.path()).collect();
    versions.sort_by_key(|path| std::cmp::Reverse(version(path)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let candidates = versions.into_iter().map(|path| path.join("bin")).chain(std::env::split_paths(&path));
    candidates.into_iter().find(|path| path.join("initdb").is_file() && path.join("postgres").is_file())
}

/// PostgreSQL refuses to run as root: then the account that it is to run under, which owns `directory` from now on.
fn account(directory: &Path) -> Option<&'static str> {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    if id.stdout.trim_ascii() != b"0" {
        return None;
    }
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let account = if accounts.contains("\npostgres:") { "postgres" } else { "nobody" };
    let owned = Command::new("chown").arg(account).arg(directory).status().expect("chown runs");
    assert!(owned.success(), "{} could not be given to {account}", directory.display());
    Some(account)
}

fn as_account(account: Option<&str>, program: &Path) -> Command {
    let mut command = match account {
        None => Command::new(program),
        Some(account) => {
            let mut command = Command::new("setpriv");
            command.args([&format!("--reuid={account}"), "--clear-groups", "--"]).arg(program);
            command
        }
    };
    // It looks for its messages, its configuration and its home in the environment.
    command.env("LC_ALL", "C").current_dir("/");
    command
}
