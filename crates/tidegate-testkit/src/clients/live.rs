//! One live query over any transport, behind one face.

use std::io;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;
use tokio_websockets::{Message, WebSocketStream};

use super::body::{self, Body};
use super::endpoint::{Endpoint, Link};
use super::h2::Connection;
use super::list::{Frame, ModelList};
use super::{within, ws};

/// A way to a live query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// WebSocket over HTTP/1.1.
    WebSocket,
    /// WebSocket in a stream of HTTP/2.
    WebSocketH2,
    /// Server-Sent Events over HTTP/1.1.
    Sse,
    /// Server-Sent Events over HTTP/2.
    SseH2,
    /// A line a frame over HTTP/1.1.
    Ndjson,
    /// A line a frame over HTTP/2.
    NdjsonH2,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::WebSocket, Self::WebSocketH2, Self::Sse, Self::SseH2, Self::Ndjson, Self::NdjsonH2];

    /// Whether it is a WebSocket.
    #[must_use]
    pub fn is_websocket(self) -> bool {
        matches!(self, Self::WebSocket | Self::WebSocketH2)
    }

    /// Whether it is a stream of HTTP/2.
    #[must_use]
    pub fn is_h2(self) -> bool {
        matches!(self, Self::WebSocketH2 | Self::SseH2 | Self::NdjsonH2)
    }

    fn media_type(self) -> &'static str {
        if matches!(self, Self::Ndjson | Self::NdjsonH2) { "application/x-ndjson" } else { "text/event-stream" }
    }
}

/// What a server said as it ended a connection.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Farewell {
    /// A WebSocket's close code and reason.
    pub close: Option<(u16, String)>,
    /// The last `retry:` of an event stream, and how many there were.
    pub retry_ms: Option<u64>,
    /// How many `retry:` there were.
    pub retries: usize,
    /// The code of an `error`, where one came.
    pub error: Option<String>,
    /// The body ended as a body ends: the last chunk, or the stream's end.
    pub is_orderly: bool,
}

enum Wire {
    Socket(Box<WebSocketStream<Link>>),
    Events(Body, Vec<u8>),
    Lines(Body, Vec<u8>),
}

/// A subscription and the list that it keeps.
pub struct LiveClient {
    wire: Wire,
    /// What it shows.
    pub list: ModelList,
    /// What the server said at the end, as far as it has.
    pub farewell: Farewell,
    /// Comments of an event stream and empty lines so far; the library answers pings unseen.
    keepalives: watch::Sender<usize>,
}

impl LiveClient {
    /// Connects and subscribes; goes on from the list's token where it has one, and says so to whoever admits.
    ///
    /// # Errors
    /// What the connection or the handshake failed with; a refusal is [`io::ErrorKind::InvalidData`].
    pub async fn subscribe(
        endpoint: impl Into<Endpoint>,
        transport: Transport,
        query: &Value,
        mut list: ModelList,
    ) -> io::Result<Self> {
        let endpoint = endpoint.into();
        let token = list.token().map(ToOwned::to_owned);
        list.reconnected();
        let wire = if transport.is_websocket() {
            Wire::Socket(Box::new(socket(&endpoint, transport, query, token).await?))
        } else {
            let body = streamed(&endpoint, transport, query, token).await?;
            match transport {
                Transport::Sse | Transport::SseH2 => Wire::Events(body, Vec::new()),
                _ => Wire::Lines(body, Vec::new()),
            }
        };
        Ok(Self { wire, list, farewell: Farewell::default(), keepalives: watch::Sender::new(0) })
    }

    /// Receives and applies one frame, or notes an `error`; `None` once the connection has ended. Nothing is lost if the wait is
    /// given up.
    ///
    /// # Panics
    /// Where the frame breaks a rule.
    pub async fn next(&mut self) -> Option<Frame> {
        let text = self.text().await?;
        let frame: Frame = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        if frame.op == "error" {
            self.farewell.error.clone_from(&frame.code);
            return Some(frame);
        }
        self.list.apply(&frame).unwrap_or_else(|rule| panic!("{rule}"));
        Some(frame)
    }

    /// Applies frames until the list is whole and `enough` of it.
    ///
    /// # Panics
    /// Where the connection ends first, or nothing of the kind happens within a minute.
    pub async fn until(&mut self, what: &str, enough: impl Fn(&ModelList) -> bool) {
        let wait = async {
            while !(self.list.is_whole() && enough(&self.list)) {
                let ended = self.next().await.is_none();
                assert!(!ended, "the connection ended before {what}: {:?}", self.farewell);
            }
        };
        within(what, wait).await;
    }

