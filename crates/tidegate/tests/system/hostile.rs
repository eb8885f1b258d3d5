//! Bytes that mean harm: whatever comes in, the gateway answers or closes, and serves everybody else.

use std::net::SocketAddr;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};
use tidegate_testkit::clients::{
    API_KEY, EventSocket, LiveSocket, ModelList, Response, get, request, urlencoded, within, write,
};
use tidegate_testkit::gateway::Gateway;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::fixture::{assert_shows, gateway, upsert};
use tidegate_testkit::clients::raw::{BINARY, RawSocket, TEXT};

fn fast() -> Gateway {
    gateway("[edge]\nmessages_per_second = 1000000\nheader_timeout_ms = 1000\nauth_timeout_ms = 1000")
}

/// The gateway lives and still does what it is for.
async fn assert_unharmed(gateway: &mut Gateway) {
    assert!(gateway.is_running());
    let address = gateway.address();
    write(address, "asset", json!([upsert("unharmed", "x", 1)])).await;
    let query = json!({ "entity": "asset" });
    let mut socket = LiveSocket::subscribe(address, &query, ModelList::new()).await.unwrap();
    socket.until("a snapshot", |_| true).await;
    assert_shows(address, &query, &socket.list).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn malformed_events_are_answered_and_never_harm_the_connection() {
    let mut gateway = fast();
    let mut socket = EventSocket::connect(gateway.address()).await.unwrap();
    let deep = "[".repeat(20_000);
    let wrong_types = json!({ "sub": [1], "query": "no" });
    for (event, data) in [
        ("live.subscribe", json!(null)),
        ("live.subscribe", wrong_types),
        ("live.subscribe", json!({ "sub": "s", "query": { "entity": "asset", "limit": -1 } })),
        ("live.subscribe", json!({ "sub": "s", "query": { "entity": "nothing" } })),
        ("live.reanchor", json!({ "sub": "unknown" })),
        ("live.unsubscribe", json!({})),
        ("no.such.event", json!({ "a": [1, { "b": null }] })),
    ] {
        let reply = socket.call(event, data, "x").await;
        assert!(reply.error["code"].is_string() && reply.error["message"].is_string(), "{event}: {reply:?}");
    }
    let mut raw = RawSocket::connect(gateway.address(), "/ws", false).await;
    for text in ["", "{", "null", "[]", "\"x\"", "{\"event\":7}", "{\"event\":\"live.subscribe\",\"data\":", &deep] {
        raw.frame(true, TEXT, text.as_bytes()).await;
    }
    for _ in 0..10_000 {
        raw.frame(true, BINARY, b"\0\xFF").await;
    }
    raw.frame(true, TEXT, br#"{"event":"live.subscribe","id":1,"data":{"sub":"s","query":{"entity":"asset"}}}"#).await;
    let mut errors = 0;
    loop {
        let (opcode, payload) = within("the reply", raw.next()).await.expect("the connection stays");
        let message: Value = if opcode == TEXT { serde_json::from_slice(&payload).unwrap() } else { Value::Null };
        match message["event"].as_str() {
            Some("error") => errors += 1,
            Some("reply") => break assert!(message["error"].is_null(), "{message}"),
            _ => {}
        }
    }
    assert!((1..=10).contains(&errors), "{errors} error events");
    assert_unharmed(&mut gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_live_protocol_says_what_is_wrong() {
    let mut gateway = fast();
    let address = gateway.address();
    for first in ["", "{}", "nonsense", r#"{"action":"unsubscribe"}"#, r#"{"action":"subscribe","query":{"entity":7}}"#]
    {
        let mut raw = RawSocket::connect(address, "/v1/live/ws", false).await;
        raw.frame(true, TEXT, first.as_bytes()).await;
        let (_, payload) = within("an error", raw.next()).await.unwrap();
        let error: Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(error["op"], "error", "{first}: {error}");
        assert!(error["code"].is_string() && error["message"].is_string());
        assert!(raw.close_code().await.is_some(), "{first}");
    }
    // Who says nothing at all is closed too.
    let mut silent = RawSocket::connect(address, "/v1/live/ws", false).await;
    assert!(silent.close_code().await.is_some());
    // An unknown action later is only answered.
    let query = json!({ "entity": "asset" });
    let mut socket = LiveSocket::subscribe(address, &query, ModelList::new()).await.unwrap();
    socket.until("a snapshot", |_| true).await;
    for bad in
        [r#"{"action":"dance"}"#, "{", r#"{"action":"reanchor","limit":0}"#, r#"{"action":"reanchor","cursor":{}}"#]
    {
        socket.send(bad.to_owned()).await.unwrap();
        let answer = loop {
            let answer = within("an answer", socket.next_raw()).await.expect("the connection stays");
            if answer["op"] != "synced" {
                break answer;
            }
        };
        assert_eq!(answer["op"], "error", "{bad}: {answer}");
    }
    assert_unharmed(&mut gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_frames_close_their_connection_with_the_right_code() {
    let mut gateway = fast();
    let address = gateway.address();
    for path in ["/ws", "/v1/live/ws"] {
        let mut huge = RawSocket::connect(address, path, false).await;
        huge.bytes(&[0x81, 0xFF, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]).await;
        assert_eq!(huge.close_code().await, Some(1009), "{path}: a frame of a terabyte");
        let mut long = RawSocket::connect(address, path, false).await;
        long.frame(true, TEXT, &vec![b' '; 70_000]).await;
        assert_eq!(long.close_code().await, Some(1009), "{path}: a message past the limit");
        let mut pieces = RawSocket::connect(address, path, false).await;
        pieces.frame(false, TEXT, &vec![b' '; 40_000]).await;
        pieces.frame(true, 0, &vec![b' '; 40_000]).await;
        assert_eq!(pieces.close_code().await, Some(1009), "{path}: a message past the limit in pieces");
        let mut garbled = RawSocket::connect(address, path, false).await;
        garbled.frame(true, TEXT, b"{\"event\":\"\xFF\xFE\"}").await;
        assert_eq!(garbled.close_code().await, Some(1007), "{path}: no UTF-8");
        let mut cut_off = RawSocket::connect(address, path, false).await;
        cut_off.frame(false, TEXT, b"\"\xF0\x9F").await;
        cut_off.frame(true, 0, b"").await;
        assert_eq!(cut_off.close_code().await, Some(1007), "{path}: a code point that an empty last fragment cuts off");
        let mut unmasked = RawSocket::connect(address, path, false).await;
        unmasked.bytes(b"\x81\x02{}").await;
        assert_eq!(unmasked.close_code().await, Some(1002), "{path}: an unmasked frame");
        let mut reserved = RawSocket::connect(address, path, false).await;
        reserved.bytes(&[0xF1, 0x80, 0, 0, 0, 0]).await;
        assert_eq!(reserved.close_code().await, Some(1002), "{path}: reserved bits");
    }
    assert_unharmed(&mut gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn header_bombs_are_refused_and_slow_heads_are_cut() {
    let mut gateway = fast();
    let address = gateway.address();
    let refused = |answer: std::io::Result<Response>| answer.map_or(431, |answer| answer.status);
    let long = "x".repeat(1 << 20);
    let answer = within("an answer", request(address, "GET", "/healthz", &[("x-bomb", &long)], b"")).await;
    assert!(matches!(refused(answer), 400 | 431));
    let many: Vec<_> = (0..2_000).map(|n| (format!("x-{n}"), "y".to_owned())).collect();
    let many: Vec<_> = many.iter().map(|(name, value)| (&**name, &**value)).collect();
    let answer = within("an answer", request(address, "GET", "/healthz", &many, b"")).await;
    assert!(matches!(refused(answer), 400 | 431));
    let mut slow = TcpStream::connect(address).await.unwrap();
    slow.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _ = within("the end of a head that never ends", slow.read_to_end(&mut rest)).await;
    let mut garbage = TcpStream::connect(address).await.unwrap();
    garbage.write_all(&[0xAB; 4096]).await.unwrap();
    let _ = within("the end of what is no HTTP", garbage.read_to_end(&mut rest)).await;
    assert_unharmed(&mut gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_bodies_and_queries_are_refused_with_a_reason() {
    let mut gateway = fast();
    let address = gateway.address();
    let deep = format!("{{\"entity\":\"asset\",\"where\":[{}]}}", "{\"not\":".repeat(5_000));
    for query in ["", "{", "[]", "{\"entity\":\"asset\",\"where\":[{\"or\":[]}]}", &deep] {
        for path in ["/v1/live", "/v1/entities/asset"] {
            if path == "/v1/entities/asset" && query.is_empty() {
                continue;
            }
            let answer = get(address, &format!("{path}?query={}", urlencoded(query))).await;
            assert!((400..500).contains(&answer.status), "{path} {query}: {}", answer.status);
            // A head that is too long is refused before there is anyone to explain it.
            assert!(answer.status == 431 || answer.status == 414 || answer.json()["error"]["message"].is_string());
        }
    }
    let headers = [("x-api-key", API_KEY), ("content-type", "application/json")];
    let path = "/v1/entities/asset/changes";
    for (body, at) in [
        (r#"{"changes":[{"upsert":{"id":"b","temp":"hot"}}]}"#, Some("changes[0].upsert.temp")),
        (r#"{"changes":[{"upsert":{"id":"a"}},{"delete":{}}]}"#, Some("changes[1].delete")),
        (r#"{"changes":[{"upsert":{"id":null}}]}"#, Some("changes[0].upsert.id")),
        (r#"{"changes":7}"#, None),
        ("\u{0}", None),
    ] {
        let answer = request(address, "POST", path, &headers, body.as_bytes()).await.unwrap();
        assert!((400..500).contains(&answer.status), "{body}: {}", answer.status);
        let error = &answer.json()["error"];
        if let Some(at) = at {
            assert!(error["path"].as_str().is_some_and(|path| path.starts_with(at)), "{body}: {error}");
        }
    }
    let long = vec![b' '; 9 << 20];
    let answer = request(address, "POST", path, &headers, &long).await.unwrap();
    assert_eq!(answer.status, 413);
    let (rows, _) = tidegate_testkit::clients::page(address, &json!({ "entity": "asset" })).await;
    assert!(rows.is_empty(), "nothing of a refused batch is there: {rows:?}");
    assert_unharmed(&mut gateway).await;
}

/// Valid messages, mangled at random, by the thousand and on both protocols. Reproducible by its seed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mangled_commands_do_no_harm() {
    let seed = rand::random();
    eprintln!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut gateway = fast();
    for (path, seeds) in [
        (
            "/ws",
            [
                r#"{"event":"live.subscribe","id":1,"data":{"sub":"a","query":{"entity":"asset","limit":5}}}"#,
                r#"{"event":"live.reanchor","id":"r","data":{"sub":"a","cursor":{"values":["x"]},"limit":3}}"#,
                r#"{"event":"live.unsubscribe","data":{"sub":"a"}}"#,
            ],
        ),
        (
            "/v1/live/ws",
            [
                r#"{"action":"subscribe","query":{"entity":"asset","where":[{"column":"n","op":"gt","value":1e3}]}}"#,
                r#"{"action":"reanchor","cursor":{"values":["x"]},"limit":3}"#,
                r#"{"action":"subscribe","query":{"entity":"asset"},"resume_from":"1.2.3s~4"}"#,
            ],
        ),
    ] {
        for _ in 0..60 {
            mangle_through_one_connection(gateway.address(), path, &seeds, &mut random).await;
        }
    }
    assert_unharmed(&mut gateway).await;
}

async fn mangle_through_one_connection(address: SocketAddr, path: &str, seeds: &[&str], random: &mut StdRng) {
    let mut raw = RawSocket::connect(address, path, false).await;
    raw.frame(true, TEXT, seeds[0].as_bytes()).await;
    for _ in 0..50 {
        let mut text = seeds[random.random_range(0..seeds.len())].as_bytes().to_vec();
        for _ in 0..random.random_range(0..4) {
            let at = random.random_range(0..text.len());
            match random.random_range(0..4) {
                0 => text[at] = random.random_range(b' '..=b'~'),
                1 => drop(text.drain(at..(at + 5).min(text.len()))),
                2 => drop(
                    text.splice(at..at, [b"null".as_slice(), b"-", b"[", b"{", b"1e999", b"\"\""][at % 6].to_vec()),
                ),
                _ => text.truncate(at.max(1)),
            }
            if text.is_empty() {
                break;
            }
        }
        raw.frame(true, TEXT, &text).await;
    }
    // An orderly end is answered whatever came before, unless the connection has ended already.
    raw.frame(true, tidegate_testkit::clients::raw::CLOSE, &1000u16.to_be_bytes()).await;
    let _ = raw.close_code().await;
}
