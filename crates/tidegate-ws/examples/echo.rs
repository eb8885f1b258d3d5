//! Sends every message back: what conformance suites run against. A thread a connection.
//!
//! ```text
//! cargo run --release -p tidegate-ws --example echo -- 127.0.0.1:9101 [--deflate]
//! ```

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use tidegate_ws::deflate::{self, Deflate};
use tidegate_ws::{Decoder, Event, Limits, OpCode, Role, handshake, header, write_close, write_frame};

/// Autobahn sends 16 MiB at once, and 4 MiB in fragments of 64 bytes.
const LIMITS: Limits = Limits { message_bytes: 64 << 20, fragments: 1 << 17 };
const HEAD_BYTES_MAX: usize = 8 << 10;
const HEADERS_MAX: usize = 64;
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a peer that was refused may take to read why.
const FAREWELL: Duration = Duration::from_secs(1);

fn main() -> io::Result<()> {
    let mut address = "127.0.0.1:9101".to_owned();
    let mut deflate = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--deflate" => deflate = true,
            _ => address = argument,
        }
    }
    let listener = TcpListener::bind(&address)?;
    eprintln!("listening on {}", listener.local_addr()?);
    for socket in listener.incoming() {
        let socket = socket?;
        std::thread::spawn(move || {
            if let Err(error) = serve(socket, deflate) {
                eprintln!("{error}");
            }
        });
    }
    Ok(())
}

fn serve(mut socket: TcpStream, offer_deflate: bool) -> io::Result<()> {
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    let (head, early) = read_head(&mut socket)?;
    let (status, answer, deflate) = match upgrade(&head, offer_deflate) {
        Ok((answer, deflate)) => ("101 Switching Protocols", answer, deflate),
        Err(status) => {
            let answer = "Sec-WebSocket-Version: 13\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
            return write!(socket, "HTTP/1.1 {status}\r\n{answer}");
        }
    };
    write!(socket, "HTTP/1.1 {status}\r\n{answer}")?;
    echo(&mut socket, early, deflate)?;
    // Closing with bytes unread would reset the connection, and the peer would miss the close frame.
    socket.shutdown(Shutdown::Write)?;
    socket.set_read_timeout(Some(FAREWELL))?;
    let mut rest = [0; 4096];
    while matches!(socket.read(&mut rest), Ok(1..)) {}
    Ok(())
}

/// The request's head, and the bytes that came after it.
fn read_head(socket: &mut TcpStream) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let early = bytes.split_off(end + 4);
            return Ok((bytes, early));
        }
        let read = socket.read(&mut chunk)?;
        if read == 0 || bytes.len() + read > HEAD_BYTES_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        bytes.extend_from_slice(&chunk[..read]);
    }
}

/// The headers of a `101`, or the status of a refusal.
fn upgrade(head: &[u8], offer_deflate: bool) -> Result<(String, Option<Deflate>), &'static str> {
    const BAD: &str = "400 Bad Request";
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    request.parse(head).map_err(|_| BAD)?;
    let values = |name: &'static str| {
        let named = request.headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        named.filter_map(|header| std::str::from_utf8(header.value).ok())
    };
    let single = |name| {
        let mut values = values(name);
        values.next().filter(|_| values.next().is_none())
    };
    if request.method != Some("GET") {
        return Err("405 Method Not Allowed");
    }
    let upgrades = request.version == Some(1)
        && single("host").is_some()
        && handshake::has_token(values("upgrade"), "websocket")
        && handshake::has_token(values("connection"), "upgrade");
    if !upgrades {
        return Err(BAD);
    }
    if single("sec-websocket-version") != Some("13") {
        return Err("426 Upgrade Required");
    }
    let accept = single("sec-websocket-key").and_then(|key| handshake::accept(key.as_bytes())).ok_or(BAD)?;
    let mut answer = format!("Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n");
    let agreed = if offer_deflate { deflate::negotiate(values("sec-websocket-extensions")) } else { None };
    if let Some((_, value)) = &agreed {
        answer.push_str(&format!("Sec-WebSocket-Extensions: {value}\r\n"));
    }
    answer.push_str("\r\n");
    Ok((answer, agreed.map(|(deflate, _)| deflate)))
}

/// Until the peer closes or is refused.
fn echo(socket: &mut TcpStream, early: Vec<u8>, deflate: Option<Deflate>) -> io::Result<()> {
    let mut decoder = Decoder::new(Role::Server, LIMITS, deflate);
    let mut buffer = early;
    let mut filled = buffer.len();
    let mut out = Vec::new();
    loop {
        let mut input = &mut buffer[..filled];
        loop {
            let (used, event) = match decoder.decode(input) {
                Ok((_, None)) => break,
                Ok((used, Some(event))) => (used, event),
                Err(error) => {
                    write_close(error.code(), &error.to_string(), &mut out);
                    return socket.write_all(&out);
                }
            };
            match event {
                Event::Text(text) => message(OpCode::Text, text.as_bytes(), deflate, &mut out),
                Event::Binary(bytes) => message(OpCode::Binary, bytes, deflate, &mut out),
                Event::Ping(payload) => write_frame(OpCode::Pong, payload, &mut out),
                Event::Pong(_) => {}
                Event::Close(reason) => {
                    match reason {
                        Some((code, reason)) => write_close(code, reason, &mut out),
                        None => write_frame(OpCode::Close, &[], &mut out),
                    }
                    return socket.write_all(&out);
                }
            }
            input = &mut input[used..];
        }
        socket.write_all(&out)?;
        out.clear();
        buffer.resize(64 << 10, 0);
        filled = socket.read(&mut buffer)?;
        if filled == 0 {
            return Ok(());
        }
    }
}

fn message(op: OpCode, payload: &[u8], deflate: Option<Deflate>, out: &mut Vec<u8>) {
    let Some(agreed) = deflate else { return write_frame(op, payload, out) };
    let mut compressed = Vec::new();
    deflate::compress(payload, agreed.server_window_bits, &mut compressed);
    out.extend_from_slice(&header(op, true, compressed.len()));
    out.extend_from_slice(&compressed);
}
