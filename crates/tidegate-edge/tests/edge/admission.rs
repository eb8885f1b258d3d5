//! Who gets in, and how everyone is let go.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tidegate_edge::{EdgeConfig, Refused, Tls};
use tidegate_session::CloseReason;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::gateway::{Gateway, PATIENCE};

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: gate.example\r\nconnection: close\r\n{headers}\r\n")
}

fn handshake(path: &str, headers: &str) -> String {
    let upgrade = "upgrade: websocket\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    format!("GET {path} HTTP/1.1\r\nhost: gate.example\r\nconnection: upgrade, close\r\n{upgrade}{headers}\r\n")
}

fn refused(gateway: &Gateway, reason: Refused) -> u64 {
    gateway.edge.metrics().refused[reason as usize].load(Ordering::Relaxed)
}

#[tokio::test]
async fn past_the_cap_the_answer_is_503_with_retry_after() {
    let gateway = Gateway::start(EdgeConfig { max_connections: 1, ..EdgeConfig::default() }).await;
    let first = gateway.ws("/ws").await;
    let answer = gateway.raw(&handshake("/ws", "")).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    let retry = answer.lines().find_map(|line| line.strip_prefix("retry-after: ")).unwrap();
    assert!((5..=10).contains(&retry.parse().unwrap()), "{retry}");
    assert!(answer.ends_with("\"retryable\":true}}"), "{answer}");
    assert!(gateway.raw(&get("/v1/live?query=%7B%22entity%22:%22asset%22%7D", "")).await.starts_with("HTTP/1.1 503"));
    assert!(gateway.raw(&get("/healthz", "")).await.starts_with("HTTP/1.1 200"), "health is answered all the same");
    assert_eq!(refused(&gateway, Refused::Capacity), 2);
    drop(first);
    gateway.eventually("room again", |gateway| gateway.edge.metrics().connections.load(Ordering::Relaxed) == 0).await;
    gateway.ws("/ws").await;
}

#[tokio::test]
async fn who_is_not_let_in_has_no_body_read() {
    let gateway = Gateway::with(EdgeConfig { max_connections: 1, ..EdgeConfig::default() }, false).await;
    // The body never comes: an answer shows that it was not waited for.
    let post = "POST /v1/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 60000\r\n\r\n";
    assert!(gateway.raw(post).await.starts_with("HTTP/1.1 401"));
    let _first = gateway.ws("/ws").await;
    assert!(gateway.raw(post).await.starts_with("HTTP/1.1 503"));
}

#[tokio::test]
async fn a_wrong_method_is_an_error_of_the_one_shape() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    for path in ["/v1/live", "/v1/live/ws", "/ws", "/v1/position"] {
        let answer = gateway.raw(&get(path, "").replacen("GET", "DELETE", 1)).await;
        assert!(answer.starts_with("HTTP/1.1 405") && answer.contains("\r\nallow: GET"), "{answer}");
        assert!(answer.contains("{\"error\":{\"code\":\"method_not_allowed\","), "{answer}");
    }
}

#[tokio::test]
async fn past_the_sockets_the_answer_is_prepared() {
    // Without sockets for strangers, so that the second one is not cut for the third.
    let config =
        EdgeConfig { max_connections: 1, max_other_sockets: 1, max_unauthenticated: 0, ..EdgeConfig::default() };
    let gateway = Gateway::start(config).await;
    let _first = gateway.ws("/ws").await;
    let mut second = TcpStream::connect(gateway.address).await.unwrap();
    second.write_all(b"GET ").await.unwrap();
    let mut answered = 0;
    for _ in 0..40 {
        let answer = gateway.raw(&get("/healthz", "")).await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())));
        answered += 1;
    }
    assert_eq!(refused(&gateway, Refused::Sockets), answered);
}

