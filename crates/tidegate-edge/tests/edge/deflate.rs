//! Compressed messages, read frame by frame and inflated by another than who compressed them.

use std::sync::atomic::Ordering;

use flate2::{Decompress, FlushDecompress};
use tidegate_edge::EdgeConfig;
use tidegate_ws::{OpCode, handshake, write_masked};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::gateway::{Gateway, PATIENCE};

const LIVE: &str = r#"{"action":"subscribe","query":{"entity":"asset","limit":9}}"#;
const EVENTS: &str = r#"{"event":"live.subscribe","id":1,"data":{"sub":"s","query":{"entity":"asset","limit":9}}}"#;
const OFFER: &str = "permessage-deflate";

fn config() -> EdgeConfig {
    EdgeConfig { compression: true, compression_min_bytes: 1000, workers: 3, ..EdgeConfig::default() }
}

/// Digits without a pattern: compressed they are half as long.
fn digits(len: usize) -> String {
    let mut state = 7_u32;
    let step = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        char::from(b'0' + (state >> 24) as u8 % 10)
    };
    std::iter::repeat_with(step).take(len).collect()
}

/// A client that shows how it was told something.
struct Reader {
    socket: BufReader<TcpStream>,
}

struct Told {
    text: String,
    compressed: bool,
    /// Bytes that it took on the wire, beside the header.
    len: usize,
}

impl Reader {
    /// With the answer to its offer.
    async fn open(gateway: &Gateway, path: &str, offer: &str) -> (Self, Option<String>) {
        let mut socket = BufReader::new(TcpStream::connect(gateway.address).await.unwrap());
        let host = gateway.address.to_string();
        let offer = [("Sec-WebSocket-Extensions", offer)];
        let request = handshake::request(&host, path, "dGhlIHNhbXBsZSBub25jZQ==", &offer);
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 101"), "{head}");
        let answer = head.lines().find_map(|line| line.strip_prefix("sec-websocket-extensions: ")).map(str::to_owned);
        (Self { socket }, answer)
    }

    async fn send(&mut self, text: &str) {
        let mut frame = Vec::new();
        write_masked(OpCode::Text, text.as_bytes(), [1, 2, 3, 4], &mut frame);
        self.socket.write_all(&frame).await.unwrap();
    }

    async fn told(&mut self) -> Told {
        timeout(PATIENCE, self.message()).await.expect("nothing came")
    }

    async fn message(&mut self) -> Told {
        let [first, second] = [self.socket.read_u8().await.unwrap(), self.socket.read_u8().await.unwrap()];
        assert_eq!(first & !0x40, 0x81, "a whole text message");
        let len = match second {
            126 => usize::from(self.socket.read_u16().await.unwrap()),
            127 => self.socket.read_u64().await.unwrap() as usize,
            short => usize::from(short),
        };
        let mut payload = vec![0; len];
        self.socket.read_exact(&mut payload).await.unwrap();
        let compressed = first & 0x40 != 0;
        if compressed {
            payload = inflate(payload);
        }
        Told { text: String::from_utf8(payload).unwrap(), compressed, len }
    }

    /// The frames of a batch on `/v1/live/ws`.
    async fn batch(&mut self) -> Vec<Told> {
        let mut batch = Vec::new();
        loop {
            batch.push(self.told().await);
            if batch.last().is_some_and(|told| told.text.ends_with("\"last\":true}")) {
                return batch;
            }
        }
    }
}

fn inflate(mut payload: Vec<u8>) -> Vec<u8> {
    payload.extend_from_slice(&[0, 0, 0xff, 0xff]);
    let mut inflater = Decompress::new(false);
    let mut out = Vec::with_capacity(1 << 20);
    inflater.decompress_vec(&payload, &mut out, FlushDecompress::Sync).unwrap();
    assert_eq!(inflater.total_in(), payload.len() as u64);
    out
}

fn compressed(gateway: &Gateway) -> u64 {
    gateway.edge.metrics().compressed.load(Ordering::Relaxed)
}

#[tokio::test]
async fn a_message_is_the_same_with_and_without() {
    let gateway = Gateway::start(config()).await;
    gateway.write(&[("1", &"a".repeat(5000), 0.0)]);
    // The last is more than is copied.
    let names = ["short".to_owned(), "long ".repeat(1000), digits(100_000)];
    for (path, subscribe) in [("/v1/live/ws", LIVE), ("/ws", EVENTS)] {
        let (mut packed, answer) = Reader::open(&gateway, path, OFFER).await;
        let answer = answer.unwrap();
        assert_eq!(answer, "permessage-deflate; server_no_context_takeover; client_no_context_takeover");
        let (mut plain, answer) = Reader::open(&gateway, path, "x-other").await;
        assert_eq!(answer, None);
        for reader in [&mut packed, &mut plain] {
            reader.send(subscribe).await;
        }
        let mut told = (0, 0);
        let mut compare = |packed: Told, plain: Told| {
            assert_eq!(packed.text, plain.text);
            assert!(!plain.compressed);
            assert_eq!(packed.compressed, packed.text.len() >= 1000, "{}", packed.text.len());
            *(if packed.compressed { &mut told.0 } else { &mut told.1 }) += 1;
        };
        // `reset`, the row, `ready`; or the reply and all of these at once.
        for _ in 0..if path == "/ws" { 2 } else { 3 } {
            compare(packed.told().await, plain.told().await);
        }
        for name in &names {
            gateway.write(&[("2", name, 0.0)]);
            compare(packed.told().await, plain.told().await);
        }
        // The two long ones, and the row of the snapshot or the whole of it.
        assert_eq!(told, if path == "/ws" { (3, 2) } else { (3, 3) });
    }
}

