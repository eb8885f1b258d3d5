//! Server-Sent Events over a bare TCP connection, event by event.

use std::io;
use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::body::{self, Body, SseEvent};
use super::endpoint::Link;
use super::list::{Frame, ModelList};

/// One subscription over `POST /v1/live`.
pub struct SseStream {
    body: Body,
    /// What has arrived and is not taken apart yet.
    text: Vec<u8>,
    /// What it shows.
    pub list: ModelList,
}

impl SseStream {
    /// Connects and subscribes; goes on from the list's token where it has one.
    ///
    /// # Errors
    /// What the connection failed with; an answer other than a chunked 200 is [`io::ErrorKind::InvalidData`].
    pub async fn subscribe(address: SocketAddr, query: &Value, mut list: ModelList) -> io::Result<Self> {
        let mut link: Link = Box::new(TcpStream::connect(address).await?);
        let body = query.to_string();
        let resume = list.token().map(|token| format!("last-event-id: {token}\r\n")).unwrap_or_default();
        let head = format!(
            "POST /v1/live?synced=true HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n{resume}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        link.write_all(head.as_bytes()).await?;
        list.reconnected();
        let mut raw = Vec::new();
        let head = body::head(&mut link, &mut raw).await?;
        let chunked = head.starts_with("http/1.1 200") && head.contains("transfer-encoding: chunked");
        if !chunked || !head.contains("content-type: text/event-stream") {
            return Err(io::Error::new(io::ErrorKind::InvalidData, head));
        }
        Ok(Self { body: Body::Http1 { link, raw }, text: Vec::new(), list })
    }

    /// Receives one event; `None` once the connection has ended.
    pub async fn next_event(&mut self) -> Option<SseEvent> {
        loop {
            while let Some(event) = body::event(&mut self.text) {
                // Comments and `retry:` alone are no event.
                if !event.data.is_empty() {
                    return Some(event);
                }
            }
            self.text.extend_from_slice(&self.body.piece().await.ok()??);
        }
    }

    /// Receives and applies one frame; `None` once the connection has ended.
    ///
    /// # Panics
    /// Where the frame breaks a rule, or the event's name or id are not the frame's.
    pub async fn next(&mut self) -> Option<Frame> {
        let event = self.next_event().await?;
        let frame: Frame = serde_json::from_str(&event.data).unwrap_or_else(|error| panic!("{error}: {event:?}"));
        assert_eq!(event.name, frame.op, "{event:?}");
        if let Some(token) = &frame.stream_id {
            assert_eq!(&event.id, token, "{event:?}");
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
                let _ = self.next().await.unwrap_or_else(|| panic!("the connection ended before {what}"));
            }
        };
        if tokio::time::timeout(std::time::Duration::from_secs(60), wait).await.is_err() {
            panic!("not within 60 s: {what}; the list: {:?}", self.list);
        }
    }
}
