//! Signs of life: pings and comments come, who answers stays, who does not is closed.

use serde_json::json;
use tidegate_testkit::clients::raw::{CLOSE, PING, PONG, RawSocket, TEXT};
use tidegate_testkit::clients::{Transport, within};

use crate::fixture::Site;

const SUBSCRIBE: &[u8] = br#"{"action":"subscribe","query":{"entity":"asset"}}"#;
/// Pings, and idle time that six of them fit.
const SECTIONS: &str = "[edge]\nping_interval_ms = 150\nidle_timeout_ms = 900\nsse_comment_interval_ms = 100\n";

/// Reads until the close; answers pings while `answers` lasts. Gives the pings seen and the close code.
async fn until_closed(raw: &mut RawSocket, mut answers: usize) -> (usize, Option<u16>) {
    let mut pings = 0;
    while let Ok((opcode, payload)) = within("a ping or a close", raw.next()).await {
        match opcode {
            PING => {
                pings += 1;
                if answers > 0 {
                    answers -= 1;
                    raw.frame(true, PONG, &payload).await;
                }
            }
            CLOSE => {
                raw.frame(true, CLOSE, &payload).await;
                return (pings, payload.first_chunk().map(|code| u16::from_be_bytes(*code)));
            }
            _ => {}
        }
    }
    (pings, None)
}

async fn dead_peers_are_closed(site: Site) {
    let mut silent = RawSocket::connect(site.endpoint(), "/v1/live/ws", false).await;
    silent.frame(true, TEXT, SUBSCRIBE).await;
    let mut alive = RawSocket::connect(site.endpoint(), "/v1/live/ws", false).await;
    alive.frame(true, TEXT, SUBSCRIBE).await;
    // Twenty answers are more than three idle times.
    let (silent, alive) = tokio::join!(until_closed(&mut silent, 0), until_closed(&mut alive, 20));
    assert_eq!((silent.1, alive.1), (Some(1001), Some(1001)));
    assert!((3..=9).contains(&silent.0), "{} pings to a silent peer", silent.0);
    assert!(alive.0 > 20, "who answered was closed after {} pings", alive.0);
    site.until_metrics("the count", |metrics| metrics.closed(&["idle_timeout"]) == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_answers_no_ping_is_closed() {
    dead_peers_are_closed(Site::plain(SECTIONS)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_answers_no_ping_is_closed_over_tls() {
    dead_peers_are_closed(Site::tls(SECTIONS)).await;
}

/// An idle stream says something now and then, and is still the stream it was.
async fn idle_streams_are_kept_alive(transports: &[Transport]) {
    let site = Site::plain(SECTIONS);
    let query = json!({ "entity": "asset" });
    for transport in transports {
        let mut client = site.client(*transport, &query).await;
        within("three signs of life", client.alive(3)).await;
        let position = site.write(json!([{ "upsert": { "id": "a", "n": *transport as i64 } }])).await;
        client.until("the write", |list| list.synced() >= Some(position)).await;
        site.assert_shows(&query, &client.list).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_event_stream_has_comments() {
    idle_streams_are_kept_alive(&[Transport::Sse]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_streams_of_every_kind_are_kept_alive() {
    idle_streams_are_kept_alive(&[Transport::Sse, Transport::Ndjson, Transport::SseH2, Transport::NdjsonH2]).await;
}
