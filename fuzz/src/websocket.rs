//! The bytes of a WebSocket after its handshake, as the gateway's decoder reads them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{FutureExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_websockets::{Limits, ServerBuilder};

/// As large as the gateway lets a message be.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// Reads messages until there are no more bytes; every message is within the limit.
///
/// Not that text is UTF-8: the library (0.13) misses a code point that an empty last fragment cuts off, which this
/// target found. So the gateway checks the payload itself and never calls the library's `as_text` on what it receives.
pub fn websocket(data: &[u8]) {
    let limits = Limits::default().max_payload_len(Some(MESSAGE_BYTES_MAX));
    let mut socket = ServerBuilder::new().limits(limits).serve(Bytes { data: data.to_vec(), at: 0 });
    // Nothing here ever waits, so each step is ready at once.
    while let Some(Some(Ok(message))) = socket.next().now_or_never() {
        assert!(message.as_payload().len() <= MESSAGE_BYTES_MAX, "a message past the limit");
    }
}

/// A peer that has said everything and takes everything.
struct Bytes {
    data: Vec<u8>,
    at: usize,
}

impl AsyncRead for Bytes {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let rest = &this.data[this.at..];
        let piece = &rest[..rest.len().min(out.remaining())];
        out.put_slice(piece);
        this.at += piece.len();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Bytes {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