#[tokio::test]
async fn a_foreign_origin_is_403_and_a_known_one_is_named() {
    let config = EdgeConfig { allowed_origins: vec!["https://app.example".into()], ..EdgeConfig::default() };
    let gateway = Gateway::start(config).await;
    for request in
        [handshake("/ws", "origin: https://evil.example\r\n"), get("/healthz", "origin: https://evil.example\r\n")]
    {
        assert!(gateway.raw(&request).await.starts_with("HTTP/1.1 403"));
    }
    assert!(gateway.raw(&get("/healthz", "origin: https://gate.example\r\n")).await.starts_with("HTTP/1.1 200"));
    let answer = gateway.raw(&get("/healthz", "origin: https://app.example\r\n")).await;
    assert!(answer.contains("access-control-allow-origin: https://app.example\r\n"), "{answer}");
    let preflight = get("/v1/live", "origin: https://app.example\r\naccess-control-request-method: POST\r\n");
    let answer = gateway.raw(&preflight.replace("GET", "OPTIONS")).await;
    assert!(
        answer.starts_with("HTTP/1.1 204") && answer.contains("access-control-allow-methods: GET, POST"),
        "{answer}"
    );
    assert_eq!(refused(&gateway, Refused::Origin), 2);
}

#[tokio::test]
async fn credentials_are_taken_from_each_of_their_places() {
    let gateway = Gateway::with(EdgeConfig::default(), false).await;
    let query = "/v1/live?query=%7B%22entity%22:%22asset%22%7D";
    assert!(gateway.raw(&get(query, "")).await.starts_with("HTTP/1.1 401"));
    assert!(gateway.raw(&get(query, "authorization: Bearer bad\r\n")).await.starts_with("HTTP/1.1 401"));
    assert!(gateway.raw(&get("/v1/position", "x-api-key: key\r\n")).await.ends_with("{\"position\":\"10\"}"));
    for path in ["/ws", "/v1/live/ws"] {
        assert!(gateway.raw(&handshake(path, "authorization: Bearer bad\r\n")).await.starts_with("HTTP/1.1 401"));
        assert!(gateway.raw(&handshake(path, "authorization: Basic eA==\r\n")).await.starts_with("HTTP/1.1 401"));
        gateway.ws_with(path, &[("authorization", "Bearer good")]).await.unwrap();
        gateway.ws_with(path, &[("x-api-key", "key")]).await.unwrap();
        let client = gateway.ws_with(path, &[("sec-websocket-protocol", "chat, bearer.good")]).await.unwrap();
        assert_eq!(client.response_protocol.unwrap(), "bearer.good");
    }
    assert!(gateway.raw(&handshake("/v1/live/ws", "")).await.starts_with("HTTP/1.1 401"));
}

#[tokio::test]
async fn a_handshake_that_is_none_is_refused() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    assert!(gateway.raw(&get("/ws", "")).await.starts_with("HTTP/1.1 426"));
    assert!(gateway.raw(&handshake("/ws", "").replace(": 13", ": 8")).await.starts_with("HTTP/1.1 400"));
    assert!(gateway.raw(&handshake("/ws", "").replace("dGhl", "")).await.starts_with("HTTP/1.1 400"));
    let many: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    assert!(gateway.raw(&get("/healthz", &many)).await.starts_with("HTTP/1.1 431"));
    assert!(gateway.raw(&get("/healthz", &format!("x: {}\r\n", "x".repeat(60_000)))).await.starts_with("HTTP/1.1 431"));
}

/// The first byte of the head that answers a request over HTTP/2 with so many headers.
async fn http2_answer(gateway: &Gateway, headers: u8) -> u8 {
    // GET, http, the path and the authority; then headers that are not put into the table.
    let mut block = [&[0x82, 0x86, 0x04, 8][..], b"/healthz", &[0x01, 1, b'x']].concat();
    (0..headers).for_each(|n| block.extend([0, 2, b'x', b'a' + n % 26, 1, b'1']));
    let mut request = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    request.extend(u32::try_from(block.len()).unwrap().to_be_bytes()[1..].iter().copied());
    // HEADERS with END_STREAM and END_HEADERS, of stream 1.
    request.extend([1, 5, 0, 0, 0, 1]);
    request.extend(block);
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    socket.write_all(&request).await.unwrap();
    loop {
        let mut head = [0; 9];
        socket.read_exact(&mut head).await.unwrap();
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        socket.read_exact(&mut payload).await.unwrap();
        if head[3] == 1 {
            return payload[0];
        }
    }
}

