//! One socket of a crowd: how it is opened and written to.

use std::io::{ErrorKind, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use mio::net::TcpStream;
use rustix::io::Errno;
use socket2::{Domain, Socket, Type};

use super::connection::Wire;

/// Of this machine's addresses, to have more ports than one has: 127.0.0.2 and up.
const SOURCES: u32 = 32;

/// In the order in which they come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(super) enum Phase {
    Connecting,
    Asked,
    Subscribing,
    Ready,
    /// The close frame that was waited for has come.
    Closing,
}

pub(super) struct Conn {
    pub(super) stream: TcpStream,
    pub(super) wire: Wire,
    pub(super) number: u32,
    pub(super) phase: Phase,
    pub(super) stalled: bool,
    /// When it was begun; once the handshake is done, when that was; once it closes, when the close frame came.
    pub(super) since: u64,
    pub(super) begun: u64,
    /// What the socket did not take at once.
    pub(super) unsent: Vec<u8>,
}

impl Conn {
    /// Writes what is left and then this; what the socket does not take waits for it.
    pub(super) fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let waiting = !self.unsent.is_empty();
        if waiting {
            self.unsent.extend_from_slice(bytes);
        }
        let mut rest = std::mem::take(&mut self.unsent);
        let pending: &[u8] = if waiting { &rest } else { bytes };
        let mut written = 0;
        while written < pending.len() {
            match self.stream.write(&pending[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if waiting {
            rest.drain(..written);
            self.unsent = rest;
        } else {
            self.unsent = bytes[written..].to_vec();
        }
        Ok(())
    }
}

/// Begins to connect, to a server of this machine from one of many addresses.
pub(super) fn connect(to: SocketAddr, number: u32) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if to.is_ipv4() && to.ip().is_loopback() {
        let source = Ipv4Addr::from(0x7f00_0002 + number % SOURCES);
        socket.bind(&SocketAddr::new(IpAddr::V4(source), 0).into())?;
    }
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}
