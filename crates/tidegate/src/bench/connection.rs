//! One connection of a crowd: from its bytes to what they mean. It knows no socket.

use tidegate_ws::{Decoder, Event, Limits, OpCode, Role, write_masked};

use super::plan::Transport;

/// Longest head of a response.
const HEAD_BYTES_MAX: usize = 16 << 10;
/// Longest message, and longest event.
const MESSAGE_BYTES_MAX: usize = 8 << 20;
/// A mask hides nothing on this machine; it costs a server the same whatever it is.
pub(crate) const MASK: [u8; 4] = [0x5a, 0x21, 0x7e, 0xc3];

/// What came.
pub(crate) enum Came<'a> {
    /// The response's head: its status, and the seconds of its `Retry-After`.
    Head { status: u16, retry_after: Option<u64> },
    /// A message, or some events: how many, and their bytes.
    Payload(&'a [u8], u32),
}

/// Why a connection cannot go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the response's head is none, or is longer than {HEAD_BYTES_MAX} bytes")]
    Head,
    #[error("the server broke the protocol: {0}")]
    WebSocket(#[from] tidegate_ws::Error),
    #[error("an event is longer than {MESSAGE_BYTES_MAX} bytes, or a chunk has no length")]
    Stream,
    #[error("closed by the server with {0}")]
    Closed(String),
}

/// Where the reading stands. Small: most connections wait.
pub(crate) enum Wire {
    Head(Vec<u8>),
    Socket(Decoder),
    Stream(Box<Stream>),
}

impl Wire {
    pub(crate) fn new() -> Self {
        Self::Head(Vec::new())
    }

