//! The HTTP/2 client against the library's own server: a request, a tunnel that is read slowly, a WebSocket inside one.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::SocketAddr;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{RecvStream, SendStream};
use http::{Method, Request, Response};
use tidegate_testkit::clients::h2::Connection;
use tidegate_testkit::clients::{Endpoint, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// More than any window, so that both ends have to wait for each other.
const MANY: usize = 1_000_000;

/// Answers `ok`; sends back what comes through a CONNECT.
async fn server(tasks: &mut JoinSet<()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let mut connection = Builder::new().enable_connect_protocol().handshake(socket).await.unwrap();
        let mut streams = JoinSet::new();
        while let Some(Ok((request, answer))) = connection.accept().await {
            streams.spawn(stream(request, answer));
        }
    });
    address
}

async fn stream(request: Request<RecvStream>, mut answer: SendResponse<Bytes>) {
    let is_tunnel = request.method() == Method::CONNECT;
    let mut body = request.into_body();
    let mut send = answer.send_response(Response::new(()), false).unwrap();
    if !is_tunnel {
        return send.send_data(Bytes::from_static(b"ok"), true).unwrap();
    }
    while let Some(Ok(data)) = body.data().await {
        echo(&mut send, data.clone()).await;
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    send.send_data(Bytes::new(), true).unwrap();
}

async fn echo(send: &mut SendStream<Bytes>, mut data: Bytes) {
    while !data.is_empty() {
        send.reserve_capacity(data.len());
        let room = std::future::poll_fn(|context| send.poll_capacity(context)).await.unwrap().unwrap();
        send.send_data(data.split_to(room.min(data.len())), false).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tunnel_carries_more_than_its_windows_both_ways() {
    let mut tasks = JoinSet::new();
    let endpoint = Endpoint::from(server(&mut tasks).await).small();
    let mut connection = Connection::open(&endpoint).await.unwrap();
    let answer = connection.request("POST", "/", &[("x-y", "z")], b"body").await.unwrap();
    assert_eq!((answer.status, &*answer.body), (200, &b"ok"[..]));
    let tunnel = within("a tunnel", connection.websocket("/v1/live/ws")).await.unwrap();
    let (mut read, mut write) = tokio::io::split(tunnel);
    let sent: Vec<u8> = (0..MANY).map(|n| (n % 251) as u8).collect();
    let mut back = Vec::new();
    let both = async {
        let write = async {
            write.write_all(&sent).await.unwrap();
            write.shutdown().await.unwrap();
        };
        tokio::join!(write, read.read_to_end(&mut back)).1.unwrap();
    };
    within("the echo", both).await;
    assert!(back == sent, "{} bytes came back changed", back.len());
}
