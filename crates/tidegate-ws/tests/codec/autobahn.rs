//! The cases of the Autobahn suite that are about bytes (sections 1 to 7 and 10), as a table: what a client sends and
//! what is to come of it. Its sections 6.5 to 6.23 are in `utf8.rs`.

use tidegate_ws::{Error, Role};

use crate::wire::*;

const HELLO: &[u8] = b"Hello, world!";
/// 6.3 and 6.4: a code point past the last, wrong from its second byte, the 13th.
const PAST_LAST: &[u8] = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80edited";
const SURROGATE: &[u8] = b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited";

fn check(case: &str, sent: &[(u8, &[u8])], expected: &[Got]) {
    let got = decode(Role::Server, None, &frames(sent));
    assert_eq!(got, expected, "case {case}");
}

fn refused(error: Error) -> Vec<Got> {
    vec![Got::Refused(error)]
}

#[test]
fn section_1_messages() {
    for (case, len) in (1..).zip([0, 125, 126, 127, 128, 65_535, 65_536, 65_536]) {
        let stars = "*".repeat(len);
        check(&format!("1.1.{case}"), &[(FIN | TEXT, stars.as_bytes())], &[text(&stars)]);
        let bytes = vec![0xfe; len];
        check(&format!("1.2.{case}"), &[(FIN | BINARY, &bytes)], &[Got::Binary(bytes.clone())]);
    }
}

#[test]
fn section_2_pings_and_pongs() {
    let odd = b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff";
    for (case, payload) in [("2.1", &b""[..]), ("2.2", HELLO), ("2.3", odd), ("2.4 and 2.6", &[0xfe; 125])] {
        check(case, &[(FIN | PING, payload)], &[Got::Ping(payload.to_vec())]);
    }
    check("2.5", &[(FIN | PING, &[0xfe; 126])], &refused(Error::Control));
    let close = (FIN | CLOSE, &b"\x03\xe8"[..]);
    let closed = Got::Close(Some((1000, String::new())));
    check("2.7", &[(FIN | PONG, b""), close], &[Got::Pong(vec![]), closed.clone()]);
    check("2.8", &[(FIN | PONG, HELLO), close], &[Got::Pong(HELLO.to_vec()), closed]);
    check(
        "2.9",
        &[(FIN | PONG, HELLO), (FIN | PING, b"ping payload")],
        &[Got::Pong(HELLO.to_vec()), Got::Ping(b"ping payload".to_vec())],
    );
    let payloads: Vec<Vec<u8>> = (0..10).map(|number| format!("payload-{number}").into_bytes()).collect();
    let sent: Vec<(u8, &[u8])> = payloads.iter().map(|payload| (FIN | PING, &payload[..])).collect();
    check("2.10 and 2.11", &sent, &payloads.iter().cloned().map(Got::Ping).collect::<Vec<_>>());
}

#[test]
fn section_3_reserved_bits() {
    let hello = (FIN | TEXT, HELLO);
    let ping = (FIN | PING, &b""[..]);
    let reserved = Got::Refused(Error::ReservedBit);
    let greeted = [text("Hello, world!"), reserved.clone()];
    check("3.1", &[(FIN | 0x10 | TEXT, HELLO)], std::slice::from_ref(&reserved));
    check("3.2", &[hello, (FIN | 0x20 | TEXT, HELLO), ping], &greeted);
    check("3.3", &[hello, (FIN | 0x30 | TEXT, HELLO), ping], &greeted);
    check("3.4", &[hello, (FIN | 0x40 | TEXT, HELLO), ping], &greeted);
    check("3.5", &[(FIN | 0x50 | BINARY, b"\x00\xff\xfe")], std::slice::from_ref(&reserved));
    check("3.6", &[(FIN | 0x60 | BINARY, HELLO)], std::slice::from_ref(&reserved));
    check("3.7", &[(FIN | 0x70 | CLOSE, b"")], &[reserved]);
}