    /// Takes what was read. Answers to pings are appended to `out`.
    pub(crate) fn feed(
        &mut self,
        transport: Transport,
        mut input: &mut [u8],
        out: &mut Vec<u8>,
        mut on: impl FnMut(Came<'_>),
    ) -> Result<(), Broken> {
        if let Self::Head(head) = self {
            let had = head.len();
            head.extend_from_slice(input);
            let Some(end) = memchr::memmem::find(head, b"\r\n\r\n").map(|at| at + 4) else {
                return if head.len() > HEAD_BYTES_MAX { Err(Broken::Head) } else { Ok(()) };
            };
            let parsed = Head::parse(&head[..end]).ok_or(Broken::Head)?;
            let Head { status, retry_after, chunked } = parsed;
            *self = match transport {
                Transport::WebSocket => {
                    let limits = Limits { message_bytes: MESSAGE_BYTES_MAX, fragments: 4096 };
                    Self::Socket(Decoder::new(Role::Client, limits, None))
                }
                Transport::Events => Self::Stream(Box::new(Stream::new(chunked, b"\n\n"))),
                Transport::Lines => Self::Stream(Box::new(Stream::new(chunked, b"\n"))),
            };
            on(Came::Head { status, retry_after });
            input = &mut input[end - had..];
        }
        match self {
            Self::Head(_) => Ok(()),
            Self::Socket(decoder) => messages(decoder, input, out, on),
            Self::Stream(stream) => stream.feed(input, &mut on),
        }
    }
}

fn messages(
    decoder: &mut Decoder,
    mut input: &mut [u8],
    out: &mut Vec<u8>,
    mut on: impl FnMut(Came<'_>),
) -> Result<(), Broken> {
    while !input.is_empty() {
        if decoder.unfinished() == 0
            && let Some((head, end)) = whole(input)
        {
            on(Came::Payload(&input[head..end], 1));
            input = &mut input[end..];
            continue;
        }
        let (taken, event) = decoder.decode(input)?;
        match event {
            Some(Event::Text(text)) => on(Came::Payload(text.as_bytes(), 1)),
            Some(Event::Binary(bytes)) => on(Came::Payload(bytes, 1)),
            Some(Event::Ping(bytes)) => write_masked(OpCode::Pong, bytes, MASK, out),
            Some(Event::Close(why)) => {
                let said = why.map_or("no code".to_owned(), |(code, reason)| format!("{code} {reason:?}"));
                return Err(Broken::Closed(said));
            }
            Some(Event::Pong(_)) | None => {}
        }
        input = &mut input[taken..];
    }
    Ok(())
}

/// Where the payload of a whole text message at the front begins and ends. Nearly everything is such a one, and is only
/// counted, not decoded: those who receive share the machine with the server.
fn whole(input: &[u8]) -> Option<(usize, usize)> {
    /// A text, unmasked, uncompressed, in one frame.
    const TEXT: u8 = 0x81;
    let (head, length) = match *input {
        [TEXT, length @ 0..=125, ..] => (2, usize::from(length)),
        [TEXT, 126, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
        _ => return None,
    };
    (input.len() >= head + length).then_some((head, head + length))
}

/// What is read of a response's head.
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<u64>,
    pub(crate) chunked: bool,
}

impl Head {
    /// `head` ends with the empty line.
    pub(crate) fn parse(head: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(head).ok()?;
        let status = text.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
        let header = |name: &str| {
            let mut fields = text.lines().skip(1).filter_map(|line| line.split_once(':'));
            fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
        };
        let chunked = header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        Some(Self { status, retry_after: header("retry-after").and_then(|value| value.parse().ok()), chunked })
    }
}

/// A body of events, in chunks or not.
pub(crate) struct Stream {
    /// What is left of the chunk; `None` without chunks.
    chunk: Option<usize>,
    /// The line of a chunk's length, so far.
    line: Vec<u8>,
    /// An event that is not complete.
    partial: Vec<u8>,
    /// What an event ends with.
    end: &'static [u8],
}

impl Stream {
    fn new(chunked: bool, end: &'static [u8]) -> Self {
        Self { chunk: chunked.then_some(0), line: Vec::new(), partial: Vec::new(), end }
    }

    fn feed(&mut self, mut input: &[u8], on: &mut impl FnMut(Came<'_>)) -> Result<(), Broken> {
        while !input.is_empty() {
            match self.chunk {
                None => {
                    self.data(input, on)?;
                    return Ok(());
                }
                Some(0) => {
                    let end = memchr::memchr(b'\n', input).map_or(input.len(), |at| at + 1);
                    self.line.extend_from_slice(&input[..end]);
                    input = &input[end..];
                    self.chunk = Some(self.length()?);
                }
                Some(left) => {
                    let (data, rest) = input.split_at(left.min(input.len()));
                    self.chunk = Some(left - data.len());
                    self.data(data, on)?;
                    input = rest;
                }
            }
        }
        Ok(())
    }

    /// The chunk's length once its line is complete. The end of the chunk before it is an empty line.
    fn length(&mut self) -> Result<usize, Broken> {
        if self.line.last() != Some(&b'\n') {
            return if self.line.len() > 1024 { Err(Broken::Stream) } else { Ok(0) };
        }
        let line = std::mem::take(&mut self.line);
        let digits = line.split(|byte| b";\r\n ".contains(byte)).next().unwrap_or_default();
        if digits.is_empty() {
            return Ok(0);
        }
        let text = std::str::from_utf8(digits).map_err(|_| Broken::Stream)?;
        match usize::from_str_radix(text, 16) {
            Ok(0) => Err(Broken::Closed("the end of the stream".to_owned())),
            length => length.map_err(|_| Broken::Stream),
        }
    }

    fn data(&mut self, data: &[u8], on: &mut impl FnMut(Came<'_>)) -> Result<(), Broken> {
        if self.partial.is_empty() && data.ends_with(self.end) {
            on(Came::Payload(data, events(data, self.end)));
            return Ok(());
        }
        self.partial.extend_from_slice(data);
        if let Some(end) = memchr::memmem::rfind(&self.partial, self.end).map(|at| at + self.end.len()) {
            on(Came::Payload(&self.partial[..end], events(&self.partial[..end], self.end)));
            self.partial.drain(..end);
        }
        if self.partial.is_empty() {
            self.partial = Vec::new();
        }
        if self.partial.len() > MESSAGE_BYTES_MAX { Err(Broken::Stream) } else { Ok(()) }
    }
}

fn events(bytes: &[u8], end: &[u8]) -> u32 {
    memchr::memmem::find_iter(bytes, end).count() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Heads, payloads, and whether it ended.
    type Fed = (Vec<(u16, Option<u64>)>, Vec<String>, bool);

    fn fed(pieces: &[&[u8]]) -> Fed {
        fed_as(Transport::Events, pieces)
    }

    fn fed_as(transport: Transport, pieces: &[&[u8]]) -> Fed {
        let (mut wire, mut heads, mut payloads) = (Wire::new(), Vec::new(), Vec::new());
        let mut ended = false;
        for piece in pieces {
            let fed = wire.feed(transport, &mut piece.to_vec(), &mut Vec::new(), |came| match came {
                Came::Head { status, retry_after } => heads.push((status, retry_after)),
                Came::Payload(bytes, _) => payloads.push(String::from_utf8_lossy(bytes).into_owned()),
            });
            ended |= fed.is_err();
        }
        (heads, payloads, ended)
    }

    #[test]
    fn events_come_out_of_chunks_cut_anywhere() {
        let bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: a\n\n\r\nC;x=1\r\ndata: b\n\ndat\r\n6\r\na: c\n\n\r\n0\r\n\r\n";
        for cut in 0..bytes.len() {
            let (heads, payloads, ended) = fed(&[&bytes[..cut], &bytes[cut..]]);
            assert_eq!((heads, ended), (vec![(200, None)], true), "cut at {cut}");
            assert_eq!(payloads.concat(), "data: a\n\ndata: b\n\ndata: c\n\n", "cut at {cut}");
        }
    }

    #[test]
    fn lines_and_messages_come_out_cut_anywhere() {
        let lines = b"HTTP/1.1 200 OK\r\n\r\n{\"a\":1}\n{\"b\":2}\n";
        let long = "x".repeat(130);
        let mut messages =
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x81\x01a\x01\x01b\x80\x01c\x81\x7e\x00\x82".to_vec();
        messages.extend_from_slice(long.as_bytes());
        for cut in 0..lines.len() {
            let (_, payloads, ended) = fed_as(Transport::Lines, &[&lines[..cut], &lines[cut..]]);
            assert_eq!((payloads.concat().as_str(), ended), ("{\"a\":1}\n{\"b\":2}\n", false), "cut at {cut}");
        }
        for cut in 0..messages.len() {
            let (_, payloads, ended) = fed_as(Transport::WebSocket, &[&messages[..cut], &messages[cut..]]);
            assert_eq!((payloads, ended), (vec!["a".to_owned(), "bc".to_owned(), long.clone()], false), "cut at {cut}");
        }
    }

    #[test]
    fn a_refusal_says_when_to_come_back() {
        let (heads, ..) = fed(&[b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 7\r\nContent-Length: 0\r\n\r\n"]);
        assert_eq!(heads, [(503, Some(7))]);
        assert!(fed(&[b"SSH-2.0-x\r\n\r\n"]).2);
    }
}