#[tokio::test]
async fn headers_are_counted_over_http2_too() {
    let gateway = Gateway::start(EdgeConfig { max_headers: 10, ..EdgeConfig::default() }).await;
    // 200 is an entry of the static table; 431 is none, and has its own text.
    assert_eq!(http2_answer(&gateway, 10).await, 0x88);
    assert_eq!(http2_answer(&gateway, 11).await, 0x48);
}

#[tokio::test]
async fn a_head_that_does_not_come_is_given_up() {
    let gateway =
        Gateway::start(EdgeConfig { header_timeout: Duration::from_millis(50), ..EdgeConfig::default() }).await;
    assert_eq!(gateway.raw("GET /healthz HT").await, "");
}

#[tokio::test]
async fn hostile_frames_close_their_own_connection_only() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let mut bystander = gateway.ws("/ws").await;
    let unmasked = b"\x81\x02{}";
    let reserved = b"\xf1\x80\0\0\0\0";
    let endless = b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0";
    let bad_utf8 = b"\x81\x82\0\0\0\0\xff\xff";
    for frame in [&unmasked[..], reserved, endless, bad_utf8] {
        let mut socket = TcpStream::connect(gateway.address).await.unwrap();
        socket.write_all(handshake("/ws", "").as_bytes()).await.unwrap();
        socket.write_all(frame).await.unwrap();
        let mut answer = Vec::new();
        tokio::time::timeout(PATIENCE, socket.read_to_end(&mut answer)).await.unwrap().unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 101"));
    }
    bystander.send(r#"{"event":"auth","id":1,"data":{"token":"good"}}"#).await;
    assert_eq!(bystander.json().await["id"], 1);
}

/// Opens `/ws`, sends `first`, and `more` again and again until the gateway closes.
async fn holds_a_message(config: EdgeConfig, first: &[u8], more: &[u8]) {
    let config = EdgeConfig { message_timeout: Duration::from_millis(200), ..config };
    let gateway = Gateway::start(config).await;
    let mut socket = TcpStream::connect(gateway.address).await.unwrap();
    socket.write_all(handshake("/ws", "").as_bytes()).await.unwrap();
    socket.write_all(first).await.unwrap();
    let (mut reading, mut writing) = socket.into_split();
    let closed = async {
        let mut answer = Vec::new();
        reading.read_to_end(&mut answer).await
    };
    let sends = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        loop {
            ticks.tick().await;
            if writing.write_all(more).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::time::timeout(PATIENCE, async {
        tokio::select! {
            _ = closed => {}
            () = sends => {}
        }
    })
    .await
    .expect("it is not closed");
    gateway.eventually("it is counted", |gateway| gateway.closed(CloseReason::TooSlow) == 1).await;
}

#[tokio::test]
async fn pings_between_its_fragments_hold_no_message_open() {
    let begun = b"\x01\x81\0\0\0\0a";
    holds_a_message(EdgeConfig { messages_per_second: 1_000_000, ..EdgeConfig::default() }, begun, b"\x89\x80\0\0\0\0")
        .await;
}

#[tokio::test]
async fn a_pause_holds_no_message_open() {
    let begun = b"\x01\x81\0\0\0\0a";
    let ping = b"\x89\x80\0\0\0\0";
    let first = [&begun[..], ping, ping, ping].concat();
    holds_a_message(EdgeConfig { messages_per_second: 1, ..EdgeConfig::default() }, &first, b"").await;
}

#[tokio::test]
async fn a_silent_link_is_closed_and_one_that_answers_pings_is_not() {
    let config = EdgeConfig {
        ping_interval: Duration::from_millis(20),
        idle_timeout: Duration::from_secs(1),
        ..EdgeConfig::default()
    };
    let gateway = Gateway::start(config).await;
    let mut answering = gateway.ws("/ws").await;
    let mut silent = TcpStream::connect(gateway.address).await.unwrap();
    silent.write_all(handshake("/ws", "").as_bytes()).await.unwrap();
    tokio::select! {
        () = gateway.eventually("an idle close", |gateway| gateway.closed(CloseReason::IdleTimeout) == 1) => {}
        text = answering.text() => panic!("{text}"),
    }
    answering.send(r#"{"event":"auth","id":1,"data":{"token":"good"}}"#).await;
    assert_eq!(answering.json().await["id"], 1);
}

#[tokio::test]
async fn on_shutdown_everyone_is_sent_a_close_within_the_window() {
    let config = EdgeConfig { drain_window: Duration::from_millis(300), ..EdgeConfig::default() };
    let mut gateway = Gateway::start(config).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(gateway.ws("/ws").await);
    }
    let mut stream = TcpStream::connect(gateway.address).await.unwrap();
    stream.write_all(get("/v1/live?query=%7B%22entity%22:%22asset%22%7D", "").as_bytes()).await.unwrap();
    gateway.eventually("all in", |gateway| gateway.edge.metrics().connections.load(Ordering::Relaxed) == 21).await;
    let mut wait = TcpStream::connect(gateway.address).await.unwrap();
    wait.write_all(get("/v1/position?at_least=99", "").as_bytes()).await.unwrap();

    gateway.shutdown.cancel();
    let started = std::time::Instant::now();
    for client in &mut clients {
        let (code, reason) = client.close().await;
        let hint = reason.strip_prefix("going_away; reconnect_after_ms=").and_then(|after| after.parse::<u64>().ok());
        assert!(code == 1001 && hint.is_some_and(|after| after <= 1_000), "{code} {reason}");
    }
    let mut events = String::new();
    stream.read_to_string(&mut events).await.unwrap();
    assert!(events.contains("retry: "), "{events}");
    gateway.served.join_next().await.unwrap().unwrap().unwrap();
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    assert_eq!(gateway.closed(CloseReason::GoingAway), 21);
}

#[tokio::test]
async fn tls_is_served_by_configuration() {
    let file = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/edge").join(name);
    let tls = Tls::load(&file("localhost.pem"), &file("localhost.key.pem")).unwrap();
    assert!(Tls::load(&file("localhost.key.pem"), &file("main.rs")).unwrap_err().to_string().contains("main.rs"));
    let gateway = Gateway::start(EdgeConfig { tls: Some(tls), ..EdgeConfig::default() }).await;

    let mut roots = RootCertStore::empty();
    let pem = std::fs::read(file("localhost.pem")).unwrap();
    roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let connector = TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()));
    let socket = TcpStream::connect(gateway.address).await.unwrap();
    let mut socket = connector.connect("localhost".try_into().unwrap(), socket).await.unwrap();
    socket.write_all(get("/v1/position", "").as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.ends_with("{\"position\":\"10\"}"), "{answer}");
}