#[test]
fn section_4_reserved_opcodes() {
    let hello = (FIN | TEXT, HELLO);
    let ping = (FIN | PING, &b""[..]);
    for (case, base) in [("4.1", 3), ("4.2", 11)] {
        for nth in 0..5 {
            let op = base + nth;
            let reserved = Got::Refused(Error::ReservedOpCode(op));
            let payload = if nth % 2 == 0 { &b""[..] } else { b"reserved opcode payload" };
            let case = format!("{case}.{}", nth + 1);
            if nth < 2 {
                check(&case, &[(FIN | op, payload)], &[reserved]);
            } else {
                check(&case, &[hello, (FIN | op, payload), ping], &[text("Hello, world!"), reserved]);
            }
        }
    }
}

#[test]
fn section_5_fragments() {
    let (one, two) = ((TEXT, &b"fragment1"[..]), (FIN | CONTINUATION, &b"fragment2"[..]));
    let ping = (FIN | PING, &b"ping payload"[..]);
    let pinged = Got::Ping(b"ping payload".to_vec());
    let joined = text("fragment1fragment2");
    check("5.1", &[(PING, b"fragment1"), two], &refused(Error::Control));
    check("5.2", &[(PONG, b"fragment1"), two], &refused(Error::Control));
    check("5.3 to 5.5", &[one, two], std::slice::from_ref(&joined));
    check("5.6 to 5.8", &[one, ping, two], &[pinged, joined.clone()]);
    let hello = (FIN | TEXT, HELLO);
    check("5.9 to 5.11", &[(FIN | CONTINUATION, b"nothing to continue"), hello], &refused(Error::Fragment));
    check("5.12 to 5.14", &[(CONTINUATION, b"nothing to continue"), hello], &refused(Error::Fragment));
    check(
        "5.15",
        &[one, two, (CONTINUATION, b"fragment3"), (FIN | TEXT, b"fragment4")],
        &[joined, Got::Refused(Error::Fragment)],
    );
    check("5.16", &[(CONTINUATION, b"fragment1"), (TEXT, b"fragment2"), two], &refused(Error::Fragment));
    check("5.17", &[(FIN | CONTINUATION, b"fragment1"), (TEXT, b"fragment2"), two], &refused(Error::Fragment));
    check("5.18", &[one, (FIN | TEXT, b"fragment2")], &refused(Error::Fragment));
    check(
        "5.19 and 5.20",
        &[
            one,
            (CONTINUATION, b"fragment2"),
            (FIN | PING, b"pongme 1!"),
            (CONTINUATION, b"fragment3"),
            (CONTINUATION, b"fragment4"),
            (FIN | PING, b"pongme 2!"),
            (FIN | CONTINUATION, b"fragment5"),
        ],
        &[
            Got::Ping(b"pongme 1!".to_vec()),
            Got::Ping(b"pongme 2!".to_vec()),
            text("fragment1fragment2fragment3fragment4fragment5"),
        ],
    );
}

/// A message of one byte a fragment.
fn octets(payload: &[u8]) -> Vec<(u8, &[u8])> {
    let last = payload.len() - 1;
    let first = |at| (if at == 0 { TEXT } else { CONTINUATION }) | if at == last { FIN } else { 0 };
    payload.chunks(1).enumerate().map(|(at, byte)| (first(at), byte)).collect()
}

#[test]
fn section_6_text() {
    let empty = [(TEXT, &b""[..]), (CONTINUATION, b""), (FIN | CONTINUATION, b"")];
    let middle = [(TEXT, &b""[..]), (CONTINUATION, b"middle"), (FIN | CONTINUATION, b"")];
    check("6.1.1", &[(FIN | TEXT, b"")], &[text("")]);
    check("6.1.2", &empty, &[text("")]);
    check("6.1.3", &middle, &[text("middle")]);
    let (left, right) = ("Hello-µ@ßöä", "üàá-UTF-8!!");
    let both = format!("{left}{right}");
    check("6.2.1", &[(FIN | TEXT, both.as_bytes())], &[text(&both)]);
    check("6.2.2", &[(TEXT, left.as_bytes()), (FIN | CONTINUATION, right.as_bytes())], &[text(&both)]);
    check("6.2.3", &octets(both.as_bytes()), &[text(&both)]);
    check("6.2.4", &octets("κόσμε".as_bytes()), &[text("κόσμε")]);
    check("6.3.1", &[(FIN | TEXT, SURROGATE)], &refused(Error::Utf8));
    check("6.3.2", &octets(SURROGATE), &refused(Error::Utf8));
}

