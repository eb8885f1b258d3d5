//! Running other programs, visibly.

use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::time::Instant;

/// What went wrong, for a person.
pub(crate) type Outcome = Result<(), String>;

/// A command in the root of the repository.
pub(crate) fn command<A: AsRef<OsStr>>(program: impl AsRef<OsStr>, arguments: impl IntoIterator<Item = A>) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(crate::tools::root());
    command
}

/// The cargo that runs this task.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), arguments)
}

/// Runs a step of a check: a heading, its output as it comes, how long it took.
pub(crate) fn run(name: &str, mut command: Command) -> Outcome {
    println!("\n=== {name} ===");
    let begun = Instant::now();
    let status = command.status().map_err(|error| format!("{name}: {:?}: {error}", command.get_program()))?;
    if status.success() {
        println!("=== {name}: ok, {} s ===", begun.elapsed().as_secs());
        Ok(())
    } else {
        Err(format!("{name}: {status}"))
    }
}

/// Whether a command succeeds, quietly.
pub(crate) fn succeeds(mut command: Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// What a command prints, if it succeeds.
pub(crate) fn output(mut command: Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(text)
}
