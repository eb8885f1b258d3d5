//! The byte stream below a protocol, whatever it is made of.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::io::Timed;

/// Bytes of one call into a tunnel, which copies them and holds up to four such calls.
const TUNNEL_BYTES: usize = 16 << 10;

/// One byte stream. Each gives up on a peer that takes nothing.
pub(crate) enum Wire {
    /// A socket.
    Plain(Timed<TcpStream>),
    /// TLS on a socket: what is written in one call is one record, up to 16 KiB.
    Tls(Box<TlsStream<Timed<TcpStream>>>),
    /// A stream of an HTTP/2 connection.
    Tunnel(Box<Timed<TokioIo<Upgraded>>>),
}

macro_rules! each {
    ($self:ident, $inner:ident => $call:expr) => {
        match $self.get_mut() {
            Wire::Plain($inner) => $call,
            Wire::Tls($inner) => $call,
            Wire::Tunnel($inner) => $call,
        }
    };
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_read(cx, buf))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Wire::Plain(inner) => Pin::new(inner).poll_write(cx, buf),
            Wire::Tls(inner) => Pin::new(inner).poll_write(cx, buf),
            // A tunnel takes whatever one call brings, and a few calls more.
            Wire::Tunnel(inner) => Pin::new(inner).poll_write(cx, &buf[..buf.len().min(TUNNEL_BYTES)]),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Wire::Plain(inner) => Pin::new(inner).poll_write_vectored(cx, bufs),
            Wire::Tls(inner) => Pin::new(inner).poll_write_vectored(cx, bufs),
            Wire::Tunnel(inner) => {
                let mut joined = Vec::new();
                for buf in bufs {
                    joined.extend_from_slice(&buf[..buf.len().min(TUNNEL_BYTES - joined.len())]);
                }
                Pin::new(inner).poll_write(cx, &joined)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Wire::Plain(inner) => inner.is_write_vectored(),
            Wire::Tls(inner) => inner.is_write_vectored(),
            Wire::Tunnel(_) => true,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, inner => Pin::new(inner).poll_shutdown(cx))
    }
}
