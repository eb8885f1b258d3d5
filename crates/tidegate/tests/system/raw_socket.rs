//! A WebSocket of bare bytes, for what no library would send.

use std::io;
use std::net::SocketAddr;

use tidegate_testkit::clients::within;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;

pub(crate) struct RawSocket {
    pub(crate) stream: TcpStream,
}

impl RawSocket {
    /// Connects, with a receive buffer as small as the system allows if `small`, and shakes hands.
    pub(crate) async fn connect(address: SocketAddr, path: &str, small: bool) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        if small {
            socket.set_recv_buffer_size(4096).unwrap();
        }
        let mut stream = socket.connect(address).await.unwrap();
        let handshake = format!(
            "GET {path} HTTP/1.1\r\nhost: {address}\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(handshake.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(within("the handshake", stream.read_u8()).await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
        Self { stream }
    }

    /// Sends one frame. Whether it is taken shows in what comes back.
    pub(crate) async fn frame(&mut self, is_final: bool, opcode: u8, payload: &[u8]) {
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
        // A mask of zeros changes nothing.
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
        self.bytes(&frame).await;
    }

    pub(crate) async fn bytes(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// The next frame: its opcode and payload.
    pub(crate) async fn next(&mut self) -> io::Result<(u8, Vec<u8>)> {
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
    pub(crate) async fn close_code(&mut self) -> Option<u16> {
        loop {
            match within("a close", self.next()).await {
                Ok((CLOSE, payload)) => return Some(u16::from_be_bytes([*payload.first()?, *payload.get(1)?])),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }
}
