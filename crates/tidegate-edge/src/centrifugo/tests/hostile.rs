//! What no well-meaning client sends.

use proptest::prelude::*;

use crate::centrifugo::wire::*;
use crate::centrifugo::{json, protobuf};

fn text(text: &str) -> Vec<Result<Received, Malformed>> {
    json::commands(text, COMMANDS_MAX).collect()
}

fn binary(bytes: &[u8]) -> Vec<Result<Received, Malformed>> {
    protobuf::commands(bytes, COMMANDS_MAX).collect()
}

fn pings(count: usize) -> Vec<Result<Received, Malformed>> {
    (1..=count).map(|id| Ok(Received::Request(id as u32, Box::new(Request::Ping)))).collect()
}

#[test]
fn several_commands_a_message() {
    assert_eq!(text("{\"id\":1,\"ping\":{}}\n{\"id\":2,\"ping\":{}}"), pings(2));
    assert_eq!(text("\n\r\n {\"id\":1,\"ping\":{}} \r\n\n\n{\"ping\":{},\"id\":2}\n"), pings(2));
    assert_eq!(text(""), []);
    assert_eq!(text(" \n\n "), []);
    assert_eq!(text("{}\n { } "), [Ok(Received::Pong), Ok(Received::Pong)]);
    assert_eq!(binary(b""), []);
    assert_eq!(binary(b"\x00\x04\x08\x01\x5a\x00"), [vec![Ok(Received::Pong)], pings(1)].concat());
}

#[test]
fn more_commands_than_may_be() {
    for (line, last) in [("{}\n", Ok(Received::Pong)), ("{}\n\n\n", Ok(Received::Pong))] {
        assert_eq!(text(&line.repeat(COMMANDS_MAX)), vec![last.clone(); COMMANDS_MAX]);
        let received = text(&line.repeat(1_000_000));
        assert_eq!(received.len(), COMMANDS_MAX + 1);
        assert_eq!(received[COMMANDS_MAX], Err(Malformed::TooMany(COMMANDS_MAX)));
        assert_eq!(received[COMMANDS_MAX - 1], last);
    }
    assert_eq!(text(&"\n".repeat(8 << 20)), []);
    let received = binary(&vec![0; 1_000_000]);
    assert_eq!((received.len(), received.last()), (COMMANDS_MAX + 1, Some(&Err(Malformed::TooMany(COMMANDS_MAX)))));
    assert_eq!(json::commands("{}", 0).collect::<Vec<_>>(), [Err(Malformed::TooMany(0))]);
}

