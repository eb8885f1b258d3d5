//! Any messages, in any fragments, with any control frames between them, in any chunks, come out as they went in.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use tidegate_ws::deflate::compress;
use tidegate_ws::{Decoder, OpCode, Role, header, write_frame, write_masked};

use crate::wire::*;

#[derive(Debug, Clone)]
pub(crate) struct Sent {
    message: Got,
    compressed: bool,
    /// Where it is cut into fragments, and what control frame comes after each cut.
    cuts: Vec<(Index, Option<Got>)>,
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let small = vec(any::<u8>(), 0..300);
    let long = (any::<Vec<u8>>(), 1000usize..70_000).prop_map(|(seed, len)| {
        let seed = if seed.is_empty() { vec![1] } else { seed };
        seed.iter().copied().cycle().take(len).collect()
    });
    prop_oneof![6 => small, 1 => long]
}

fn message() -> impl Strategy<Value = Got> {
    let long = ("\\PC{1,20}", 100usize..4000).prop_map(|(seed, times)| Got::Text(seed.repeat(times)));
    prop_oneof![4 => "\\PC{0,200}".prop_map(Got::Text), 1 => long, 3 => payload().prop_map(Got::Binary)]
}

fn control() -> impl Strategy<Value = Got> {
    let payload = || vec(any::<u8>(), 0..=125);
    prop_oneof![payload().prop_map(Got::Ping), payload().prop_map(Got::Pong)]
}

pub(crate) fn sent() -> impl Strategy<Value = Sent> {
    let cuts = vec((any::<Index>(), proptest::option::of(control())), 0..6);
    prop_oneof![
        4 => (message(), any::<bool>(), cuts).prop_map(|(message, compressed, cuts)| Sent { message, compressed, cuts }),
        1 => control().prop_map(|message| Sent { message, compressed: false, cuts: vec![] }),
    ]
}

fn parts(message: &Got) -> (OpCode, &[u8]) {
    match message {
        Got::Text(text) => (OpCode::Text, text.as_bytes()),
        Got::Binary(bytes) => (OpCode::Binary, bytes),
        Got::Ping(payload) => (OpCode::Ping, payload),
        Got::Pong(payload) => (OpCode::Pong, payload),
        Got::Close(_) | Got::Refused(_) => unreachable!(),
    }
}

/// The bytes of it all to `role`, and the events to come.
pub(crate) fn encode(role: Role, sent: &[Sent]) -> (Vec<u8>, Vec<Got>) {
    let (mut bytes, mut events) = (Vec::new(), Vec::new());
    let whole = |message: &Got, bytes: &mut Vec<u8>| {
        let (op, payload) = parts(message);
        match role {
            Role::Server => write_masked(op, payload, KEY, bytes),
            Role::Client => write_frame(op, payload, bytes),
        }
    };
    for sent in sent {
        let (op, plain) = parts(&sent.message);
        let mut payload = plain.to_vec();
        if sent.compressed {
            payload.clear();
            compress(plain, 9 + (plain.len() % 7) as u8, &mut payload);
        }
        if sent.cuts.is_empty() && sent.compressed && role == Role::Client {
            bytes.extend_from_slice(&header(op, true, payload.len()));
            bytes.extend_from_slice(&payload);
        } else if sent.cuts.is_empty() && !sent.compressed {
            whole(&sent.message, &mut bytes);
        } else {
            let mut ends: Vec<_> =
                sent.cuts.iter().map(|(cut, control)| (cut.index(payload.len() + 1), control)).collect();
            ends.sort_by_key(|(end, _)| *end);
            let mut start = 0;
            let mut first = op as u8 | if sent.compressed { RSV1 } else { 0 };
            for (end, control) in ends {
                bytes.extend(frame(role, first, &payload[start..end]));
                (start, first) = (end, CONTINUATION);
                if let Some(control) = control {
                    whole(control, &mut bytes);
                    events.push(control.clone());
                }
            }
            bytes.extend(frame(role, FIN | first, &payload[start..]));
        }
        events.push(sent.message.clone());
    }
    (bytes, events)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_sent_arrives(
        sent in vec(sent(), 1..6),
        chunks in vec(prop_oneof![1usize..20, 1usize..2000, Just(1 << 20)], 1..40),
        server: bool,
    ) {
        let role = if server { Role::Server } else { Role::Client };
        let (bytes, expected) = encode(role, &sent);
        let mut decoder = Decoder::new(role, LIMITS, Some(DEFLATE));
        prop_assert_eq!(feed(&mut decoder, &bytes, &chunks), expected);
        prop_assert_eq!(decoder.unfinished(), 0);
        // Nothing is left either when nothing more comes.
        prop_assert_eq!(decoder.decode(&mut []), Ok((0, None)));
    }

    #[test]
    fn any_bytes_in_any_chunks_give_the_same(
        heads in vec((0u8..=255, 0usize..130, any::<u8>()), 1..12),
        flips in vec((any::<Index>(), any::<u8>()), 0..3),
        chunks in vec(1usize..40, 1..20),
        deflate: bool,
    ) {
        let mut bytes: Vec<u8> = heads
            .iter()
            .flat_map(|(first, len, fill)| frame(Role::Server, *first & if *fill < 200 { 0x8b } else { 0xff }, &vec![*fill; *len]))
            .collect();
        for (at, flip) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
        }
        let deflate = deflate.then_some(DEFLATE);
        let whole = feed(&mut Decoder::new(Role::Server, LIMITS, deflate), &bytes, &[usize::MAX]);
        prop_assert_eq!(feed(&mut Decoder::new(Role::Server, LIMITS, deflate), &bytes, &chunks), whole);
    }
}