#[test]
fn section_6_4_bad_text_is_refused_at_once() {
    // The first part is taken; the second ends at the byte that makes it wrong, or after it; the rest never comes.
    for end in [13, 15] {
        let fragments = frames(&[(TEXT, &PAST_LAST[..11]), (CONTINUATION, &PAST_LAST[11..end])]);
        let split = frames(&[(TEXT, &PAST_LAST[..12]), (CONTINUATION, &PAST_LAST[12..end])]);
        let one_frame = frames(&[(FIN | TEXT, PAST_LAST)]);
        for (case, bytes) in [("6.4.1", &fragments[..]), ("6.4.2", &split), ("6.4.3", &one_frame[..6 + end])] {
            assert_eq!(decode(Role::Server, None, bytes), refused(Error::Utf8), "{case}");
        }
    }
    // Up to the byte before it, nothing is wrong yet (6.4.4).
    let one_frame = frames(&[(FIN | TEXT, PAST_LAST)]);
    assert_eq!(decode(Role::Server, None, &one_frame[..6 + 12]), []);
}

#[test]
fn section_7_closing() {
    let closed = |code, reason: &str| Got::Close(Some((code, reason.to_owned())));
    let close = (FIN | CLOSE, &b"\x03\xe8"[..]);
    let hello = (FIN | TEXT, HELLO);
    check("7.1.1", &[hello, close], &[text("Hello, world!"), closed(1000, "")]);
    check("7.1.2", &[close, (FIN | CLOSE, b"")], &[closed(1000, "")]);
    check("7.1.3", &[close, (FIN | PING, b"")], &[closed(1000, "")]);
    check("7.1.4", &[close, hello], &[closed(1000, "")]);
    check("7.1.5", &[(TEXT, b"fragment1"), close, (FIN | CONTINUATION, b"fragment2")], &[closed(1000, "")]);
    let long = "BAsd7&jh23".repeat(26_215);
    check(
        "7.1.6",
        &[(FIN | TEXT, long.as_bytes()), hello, close, (FIN | PING, b"")],
        &[text(&long), text("Hello, world!"), closed(1000, "")],
    );

    let reason = |reason: &[u8]| [b"\x03\xe8", reason].concat();
    check("7.3.1", &[(FIN | CLOSE, b"")], &[Got::Close(None)]);
    check("7.3.2", &[(FIN | CLOSE, b"a")], &refused(Error::Close));
    check("7.3.3", &[close], &[closed(1000, "")]);
    check("7.3.4", &[(FIN | CLOSE, &reason(b"Hello World!"))], &[closed(1000, "Hello World!")]);
    check("7.3.5", &[(FIN | CLOSE, &reason(&[b'*'; 123]))], &[closed(1000, &"*".repeat(123))]);
    check("7.3.6", &[(FIN | CLOSE, &reason(&[b'*'; 124]))], &refused(Error::Control));
    check("7.5.1", &[(FIN | CLOSE, &reason(SURROGATE))], &refused(Error::Utf8));

    for code in [1000u16, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999] {
        check(&format!("7.7 {code}"), &[(FIN | CLOSE, &code.to_be_bytes())], &[closed(code, "")]);
    }
    for code in [0u16, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535] {
        check(&format!("7.9 and 7.13 {code}"), &[(FIN | CLOSE, &code.to_be_bytes())], &refused(Error::Close));
    }
}

#[test]
fn section_10_fragments_of_a_long_message() {
    let stars = "*".repeat(65_536);
    let mut sent: Vec<(u8, &[u8])> = stars.as_bytes().chunks(1300).map(|chunk| (CONTINUATION, chunk)).collect();
    sent.first_mut().unwrap().0 = TEXT;
    sent.last_mut().unwrap().0 |= FIN;
    check("10.1.1", &sent, &[text(&stars)]);
}