#[test]
fn what_is_no_command() {
    let filter = format!(r#"{{"id":1,"subscribe":{{"tf":{}}}}}"#, r#"{"nodes":["#.repeat(10_000));
    for (line, error) in [
        ("null", Malformed::Json),
        ("[]", Malformed::Json),
        ("[1]", Malformed::Json),
        ("1", Malformed::Json),
        ("{", Malformed::Json),
        ("{}{}", Malformed::Json),
        (r#"{"id":1,"ping":{}} {}"#, Malformed::Json),
        (r#"{"id":-1,"ping":{}}"#, Malformed::Json),
        (r#"{"id":1.5,"ping":{}}"#, Malformed::Json),
        (r#"{"id":"1","ping":{}}"#, Malformed::Json),
        (r#"{"id":4294967296,"ping":{}}"#, Malformed::Json),
        (r#"{"id":1,"ping":5}"#, Malformed::Json),
        (r#"{"id":1,"subscribe":{"channel":5}}"#, Malformed::Json),
        (r#"{"id":1,"subscribe":{"offset":-5}}"#, Malformed::Json),
        (r#"{"id":1,"publish":{"data":nothing}}"#, Malformed::Json),
        (r#"{"id":1,"id":1,"ping":{}}"#, Malformed::Json),
        (&filter, Malformed::Json),
        (r#"{"ping":{}}"#, Malformed::NoId),
        (r#"{"id":0,"connect":{}}"#, Malformed::NoId),
        (r#"{"id":null,"connect":{}}"#, Malformed::NoId),
        (r#"{"id":1}"#, Malformed::NothingAsked),
        (r#"{"id":1,"fly":{}}"#, Malformed::NothingAsked),
        (r#"{"id":1,"connect":null}"#, Malformed::NothingAsked),
    ] {
        assert_eq!(text(line), [Err(error)], "{}", &line[..line.len().min(60)]);
        assert_eq!(text(&format!("{line}\n{{}}")), [Err(error)], "nothing after an error");
    }
    for (bytes, error) in [
        (&b"\x01"[..], Malformed::Cut),
        (b"\xff\xff\xff\xff\x0f", Malformed::Cut),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", Malformed::Cut),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", Malformed::Cut),
        (b"\x80", Malformed::Cut),
        (b"\x02\x08", Malformed::Cut),
        (b"\x01\x08", Malformed::Protobuf),
        (b"\x02\x0a\x00", Malformed::Protobuf),
        (b"\x06\x22\xff\xff\xff\xff\x0f", Malformed::Protobuf),
        (b"\x05\x22\x03\x0a\x01\xff", Malformed::Protobuf),
        (b"\x02\x5a\x00", Malformed::NoId),
        (b"\x02\x08\x01", Malformed::NothingAsked),
    ] {
        assert_eq!(binary(bytes), [Err(error)], "{bytes:x?}");
    }
}

#[test]
fn what_is_unknown_or_null_is_as_if_absent() {
    assert_eq!(text(r#"{"id":1,"ping":{"x":[1,{"y":2}]},"more":{}}"#), pings(1));
    let nulls =
        r#"{"id":1,"connect":null,"subscribe":{"channel":"a","token":null,"offset":null,"tf":null,"flag":null}}"#;
    let subscribe = SubscribeRequest { channel: "a".to_owned(), ..SubscribeRequest::default() };
    assert_eq!(text(nulls), [Ok(Received::Request(1, Box::new(Request::Subscribe(subscribe))))]);
    // As data it is a value.
    let publish = PublishRequest { data: b"null"[..].into(), ..PublishRequest::default() };
    let published = [Ok(Received::Request(1, Box::new(Request::Publish(publish))))];
    assert_eq!(text(r#"{"id":1,"publish":{"data":null}}"#), published);
    // Field 31 of the command is none of the schema's.
    assert_eq!(binary(b"\x07\x08\x01\x5a\x00\xfa\x01\x00"), pings(1));
}

#[test]
fn depth_is_bounded() {
    let nested = |open: &str, close: &str, depth| format!("{}1{}", open.repeat(depth), close.repeat(depth));
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[\"]]\\\"]\",", "]"), (" [ {\"[\\\\\" :", "}]")] {
        let each = open.matches(['[', '{']).count().min(if open.contains(" {") { 2 } else { 1 });
        for (depth, fits) in [(128 / each, true), (128 / each + 1, false), (100_000, false)] {
            let received = text(&format!(r#"{{"id":1,"rpc":{{"data":{}}}}}"#, nested(open, close, depth)));
            assert_eq!(received[0].is_ok(), fits, "{open} {depth}");
        }
    }
    // What is unknown is skipped, without recursion.
    let more = |value: &str| text(&format!(r#"{{"id":1,"ping":{{}},"more":{value}}}"#));
    assert_eq!(more(&nested("[", "]", 1_000_000)), pings(1));
    assert_eq!(more(&"[".repeat(1_000_000)), [Err(Malformed::Json)]);
}

#[test]
fn the_first_request_counts() {
    let both = r#"{"id":1,"rpc":{},"ping":{}}"#;
    assert_eq!(text(both), pings(1));
}

#[test]
fn what_is_sent_is_one_line_of_json() {
    let push = |data: &'static [u8]| {
        json::encode(&Push { message: Some(SendRequest { data: data.into() }), ..Push::default() })
    };
    let lines = push(b"{\n\"a\":\r\n\"x\\ny\" }").unwrap();
    assert_eq!(lines, br#"{"message":{"data":{ "a":  "x\ny" }}}"#);
    for no_json in [&b"\xff"[..], b"{", b"{}{}", b"{}}", b"\"a\nb\"", b"NaN", b" "] {
        assert_eq!(push(no_json), Err(NotJson), "{no_json:x?}");
    }
}

#[test]
fn posted_commands() {
    let text = r#"{"session":"s","node":"n","data":"{\"id\":1,\"ping\":{}}\n{}"}"#;
    let request = json::emulation(text).unwrap();
    assert_eq!((&*request.session, &*request.node), ("s", "n"));
    assert_eq!(&*request.data, b"{\"id\":1,\"ping\":{}}\n{}");
    for none in ["", "{}", r#"{"session":"s","data":{}}"#, r#"{"session":"s","data":null}"#] {
        assert_eq!(json::emulation(none), Err(Malformed::Json), "{none}");
    }
    let bytes = b"\x0a\x01n\x12\x01s\x1a\x01\x00";
    let request = protobuf::emulation(bytes).unwrap();
    assert_eq!((&*request.node, &*request.session, &*request.data), ("n", "s", &b"\0"[..]));
    assert_eq!(protobuf::emulation(b"\x0a\x05n"), Err(Malformed::Protobuf));
}

/// Lines that are nearly commands.
fn lines() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "{",
        "}",
        "{}",
        "\n",
        "\"id\":1",
        ",",
        ":",
        "\"connect\":{}",
        "\"subscribe\":",
        "null",
        "[",
        "]",
        "\"tf\":{}",
        "\"publish\":{\"data\":",
        "1e999",
        "-1",
        "\"\\ud800\"",
        " ",
        "\r",
        "\u{2028}",
        "é",
    ]);
    prop::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn no_text_panics(line in prop_oneof![lines(), any::<String>()], max in 0usize..5) {
        let received: Vec<_> = json::commands(&line, max).collect();
        prop_assert!(received.len() <= max + 1);
        prop_assert!(received.iter().rev().skip(1).all(Result::is_ok));
        let _ = json::emulation(&line);
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(prop_oneof![any::<u8>(), 0u8..16], 0..200), max in 0usize..5) {
        let received: Vec<_> = protobuf::commands(&bytes, max).collect();
        prop_assert!(received.len() <= max + 1);
        prop_assert!(received.iter().rev().skip(1).all(Result::is_ok));
        let _ = protobuf::emulation(&bytes);
    }

    #[test]
    fn a_subscribe_is_the_same_in_both(
        (channel, token, epoch, delta) in (any::<String>(), any::<String>(), any::<String>(), any::<String>()),
        (offset, id, flag, limit) in (any::<u64>(), 1u32.., any::<i64>(), any::<i32>()),
        (recover, positioned, asc) in (any::<bool>(), any::<bool>(), any::<bool>()),
        (data, vals) in (any::<f64>().prop_map(|number| serde_json::json!([number, "x"]).to_string()), prop::collection::vec(any::<String>(), 0..3)),
    ) {
        let tf = Some(FilterNode { vals, ..FilterNode::default() });
        let data = data.into();
        let request = SubscribeRequest { channel, token, epoch, delta, offset, flag, limit, recover, positioned, asc, data, tf, ..SubscribeRequest::default() };
        let command = Command { id, subscribe: Some(request.clone()), ..Command::default() };
        let expected = vec![Ok(Received::Request(id, Box::new(Request::Subscribe(request))))];
        prop_assert_eq!(&text(str::from_utf8(&json::encode(&command).unwrap()).unwrap()), &expected);
        prop_assert_eq!(&binary(&protobuf::encode(&command)), &expected);
    }
}