    /// Applies what comes until the connection has ended; gives what the server said then.
    ///
    /// # Panics
    /// Where it does not end within a minute.
    pub async fn end(&mut self) -> Farewell {
        within("the end of a connection", async { while self.next().await.is_some() {} }).await;
        self.farewell.clone()
    }

    /// Applies frames until so many more keep-alives have come on an event stream or a stream of lines.
    ///
    /// # Panics
    /// Where the connection ends first.
    pub async fn alive(&mut self, count: usize) {
        let mut seen = self.keepalives.subscribe();
        let target = *seen.borrow() + count;
        tokio::select! {
            _ = seen.wait_for(|seen| *seen >= target) => {}
            () = async { while self.next().await.is_some() {} } => panic!("the connection ended: {:?}", self.farewell),
        }
    }

    /// The next frame as text.
    async fn text(&mut self) -> Option<String> {
        loop {
            let (body, text) = match &mut self.wire {
                Wire::Socket(socket) => {
                    let message = socket.next().await?.ok()?;
                    if let Some((code, reason)) = message.as_close() {
                        self.farewell.close = Some((code.into(), reason.to_owned()));
                        return None;
                    }
                    match message.as_text() {
                        Some(text) => return Some(text.to_owned()),
                        None => continue,
                    }
                }
                Wire::Events(body, text) => {
                    while let Some(event) = body::event(text) {
                        self.keepalives.send_modify(|seen| *seen += event.comments);
                        self.farewell.retries += usize::from(event.retry_ms.is_some());
                        self.farewell.retry_ms = event.retry_ms.or(self.farewell.retry_ms);
                        if !event.data.is_empty() {
                            return Some(event.data);
                        }
                    }
                    (body, text)
                }
                Wire::Lines(body, text) => {
                    while let Some(line) = body::line(text) {
                        if !line.is_empty() {
                            return Some(line);
                        }
                        self.keepalives.send_modify(|seen| *seen += 1);
                    }
                    (body, text)
                }
            };
            match body.piece().await {
                Ok(Some(piece)) => text.extend_from_slice(&piece),
                Ok(None) => {
                    self.farewell.is_orderly = true;
                    return None;
                }
                Err(_) => return None,
            }
        }
    }
}

async fn socket(
    endpoint: &Endpoint,
    transport: Transport,
    query: &Value,
    token: Option<String>,
) -> io::Result<WebSocketStream<Link>> {
    let path = if token.is_some() { "/v1/live/ws?resume=true" } else { "/v1/live/ws" };
    let mut socket = ws::open(endpoint, path, transport.is_h2()).await?;
    let mut command = json!({ "action": "subscribe", "query": query, "synced": true });
    if let Some(token) = token {
        command["resume_from"] = token.into();
    }
    socket.send(Message::text(command.to_string())).await.map_err(io::Error::other)?;
    Ok(socket)
}

async fn streamed(endpoint: &Endpoint, transport: Transport, query: &Value, token: Option<String>) -> io::Result<Body> {
    let (path, body, accept) = ("/v1/live?synced=true", query.to_string(), transport.media_type());
    if transport.is_h2() {
        let mut headers = vec![("accept", accept), ("content-type", "application/json")];
        if let Some(token) = &token {
            headers.push(("last-event-id", token));
        }
        let mut connection = Connection::open(endpoint).await?;
        let answer = connection.start("POST", path, &headers, body.as_bytes()).await?;
        let named = answer.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
        if answer.status() != 200 || !named.starts_with(accept) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} {named}", answer.status())));
        }
        return Ok(Body::Http2 { stream: answer.into_body(), _connection: connection });
    }
    let mut link = endpoint.connect("http/1.1").await?;
    let resume = token.map(|token| format!("last-event-id: {token}\r\n")).unwrap_or_default();
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: localhost\r\naccept: {accept}\r\ncontent-type: application/json\r\n\
         {}{resume}content-length: {}\r\n\r\n{body}",
        endpoint.target(path),
        endpoint.lines(),
        body.len()
    );
    link.write_all(head.as_bytes()).await?;
    link.flush().await?;
    let mut raw = Vec::new();
    let head = body::head(&mut link, &mut raw).await?;
    let chunked = head.starts_with("http/1.1 200") && head.contains("transfer-encoding: chunked");
    if !chunked || !head.contains(&format!("content-type: {accept}")) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, head));
    }
    Ok(Body::Http1 { link, raw })
}
