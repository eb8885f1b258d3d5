//! Server-Sent Events over a bare TCP connection.

use std::io;
use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::list::{Frame, ModelList};

/// One event, as the event-stream format defines it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// `event:`
    pub name: String,
    /// `id:`
    pub id: String,
    /// `data:`, lines joined.
    pub data: String,
}

/// One subscription over `POST /v1/live`.
pub struct SseStream {
    stream: TcpStream,
    /// What has arrived and is not taken apart yet: of the transfer, then of the event stream.
    raw: Vec<u8>,
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
        let mut stream = TcpStream::connect(address).await?;
        let body = query.to_string();
        let resume = list.token().map(|token| format!("last-event-id: {token}\r\n")).unwrap_or_default();
        let head = format!(
            "POST /v1/live?synced=true HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n{resume}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).await?;
        list.reconnected();
        let mut stream = Self { stream, raw: Vec::new(), text: Vec::new(), list };
        let head = loop {
            if let Some(end) = find(&stream.raw, b"\r\n\r\n") {
                let head: Vec<u8> = stream.raw.drain(..end + 4).collect();
                break String::from_utf8_lossy(&head).to_ascii_lowercase();
            }
            stream.fill().await?;
        };
        let chunked = head.starts_with("http/1.1 200") && head.contains("transfer-encoding: chunked");
        if !chunked || !head.contains("content-type: text/event-stream") {
            return Err(io::Error::new(io::ErrorKind::InvalidData, head));
        }
        Ok(stream)
    }

    /// Receives one event; `None` once the connection has ended.
    pub async fn next_event(&mut self) -> Option<SseEvent> {
        loop {
            while let Some(end) = find(&self.text, b"\n\n") {
                let block: Vec<u8> = self.text.drain(..end + 2).collect();
                let event = parse(std::str::from_utf8(&block).expect("an event stream is UTF-8"));
                // Comments and `retry:` alone are no event.
                if !event.data.is_empty() {
                    return Some(event);
                }
            }
            while !self.unchunk() {
                self.fill().await.ok()?;
            }
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

    /// Moves one whole chunk from `raw` to `text`, if there is one.
    fn unchunk(&mut self) -> bool {
        let Some(end) = find(&self.raw, b"\r\n") else { return false };
        let length = std::str::from_utf8(&self.raw[..end]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
        let length = length.expect("a chunk begins with its length");
        let start = end + 2;
        if length == 0 || self.raw.len() < start + length + 2 {
            return false;
        }
        self.text.extend_from_slice(&self.raw[start..start + length]);
        self.raw.drain(..start + length + 2);
        true
    }

    async fn fill(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.raw).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn parse(block: &str) -> SseEvent {
    let mut event = SseEvent::default();
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut event.name),
            "id" => value.clone_into(&mut event.id),
            "data" if event.data.is_empty() => value.clone_into(&mut event.data),
            "data" => {
                event.data.push('\n');
                event.data.push_str(value);
            }
            _ => {}
        }
    }
    event
}
