//! Frames as a peer may send them, right or wrong, and what a decoder makes of them.

use tidegate_ws::deflate::{self, Deflate};
use tidegate_ws::{Decoder, Error, Event, Limits, Role};

pub(crate) const FIN: u8 = 0x80;
pub(crate) const RSV1: u8 = 0x40;
pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

pub(crate) const KEY: [u8; 4] = [0x9a, 0x01, 0xff, 0x40];
pub(crate) const LIMITS: Limits = Limits { message_bytes: 1 << 20, fragments: 100 };
pub(crate) const DEFLATE: Deflate = Deflate { server_window_bits: 15, client_window_bits: 15 };

/// An event that is owned, or the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Got {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<(u16, String)>),
    Refused(Error),
}

impl From<Event<'_>> for Got {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::Text(text) => Self::Text(text.to_owned()),
            Event::Binary(bytes) => Self::Binary(bytes.to_vec()),
            Event::Ping(payload) => Self::Ping(payload.to_vec()),
            Event::Pong(payload) => Self::Pong(payload.to_vec()),
            Event::Close(reason) => Self::Close(reason.map(|(code, reason)| (code, reason.to_owned()))),
        }
    }
}

pub(crate) fn text(text: &str) -> Got {
    Got::Text(text.to_owned())
}

/// A frame to `role` with any first byte, masked as it must be.
pub(crate) fn frame(role: Role, first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    let mask = if role == Role::Server { 0x80 } else { 0 };
    match payload.len() {
        len @ ..=125 => frame.push(mask | len as u8),
        len @ 126..=0xffff => {
            frame.push(mask | 126);
            frame.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            frame.push(mask | 127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    if role == Role::Server {
        frame.extend_from_slice(&KEY);
        frame.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ KEY[at % 4]));
    } else {
        frame.extend_from_slice(payload);
    }
    frame
}

/// A client's frames one after the other.
pub(crate) fn frames(frames: &[(u8, &[u8])]) -> Vec<u8> {
    frames.iter().flat_map(|(first, payload)| frame(Role::Server, *first, payload)).collect()
}

pub(crate) fn compressed(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    deflate::compress(payload, 15, &mut out);
    out
}

/// What `decoder` makes of `bytes` that come in chunks of these lengths (the last for all the rest), up to a close or
/// an error. Its account of what is unfinished is checked on the way.
pub(crate) fn feed(decoder: &mut Decoder, bytes: &[u8], chunks: &[usize]) -> Vec<Got> {
    let mut got = Vec::new();
    let mut rest = bytes.to_vec();
    let mut rest = &mut rest[..];
    let mut sizes = chunks.iter().copied().chain(std::iter::repeat(*chunks.last().unwrap()));
    while !rest.is_empty() {
        let size = sizes.next().unwrap().clamp(1, rest.len());
        let (mut chunk, after) = std::mem::take(&mut rest).split_at_mut(size);
        rest = after;
        loop {
            let before = decoder.unfinished();
            let (used, event) = match decoder.decode(chunk) {
                Ok((used, event)) => (used, event.map(Got::from)),
                Err(error) => {
                    got.push(Got::Refused(error));
                    return got;
                }
            };
            assert!(used > 0 || chunk.is_empty(), "no progress");
            chunk = &mut chunk[used..];
            let Some(event) = event else {
                assert!(chunk.is_empty(), "input left without an event");
                assert!(decoder.unfinished() <= before + size);
                break;
            };
            let ends = matches!(event, Got::Close(_));
            got.push(event);
            if ends {
                return got;
            }
        }
    }
    got
}

/// The same, checked for the whole at once, every byte by itself and odd chunks: all must agree.
pub(crate) fn decode(role: Role, deflate: Option<Deflate>, bytes: &[u8]) -> Vec<Got> {
    let decoder = || Decoder::new(role, LIMITS, deflate);
    let whole = feed(&mut decoder(), bytes, &[usize::MAX]);
    for chunks in [&[1][..], &[2], &[3], &[7], &[997], &[1, 100, 2, 50], &[5, 1, 1, 4096]] {
        let got = feed(&mut decoder(), bytes, chunks);
        assert_eq!(got, whole, "in chunks of {chunks:?}");
    }
    whole
}
