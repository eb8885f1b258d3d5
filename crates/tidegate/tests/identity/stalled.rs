//! Who takes nothing any more is cut all the same once the session ends.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_testkit::clients::raw::{CLOSE, PING, frame};
use tidegate_testkit::clients::{Endpoint, Link, get, within, write};
use tokio::io::AsyncWriteExt as _;

use crate::device::House;
use crate::fixture::token;
use crate::seat::{Way, Wire, open};

/// Nothing but the revocation ends them.
const PATIENT: &str = "[edge]\noutbox_bytes = 262144\nwrite_timeout_ms = 600000\nidle_timeout_ms = 600000\n";
const ROWS: i64 = 4;
const ROUNDS: i64 = 40;
/// So much a row that it cannot hide in socket buffers.
const TEXT_BYTES: usize = 48_000;

fn turn_over(round: i64) -> Value {
    let row =
        |row| json!({ "upsert": { "id": row, "org": "acme", "text": format!("{round}{}", "x".repeat(TEXT_BYTES)) } });
    (0..ROWS).map(row).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stalls_is_cut() {
    let Some(house) = House::open(PATIENT) else { return };
    house.writer.session("mara", "s1", "active").await;
    let mara = token("mara", json!({ "sid": "s1" }));
    let endpoint = Endpoint::from(house.at()).small();
    let mut stalled = Vec::new();
    for way in Way::ALL {
        let wire = within("a handshake", open(&endpoint, way, &mara)).await;
        stalled.push((way, wire.unwrap_or_else(|refused| panic!("{way:?}: {refused:?}"))));
    }
    for round in 0..ROUNDS {
        write(house.at(), "note", turn_over(round)).await;
    }
    for (way, wire) in &mut stalled {
        if let Wire::Socket(socket, _) = wire {
            assert!(socket.stream.write_all(&frame(true, PING, b"")).await.is_ok(), "{way:?} lives");
        }
    }
    assert_eq!(closed(&house, "revoked").await, 0);
    let since = Instant::now();
    house.writer.session("mara", "s1", "revoked").await;
    tokio::time::sleep_until((since + house.lateness.a_second()).into()).await;
    assert_eq!(closed(&house, "revoked").await, Way::ALL.len());
    // A socket tells nobody who does not read that it is gone, unless they write. So they write, now that the time is over.
    for (way, wire) in stalled {
        let is_cut = match wire {
            Wire::Socket(socket, None) => refuses_bytes(socket.stream, &frame(true, PING, b"")).await,
            Wire::Body(link) => refuses_bytes(link, b"\r\n").await,
            // A stream of HTTP/2 whose window is shut may stay half open, with what was under way. Then comes the end.
            Wire::Socket(mut socket, Some(_connection)) => {
                is_all(async { while socket.next().await.is_ok_and(|(opcode, _)| opcode != CLOSE) {} }).await
            }
            Wire::BodyH2(mut body, _connection) => {
                is_all(async {
                    while let Some(Ok(piece)) = body.data().await {
                        let _ = body.flow_control().release_capacity(piece.len());
                    }
                })
                .await
            }
        };
        assert!(is_cut, "{way:?} is still there");
    }
}

/// Whether it is soon over.
async fn is_all(rest: impl Future<Output = ()>) -> bool {
    tokio::time::timeout(GRACE, rest).await.is_ok()
}

/// For an answer on this machine.
const GRACE: Duration = Duration::from_millis(500);

/// Whether what is sent there meets a socket that is gone.
async fn refuses_bytes(mut link: Link, bytes: &[u8]) -> bool {
    let until = Instant::now() + GRACE;
    while Instant::now() < until {
        if link.write_all(bytes).await.is_err() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

async fn closed(house: &House, reason: &str) -> usize {
    let metrics = String::from_utf8(get(house.at(), "/metrics").await.body).unwrap();
    let name = format!("connections_closed_total{{reason=\"{reason}\"}} ");
    metrics.lines().find_map(|line| line.split_once(&name)?.1.parse().ok()).unwrap()
}
