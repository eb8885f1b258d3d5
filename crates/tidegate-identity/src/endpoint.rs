//! For tests: an HTTP server on a port of its own that answers with the very bytes that it is told to.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Uri;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use crate::Clock;

/// A server; it ends with this.
pub(crate) struct Endpoint {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    gate: watch::Sender<bool>,
    _task: AbortOnDropHandle<()>,
}

/// A request that came.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

/// What it does with a request.
pub(crate) enum Reply {
    /// Writes this and waits for the next request.
    Bytes(Vec<u8>),
    /// The same, but not before [`Endpoint::open`].
    Gated(Vec<u8>),
    /// Writes the first and then the second for ever, as fast as it is taken, or once in each span.
    Endless(Vec<u8>, Vec<u8>, Option<Duration>),
    /// Writes this and hangs up.
    Cut(Vec<u8>),
    /// Nothing.
    Silence,
}

/// A whole answer.
pub(crate) fn answer(status: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    [format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
}

impl Endpoint {
    /// `reply` is given the number of the request, from 0.
    pub(crate) async fn new(reply: impl Fn(usize, &Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let (gate, opened) = watch::channel(false);
        let reply = Arc::new(reply);
        let noted = asked.clone();
        let task = tokio::runtime::Handle::current().spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                let (noted, opened, reply) = (noted.clone(), opened.clone(), reply.clone());
                connections.spawn(async move {
                    let _ = serve(socket, &noted, opened, &*reply).await;
                });
            }
        });
        Self { address, asked, gate, _task: AbortOnDropHandle::new(task) }
    }

    /// Answers every request the same.
    pub(crate) async fn always(bytes: Vec<u8>) -> Self {
        Self::new(move |_, _| Reply::Bytes(bytes.clone())).await
    }

    /// An address where nobody listens.
    pub(crate) async fn nowhere() -> Uri {
        let address = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
        format!("http://{address}/").parse().unwrap()
    }

    pub(crate) fn url(&self) -> Uri {
        format!("http://{}/path?query=1", self.address).parse().unwrap()
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Lets out what is [`Reply::Gated`].
    pub(crate) fn open(&self) {
        self.gate.send_replace(true);
    }
}

async fn serve(
    mut socket: TcpStream,
    noted: &Mutex<Vec<Asked>>,
    mut opened: watch::Receiver<bool>,
    reply: &(dyn Fn(usize, &Asked) -> Reply + Send + Sync),
) -> std::io::Result<()> {
    while let Some(asked) = request(&mut socket).await? {
        let number = {
            let mut noted = noted.lock().unwrap();
            noted.push(asked.clone());
            noted.len() - 1
        };
        match reply(number, &asked) {
            Reply::Bytes(bytes) => socket.write_all(&bytes).await?,
            Reply::Gated(bytes) => {
                let _ = opened.wait_for(|is_open| *is_open).await;
                socket.write_all(&bytes).await?;
            }
            Reply::Endless(first, piece, span) => {
                socket.write_all(&first).await?;
                loop {
                    socket.write_all(&piece).await?;
                    if let Some(span) = span {
                        tokio::time::sleep(span).await;
                    }
                }
            }
            Reply::Cut(bytes) => {
                socket.write_all(&bytes).await?;
                return socket.shutdown().await;
            }
            Reply::Silence => std::future::pending().await,
        }
    }
    Ok(())
}

async fn request(socket: &mut TcpStream) -> std::io::Result<Option<Asked>> {
    let mut read = Vec::new();
    let mut piece = [0; 4096];
    let mut more = async |read: &mut Vec<u8>| {
        let count = socket.read(&mut piece).await?;
        read.extend_from_slice(&piece[..count]);
        std::io::Result::Ok(count > 0)
    };
    let end = loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if !more(&mut read).await? {
            return Ok(None);
        }
    };
    let head = String::from_utf8(read[..end].to_vec()).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |n| n.parse().unwrap());
    while read.len() < end + length {
        if !more(&mut read).await? {
            return Ok(None);
        }
    }
    Ok(Some(Asked { head, body: read[end..].to_vec() }))
}

/// A clock that stands still until it is set.
pub(crate) fn clock(start: u64) -> (Clock, Arc<AtomicU64>) {
    let time = Arc::new(AtomicU64::new(start));
    let shown = time.clone();
    (Arc::new(move || shown.load(SeqCst)), time)
}
