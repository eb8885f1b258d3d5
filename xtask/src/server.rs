//! A server that a task needs for a while.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::step::Outcome;

const START: Duration = Duration::from_secs(15);
const STOP: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// A child process that serves; told to end when this is dropped, and killed if it does not.
pub(crate) struct Server {
    name: String,
    child: Child,
}

impl Server {
    /// Starts it with its output in `log`, and waits until it answers HTTP, whatever it says.
    ///
    /// # Errors
    /// It can't be started, ends, or does not answer within 15 s.
    pub(crate) fn start(name: &str, mut command: Command, address: SocketAddr, log: &Path) -> Result<Self, String> {
        let output = File::create(log).map_err(|error| format!("{}: {error}", log.display()))?;
        let errors = output.try_clone().map_err(|error| format!("{}: {error}", log.display()))?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let child = command.spawn().map_err(|error| format!("{name}: {:?}: {error}", command.get_program()))?;
        let mut server = Self { name: name.to_owned(), child };
        let begun = Instant::now();
        while answers(address).is_err() {
            server.running().map_err(|message| format!("{message}; see {}", log.display()))?;
            if begun.elapsed() > START {
                return Err(format!("{name}: nobody answers on {address}; see {}", log.display()));
            }
            sleep(LOOK_AGAIN);
        }
        Ok(server)
    }

    /// # Errors
    /// It has ended.
    pub(crate) fn running(&mut self) -> Outcome {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("{} has ended: {status}", self.name)),
            Err(error) => Err(format!("{}: {error}", self.name)),
        }
    }

    /// Asks it to end and waits, at most 10 s.
    ///
    /// # Errors
    /// It did not end by itself.
    pub(crate) fn stop(mut self) -> Result<ExitStatus, String> {
        self.end()
    }

    fn end(&mut self) -> Result<ExitStatus, String> {
        let failed = |error: io::Error| format!("{}: {error}", self.name);
        if let Some(status) = self.child.try_wait().map_err(failed)? {
            return Ok(status);
        }
        kill_process(Pid::from_child(&self.child), Signal::TERM).map_err(|error| failed(error.into()))?;
        let begun = Instant::now();
        while begun.elapsed() < STOP {
            if let Some(status) = self.child.try_wait().map_err(failed)? {
                return Ok(status);
            }
            sleep(LOOK_AGAIN);
        }
        self.child.kill().and_then(|()| self.child.wait()).map_err(failed)?;
        Err(format!("{} did not end within {} s of SIGTERM", self.name, STOP.as_secs()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(message) = self.end() {
            eprintln!("{message}");
        }
    }
}

/// That a port is open is not enough: nginx opens it before there is a process that serves.
fn answers(address: SocketAddr) -> io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    stream.read_exact(&mut [0])
}

/// An address of this machine where nobody listens at the moment.
pub(crate) fn free_address() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener.map_err(|error| format!("no free port: {error}"))
}
