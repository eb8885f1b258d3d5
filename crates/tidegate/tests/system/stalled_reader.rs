//! A reader that stops reading harms nobody: a hundred others see every delta, and it is closed.

use serde_json::json;
use tidegate_testkit::clients::{Frame, LiveSocket, ModelList, get, within, write};
use tokio::io::AsyncReadExt as _;
use tokio::task::JoinSet;

use crate::fixture::{assert_shows, gateway};
use tidegate_testkit::clients::raw::{RawSocket, TEXT};

const READERS: usize = 100;
const WRITES: i64 = 150;
/// So much a row that the stalled reader's share cannot hide in socket buffers.
const NAME_BYTES: usize = 60_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_others_see_every_delta() {
    let gateway = gateway("[edge]\nwrite_timeout_ms = 1000\noutbox_bytes = 262144");
    let address = gateway.address();
    let row = |n: i64| json!([{ "upsert": { "id": "a", "name": "x".repeat(NAME_BYTES), "kind": "k", "n": n } }]);
    write(address, "asset", row(0)).await;
    let narrow = json!({ "entity": "asset", "select": ["id", "n"] });
    let mut readers = JoinSet::new();
    for _ in 0..READERS {
        let mut socket = LiveSocket::subscribe(address, &narrow, ModelList::new()).await.unwrap();
        socket.until("a snapshot", |_| true).await;
        readers.spawn(async move {
            let mut seen = Vec::new();
            while seen.last() != Some(&WRITES) {
                let frame = within("a delta", socket.next()).await.expect("the connection stays");
                if let Some(row) = frame.row {
                    seen.push(row["n"].as_i64().unwrap());
                }
            }
            (seen, socket)
        });
    }
    let mut stalled = RawSocket::connect(address, "/v1/live/ws", true).await;
    stalled.frame(true, TEXT, br#"{"action":"subscribe","query":{"entity":"asset"}}"#).await;
    for n in 1..=WRITES {
        write(address, "asset", row(n)).await;
    }
    for (seen, socket) in within("the readers", readers.join_all()).await {
        assert_eq!(seen, (1..=WRITES).collect::<Vec<_>>(), "every delta, once, in order");
        assert_eq!(socket.list.resets, 1);
        assert_shows(address, &narrow, &socket.list).await;
    }
    // Only reading would bring it back; it is closed instead, and the metrics say why.
    let closed = async {
        loop {
            let metrics = String::from_utf8(get(address, "/metrics").await.body).unwrap();
            let count = |reason: &str| {
                let name = format!("connections_closed_total{{reason=\"{reason}\"}} ");
                metrics.lines().find_map(|line| line.split_once(&name)?.1.parse::<u64>().ok()).unwrap()
            };
            if count("write_timeout") + count("slow_client") > 0 {
                return;
            }
        }
    };
    within("the close of the stalled reader", closed).await;
    let mut rest = Vec::new();
    let end = within("the end", stalled.stream.read_to_end(&mut rest)).await;
    let sent = WRITES as usize * NAME_BYTES;
    assert!(rest.len() < sent, "{} bytes of {sent} were still delivered, then {end:?}", rest.len());
}

/// Too slow for every delta, but back in time: the list is conflated or reset, never wrong.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_comes_back_in_time_has_the_right_list() {
    let gateway = gateway("[edge]\nwrite_timeout_ms = 60000\noutbox_bytes = 262144");
    let address = gateway.address();
    let row = |n: i64| json!([{ "upsert": { "id": "a", "name": "x".repeat(NAME_BYTES), "kind": "k", "n": n } }]);
    write(address, "asset", row(0)).await;
    let mut slow = RawSocket::connect(address, "/v1/live/ws", true).await;
    slow.frame(true, TEXT, br#"{"action":"subscribe","synced":true,"query":{"entity":"asset"}}"#).await;
    for n in 1..=WRITES {
        write(address, "asset", row(n)).await;
    }
    let mut list = ModelList::new();
    while !list.is_whole() || list.entries()[0].row["n"] != WRITES {
        let (opcode, payload) = within("a frame", slow.next()).await.expect("the connection stays");
        if opcode == TEXT {
            let frame: Frame = serde_json::from_slice(&payload).unwrap();
            list.apply(&frame).unwrap_or_else(|rule| panic!("{rule}"));
        }
    }
    assert!((list.frames as i64) < WRITES, "{} frames: nothing was conflated, so nothing was tested", list.frames);
    assert_shows(address, &json!({ "entity": "asset" }), &list).await;
}
