//! Accepting sockets, one task each, and letting go of them without a stampede.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, Request};
use axum::middleware::from_fn_with_state;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::unless_zero;
use crate::edge::Link;
use crate::io::Timed;
use crate::{Edge, Refused, origin};

/// What a socket gets that is one too many.
const NO_ROOM: &str =
    r#"{"error":{"code":"capacity","message":"the gateway has as many sockets as it takes","retryable":true}}"#;
/// Sockets that are being refused at once; more are dropped without an answer.
const REFUSALS_MAX: usize = 256;
/// For a refused client to take its answer.
const REFUSAL_TIME: Duration = Duration::from_secs(1);
/// Beyond the drain window, for the last closing handshakes.
const CLOSE_TIME: Duration = Duration::from_secs(3);
/// After a failed accept: out of file descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves the edge's endpoints and `api` on every listener until `shutdown`; then every live connection is sent a close,
/// spread over the drain window, and this returns when all are gone, or soon after the window.
///
/// # Errors
/// None while serving: a failed accept is logged and tried again. The result is for listeners that can't be used at all.
pub async fn serve(
    edge: Edge,
    listeners: Vec<TcpListener>,
    api: Router,
    shutdown: CancellationToken,
) -> io::Result<()> {
    for listener in &listeners {
        tracing::debug!(address = %listener.local_addr()?, "serving");
    }
    let server = Arc::new(Server {
        router: edge.routes().merge(api).layer(from_fn_with_state(edge.clone(), origin::guard)),
        sockets: Arc::new(Semaphore::new(
            edge.config().max_connections.saturating_add(edge.config().max_other_sockets).min(Semaphore::MAX_PERMITS),
        )),
        refusals: Arc::new(Semaphore::new(REFUSALS_MAX)),
        tasks: TaskTracker::new(),
        drain: shutdown.clone(),
        kill: CancellationToken::new(),
        edge,
    });
    let mut accepting = JoinSet::new();
    for listener in listeners {
        accepting.spawn(server.clone().accept(listener));
    }
    // Listeners close first: whoever comes now is to find another process, not a dying one.
    while accepting.join_next().await.is_some() {}
    server.tasks.close();
    if timeout(server.edge.drain_window() + CLOSE_TIME, server.tasks.wait()).await.is_err() {
        tracing::warn!(connections = server.tasks.len(), "connections outlived the drain window; they are cut");
        server.kill.cancel();
        server.tasks.wait().await;
    }
    Ok(())
}

struct Server {
    edge: Edge,
    router: Router,
    sockets: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    tasks: TaskTracker,
    drain: CancellationToken,
    kill: CancellationToken,
}

impl Server {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.drain.cancelled() => return,
            };
            match accepted {
                Ok((socket, peer)) => self.admit(socket, peer),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, socket: TcpStream, peer: SocketAddr) {
        if let Ok(permit) = self.sockets.clone().try_acquire_owned() {
            let server = self.clone();
            self.tasks.spawn(async move {
                tokio::select! {
                    () = server.connection(socket, peer) => {}
                    () = server.kill.cancelled() => {}
                }
                drop(permit);
            });
            return;
        }
        self.edge.metrics().refuse(Refused::Sockets);
        // A TLS client could not read the answer.
        if self.edge.config().tls.is_none()
            && let Ok(permit) = self.refusals.clone().try_acquire_owned()
        {
            self.tasks.spawn(refuse(socket, permit));
        }
    }

    async fn connection(&self, socket: TcpStream, peer: SocketAddr) {
        let config = self.edge.config();
        // Before the TLS handshake: its small flights would wait for each other otherwise.
        if socket.set_nodelay(true).is_err() {
            return;
        }
        let timed_out = Arc::new(AtomicBool::new(false));
        let id = self.edge.next_link();
        let span = tracing::info_span!("connection", id, %peer, user = tracing::field::Empty, traceparent = tracing::field::Empty);
        let link = Arc::new(Link::new(timed_out.clone(), self.drain.clone(), span));
        let socket = Timed::new(socket, unless_zero(config.write_timeout), timed_out);
        match &config.tls {
            None => self.http(socket, link).await,
            Some(tls) => match timeout(config.handshake_timeout, tls.acceptor().accept(socket)).await {
                Ok(Ok(socket)) => self.http(socket, link).await,
                _ => self.edge.metrics().refuse(Refused::Tls),
            },
        }
    }

    async fn http<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&self, socket: S, link: Arc<Link>) {
        let config = self.edge.config();
        let (router, of) = (TowerToHyperService::new(self.router.clone()), link.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            if let Some(parent) = request.headers().get("traceparent").and_then(trace_parent) {
                of.span.record("traceparent", parent);
            }
            request.extensions_mut().insert(of.clone());
            router.call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(config.header_timeout)
            .max_headers(config.max_headers)
            .max_buf_size(config.max_header_bytes.max(8 << 10))
            .serve_connection(TokioIo::new(socket), service)
            .with_upgrades();
        let mut connection = Box::pin(connection);
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = self.drain.cancelled() => {
                // Ends idle connections at once and the others after their answer; live ones end themselves.
                connection.as_mut().graceful_shutdown();
                connection.as_mut().await
            }
        };
        drop(connection);
        if let Err(error) = served {
            tracing::debug!(parent: &link.span, %error, "the connection failed");
        }
        if let Some(upgraded) = link.take_upgraded() {
            upgraded.await;
        }
    }
}

/// A W3C `traceparent`, if it is one: what goes into logs is of a known form.
fn trace_parent(value: &HeaderValue) -> Option<&str> {
    let text = value.to_str().ok()?;
    let is_one = text.len() == 55 && text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit());
    is_one.then_some(text)
}

/// Answers without having read, and reads what the client had sent, so that the answer is not lost to a reset.
async fn refuse(mut socket: TcpStream, permit: OwnedSemaphorePermit) {
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nretry-after: {}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{NO_ROOM}",
        5 + rand::random_range(0..=5),
        NO_ROOM.len(),
    );
    let answered = async {
        socket.write_all(answer.as_bytes()).await?;
        socket.shutdown().await?;
        let mut scratch = [0; 1024];
        while socket.read(&mut scratch).await? > 0 {}
        io::Result::Ok(())
    };
    // Whether it got there or not, the socket is closed now.
    let _ = timeout(REFUSAL_TIME, answered).await;
    drop(permit);
}
