//! The measure of all servers: one thread, and for each publication one `send()` a socket of bytes framed once. It keeps
//! no queues: what a socket does not take is lost, and then counted as missed by who measures.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use tidegate_ws::{Decoder, Event, Limits, OpCode, Role, handshake, write_frame};

use super::{BenchError, proc};
use crate::cli::say;

const LISTENER: Token = Token(usize::MAX);
/// Longest request, and longest message.
const BYTES_MAX: usize = 64 << 10;

struct Peer {
    stream: TcpStream,
    /// Its request so far, until it is a WebSocket.
    request: Vec<u8>,
    decoder: Option<Decoder>,
}

/// Sends every message to everybody but its sender, until it is killed.
pub(crate) fn serve() -> Result<(), BenchError> {
    proc::raise_descriptor_limit();
    let mut poll = Poll::new()?;
    // By hand, for a backlog that a storm fits into.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
    socket.listen(4096)?;
    socket.set_nonblocking(true)?;
    let mut listener = TcpListener::from_std(socket.into());
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    say(&format!("listening on http://{}", listener.local_addr()?))
        .map_err(|e| BenchError::Publisher(e.to_string()))?;
    let (mut peers, mut free): (Vec<Option<Peer>>, Vec<usize>) = (Vec::new(), Vec::new());
    let (mut events, mut buffer, mut frames) = (Events::with_capacity(4096), vec![0; 256 << 10], Vec::new());
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        for event in &events {
            if event.token() == LISTENER {
                accept(&listener, poll.registry(), &mut peers, &mut free)?;
                continue;
            }
            let at = event.token().0;
            let Some(peer) = peers.get_mut(at).and_then(Option::as_mut) else { continue };
            let open = peer.read(&mut buffer, &mut frames);
            if !open {
                peers[at] = None;
                free.push(at);
            }
            for frame in frames.drain(..) {
                for (nth, peer) in peers.iter_mut().enumerate() {
                    if let Some(peer) = peer.as_mut().filter(|peer| nth != at && peer.decoder.is_some()) {
                        let _ = peer.stream.write(&frame);
                    }
                }
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    registry: &Registry,
    peers: &mut Vec<Option<Peer>>,
    free: &mut Vec<usize>,
) -> Result<(), BenchError> {
    loop {
        let mut stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
            Err(error) => return Err(error.into()),
        };
        stream.set_nodelay(true)?;
        let at = free.pop().unwrap_or_else(|| {
            peers.push(None);
            peers.len() - 1
        });
        registry.register(&mut stream, Token(at), Interest::READABLE)?;
        peers[at] = Some(Peer { stream, request: Vec::new(), decoder: None });
    }
}

impl Peer {
    /// Whether it is still there. Frames for everybody else are appended.
    fn read(&mut self, buffer: &mut [u8], frames: &mut Vec<Vec<u8>>) -> bool {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return false,
                Ok(read) => {
                    if !self.take(&mut buffer[..read], frames) {
                        return false;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false,
            }
        }
    }

    fn take(&mut self, mut input: &mut [u8], frames: &mut Vec<Vec<u8>>) -> bool {
        let Some(decoder) = &mut self.decoder else { return self.upgrade(input) };
        while !input.is_empty() {
            let Ok((taken, event)) = decoder.decode(input) else { return false };
            match event {
                Some(Event::Text(text)) => {
                    let mut frame = Vec::with_capacity(text.len() + 10);
                    write_frame(OpCode::Text, text.as_bytes(), &mut frame);
                    frames.push(frame);
                }
                Some(Event::Close(_)) => return false,
                _ => {}
            }
            input = &mut input[taken..];
        }
        true
    }

    fn upgrade(&mut self, input: &[u8]) -> bool {
        self.request.extend_from_slice(input);
        if !self.request.ends_with(b"\r\n\r\n") {
            return self.request.len() < BYTES_MAX;
        }
        let text = String::from_utf8_lossy(&self.request);
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        let key = fields.find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"));
        let Some(accept) = key.and_then(|(_, key)| handshake::accept(key.trim().as_bytes())) else { return false };
        let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade";
        let answer = format!("{head}\r\nSec-WebSocket-Accept: {accept}\r\n\r\n");
        let limits = Limits { message_bytes: BYTES_MAX, fragments: 16 };
        self.decoder = Some(Decoder::new(Role::Server, limits, None));
        self.request = Vec::new();
        self.stream.write_all(answer.as_bytes()).is_ok()
    }
}
