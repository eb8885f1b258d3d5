//! The Centrifugo client protocol as JSON over a WebSocket, message by message.

use std::collections::VecDeque;
use std::io;

use futures_util::SinkExt as _;
use serde_json::{Value, json};
use tokio_websockets::{Message as WsMessage, WebSocketStream};

use super::endpoint::{Endpoint, Link};
use super::within;
use super::ws::{next_text, open};

/// A connection over `/connection/websocket`.
pub struct CentrifugoSocket {
    socket: WebSocketStream<Link>,
    commands: u32,
    /// Came in a frame with what was taken.
    waiting: VecDeque<Value>,
    farewell: Option<(u16, String)>,
}

impl CentrifugoSocket {
    /// Opens the socket; `connect` is the caller's first command.
    ///
    /// # Errors
    /// What the connection or the handshake failed with.
    pub async fn connect(endpoint: impl Into<Endpoint>) -> io::Result<Self> {
        let socket = open(&endpoint.into(), "/connection/websocket", false).await?;
        Ok(Self { socket, commands: 0, waiting: VecDeque::new(), farewell: None })
    }

    /// Sends a command and gives its reply; pushes before it are dropped.
    ///
    /// # Panics
    /// Where no reply comes.
    pub async fn call(&mut self, method: &str, request: Value) -> Value {
        self.commands += 1;
        let id = self.commands;
        let command = json!({ "id": id, method: request }).to_string();
        self.socket.send(WsMessage::text(command)).await.unwrap_or_else(|error| panic!("{method}: {error}"));
        self.until(method, |reply| reply["id"] == id).await
    }

    /// The next push of that kind: `{"channel",<kind>}`; others before it are dropped.
    ///
    /// # Panics
    /// Where none comes.
    pub async fn pushed(&mut self, kind: &str) -> Value {
        let mut reply = self.until(kind, |reply| reply["push"][kind].is_object()).await;
        reply["push"].take()
    }

    /// The close code and reason.
    ///
    /// # Panics
    /// Where the connection ends without.
    pub async fn farewell(&mut self) -> (u16, String) {
        let end = async { while self.next().await.is_some() {} };
        within("the close", end).await;
        self.farewell.take().unwrap_or_else(|| panic!("the connection ended without a close"))
    }

    async fn until(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let found = async {
            loop {
                let Some(reply) = self.next().await else { panic!("the connection ended before {what}") };
                if is_it(&reply) {
                    return reply;
                }
            }
        };
        within(what, found).await
    }

    async fn next(&mut self) -> Option<Value> {
        while self.waiting.is_empty() {
            let text = next_text(&mut self.socket, &mut self.farewell).await?;
            let lines = text.split('\n').filter(|line| !line.is_empty());
            let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            self.waiting.extend(lines.map(read));
        }
        self.waiting.pop_front()
    }
}
