//! WebSocket frames by peers that mean harm.

use std::time::Duration;

use serde_json::Value;
use tidegate_testkit::clients::raw::{CONTINUATION, PING, PONG, RawSocket, TEXT, frame};
use tidegate_testkit::clients::within;
use tokio::io::AsyncWriteExt as _;

use crate::fixture::Site;

const FAST: &str = "[edge]\nmessages_per_second = 1000000\n";
const SUBSCRIBE: &[u8] = br#"{"action":"subscribe","query":{"entity":"asset"}}"#;
/// What a gateway in a debug build may keep after a flood.
const GROWTH_KIB_MAX: u64 = 16 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_length_of_two_to_the_63_is_refused_at_once() {
    let site = Site::plain(FAST);
    let attack = async {
        for (length, codes) in [
            (1_u64 << 63, vec![1002, 1009]),
            (u64::MAX, vec![1002, 1009]),
            ((1 << 63) - 1, vec![1009]),
            (65_537, vec![1009]),
        ] {
            let mut raw = RawSocket::connect(site.endpoint(), "/v1/live/ws", false).await;
            raw.bytes(&[&[0x81, 0xFF][..], &length.to_be_bytes(), &[0; 4]].concat()).await;
            let code = raw.close_code().await.expect("a close frame");
            assert!(codes.contains(&code), "{length}: {code}");
        }
    };
    site.unharmed(attack).await;
    assert!(site.metrics().await.closed(&["too_big", "protocol"]) >= 4);
}

/// Ten thousand pings by somebody who reads no pong: no memory, no harm; and who reads then hears the last one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_without_end_are_no_queue_of_pongs() {
    let site = Site::plain(FAST);
    let before = site.gateway.resident_kib();
    let attack = async {
        let raw = RawSocket::connect(site.endpoint(), "/v1/live/ws", true).await;
        let (read, mut write) = tokio::io::split(raw.stream);
        let flood = async {
            let mut bytes = frame(true, TEXT, SUBSCRIBE);
            for n in 0..10_000_u32 {
                bytes.extend(frame(true, PING, &[&n.to_be_bytes()[..], &[0; 121]].concat()));
            }
            let _ = write.write_all(&bytes).await;
            std::future::pending::<()>().await;
        };
        // What the server does not take in this time is waiting for us to read.
        let mut flood = std::pin::pin!(flood);
        let _ = tokio::time::timeout(Duration::from_secs(1), &mut flood).await;
        if let (Some(before), Some(after)) = (before, site.gateway.resident_kib()) {
            assert!(after < before + GROWTH_KIB_MAX, "{before} KiB grew to {after} KiB");
        }
        let mut raw = RawSocket { stream: Box::new(tokio::io::join(read, tokio::io::sink())) };
        let last = async {
            // To be closed is an answer too.
            while let Ok((opcode, payload)) = raw.next().await {
                if opcode == PONG && payload.starts_with(&9_999_u32.to_be_bytes()) {
                    break;
                }
            }
        };
        tokio::select! { () = last => {}, () = flood => {} }
    };
    site.unharmed(attack).await;
}

/// Each fragmented in another way, with control frames in the midst: one message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fragments_within_the_limits_are_a_message() {
    let site = Site::plain(FAST);
    let attack = async {
        for size in [1, 2, 7, SUBSCRIBE.len() - 1] {
            let mut raw = RawSocket::connect(site.endpoint(), "/v1/live/ws", false).await;
            let count = SUBSCRIBE.chunks(size).count();
            let mut bytes = Vec::new();
            for (index, piece) in SUBSCRIBE.chunks(size).enumerate() {
                let opcode = if index == 0 { TEXT } else { CONTINUATION };
                bytes.extend(frame(index + 1 == count, opcode, piece));
                bytes.extend(frame(true, PING, b"between"));
            }
            raw.bytes(&bytes).await;
            let mut pongs = 0;
            loop {
                let (opcode, payload) = within("the snapshot", raw.next()).await.unwrap();
                pongs += usize::from(opcode == PONG);
                if opcode == TEXT {
                    let frame: Value = serde_json::from_slice(&payload).unwrap();
                    break assert_eq!(frame["op"], "reset", "{frame}");
                }
            }
            assert!(pongs >= 1);
        }
    };
    site.unharmed(attack).await;
}
