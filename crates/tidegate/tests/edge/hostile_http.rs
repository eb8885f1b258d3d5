//! HTTP/1.1 and TLS by peers that mean harm: slow, silent, oversized, ambiguous.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tidegate_testkit::clients::raw::upgrade;
use tidegate_testkit::clients::{Link, within};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;

use crate::fixture::Site;

const DEADLINES: &str =
    "[edge]\nmessage_timeout_ms = 500\nheader_timeout_ms = 500\nhandshake_timeout_ms = 500\nauth_timeout_ms = 500\n";
/// Beyond a deadline of 500 ms, on a busy machine.
const LATE: Duration = Duration::from_secs(5);

/// A connection whose every write is one byte, in a segment of its own.
struct Drip(TcpStream);

impl AsyncRead for Drip {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl AsyncWrite for Drip {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, &bytes[..bytes.len().min(1)])
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// Everything until the connection ends, in whatever way.
async fn rest(link: &mut Link) -> String {
    let mut answer = Vec::new();
    let _ = within("the end of a connection", link.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Sends bytes on a connection of their own; gives all that comes back until it ends.
async fn exchange(site: &Site, bytes: &[u8]) -> String {
    let mut link = site.endpoint().connect("http/1.1").await.unwrap();
    // It may be refused before it is read whole.
    let _ = link.write_all(bytes).await;
    let _ = link.flush().await;
    rest(&mut link).await
}

fn status(answer: &str) -> Option<u16> {
    answer.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

async fn byte_at_a_time(site: &Site) {
    let drip = Box::new(Drip(site.endpoint().tcp().await.unwrap()));
    let mut link = within("a handshake byte by byte", site.endpoint().over("http/1.1", drip)).await.unwrap();
    link.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    link.flush().await.unwrap();
    assert_eq!(status(&rest(&mut link).await), Some(200));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_comes_byte_by_byte_is_a_head() {
    let site = Site::plain("");
    site.unharmed(byte_at_a_time(&site)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tls_handshake_that_comes_byte_by_byte_is_one() {
    let site = Site::tls("");
    site.unharmed(byte_at_a_time(&site)).await;
}

/// Sends the start of something and waits until it is cut.
async fn cut(site: &Site, what: &str, start: &[u8]) {
    let began = Instant::now();
    let mut stream = site.endpoint().tcp().await.unwrap();
    stream.write_all(start).await.unwrap();
    let _ = rest(&mut (Box::new(stream) as Link)).await;
    assert!(began.elapsed() < LATE, "{what} was let be for {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_go_on_is_cut() {
    let site = Site::plain(DEADLINES);
    let live =
        "POST /v1/live HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"ent";
    let shaken = upgrade("/v1/live/ws", "");
    let attack = async {
        tokio::join!(
            cut(&site, "a socket that says nothing", b""),
            cut(&site, "half a head", b"GET /healthz HTTP/1.1\r\nhost: "),
            cut(&site, "half a body", live.as_bytes()),
            cut(&site, "half a preface of HTTP/2", b"PRI * HTTP/2.0\r\n"),
            cut(&site, "a WebSocket that says nothing", shaken.as_bytes()),
            cut(&site, "no HTTP", &[0xAB; 64]),
        )
    };
    site.unharmed(attack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_go_on_with_tls_is_cut() {
    let site = Site::tls(DEADLINES);
    let attack = async {
        tokio::join!(
            cut(&site, "a socket that says nothing", b""),
            cut(&site, "the start of a client hello", &[0x16, 3, 1, 2, 0, 1, 0]),
            cut(&site, "a record that claims 16 KiB", &[0x16, 3, 1, 0x40, 0]),
            cut(&site, "plain HTTP", b"GET / HTTP/1.1\r\n\r\n"),
        )
    };
    site.unharmed(attack).await;
    site.until_metrics("the failed handshakes are counted", |metrics| metrics.refused("tls") >= 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_past_the_limits_are_refused() {
    let site = Site::plain("");
    let lines: String = (0..100).map(|n| format!("x-{n}: y\r\n")).collect();
    let long = format!("x-long: {}\r\n", "y".repeat(64 << 10));
    let attack = async {
        for headers in [&lines, &long] {
            let answer = exchange(&site, format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{headers}\r\n").as_bytes()).await;
            assert_eq!(status(&answer), Some(431), "{answer}");
            let answer = exchange(&site, upgrade("/ws", headers).as_bytes()).await;
            assert_eq!(status(&answer), Some(431), "{answer}");
        }
        let path = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "y".repeat(64 << 10));
        let answer = exchange(&site, path.as_bytes()).await;
        assert!(matches!(status(&answer), Some(414 | 431)), "{answer}");
    };
    site.unharmed(attack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_subprotocols_is_one_answer() {
    let site = Site::plain(DEADLINES);
    let line = format!("sec-websocket-protocol: {}\r\n", vec!["a,,;  ,\"b\""; 60].join(", "));
    let began = Instant::now();
    let answer = site.unharmed(exchange(&site, upgrade("/v1/live/ws", &line.repeat(40)).as_bytes())).await;
    assert!(matches!(status(&answer), Some(101 | 400..=499)), "{answer}");
    assert!(began.elapsed() < LATE, "{:?}", began.elapsed());
}

/// Two readings of one message: nobody may get a second answer out of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ambiguous_message_is_never_two() {
    let site = Site::plain(DEADLINES);
    let hidden = "GET /v1/position HTTP/1.1\r\nhost: x\r\n\r\n";
    let chunked = format!("0\r\n\r\n{hidden}");
    let length = chunked.len();
    let shapes = [
        ("both lengths", format!("content-length: {length}\r\ntransfer-encoding: chunked"), &*chunked),
        ("both, the other way round", format!("transfer-encoding: chunked\r\ncontent-length: {length}"), &chunked),
        ("two lengths", format!("content-length: {}\r\ncontent-length: 0", hidden.len()), hidden),
        ("a list of lengths", format!("content-length: 0, {}", hidden.len()), hidden),
        ("a signed length", "content-length: +0".to_owned(), hidden),
        ("chunked, then something", "transfer-encoding: chunked, identity".to_owned(), &chunked),
        ("a space before the colon", format!("transfer-encoding : chunked\r\ncontent-length: {length}"), &chunked),
        ("a folded line", format!("x: y\r\n transfer-encoding: chunked\r\ncontent-length: {length}"), &chunked),
        ("a vertical tab", format!("transfer-encoding: \x0bchunked\r\ncontent-length: {length}"), &chunked),
        ("a bare return", format!("x: y\rtransfer-encoding: chunked\r\ncontent-length: {length}"), &chunked),
    ];
    let attack = async {
        for (what, headers, body) in shapes {
            let request = format!("POST /v1/live HTTP/1.1\r\nhost: x\r\n{headers}\r\n\r\n{body}");
            let answer = exchange(&site, request.as_bytes()).await;
            assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{what}: {answer}");
            assert!(!answer.contains("\"position\""), "{what} let a hidden request in: {answer}");
            assert!(matches!(status(&answer), Some(400..=499 | 501)), "{what}: {answer}");
        }
    };
    site.unharmed(attack).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_that_is_none_says_why() {
    let site = Site::plain(DEADLINES);
    let whole = upgrade("/v1/live/ws", "");
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    let attack = async {
        for (what, request) in [
            ("a short key", whole.replace(key, "c2hvcnQ=")),
            ("a key that is no base64", whole.replace(key, "????????????????????????")),
            ("no key", whole.replace(&format!("sec-websocket-key: {key}\r\n"), "")),
            ("another version", whole.replace("version: 13", "version: 12")),
            ("no upgrade", whole.replace("upgrade: websocket\r\n", "")),
        ] {
            let request = request.replace("\r\n\r\n", "\r\nx-end: 1\r\n\r\n");
            let answer = exchange(&site, request.as_bytes()).await;
            assert!(matches!(status(&answer), Some(400 | 426)), "{what}: {answer}");
            let body = answer.split_once("\r\n\r\n").unwrap().1;
            assert!(body.contains("\"error\"") && body.contains("\"code\""), "{what}: {answer}");
        }
    };
    site.unharmed(attack).await;
    assert!(site.metrics().await.refused("handshake") >= 5);
}
