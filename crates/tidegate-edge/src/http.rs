//! HTTP on a worker: one task a socket until its connection is over or is no HTTP any more.
//!
//! Endpoints of live connections are answered here, where their clients will live. Everything else is the API of the
//! binary and runs on the process's own runtime, so that no request makes a worker's clients wait.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::admitted::{Link, Seat};
use crate::centrifugo::{endpoint, streams};
use crate::client::Stranger;
use crate::config::unless_zero;
use crate::io::Timed;
use crate::serve::Outside;
use crate::stream::Payload;
use crate::wire::Wire;
use crate::worker::Worker;
use crate::{
    ApiError, Refused, arcp, drain, embedded, emulation, events, live_ws, origin, position, subscribe, topic_stream,
};

/// How HTTP/2 begins, as far as is needed to tell it from any method of HTTP/1.
const PREFACE: &[u8] = b"PRI";

/// For the last frames of a connection that has been idle.
const GOODBYE_TIME: Duration = Duration::from_secs(1);
/// A WebSocket is opened by GET over HTTP/1.1 and by CONNECT over HTTP/2.
const SOCKET_METHODS: [Method; 2] = [Method::GET, Method::CONNECT];

/// What requests on a worker's sockets need beside the worker.
pub(crate) struct Site {
    pub(crate) worker: Rc<Worker>,
    pub(crate) outside: Arc<Outside>,
    /// The tasks of sockets, and of what becomes of them until it is a client.
    pub(crate) open: TaskTracker,
}

/// Takes a socket in: its task goes on until its HTTP is over, or it is cut for having said nothing yet.
pub(crate) fn take(site: &Rc<Site>, socket: std::net::TcpStream, peer: SocketAddr, seat: Seat) {
    let (worker, serving) = (site.worker.clone(), site.clone());
    let cut = CancellationToken::new();
    let stranger = worker.meet(Stranger::Socket(cut.clone()));
    spawn_local(site.open.track_future(async move {
        let link = Rc::new(Link::new(serving.worker.edge.next_link(), peer, stranger, cut.clone(), seat));
        let served = cut.run_until_cancelled(serve(&serving, &link, socket)).await;
        serving.worker.know(link.stranger);
        if let Some(Err(error)) = served {
            tracing::debug!(id = link.id, %peer, %error, "the connection failed");
        }
    }));
}

/// Serves one socket to the end of its HTTP.
async fn serve(
    site: &Rc<Site>,
    link: &Rc<Link>,
    socket: std::net::TcpStream,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let config = site.worker.edge.config();
    // Before the TLS handshake: its small flights would wait for each other otherwise.
    socket.set_nodelay(true)?;
    let socket = TcpStream::from_std(socket)?;
    let timed = |socket| Timed::new(socket, unless_zero(config.write_timeout), link.timed_out.clone());
    let (wire, is_http2) = match &config.tls {
        None => {
            let is_http2 = timeout(config.header_timeout, begins_http2(&socket)).await??;
            (Wire::Plain(timed(socket)), is_http2)
        }
        Some(tls) => {
            let accepted = timeout(config.handshake_timeout, tls.acceptor().accept(timed(socket))).await;
            let socket = accepted.map_err(io::Error::from).flatten();
            let socket = socket.inspect_err(|_| site.worker.edge.metrics().refuse(Refused::Tls))?;
            let is_http2 = socket.get_ref().1.alpn_protocol() == Some(b"h2");
            (Wire::Tls(Box::new(socket)), is_http2)
        }
    };
    Ok(if is_http2 { http2(site, link, wire).await } else { http1(site, link, wire).await }?)
}

/// Waits for the first bytes. One that sends less than a method's name at first is no client of HTTP/2.
async fn begins_http2(socket: &TcpStream) -> std::io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    let count = socket.peek(&mut first).await?;
    Ok(first[..count] == *PREFACE)
}

