//! Messages that have begun: how many pieces they may have, and how slowly they may come. (`max_fragments`,
//! `message_timeout_ms`, `min_bytes_per_second`.)

use std::time::{Duration, Instant};

use serde_json::Value;
use tidegate_testkit::clients::raw::{CONTINUATION, RawSocket, TEXT, frame};
use tidegate_testkit::clients::within;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::fixture::Site;

const SECTIONS: &str = "[edge]\nmax_fragments = 256\nmessage_timeout_ms = 500\nmin_bytes_per_second = 256\n\
                        auth_timeout_ms = 60000\nmessages_per_second = 1000000\n";
const LATE: Duration = Duration::from_secs(5);
const SUBSCRIBE: &str = r#"{"action":"subscribe","query":{"entity":"asset"}}"#;

/// `text` in `count` fragments, padded with spaces in front until they all have `bytes`.
fn fragments(text: &str, count: usize, bytes: usize) -> Vec<u8> {
    let padded = format!("{}{text}", " ".repeat(count * bytes - text.len()));
    let piece =
        |(index, piece): (usize, &[u8])| frame(index + 1 == count, if index == 0 { TEXT } else { CONTINUATION }, piece);
    padded.as_bytes().chunks(bytes).enumerate().flat_map(piece).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_many_fragments_and_bytes_as_are_allowed_are_a_message() {
    let site = Site::plain(SECTIONS);
    let mut raw = RawSocket::connect(site.endpoint(), "/v1/live/ws", false).await;
    raw.bytes(&fragments(SUBSCRIBE, 256, 256)).await;
    let (opcode, payload) = within("the snapshot", raw.next()).await.unwrap();
    let first: Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!((opcode, &first["op"]), (TEXT, &"reset".into()), "{first}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_fragment_more_is_too_big() {
    let site = Site::plain(SECTIONS);
    let attack = async {
        for (count, bytes) in [(257, 1), (10_000, 1), (10_000, 0), (300, 250)] {
            let mut raw = RawSocket::connect(site.endpoint(), "/v1/live/ws", false).await;
            let pieces = match bytes {
                // None of them ever ends the message.
                0 => [frame(false, TEXT, b""), frame(false, CONTINUATION, b"").repeat(count)].concat(),
                _ => fragments(SUBSCRIBE, count, bytes),
            };
            raw.bytes(&pieces).await;
            assert_eq!(raw.close_code().await, Some(1009), "{count} fragments of {bytes} bytes");
        }
    };
    site.unharmed(attack).await;
    assert!(site.metrics().await.closed(&["too_big"]) >= 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_stops_half_way_is_closed() {
    let site = Site::plain(SECTIONS);
    let attack = async {
        for start in [
            &[0x81][..],
            &[0x81, 0xFE, 0x10],
            &frame(true, TEXT, SUBSCRIBE.as_bytes())[..20],
            &frame(false, TEXT, b"{"),
        ] {
            let mut raw = RawSocket::connect(site.endpoint(), "/v1/live/ws", false).await;
            let began = Instant::now();
            raw.bytes(start).await;
            let code = raw.close_code().await;
            assert!(code.is_some_and(|code| code != 1000), "{start:?}: closed with {code:?}");
            assert!(began.elapsed() < LATE, "{start:?}: let be for {:?}", began.elapsed());
        }
    };
    site.unharmed(attack).await;
}

/// A byte now and then keeps nothing alive: neither a WebSocket's message nor a request's body.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_trickles_is_closed() {
    let site = Site::plain(SECTIONS);
    let body = "POST /v1/live HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 4000\r\n\r\n{";
    let attack = async {
        let mut socket = RawSocket::connect(site.endpoint(), "/v1/live/ws", false).await;
        socket.bytes(&[0x81, 0xFE, 0x10, 0x00, 0, 0, 0, 0]).await;
        let mut request = site.endpoint().connect("http/1.1").await.unwrap();
        request.write_all(body.as_bytes()).await.unwrap();
        let began = Instant::now();
        for (what, stream) in [("a message", socket.stream), ("a body", request)] {
            let (mut read, mut write) = tokio::io::split(stream);
            let trickle = async {
                // The pace is the attack.
                let mut second = tokio::time::interval(Duration::from_millis(50));
                while write.write_all(b" ").await.is_ok() {
                    second.tick().await;
                }
                std::future::pending::<()>().await;
            };
            let mut answer = Vec::new();
            tokio::select! {
                () = trickle => {}
                _ = within(what, read.read_to_end(&mut answer)) => {}
            }
            assert!(!answer.is_empty(), "{what} was cut without a word");
            if what == "a body" {
                let answer = String::from_utf8_lossy(&answer);
                assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("\"error\""), "{answer}");
            }
        }
        assert!(began.elapsed() < 2 * LATE, "{:?}", began.elapsed());
    };
    site.unharmed(attack).await;
}
