//! `POST /v1/live` and `GET /v1/live?query=`.

use std::time::Duration;

use serde_json::Value as Json;
use tidegate_edge::EdgeConfig;
use tidegate_session::CloseReason;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::gateway::{Gateway, List, PATIENCE};

const QUERY: &str = r#"{"entity":"asset","sort":[{"column":"name"}],"limit":3}"#;

/// An event stream, taken out of its chunks.
pub(crate) struct Stream {
    pub(crate) head: String,
    socket: BufReader<TcpStream>,
    text: String,
}

impl Stream {
    pub(crate) async fn open(gateway: &Gateway, request: &str) -> Self {
        let mut socket = TcpStream::connect(gateway.address).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut socket = BufReader::new(socket);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(timeout(PATIENCE, socket.read_line(&mut head)).await.unwrap().unwrap() > 0, "{head}");
        }
        Self { head, socket, text: String::new() }
    }

    async fn post(gateway: &Gateway, headers: &str) -> Self {
        let length = QUERY.len();
        let request = format!("POST /v1/live HTTP/1.1\r\nhost: x\r\n{headers}content-length: {length}\r\n\r\n{QUERY}");
        Self::open(gateway, &request).await
    }

    /// The next block of lines, as it came.
    pub(crate) async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let block = block.to_owned();
                self.text = rest.to_owned();
                return Some(block);
            }
            let chunk = self.chunk().await?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next line, as it came.
    pub(crate) async fn line(&mut self) -> String {
        loop {
            if let Some((line, rest)) = self.text.split_once('\n') {
                let line = line.to_owned();
                self.text = rest.to_owned();
                return line;
            }
            let chunk = self.chunk().await.expect("the end");
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
        }
    }

    /// The next bytes, as they came.
    pub(crate) async fn chunk(&mut self) -> Option<Vec<u8>> {
        let mut size = String::new();
        timeout(PATIENCE, self.socket.read_line(&mut size)).await.expect("nothing came").unwrap();
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let mut chunk = vec![0; size + 2];
        timeout(PATIENCE, self.socket.read_exact(&mut chunk)).await.expect("nothing came").unwrap();
        chunk.truncate(size);
        (size > 0).then_some(chunk)
    }

    /// Events up to one with `"last":true`.
    async fn batch(&mut self) -> Vec<Json> {
        let mut frames = Vec::new();
        loop {
            let block = self.block().await.expect("the end");
            let Some((_, data)) = block.split_once("\ndata: ") else { continue };
            let frame: Json = serde_json::from_str(data).unwrap();
            let is_last = frame["last"] == true;
            frames.push(frame);
            if is_last {
                return frames;
            }
        }
    }
}

#[tokio::test]
async fn events_have_the_form_of_the_contract() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    gateway.write(&[("a-1", "north\n\u{2028}\"", 1.5)]);
    let mut stream = Stream::post(&gateway, "").await;
    assert!(stream.head.starts_with("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"), "{}", stream.head);
    assert_eq!(stream.block().await.unwrap(), "retry: 1000");
    let reset = stream.block().await.unwrap();
    let token = reset.lines().nth(1).unwrap().strip_prefix("id: ").unwrap();
    let place = token.strip_suffix("~1").unwrap();
    assert_eq!(
        reset,
        format!(
            "event: reset\nid: {place}~1\ndata: {{\"seq\":1,\"op\":\"reset\",\"agg_id\":\"\",\"version\":0,\"row\":null,\
             \"old_index\":-1,\"new_index\":-1,\"cursor\":null,\"stream_id\":\"{place}~1\"}}"
        )
    );
    let enter = stream.block().await.unwrap();
    assert!(enter.starts_with(&format!("event: enter\nid: {place}~2\ndata: {{\"seq\":2,")), "{enter}");
    assert_eq!(enter.lines().count(), 3, "no value ends a line");
    let ready = stream.block().await.unwrap();
    assert!(ready.starts_with(&format!("event: ready\nid: {place}\ndata: {{\"seq\":3,")), "{ready}");
    assert!(ready.ends_with("\"last\":true}"));
}

#[tokio::test]
async fn last_event_id_resumes_and_so_does_the_address() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    gateway.write(&[("1", "a", 0.0)]);
    let mut stream = Stream::post(&gateway, "").await;
    let mut list = List::default();
    let snapshot = stream.batch().await;
    snapshot.iter().for_each(|frame| list.apply(frame));
    gateway.write(&[("2", "b", 0.0), ("3", "c", 0.0)]);
    let both = stream.batch().await;
    drop(stream);
    gateway.eventually("gone", |gateway| gateway.closed(CloseReason::Gone) == 1).await;

    let inside = both[0]["stream_id"].as_str().unwrap();
    let mut resumed = Stream::post(&gateway, &format!("last-event-id: {inside}\r\n")).await;
    let rest = resumed.batch().await;
    assert_eq!(rest.len(), 1);
    assert_eq!((&rest[0]["agg_id"], &rest[0]["seq"]), (&"3".into(), &1.into()));

    let start = snapshot.last().unwrap()["stream_id"].as_str().unwrap();
    let encoded: String = QUERY.bytes().map(|byte| format!("%{byte:02x}")).collect();
    for name in ["last_event_id", "resume_from"] {
        let request = format!("GET /v1/live?query={encoded}&{name}={start} HTTP/1.1\r\nhost: x\r\n\r\n");
        let missed = Stream::open(&gateway, &request).await.batch().await;
        assert_eq!(missed.iter().map(|frame| &frame["agg_id"]).collect::<Vec<_>>(), ["2", "3"]);
    }
    let mut other = Stream::post(&gateway, "last-event-id: 1.2.3\r\n").await;
    assert_eq!(other.batch().await[0]["op"], "reset");
}

