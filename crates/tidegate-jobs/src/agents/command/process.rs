//! One process with its group.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

use super::CommandSpec;

/// How long a process has after `SIGTERM`, after its result, or after it has closed its output.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

/// A process that leads a group of its own. Dropping it kills the group.
#[derive(Debug)]
pub(super) struct Process {
    /// In front of the child, which might reap the leader: the group's number is the leader's.
    group: Group,
    child: Child,
}

/// Its ends of the pipes.
pub(super) struct Pipes {
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

#[derive(Debug)]
struct Group(Option<Pid>);

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.0 {
            // It may have ended meanwhile.
            let _ = kill_process_group(group, signal);
        }
    }

    fn end(&mut self) {
        self.signal(Signal::KILL);
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}

impl Process {
    pub(super) fn start(spec: &CommandSpec) -> io::Result<(Self, Pipes)> {
        let (program, arguments) = spec.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for name in &spec.inherit {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        command.envs(&spec.env);
        if let Some(dir) = &spec.dir {
            command.current_dir(dir);
        }
        let mut child = command.spawn()?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let process = Self { group: Group(group), child };
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else { return Err(io::ErrorKind::BrokenPipe.into()) };
        Ok((process, Pipes { stdin, stdout, stderr }))
    }

    /// Waits until the process has ended, and ends what it has left behind in its group. Whoever drops the future may wait again.
    pub(super) async fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.wait().await.ok();
        // At once: the number may be another's later. The system gives numbers in turn, so that takes a while.
        self.group.end();
        status
    }

    /// Asks the group to end.
    pub(super) fn terminate(&self) {
        self.group.signal(Signal::TERM);
    }

    /// Waits for its end, in the end with `SIGKILL`.
    pub(super) async fn finish(&mut self, patience: Duration) -> Option<ExitStatus> {
        if let Ok(status) = timeout(patience, self.ended()).await {
            return status;
        }
        self.group.signal(Signal::KILL);
        timeout(PATIENCE, self.ended()).await.ok().flatten()
    }
}