#[tokio::test]
async fn the_position_is_waited_for() {
    let gateway = Gateway::start(EdgeConfig::default()).await;
    let request = get("/v1/position?at_least=11", "");
    let (answer, position) = tokio::join!(gateway.raw(&request), async { gateway.write(&[("1", "a", 0.0)]) });
    assert!(answer.ends_with(&format!("{{\"position\":\"{position}\"}}")), "{answer}");
    assert!(gateway.raw(&get("/v1/position?at_least=x", "")).await.starts_with("HTTP/1.1 400"));
}

#[tokio::test]
async fn a_source_has_its_own_names_for_positions() {
    let gateway = Gateway::with_lines().await;
    let request = get("/v1/position?at_least=line%2011", "");
    let (answer, _) = tokio::join!(gateway.raw(&request), async { gateway.write(&[("1", "a", 0.0)]) });
    assert!(answer.ends_with("{\"position\":\"11\",\"line\":\"line 11\"}"), "{answer}");
    let refused = gateway.raw(&get("/v1/position?at_least=page%203", "")).await;
    assert!(refused.starts_with("HTTP/1.1 400") && refused.contains("such as \\\"line 3\\\""), "{refused}");
    assert!(refused.contains("\"path\":\"at_least\""), "{refused}");
}

#[tokio::test]
async fn a_shutdown_may_be_given_another_window() {
    let mut gateway =
        Gateway::start(EdgeConfig { drain_window: Duration::from_secs(600), ..EdgeConfig::default() }).await;
    let mut client = gateway.ws("/ws").await;
    gateway.edge.drain_within(Duration::ZERO);
    gateway.shutdown.cancel();
    let (code, reason) = client.close().await;
    assert!(code == 1001 && reason.starts_with("going_away; reconnect_after_ms="), "{code} {reason}");
    gateway.served.join_next().await.unwrap().unwrap().unwrap();
}
