//! A WebSocket of bare bytes, for what no library would send.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::endpoint::{Endpoint, Link};
use super::within;

/// The opcode of a continuation.
pub const CONTINUATION: u8 = 0;
/// The opcode of text.
pub const TEXT: u8 = 1;
/// The opcode of binary data.
pub const BINARY: u8 = 2;
/// The opcode of a close.
pub const CLOSE: u8 = 8;
/// The opcode of a ping.
pub const PING: u8 = 9;
/// The opcode of a pong.
pub const PONG: u8 = 10;

/// The upgrade request for `path`, with `headers` (each line whole) behind the ones it needs.
#[must_use]
pub fn upgrade(path: &str, headers: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
}

/// One frame of a client, masked with zeros, which changes nothing.
#[must_use]
pub fn frame(is_final: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![u8::from(is_final) << 7 | opcode];
    match payload.len() {
        length @ 0..=125 => frame.push(0x80 | length as u8),
        length @ 126..=0xFFFF => {
            frame.push(0x80 | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            frame.push(0x80 | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// A WebSocket whose every byte is the test's.
pub struct RawSocket {
    /// What is underneath.
    pub stream: Link,
}

impl RawSocket {
    /// Connects over HTTP/1.1, with a receive buffer as small as the system allows if `small`, and shakes hands.
    ///
    /// # Panics
    /// Where it is not let in.
    pub async fn connect(endpoint: impl Into<Endpoint>, path: &str, small: bool) -> Self {
        let endpoint = endpoint.into();
        let endpoint = if small { endpoint.small() } else { endpoint };
        let stream = endpoint.connect("http/1.1").await.expect("a connection");
        let mut socket = Self { stream };
        socket.bytes(upgrade(path, "").as_bytes()).await;
        socket.shaken().await;
        socket
    }

    /// Reads the answer to the handshake.
    ///
    /// # Panics
    /// Where it is not let in.
    pub async fn shaken(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within("the handshake", self.stream.read_u8()).await.expect("an answer"));
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        head
    }

    /// Sends one frame. Whether it is taken shows in what comes back.
    pub async fn frame(&mut self, is_final: bool, opcode: u8, payload: &[u8]) {
        self.bytes(&frame(is_final, opcode, payload)).await;
    }

    /// Sends anything, at once.
    pub async fn bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
        let _ = self.stream.flush().await;
    }

    /// The next frame: its opcode and payload.
    ///
    /// # Errors
    /// What the connection ended with.
    pub async fn next(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let opcode = self.stream.read_u8().await? & 0x0F;
        let length = match self.stream.read_u8().await? & 0x7F {
            126 => usize::from(self.stream.read_u16().await?),
            127 => self.stream.read_u64().await? as usize,
            length => usize::from(length),
        };
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await?;
        Ok((opcode, payload))
    }

    /// Waits for the end: the close code, or `None` for a connection that just ended.
    ///
    /// # Panics
    /// Where neither comes within a minute.
    pub async fn close_code(&mut self) -> Option<u16> {
        loop {
            match within("a close", self.next()).await {
                Ok((CLOSE, payload)) => return Some(u16::from_be_bytes([*payload.first()?, *payload.get(1)?])),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }
}
