//! The proxy does what it says, against a server that echoes.

// The whole crate is a test.
#![allow(clippy::unwrap_used)]

use std::io::ErrorKind;
use std::net::SocketAddr;

use tidegate_testkit::clients::within;
use tidegate_testkit::proxy::{Fault, Proxy};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

async fn echo() -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            connections.spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    (address, tasks)
}

/// What comes back of 100 bytes, and how it ends.
async fn round(proxy: &Proxy) -> (usize, Option<ErrorKind>) {
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let _ = stream.write_all(&[7; 100]).await;
    let _ = stream.shutdown().await;
    let mut back = Vec::new();
    let end = within("an end", stream.read_to_end(&mut back)).await;
    (back.len(), end.err().map(|error| error.kind()))
}

#[tokio::test]
async fn connections_break_as_told() {
    let (server, _tasks) = echo().await;
    let proxy = Proxy::start(server).await.unwrap();
    assert_eq!(round(&proxy).await, (100, None));
    proxy.set(Fault::CutToClient(37));
    assert_eq!(round(&proxy).await.0, 37);
    proxy.set(Fault::CutToServer(41));
    assert!(round(&proxy).await.0 <= 41);
    proxy.set(Fault::ResetToClient(5));
    assert_eq!(round(&proxy).await.1, Some(ErrorKind::ConnectionReset));
    proxy.set(Fault::None);
    assert_eq!(round(&proxy).await, (100, None));
    assert!(proxy.bytes_to_client() >= 237);
}

#[tokio::test]
async fn a_black_hole_says_nothing_and_a_stall_holds_back() {
    let (server, _tasks) = echo().await;
    let proxy = Proxy::start(server).await.unwrap();
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let mut byte = [0];
    stream.write_all(b"a").await.unwrap();
    within("an echo", stream.read_exact(&mut byte)).await.unwrap();
    proxy.set(Fault::StopReading);
    stream.write_all(b"b").await.unwrap();
    proxy.set(Fault::None);
    within("an echo after the stall", stream.read_exact(&mut byte)).await.unwrap();
    assert_eq!(&byte, b"b");
    proxy.set(Fault::BlackHole);
    stream.write_all(b"c").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    within("an end", stream.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty());
}