async fn http1(site: &Rc<Site>, link: &Rc<Link>, wire: Wire) -> hyper::Result<()> {
    let config = site.worker.edge.config();
    let (site, link, drain) = (site.clone(), link.clone(), site.outside.drain.clone());
    let service = service_fn(move |request| answer(site.clone(), link.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(config.header_timeout)
        .max_headers(config.max_headers)
        .max_buf_size(config.max_header_bytes.max(8 << 10))
        .serve_connection(TokioIo::new(wire), service)
        .with_upgrades();
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        served = connection.as_mut() => served,
        () = drain.cancelled() => {
            // Ends idle connections at once and the others after their answer; live ones end themselves.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    }
}

async fn http2(site: &Rc<Site>, link: &Rc<Link>, wire: Wire) -> hyper::Result<()> {
    let config = site.worker.edge.config();
    link.is_shared.set(true);
    let (serving, on, stop) = (site.clone(), link.clone(), site.outside.drain.clone());
    let service = service_fn(move |request| answer(serving.clone(), on.clone(), request));
    let own = Rc::strong_count(link);
    let mut builder = http2::Builder::new(OnWorker);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.max_streams)
        .max_header_list_size(u32::try_from(config.max_header_bytes).unwrap_or(u32::MAX))
        // What a client may send ahead of being read: commands are small.
        .initial_stream_window_size(64 << 10)
        .initial_connection_window_size(256 << 10)
        .max_send_buf_size(64 << 10)
        .enable_connect_protocol();
    if let Some(interval) = unless_zero(config.ping_interval) {
        builder.keep_alive_interval(interval).keep_alive_timeout(config.write_timeout.max(config.header_timeout));
    }
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(wire), service));
    tokio::select! {
        served = connection.as_mut() => return served,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                served = connection.as_mut() => return served,
                () = idle(link, own, drain::TICK) => {}
            }
        }
        () = idle(link, own, config.header_timeout) => connection.as_mut().graceful_shutdown(),
    }
    // A peer that is not listening does not say goodbye.
    timeout(GOODBYE_TIME, connection).await.unwrap_or(Ok(()))
}

/// Waits until for so long at least nobody but its `own` holders had the link: no
/// request on the connection, and nothing is left of those before. HTTP/1.1 has the same rule for the head of a request.
async fn idle(link: &Rc<Link>, own: usize, timeout: Duration) {
    loop {
        let before = link.requests.get();
        sleep(timeout).await;
        // Whoever answers a request, and each live connection, holds the link.
        if link.requests.get() == before && Rc::strong_count(link) <= own {
            return;
        }
    }
}

/// Runs hyper's tasks on the worker's thread.
#[derive(Clone, Copy)]
struct OnWorker;

impl<F: Future + 'static> Executor<F> for OnWorker {
    fn execute(&self, task: F) {
        spawn_local(async move {
            task.await;
        });
    }
}

/// Answers a request, whatever it is.
async fn answer(site: Rc<Site>, link: Rc<Link>, request: Request<Incoming>) -> Result<Response<Payload>, Infallible> {
    let edge = &site.worker.edge;
    site.worker.know(link.stranger);
    link.requests.set(link.requests.get() + 1);
    // HTTP/1.1 counts as it parses; what HTTP/2 bounds itself are the bytes.
    if request.headers().len() > edge.config().max_headers {
        let message = format!("a request has at most {} headers", edge.config().max_headers);
        let error = ApiError::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too_large", message);
        return Ok(whole(error.into_response()));
    }
    let origin = match origin::check(edge, request.uri(), request.headers()) {
        Ok(origin) => origin,
        Err(foreign) => return Ok(whole(foreign.into_response())),
    };
    let Some(origin) = origin else { return Ok(route(&site, &link, request).await) };
    let mut response = match origin::preflight(request.method(), request.headers()) {
        Some(response) => whole(response),
        None => route(&site, &link, request).await,
    };
    origin::allow(edge, origin, response.headers_mut());
    Ok(response)
}

