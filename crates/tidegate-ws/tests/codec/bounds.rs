//! What a hostile peer may cost.

use tidegate_ws::{Decoder, Error, Limits, Role};

use crate::wire::*;

const SMALL: Limits = Limits { message_bytes: 1000, fragments: 4 };

fn small(bytes: &[u8]) -> Vec<Got> {
    let mut whole = Decoder::new(Role::Server, SMALL, Some(DEFLATE));
    let mut bytewise = Decoder::new(Role::Server, SMALL, Some(DEFLATE));
    let got = feed(&mut whole, bytes, &[usize::MAX]);
    assert_eq!(feed(&mut bytewise, bytes, &[1]), got);
    got
}

#[test]
fn a_length_is_refused_from_the_header_alone() {
    let mut long = frame(Role::Server, FIN | BINARY, &[7; 1001]);
    assert_eq!(small(&long[..8]), [Got::Refused(Error::TooLong)]);
    long[1] = 0x80 | 127;
    long.splice(2..4, (i64::MAX as u64).to_be_bytes());
    assert_eq!(small(&long[..14]), [Got::Refused(Error::TooLong)]);
    let fits = frame(Role::Server, FIN | BINARY, &[7; 1000]);
    assert_eq!(small(&fits), [Got::Binary(vec![7; 1000])]);
}

#[test]
fn a_message_is_refused_at_the_fragment_that_is_too_much() {
    let bytes = frames(&[(BINARY, &[7; 600]), (CONTINUATION, &[7; 400]), (FIN | CONTINUATION, &[7; 1])]);
    assert_eq!(small(&bytes), [Got::Refused(Error::TooLong)]);
    let bytes = frames(&[(TEXT, &"é".repeat(300).as_bytes()[..599]), (FIN | CONTINUATION, &[0xa9; 402])]);
    assert_eq!(small(&bytes), [Got::Refused(Error::TooLong)]);
    let bytes = frames(&[(BINARY, &[7; 600]), (CONTINUATION, &[7; 400]), (FIN | CONTINUATION, b"")]);
    assert_eq!(small(&bytes), [Got::Binary(vec![7; 1000])]);
}

#[test]
fn fragments_are_counted_though_they_are_empty() {
    let bytes = frames(&[(TEXT, b""), (CONTINUATION, b""), (CONTINUATION, b""), (FIN | CONTINUATION, b"a")]);
    assert_eq!(small(&bytes), [text("a")]);
    let bytes = frames(&[(TEXT, b""), (CONTINUATION, b""), (CONTINUATION, b""), (CONTINUATION, b""), (FIN, b"a")]);
    assert_eq!(small(&bytes), [Got::Refused(Error::TooManyFragments)]);
}

#[test]
fn a_compressed_message_is_bounded_as_it_inflates() {
    let fits = compressed(&[b'a'; 1000]);
    assert_eq!(small(&frames(&[(FIN | RSV1 | TEXT, &fits)])), [text(&"a".repeat(1000))]);
    for len in [1001, 1 << 20] {
        let bomb = compressed(&vec![b'a'; len]);
        assert_eq!(
            small(&frames(&[(FIN | RSV1 | TEXT, &bomb[..bomb.len().min(1000)])])),
            [Got::Refused(Error::TooLong)]
        );
    }
}

#[test]
fn compression_is_told_by_the_first_frame_of_a_message_only() {
    let deflated = compressed(b"Hello");
    let (left, right) = deflated.split_at(3);
    let refused = [Got::Refused(Error::ReservedBit)];
    let fragments = frames(&[(RSV1 | TEXT, left), (FIN | PING, b"?"), (FIN | CONTINUATION, right)]);
    assert_eq!(decode(Role::Server, Some(DEFLATE), &fragments), [Got::Ping(b"?".to_vec()), text("Hello")]);
    let continued = frames(&[(RSV1 | TEXT, left), (FIN | RSV1 | CONTINUATION, right)]);
    assert_eq!(decode(Role::Server, Some(DEFLATE), &continued), refused);
    assert_eq!(decode(Role::Server, Some(DEFLATE), &frames(&[(FIN | RSV1 | PING, &deflated)])), refused);
    assert_eq!(decode(Role::Server, Some(DEFLATE), &frames(&[(FIN | 0x20 | TEXT, &deflated)])), refused);
    assert_eq!(decode(Role::Server, None, &fragments), refused);
    // A message may be plain though compression was agreed on, and inflated text is text.
    assert_eq!(decode(Role::Server, Some(DEFLATE), &frames(&[(FIN | TEXT, b"Hello")])), [text("Hello")]);
    let bad = frames(&[(FIN | RSV1 | TEXT, &compressed(b"\xff"))]);
    assert_eq!(decode(Role::Server, Some(DEFLATE), &bad), [Got::Refused(Error::Utf8)]);
}

#[test]
fn a_length_takes_its_shortest_form() {
    for (header, taken) in [
        (&[0x82, 0xfe, 0, 125][..], false),
        (&[0x82, 0xfe, 0, 126], true),
        (&[0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff], false),
        (&[0x82, 0xff, 0, 0, 0, 0, 0, 1, 0, 0], true),
        (&[0x82, 0xff, 0x80, 0, 0, 0, 0, 1, 0, 0], false),
    ] {
        let expected = if taken { vec![] } else { vec![Got::Refused(Error::Length)] };
        assert_eq!(decode(Role::Server, None, header), expected, "{header:x?}");
    }
}

#[test]
fn a_server_demands_masks_and_a_client_none() {
    let (masked, plain) = (frame(Role::Server, FIN | TEXT, b"a"), frame(Role::Client, FIN | TEXT, b"a"));
    assert_eq!(decode(Role::Server, None, &masked), [text("a")]);
    assert_eq!(decode(Role::Client, None, &plain), [text("a")]);
    assert_eq!(decode(Role::Server, None, &plain[..2]), [Got::Refused(Error::Mask)]);
    assert_eq!(decode(Role::Client, None, &masked[..2]), [Got::Refused(Error::Mask)]);
}

#[test]
fn unfinished_tells_what_has_begun() {
    let mut decoder = Decoder::new(Role::Server, SMALL, None);
    let mut told = Vec::new();
    let message = frames(&[(TEXT, b"ab"), (FIN | PING, b"c"), (FIN | CONTINUATION, b"d")]);
    for &byte in &message {
        let _ = decoder.decode(&mut [byte]).unwrap();
        told.push(decoder.unfinished());
    }
    // Of the ping nothing is left when it is whole, of the message nothing either.
    assert_eq!(told, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 8, 9, 10, 11, 12, 13, 14, 0]);
}

#[test]
fn an_idle_decoder_is_small() {
    assert!(size_of::<Decoder>() <= 40, "{}", size_of::<Decoder>());
}