#[tokio::test]
async fn replies_are_compressed_too() {
    let gateway = Gateway::start(EdgeConfig { compression_min_bytes: 160, ..config() }).await;
    let (mut reader, _) = Reader::open(&gateway, "/ws", OFFER).await;
    for (len, compressed) in [(10, false), (60, true)] {
        let name = "n".repeat(len);
        reader.send(&format!(r#"{{"event":"dance","id":"{name}"}}"#)).await;
        let told = reader.told().await;
        assert!(told.text.contains(&name) && told.text.contains("unknown_event"), "{}", told.text);
        assert_eq!(told.compressed, compressed);
    }
    assert_eq!(compressed(&gateway), 1);
}

#[tokio::test]
async fn the_rest_of_a_batch_is_compressed_for_whoever_resumes_inside_it() {
    let gateway = Gateway::start(config()).await;
    let (mut first, _) = Reader::open(&gateway, "/v1/live/ws", OFFER).await;
    first.send(LIVE).await;
    first.batch().await;
    gateway.write(&[("1", &"a".repeat(5000), 0.0), ("2", &"b".repeat(5000), 0.0)]);
    let batch = first.batch().await;
    assert_eq!(batch.len(), 2);
    let frame: serde_json::Value = serde_json::from_str(&batch[0].text).unwrap();
    let resume = EVENTS.replace("}}}", &format!("}},\"resume_from\":{}}}}}", frame["stream_id"]));
    let mut told = Vec::new();
    for offer in [OFFER, "x-other"] {
        let (mut reader, _) = Reader::open(&gateway, "/ws", offer).await;
        reader.send(&resume).await;
        assert!(reader.told().await.text.contains("\"resumed\":true"));
        told.push(reader.told().await);
    }
    assert_eq!((told[0].compressed, told[1].compressed), (true, false));
    assert_eq!(told[0].text, told[1].text);
    let delta: serde_json::Value = serde_json::from_str(&told[0].text).unwrap();
    assert_eq!(delta["data"]["deltas"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_a_hundred_share_is_compressed_once() {
    let gateway = Gateway::start(config()).await;
    let mut readers = Vec::new();
    for index in 0..100 {
        let (mut reader, _) = Reader::open(&gateway, "/v1/live/ws", OFFER).await;
        reader.send(&LIVE.replace("\"limit\":9", if index % 2 == 0 { "\"limit\":9" } else { "\"limit\":8" })).await;
        reader.batch().await;
        readers.push(reader);
    }
    assert_eq!(compressed(&gateway), 0);
    // Two views, so two batches, of two frames each.
    gateway.write(&[("1", &"a".repeat(5000), 0.0), ("2", &"b".repeat(5000), 0.0)]);
    for reader in &mut readers {
        let batch = reader.batch().await;
        assert_eq!(batch.len(), 2);
        assert!(batch.iter().all(|told| told.compressed));
    }
    assert_eq!(compressed(&gateway), 4);
    // Another protocol's message holds the same frame, and is another.
    let (mut events, _) = Reader::open(&gateway, "/ws", OFFER).await;
    events.send(EVENTS).await;
    events.told().await;
    assert!(events.told().await.compressed);
    let before = compressed(&gateway);
    gateway.write(&[("3", &"c".repeat(5000), 0.0)]);
    for reader in readers.iter_mut().chain([&mut events]) {
        assert!(reader.told().await.compressed);
    }
    assert_eq!(compressed(&gateway) - before, 3, "a frame of each view, and the whole of one");
}

#[tokio::test]
async fn a_client_that_keeps_a_small_window_gets_its_own() {
    let gateway = Gateway::start(config()).await;
    let (mut small, answer) =
        Reader::open(&gateway, "/v1/live/ws", "permessage-deflate; server_max_window_bits=9").await;
    assert!(answer.unwrap().ends_with("; server_max_window_bits=9"));
    let (mut large, _) = Reader::open(&gateway, "/v1/live/ws", OFFER).await;
    for reader in [&mut small, &mut large] {
        reader.send(LIVE).await;
        reader.batch().await;
    }
    // What repeats is 2,000 bytes back, and ten thousand digits that repeat nothing take 4,152 bytes at least: what is shorter
    // looked there, and what looked no further than 512 bytes is not.
    gateway.write(&[("1", &digits(2000).repeat(5), 0.0)]);
    let (small, large) = (small.told().await, large.told().await);
    assert!(small.compressed && large.compressed);
    assert_eq!(small.text, large.text);
    assert!(small.len > 4152 && large.len < 4152, "{} {}", small.len, large.len);
    assert_eq!(compressed(&gateway), 2);
}
