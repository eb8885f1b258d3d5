//! One reader stalls; the others see everything, and it ends with the right list or a reason.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tidegate_edge::EdgeConfig;
use tidegate_session::CloseReason;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_websockets::ClientBuilder;

use crate::gateway::{Client, Gateway, List};

const SUBSCRIBE: &str = r#"{"action":"subscribe","query":{"entity":"asset","limit":5}}"#;
/// What the kernel may hold for one connection, and more.
const FLOOD: usize = 800;

/// A socket that holds little, so that a stall is felt early.
async fn narrow(gateway: &Gateway) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 << 10).unwrap();
    socket.connect(gateway.address).await.unwrap()
}

pub(crate) async fn narrow_ws(gateway: &Gateway, path: &str) -> Client {
    let uri = format!("ws://{}{path}", gateway.address).parse::<axum::http::Uri>().unwrap();
    let socket = tokio_websockets::MaybeTlsStream::Plain(narrow(gateway).await);
    let (socket, _) = ClientBuilder::from_uri(uri).connect_on(socket).await.unwrap();
    Client { socket, response_protocol: None }
}

/// Writes more than the kernel takes for a stalled reader, while `others` read; each sees every transaction.
async fn flood(gateway: &Gateway, others: usize) {
    let mut clients = Vec::new();
    for _ in 0..others {
        let mut client = gateway.ws("/v1/live/ws").await;
        client.send(SUBSCRIBE).await;
        client.batch().await;
        clients.push(client);
    }
    let wide = "x".repeat(16 << 10);
    for round in 0..FLOOD {
        let position = gateway.write(&[("1", &wide, round as f64)]);
        for client in &mut clients {
            let frames = client.batch().await;
            assert_eq!(frames.len(), 1, "nothing is conflated for those who read");
            assert_eq!(frames[0]["version"], position.0);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_reader_is_conflated_and_comes_out_exact() {
    let config = EdgeConfig { outbox_bytes: 128 << 10, write_timeout: Duration::ZERO, ..EdgeConfig::default() };
    let gateway = Gateway::start(config).await;
    gateway.write(&[("1", "a", 0.0)]);
    let mut slow = narrow_ws(&gateway, "/v1/live/ws").await;
    slow.send(SUBSCRIBE).await;
    let mut list = List::default();
    slow.batch().await.iter().for_each(|frame| list.apply(frame));

    flood(&gateway, 3).await;
    assert!(gateway.edge.metrics().sessions.conflated.load(Ordering::Relaxed) > 0);
    let last = gateway.write(&[("2", "the end", 0.0)]);
    loop {
        let frames = slow.batch().await;
        frames.iter().for_each(|frame| list.apply(frame));
        if frames.iter().any(|frame| frame["version"] == last.0) {
            break;
        }
    }
    assert_eq!(list.ids, ["1", "2"]);
    assert!(list.seq < 700, "most was never sent: {}", list.seq);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_takes_nothing_is_closed_over_websocket_and_sse() {
    let config = EdgeConfig {
        outbox_bytes: 128 << 10,
        write_timeout: Duration::from_millis(200),
        ping_interval: Duration::ZERO,
        idle_timeout: Duration::ZERO,
        ..EdgeConfig::default()
    };
    let gateway = Gateway::start(config).await;
    let mut slow = narrow_ws(&gateway, "/v1/live/ws").await;
    slow.send(SUBSCRIBE).await;
    slow.batch().await;
    let mut sse = narrow(&gateway).await;
    sse.write_all(b"GET /v1/live?query=%7B%22entity%22:%22asset%22%7D HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();

    flood(&gateway, 2).await;
    gateway.eventually("two write timeouts", |gateway| gateway.closed(CloseReason::WriteTimeout) == 2).await;
    drop((slow, sse));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_pings_and_never_reads_costs_a_bounded_amount() {
    let config = EdgeConfig {
        write_timeout: Duration::from_millis(200),
        messages_per_second: 1_000_000_000,
        ..EdgeConfig::default()
    };
    let gateway = Gateway::start(config).await;
    let mut socket = narrow(&gateway).await;
    let key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n";
    let head = format!("GET /ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n{key}\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut pings = Vec::new();
    for _ in 0..1_000 {
        pings.extend_from_slice(&[0x89, 0x80 | 125, 0, 0, 0, 0]);
        pings.extend_from_slice(&[b'p'; 125]);
    }
    let mut flooding = JoinSet::new();
    flooding.spawn(async move { while socket.write_all(&pings).await.is_ok() {} });
    gateway.eventually("a write timeout", |gateway| gateway.closed(CloseReason::WriteTimeout) == 1).await;
    flooding.join_next().await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_its_replies_unread_is_closed_without_waiting_for_it() {
    let config = EdgeConfig {
        write_timeout: Duration::ZERO,
        ping_interval: Duration::ZERO,
        idle_timeout: Duration::ZERO,
        messages_per_second: 1_000_000,
        ..EdgeConfig::default()
    };
    let gateway = Gateway::start(config).await;
    let mut slow = narrow_ws(&gateway, "/replies").await;
    let metrics = gateway.edge.metrics();
    // Almost all that may wait, each taken before the next; once the socket is full, a little more goes in front of it.
    for (taken, bytes) in ["10", "10", "10", "1048400"].into_iter().cycle().take(400).enumerate() {
        slow.send(bytes).await;
        gateway
            .eventually("the message is taken", |_| metrics.messages_in.load(Ordering::Relaxed) > taken as u64)
            .await;
        if metrics.sessions.slow_clients.load(Ordering::Relaxed) > 0 {
            break;
        }
    }
    gateway.eventually("a slow client", |gateway| gateway.closed(CloseReason::SlowClient) == 1).await;
}
