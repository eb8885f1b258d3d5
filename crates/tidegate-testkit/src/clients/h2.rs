//! One HTTP/2 connection to a gateway, and a WebSocket's bytes inside one of its streams (RFC 8441).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use h2::client::SendRequest;
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use http::{Method, Request, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::JoinSet;

use super::endpoint::Endpoint;
use super::http::Response;

/// What a client that wants to stall lets the server send ahead.
const SMALL_WINDOW_BYTES: u32 = 4096;

/// An HTTP/2 connection. Gone, with all its streams, when it is dropped.
pub struct Connection {
    requests: SendRequest<Bytes>,
    address: Endpoint,
    // Aborted on drop.
    _driver: JoinSet<()>,
}

impl Connection {
    /// Connects, by ALPN or by prior knowledge.
    ///
    /// # Errors
    /// What connecting failed with.
    pub async fn open(endpoint: &Endpoint) -> io::Result<Self> {
        let link = endpoint.connect("h2").await?;
        let mut builder = h2::client::Builder::new();
        if endpoint.is_small() {
            builder.initial_window_size(SMALL_WINDOW_BYTES).initial_connection_window_size(0xFFFF);
        }
        let (requests, connection) = builder.handshake(link).await.map_err(io::Error::other)?;
        let mut driver = JoinSet::new();
        driver.spawn(async { drop(connection.await) });
        Ok(Self { requests, address: endpoint.clone(), _driver: driver })
    }

    /// Sends a request with a whole body; gives the head of the answer, and its body to be read.
    ///
    /// # Errors
    /// What the stream or the connection failed with.
    ///
    /// # Panics
    /// Where the request is none.
    pub async fn start(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<http::Response<RecvStream>> {
        let uri = format!("{}://{}{path}", self.address.scheme(), self.address.address());
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(()).expect("a request");
        let mut requests = self.requests.clone().ready().await.map_err(io::Error::other)?;
        let (answer, mut stream) = requests.send_request(request, body.is_empty()).map_err(io::Error::other)?;
        if !body.is_empty() {
            // A server may answer and end the stream before it has read everything; the answer counts.
            let _ = stream.send_data(Bytes::copy_from_slice(body), true);
        }
        answer.await.map_err(io::Error::other)
    }

    /// Sends a request and reads the answer to its end.
    ///
    /// # Errors
    /// As [`Connection::start`].
    pub async fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Response> {
        let (head, mut stream) = self.start(method, path, headers, body).await?.into_parts();
        let mut body = Vec::new();
        while let Some(data) = stream.data().await {
            let data = data.map_err(io::Error::other)?;
            stream.flow_control().release_capacity(data.len()).map_err(io::Error::other)?;
            body.extend_from_slice(&data);
        }
        let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        Ok(Response { status: head.status.as_u16(), headers: head.headers.iter().map(header).collect(), body })
    }

    /// Opens a WebSocket in a stream of its own, by extended CONNECT.
    ///
    /// # Errors
    /// What the stream failed with; another answer than 200 is [`io::ErrorKind::InvalidData`], a server that does not
    /// offer it [`io::ErrorKind::Unsupported`].
    ///
    /// # Panics
    /// Where the request is none.
    pub async fn websocket(&mut self, path: &str) -> io::Result<Tunnel> {
        // Whether the server offers it is in its settings, which come before any answer.
        let _ = self.request("GET", "/healthz", &[], b"").await?;
        if !self.requests.is_extended_connect_protocol_enabled() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "extended CONNECT is not offered"));
        }
        let uri = format!("{}://{}{path}", self.address.scheme(), self.address.address());
        let request = Request::builder().method(Method::CONNECT).uri(uri).header("sec-websocket-version", "13");
        let request = request.extension(Protocol::from_static("websocket")).body(()).expect("a request");
        let mut requests = self.requests.clone().ready().await.map_err(io::Error::other)?;
        let (answer, send) = requests.send_request(request, false).map_err(io::Error::other)?;
        let answer = answer.await.map_err(io::Error::other)?;
        match answer.status() {
            StatusCode::OK => Ok(Tunnel { send, receive: answer.into_body(), rest: Bytes::new() }),
            status => Err(io::Error::new(io::ErrorKind::InvalidData, status.to_string())),
        }
    }
}

/// Bytes both ways inside a stream. What is not read is not acknowledged, so the server's window shuts.
pub struct Tunnel {
    send: SendStream<Bytes>,
    receive: RecvStream,
    rest: Bytes,
}

impl AsyncRead for Tunnel {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.rest.is_empty() {
            match ready!(self.receive.poll_data(context)) {
                None => return Poll::Ready(Ok(())),
                Some(data) => self.rest = data.map_err(io::Error::other)?,
            }
        }
        let taken = self.rest.len().min(into.remaining());
        into.put_slice(&self.rest[..taken]);
        self.rest.advance(taken);
        Poll::Ready(self.receive.flow_control().release_capacity(taken).map_err(io::Error::other))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.send.reserve_capacity(bytes.len());
        while self.send.capacity() == 0 {
            match ready!(self.send.poll_capacity(context)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let taken = self.send.capacity().min(bytes.len());
        let sent = self.send.send_data(Bytes::copy_from_slice(&bytes[..taken]), false);
        Poll::Ready(sent.map(|()| taken).map_err(io::Error::other))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.send.send_data(Bytes::new(), true).map_err(io::Error::other))
    }
}

/// A WebSocket over a connection of its own: the tunnel keeps it.
pub(crate) struct OwnTunnel {
    tunnel: Tunnel,
    _connection: Connection,
}

impl OwnTunnel {
    pub(crate) async fn open(endpoint: &Endpoint, path: &str) -> io::Result<Self> {
        let mut connection = Connection::open(endpoint).await?;
        Ok(Self { tunnel: connection.websocket(path).await?, _connection: connection })
    }
}

impl AsyncRead for OwnTunnel {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tunnel).poll_read(context, into)
    }
}

impl AsyncWrite for OwnTunnel {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tunnel).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tunnel).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tunnel).poll_shutdown(context)
    }
}
