//! PostgreSQL's programs on this machine, and the account that they may run under.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the programs are and who runs them.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    bin: PathBuf,
    account: Option<&'static str>,
}

impl Programs {
    /// Debian's, the newest version first, or those in `PATH`. `None` where there is no server.
    pub(super) fn find() -> Option<Self> {
        let version =
            |path: &PathBuf| path.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()).unwrap_or(0);
        let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let mut versions: Vec<PathBuf> = installed.map(|entry| entry.path()).collect();
        versions.sort_by_key(|path| std::cmp::Reverse(version(path)));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let candidates = versions.into_iter().map(|path| path.join("bin")).chain(std::env::split_paths(&path));
        let complete = |path: &PathBuf| path.join("initdb").is_file() && path.join("postgres").is_file();
        let bin = candidates.into_iter().find(complete)?;
        Some(Self { bin, account: account() })
    }

    /// One of PostgreSQL's programs, to be run under its account.
    pub(super) fn command(&self, name: &str) -> Command {
        self.as_account(&self.bin.join(name))
    }

    /// Any program, to be run under PostgreSQL's account.
    pub(super) fn as_account(&self, program: &Path) -> Command {
        let mut command = match self.account {
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

    /// Makes a directory PostgreSQL's own.
    pub(super) fn own(&self, directory: &Path) {
        let Some(account) = self.account else { return };
        let owned = Command::new("chown").arg(account).arg(directory).status().expect("chown runs");
        assert!(owned.success(), "{} could not be given to {account}", directory.display());
    }
}

/// PostgreSQL refuses to run as root: then the account that it is to run under.
fn account() -> Option<&'static str> {
    let id = Command::new("id").arg("-u").output().expect("id runs");
    if id.stdout.trim_ascii() != b"0" {
        return None;
    }
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    Some(if accounts.contains("\npostgres:") { "postgres" } else { "nobody" })
}

/// Runs a program to its end.
///
/// # Errors
/// What it said, where it failed.
pub(super) fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
}