async fn route(site: &Rc<Site>, link: &Rc<Link>, request: Request<Incoming>) -> Response<Payload> {
    let worker = &site.worker;
    let path = request.uri().path();
    let embedded = worker.edge.socket_at(path);
    let is_arcp = match path {
        "/arcp" | "/arcp/worker" => true,
        // Its plain GET is the API's.
        "/" => embedded.is_none() && arcp::is_socket(&request),
        _ => false,
    };
    let runtime = worker.edge.runtime().filter(|_| is_arcp).cloned();
    let methods: &[Method] = match path {
        "/v1/live" => &[Method::GET, Method::POST],
        "/v1/position" => &[Method::GET, Method::HEAD],
        "/v1/topics/stream" => &[Method::GET],
        "/connection/sse" | "/connection/uni_sse" => &[Method::GET, Method::POST],
        "/connection/http_stream" | "/connection/uni_http_stream" | "/emulation" => &[Method::POST],
        "/ws" | "/v1/live/ws" | "/connection/websocket" | "/connection/uni_websocket" => &SOCKET_METHODS,
        _ if runtime.is_some() || embedded.is_some() => &SOCKET_METHODS,
        _ => return api(&site.outside, request).await,
    };
    if !methods.contains(request.method()) {
        return wrong_method(methods);
    }
    let answered = match path {
        "/ws" => events::open(site, link, request).await,
        "/v1/live/ws" => live_ws::open(site, link, request).await,
        "/connection/websocket" => endpoint::open(site, link, request).await,
        "/connection/sse" => streams::sse(site, link, request).await,
        "/connection/http_stream" => streams::http_stream(site, link, request).await,
        "/connection/uni_websocket" => endpoint::uni(site, link, request).await,
        "/connection/uni_sse" => streams::uni_sse(site, link, request).await,
        "/connection/uni_http_stream" => streams::uni_http_stream(site, link, request).await,
        "/v1/position" => position::get(&worker.edge, &site.outside.drain, &request).await.map(whole),
        "/v1/topics/stream" => topic_stream::open(site, link, &request).await,
        "/emulation" => emulation::post(&worker.edge, request).await.map(whole),
        "/v1/live" if request.method() == Method::GET => subscribe::get(site, link, &request).await,
        "/v1/live" => subscribe::post(site, link, request).await,
        _ => match (runtime, embedded) {
            (Some(runtime), _) if path == "/arcp/worker" => arcp::open_worker(site, link, request, &runtime).await,
            (Some(runtime), _) => arcp::open(site, link, request, &runtime).await,
            (None, Some(make)) => embedded::open(site, link, request, &*make).await,
            (None, None) => return api(&site.outside, request).await,
        },
    };
    answered.unwrap_or_else(|error| whole(error.into_response()))
}

async fn api(outside: &Outside, request: Request<Incoming>) -> Response<Payload> {
    let service = TowerToHyperService::new(outside.api.clone());
    let answering =
        outside.requests.spawn_on(async move { service.call(request.map(Body::new)).await }, &outside.runtime);
    match AbortOnDropHandle::new(answering).await {
        Ok(Ok(response)) => whole(response),
        Ok(Err(never)) => match never {},
        Err(failed) => {
            tracing::error!(%failed, "a request's handler failed");
            whole(
                ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "this is a bug; see the log")
                    .into_response(),
            )
        }
    }
}

fn wrong_method(allowed: &[Method]) -> Response<Payload> {
    let message = "this takes another method";
    let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message);
    let mut response = whole(error.into_response());
    let names: Vec<_> = allowed.iter().map(Method::as_str).collect();
    if let Ok(names) = HeaderValue::from_str(&names.join(",")) {
        response.headers_mut().insert(header::ALLOW, names);
    }
    response
}

fn whole(response: Response<Body>) -> Response<Payload> {
    response.map(Payload::Api)
}

/// A W3C `traceparent`, if it is one: what goes into logs is of a known form.
pub(crate) fn trace_parent(value: Option<&HeaderValue>) -> Option<&str> {
    let text = value?.to_str().ok()?;
    let is_one = text.len() == 55 && text.bytes().all(|b| b == b'-' || b.is_ascii_hexdigit());
    is_one.then_some(text)
}
