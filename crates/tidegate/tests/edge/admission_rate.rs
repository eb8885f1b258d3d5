//! New connections a second (`connections_per_second`): who comes back is let in before who is new.

use serde_json::json;
use tidegate_testkit::clients::raw::RawSocket;
use tidegate_testkit::clients::{Response, Transport, request, within};

use crate::fixture::Site;
use crate::storm::assert_refused;

const RATE: usize = 20;

fn site() -> Site {
    Site::plain(&format!("[edge]\nconnections_per_second = {RATE}\n"))
}

/// Knocks as a WebSocket until it is refused; gives how often it was let in and the refusal. Who is let in leaves again.
async fn until_refused(site: &Site, path: &str) -> (usize, Response) {
    let headers = [
        ("upgrade", "websocket"),
        ("connection", "upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let knock = async {
        for admitted in 0.. {
            // A socket that is let in says nothing more: only a refusal is an answer with an end.
            let mut raw = RawSocket { stream: site.endpoint().connect("http/1.1").await.unwrap() };
            let request_head = tidegate_testkit::clients::raw::upgrade(path, "");
            raw.bytes(request_head.as_bytes()).await;
            let mut head = [0; 12];
            tokio::io::AsyncReadExt::read_exact(&mut raw.stream, &mut head).await.unwrap();
            if &head != b"HTTP/1.1 101" {
                drop(raw);
                return (admitted, request(site.endpoint(), "GET", path, &headers, b"").await.unwrap());
            }
        }
        unreachable!("there are always more numbers")
    };
    within("a refusal", knock).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_is_let_in_when_the_new_are_not() {
    let site = site();
    let (fresh, refusal) = until_refused(&site, "/v1/live/ws").await;
    assert_refused(&refusal, "a new one");
    assert!((RATE / 2..=RATE * 2).contains(&fresh), "{fresh} were let in at once");
    // The last quarter is kept for these.
    let (back, refusal) = until_refused(&site, "/v1/live/ws?resume=true").await;
    assert!(back >= RATE / 8, "{back} of those who come back");
    assert_refused(&refusal, "one more that comes back");
    assert!(site.metrics().await.refused("rate") >= 2);
    // It passes.
    let wait = async {
        loop {
            let list = tidegate_testkit::clients::ModelList::new();
            let query = json!({ "entity": "asset" });
            let come = tidegate_testkit::clients::LiveClient::subscribe(site.endpoint(), Transport::Sse, &query, list);
            if come.await.is_ok() {
                return;
            }
        }
    };
    within("room for a new one", wait).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_stream_says_by_its_last_id_that_it_comes_back() {
    let site = site();
    let (_, refusal) = until_refused(&site, "/ws").await;
    assert_refused(&refusal, "a new one");
    // Where there is no such event, that is a reset; it is let in all the same.
    let mut link = site.endpoint().connect("http/1.1").await.unwrap();
    let body = br#"{"entity":"asset"}"#;
    let head = format!(
        "POST /v1/live HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\nlast-event-id: a.b.0/1\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    tokio::io::AsyncWriteExt::write_all(&mut link, &[head.as_bytes(), body].concat()).await.unwrap();
    let mut status = [0; 12];
    within("an answer", tokio::io::AsyncReadExt::read_exact(&mut link, &mut status)).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
}
