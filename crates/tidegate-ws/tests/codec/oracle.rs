//! The same bytes read by others: `tokio-websockets`, which is strict, and `yawc`, which knows compression.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{FutureExt as _, StreamExt as _};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use tidegate_ws::{Decoder, Role};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_websockets::{ClientBuilder, Message, ServerBuilder};

use crate::roundtrip::{encode, sent};
use crate::wire::*;

/// What was read, and whether it ended in a refusal.
type Verdict = (Vec<Got>, bool);

fn ours(role: Role, deflate: bool, bytes: &[u8]) -> Verdict {
    // As many fragments as one likes: the others do not count them.
    let limits = tidegate_ws::Limits { fragments: u32::MAX, ..LIMITS };
    let mut got = feed(&mut Decoder::new(role, limits, deflate.then_some(DEFLATE)), bytes, &[usize::MAX]);
    let refused = matches!(got.last(), Some(Got::Refused(_)));
    got.truncate(got.len() - usize::from(refused));
    (got, refused)
}

fn tokio_websockets(role: Role, bytes: &[u8]) -> Verdict {
    let limits = tokio_websockets::Limits::default().max_payload_len(Some(LIMITS.message_bytes));
    let peer = Peer { says: bytes.to_vec(), at: 0 };
    let mut socket = match role {
        Role::Server => ServerBuilder::new().limits(limits).serve(peer),
        Role::Client => ClientBuilder::new().limits(limits).take_over(peer),
    };
    let mut got = Vec::new();
    loop {
        match socket.next().now_or_never().expect("the peer never waits") {
            None | Some(Err(tokio_websockets::Error::Io(_))) => return (got, false),
            Some(Err(_)) => return (got, true),
            Some(Ok(message)) => match owned(&message) {
                Some(message) => got.push(message),
                None => return (got, true),
            },
        }
        if matches!(got.last(), Some(Got::Close(_))) {
            return (got, false);
        }
    }
}

fn owned(message: &Message) -> Option<Got> {
    let payload = message.as_payload().to_vec();
    Some(if message.is_text() {
        // Version 0.13 misses a code point that an empty last fragment cuts off.
        Got::Text(String::from_utf8(payload).ok()?)
    } else if message.is_binary() {
        Got::Binary(payload)
    } else if message.is_ping() {
        Got::Ping(payload)
    } else if message.is_pong() {
        Got::Pong(payload)
    } else {
        let reason = message.as_close().filter(|_| !payload.is_empty());
        Got::Close(reason.map(|(code, reason)| (code.into(), reason.to_owned())))
    })
}

fn yawc(bytes: &[u8]) -> Verdict {
    let peer = Peer { says: bytes.to_vec(), at: 0 };
    let extensions = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
    // Its bounds are exclusive.
    let options = yawc::Options::default()
        .with_balanced_compression()
        .with_utf8()
        .with_limits(LIMITS.message_bytes + 1, LIMITS.message_bytes + 1);
    let mut socket =
        yawc::WebSocket::from_stream_with_extensions(peer, yawc::Role::Server, Some(extensions), options).unwrap();
    let mut got = Vec::new();
    loop {
        let frame = match socket.next_frame().now_or_never().expect("the peer never waits") {
            Ok(frame) => frame,
            Err(yawc::WebSocketError::ConnectionClosed | yawc::WebSocketError::IoError(_)) => return (got, false),
            Err(_) => return (got, true),
        };
        let payload = frame.payload().to_vec();
        got.push(match frame.opcode() {
            yawc::OpCode::Text => Got::Text(String::from_utf8(payload).unwrap()),
            yawc::OpCode::Binary => Got::Binary(payload),
            yawc::OpCode::Ping => Got::Ping(payload),
            yawc::OpCode::Pong => Got::Pong(payload),
            _ => return (got, false),
        });
    }
}

/// A peer that has said everything and takes everything.
struct Peer {
    says: Vec<u8>,
    at: usize,
}

impl AsyncRead for Peer {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let rest = &this.says[this.at..];
        let piece = &rest[..rest.len().min(out.remaining())];
        out.put_slice(piece);
        this.at += piece.len();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Peer {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Bytes that are nearly right: frames in any order, some bytes turned.
fn hostile(role: Role) -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        vec(any::<u8>(), 0..8),
        "\\PC{0,30}".prop_map(String::into_bytes),
        (2u16..5100, "\\PC{0,20}").prop_map(|(code, reason)| [&code.to_be_bytes()[..], reason.as_bytes()].concat()),
        (100usize..140).prop_map(|len| vec![b'x'; len]),
        Just(vec![b'y'; 65_536]),
    ];
    let first = prop_oneof![
        4 => prop::sample::select(vec![0x81, 0x82, 0x89, 0x8a, 0x01, 0x02, 0x00, 0x80, 0x80, 0x00]),
        1 => prop::sample::select(vec![0x88, 0x08, 0x09, 0x83, 0x8b, 0x91, 0xa1, 0xc1, 0xc2]),
    ];
    let flips = prop_oneof![2 => Just(vec![]), 1 => vec((any::<Index>(), any::<u8>()), 1..3)];
    (vec((first, payload), 1..8), flips).prop_map(move |(frames, flips)| {
        let mut bytes: Vec<u8> = frames.iter().flat_map(|(first, payload)| frame(role, *first, payload)).collect();
        for (at, flip) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tokio_websockets_says_the_same_of_a_client(bytes in hostile(Role::Server)) {
        prop_assert_eq!(ours(Role::Server, false, &bytes), tokio_websockets(Role::Server, &bytes));
    }

    #[test]
    fn tokio_websockets_says_the_same_of_a_server(bytes in hostile(Role::Client)) {
        prop_assert_eq!(ours(Role::Client, false, &bytes), tokio_websockets(Role::Client, &bytes));
    }

    #[test]
    fn yawc_inflates_to_the_same(mut payload in vec(any::<u8>(), 0..200), flip: Option<(Index, u8)>, cut: Option<Index>) {
        payload.extend_from_within(..payload.len() / 2);
        let mut deflated = compressed(&payload);
        let harmed = flip.is_some() || cut.is_some();
        if let Some((at, flip)) = flip {
            let at = at.index(deflated.len());
            deflated[at] ^= flip;
        }
        if let Some(cut) = cut {
            deflated.truncate(cut.index(deflated.len()));
        }
        let bytes = frames(&[(FIN | RSV1 | BINARY, &deflated), (FIN | BINARY, b"more")]);
        let (ours, theirs) = (ours(Role::Server, true, &bytes), yawc(&bytes));
        // It takes a message that ends inside a block for a shorter one; we refuse it.
        if !(harmed && ours == (vec![], true)) {
            prop_assert_eq!(ours, theirs);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn yawc_reads_the_same_messages(sent in vec(sent(), 1..6)) {
        let (bytes, expected) = encode(Role::Server, &sent);
        prop_assert_eq!(yawc(&bytes), (expected, false));
    }
}
