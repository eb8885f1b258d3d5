//! What each connection of a crowd says and waits for.

use std::net::SocketAddr;
use std::sync::Arc;

use tidegate_ws::handshake;

/// A handshake key: that it is the same for all harms nobody here.
const KEY: &str = "dGlkZWdhdGUgYmVuY2ghIQ==";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    WebSocket,
    /// Server-Sent Events over HTTP/1.1.
    Events,
    /// The same as lines.
    Lines,
}

/// In texts `{i}` is the connection's number and `{group}` that number modulo `groups`.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) address: SocketAddr,
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    /// What each connection has as its `Authorization`, by its number; those past the end have none.
    pub(crate) credentials: Arc<[String]>,
    pub(crate) transport: Transport,
    /// Sent as the body of a `POST`; without it the request is a `GET`. Not for WebSockets.
    pub(crate) body: Option<String>,
    /// Sent after the handshake.
    pub(crate) hello: Option<String>,
    /// What the message has that ends the wait after the handshake; without it nothing is waited for.
    pub(crate) ready: Option<String>,
    /// Different texts.
    pub(crate) groups: u32,
    /// Whether each latency is kept, or deliveries only counted.
    pub(crate) keeps: bool,
    /// What is sent and comes back, with `{mark}` in it.
    pub(crate) echo: Option<String>,
    /// The reason in the close frame that is waited for: such a close is answered and timed, and the connection does not
    /// come back.
    pub(crate) end: Option<&'static str>,
}

impl Plan {
    /// A WebSocket that says and waits for nothing.
    pub(crate) fn new(address: SocketAddr, host: String, path: String, headers: Vec<(String, String)>) -> Self {
        Self {
            address,
            host,
            path,
            headers,
            credentials: Arc::default(),
            transport: Transport::WebSocket,
            body: None,
            hello: None,
            ready: None,
            groups: 1,
            keeps: false,
            echo: None,
            end: None,
        }
    }

    /// The request that opens connection `number`.
    pub(crate) fn request(&self, number: u32) -> Vec<u8> {
        let path = self.fill(&self.path, number);
        let credentials = self.credentials.get(number as usize).map(|value| ("Authorization", &**value));
        let headers = self.headers.iter().map(|(name, value)| (&**name, &**value)).chain(credentials);
        if self.transport == Transport::WebSocket {
            let headers: Vec<(&str, &str)> = headers.collect();
            return handshake::request(&self.host, &path, KEY, &headers).into_bytes();
        }
        let body = self.body.as_ref().map(|body| self.fill(body, number));
        let method = if body.is_some() { "POST" } else { "GET" };
        let accept = if self.transport == Transport::Lines { "application/x-ndjson" } else { "text/event-stream" };
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nAccept: {accept}\r\n", self.host);
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &body {
            request.push_str(&format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        request.push_str(&body.unwrap_or_default());
        request.into_bytes()
    }

    /// What connection `number` says first.
    pub(crate) fn hello(&self, number: u32) -> Option<String> {
        self.hello.as_ref().map(|hello| self.fill(hello, number))
    }

    fn fill(&self, text: &str, number: u32) -> String {
        let group = number % self.groups.max(1);
        text.replace("{i}", &number.to_string()).replace("{group}", &group.to_string())
    }

    /// Whether the response's head lets us in.
    pub(crate) fn accepts(&self, status: u16) -> bool {
        status == if self.transport == Transport::WebSocket { 101 } else { 200 }
    }
}