#[tokio::test]
async fn errors_before_the_stream_are_http_errors() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let post = |body: &str| {
        format!(
            "POST /v1/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let answer = gateway.raw(&post(r#"{"entity":"asset","limit":-1}"#)).await;
    assert!(answer.starts_with("HTTP/1.1 400"));
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    assert_eq!(
        body,
        r#"{"error":{"code":"invalid_query","message":"is -1; it must be between 1 and 500","path":"limit","retryable":false}}"#
    );
    assert!(gateway.raw(&post(&" ".repeat(70_000))).await.starts_with("HTTP/1.1 413"));
    let head = "POST /v1/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    let answer = gateway.raw(&format!("{head}transfer-encoding: chunked\r\n\r\nno chunk\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("\"code\":\"malformed\""), "{answer}");
    let answer = gateway.raw("GET /v1/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("\"path\":\"query\""), "{answer}");
}

#[tokio::test]
async fn an_idle_stream_has_comments() {
    let config = EdgeConfig { sse_comment_interval: Duration::from_millis(20), ..EdgeConfig::default() };
    let gateway = Gateway::start(config).await;
    let mut stream = Stream::post(&gateway, "").await;
    stream.batch().await;
    assert_eq!(stream.block().await.unwrap(), ":");
    assert_eq!(stream.block().await.unwrap(), ":");
    gateway.write(&[("1", "a", 0.0)]);
    assert_eq!(stream.batch().await[0]["op"], "enter");
}

#[tokio::test]
async fn an_entity_that_ends_tells_the_reason_in_mid_stream() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let mut stream = Stream::post(&gateway, "").await;
    stream.batch().await;
    gateway.end_entity("the table public.asset was dropped");
    let error = stream.block().await.unwrap();
    let expected = "event: error\ndata: {\"op\":\"error\",\"code\":\"unavailable\",\
                    \"message\":\"the table public.asset was dropped\"";
    assert!(error.starts_with(expected), "{error}");
    assert_eq!(stream.block().await, None);
    gateway.eventually("forgotten", |gateway| gateway.subscriptions() == 0).await;
}

#[tokio::test]
async fn a_snapshot_larger_than_the_outbox_is_an_error_in_mid_stream() {
    let gateway = Gateway::start(EdgeConfig { outbox_bytes: 1_000, ..EdgeConfig::default() }).await;
    gateway.write(&[("1", &"x".repeat(2_000), 0.0)]);
    let mut stream = Stream::post(&gateway, "").await;
    stream.block().await;
    let error = stream.block().await.unwrap();
    assert!(
        error.starts_with("event: error\ndata: {\"op\":\"error\",\"code\":\"too_large\",\"message\":\""),
        "{error}"
    );
    assert_eq!(stream.block().await, None);
    gateway.eventually("refused", |gateway| gateway.closed(CloseReason::Refused) == 1).await;
}

/// The whole events in what arrived, and the last id among them.
fn apply_whole_events(arrived: &str, list: &mut List, last: &mut Option<String>) {
    let Some((whole, _)) = arrived.rsplit_once("\n\n") else { return };
    for block in whole.split("\n\n") {
        let Some((_, data)) = block.split_once("\ndata: ") else { continue };
        let frame: Json = serde_json::from_str(data).unwrap();
        list.apply(&frame);
        *last = frame["stream_id"].as_str().map(str::to_owned);
    }
}

#[tokio::test]
async fn a_cut_after_every_byte_of_a_snapshot_and_a_batch_resumes_to_the_right_list() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    gateway.write(&[("1", "b", 0.0), ("2", "d", 0.0), ("3", "f", 0.0)]);
    let mut stream = Stream::post(&gateway, "").await;
    let ready = stream.batch().await.pop().unwrap();
    let before = ready["stream_id"].as_str().unwrap().to_owned();
    // Enters, moves and a leave in one transaction.
    let position = gateway.write(&[("4", "a", 0.0), ("2", "bb", 1.0), ("1", "c", 2.0), ("5", "aa", 0.0)]);
    stream.batch().await;
    let expected = ["4", "5", "2"];

    for headers in [String::new(), format!("last-event-id: {before}\r\n")] {
        let mut whole = Stream::post(&gateway, &headers).await;
        let (mut text, mut is_last) = (String::new(), false);
        while !is_last {
            let block = whole.block().await.unwrap();
            is_last = block.contains("\"last\":true");
            text.push_str(&format!("{block}\n\n"));
        }
        drop(whole);
        for cut in 0..=text.len() {
            let mut list = List::default();
            if !headers.is_empty() {
                list.ids = ["1", "2", "3"].map(str::to_owned).into();
            }
            let mut last = (!headers.is_empty()).then(|| before.clone());
            apply_whole_events(&text[..cut], &mut list, &mut last);
            list.seq = 0;
            let headers = last.map(|id| format!("last-event-id: {id}\r\n")).unwrap_or_default();
            let mut resumed = Stream::post(&gateway, &headers).await;
            if list.ids != expected {
                resumed.batch().await.iter().for_each(|frame| list.apply(frame));
            }
            assert_eq!(list.ids, expected, "cut after byte {cut} at {position}");
        }
    }
}
