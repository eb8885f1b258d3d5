//! The body of a streamed answer, as it arrives: chunks of HTTP/1.1 or data of HTTP/2; and what event streams and lines
//! are made of.

use std::io;

use bytes::Bytes;
use h2::RecvStream;
use tokio::io::AsyncReadExt as _;

use super::endpoint::Link;
use super::h2::Connection;

/// The body of an answer that goes on.
pub(crate) enum Body {
    Http1 { link: Link, raw: Vec<u8> },
    Http2 { stream: RecvStream, _connection: Connection },
}

impl Body {
    /// The next piece; `None` where the server ended the body as it should. Nothing is lost if the wait is given up.
    ///
    /// # Errors
    /// What cut it short.
    pub(crate) async fn piece(&mut self) -> io::Result<Option<Bytes>> {
        match self {
            Self::Http1 { link, raw } => loop {
                if let Some(chunk) = chunk(raw)? {
                    return Ok((!chunk.is_empty()).then_some(chunk));
                }
                fill(link, raw).await?;
            },
            Self::Http2 { stream, .. } => match stream.data().await {
                None => Ok(None),
                Some(data) => {
                    let data = data.map_err(io::Error::other)?;
                    stream.flow_control().release_capacity(data.len()).map_err(io::Error::other)?;
                    Ok(Some(data))
                }
            },
        }
    }
}

/// Reads the head of an answer; what came behind it stays in `raw`.
pub(crate) async fn head(link: &mut Link, raw: &mut Vec<u8>) -> io::Result<String> {
    loop {
        if let Some(end) = find(raw, b"\r\n\r\n") {
            let head: Vec<u8> = raw.drain(..end + 4).collect();
            return Ok(String::from_utf8_lossy(&head).to_ascii_lowercase());
        }
        fill(link, raw).await?;
    }
}

async fn fill(link: &mut Link, raw: &mut Vec<u8>) -> io::Result<()> {
    match link.read_buf(raw).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// Takes one whole chunk from the front of `raw`, if there is one; the last is empty.
fn chunk(raw: &mut Vec<u8>) -> io::Result<Option<Bytes>> {
    let Some(end) = find(raw, b"\r\n") else { return Ok(None) };
    let length = std::str::from_utf8(&raw[..end]).ok().and_then(|text| usize::from_str_radix(text, 16).ok());
    let length = length.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a chunk without its length"))?;
    let start = end + 2;
    if raw.len() < start + length + 2 {
        return Ok(None);
    }
    let chunk = Bytes::copy_from_slice(&raw[start..start + length]);
    raw.drain(..start + length + 2);
    Ok(Some(chunk))
}

pub(crate) fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// One event, as the event-stream format defines it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// `event:`
    pub name: String,
    /// `id:`
    pub id: String,
    /// `data:`, lines joined.
    pub data: String,
    /// `retry:`
    pub retry_ms: Option<u64>,
    /// Lines that are comments.
    pub comments: usize,
}

/// Takes one event from the front of what has arrived of an event stream, if it is whole.
///
/// # Panics
/// Where it is no UTF-8.
pub(crate) fn event(text: &mut Vec<u8>) -> Option<SseEvent> {
    let end = find(text, b"\n\n")?;
    let block: Vec<u8> = text.drain(..end + 2).collect();
    let mut event = SseEvent::default();
    for line in std::str::from_utf8(&block).expect("an event stream is UTF-8").lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut event.name),
            "id" => value.clone_into(&mut event.id),
            "retry" => event.retry_ms = value.parse().ok(),
            "data" if event.data.is_empty() => value.clone_into(&mut event.data),
            "data" => {
                event.data.push('\n');
                event.data.push_str(value);
            }
            "" if !line.is_empty() => event.comments += 1,
            _ => {}
        }
    }
    Some(event)
}

/// Takes one line from the front of what has arrived, if it is whole.
///
/// # Panics
/// Where it is no UTF-8.
pub(crate) fn line(text: &mut Vec<u8>) -> Option<String> {
    let end = find(text, b"\n")?;
    let line: Vec<u8> = text.drain(..=end).collect();
    Some(String::from_utf8(line).expect("a line of JSON is UTF-8").trim_end().to_owned())
}
