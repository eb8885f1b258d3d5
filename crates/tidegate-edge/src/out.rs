//! What a worker is about to write to one WebSocket, and what that did not take.
//!
//! A worker has one [`Out`] and uses it for each connection in turn: small things are copied one behind the other, large
//! shared bodies are only pointed at, and all of it goes out in one call. What the socket does not take becomes the
//! connection's [`Unsent`], and only then has that connection memory of its own for it.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tidegate_model::Batch;
use tidegate_ws::OpCode;
use tokio::io::AsyncWrite;

/// Shared bytes from here on are pointed at; fewer are cheaper to copy.
const SHARED_MIN: usize = 16 << 10;
/// Pieces of one call.
const SLICES_MAX: usize = 16;
/// Room kept between turns.
const KEPT: usize = 256 << 10;

/// Messages on their way to one client. See the module.
#[derive(Debug, Default)]
pub struct Out {
    bytes: Vec<u8>,
    /// Shared pieces, each with the length of `bytes` in front of it.
    shared: Vec<(usize, Piece)>,
    head: Vec<u8>,
    messages: usize,
}

/// A part of a batch's encoded form.
#[derive(Debug)]
struct Piece {
    batch: Arc<Batch>,
    range: Range<usize>,
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        // A piece is made of a body only.
        self.batch.encoded().and_then(|body| body.bytes.get(self.range.clone())).unwrap_or_default()
    }
}

impl Out {
    /// The beginning of a message, empty: to be filled, and then sent by one of the others.
    pub fn head(&mut self) -> &mut Vec<u8> {
        self.head.clear();
        &mut self.head
    }

    /// A text message of the head alone.
    pub fn send(&mut self) {
        tidegate_ws::write_frame(OpCode::Text, &self.head, &mut self.bytes);
        self.messages += 1;
    }

    /// A text message of the head and a part of a batch's encoded form.
    pub fn send_shared(&mut self, batch: &Arc<Batch>, range: Range<usize>) {
        let piece = Piece { batch: batch.clone(), range };
        let body = piece.bytes();
        self.bytes.extend_from_slice(&tidegate_ws::header(OpCode::Text, false, self.head.len() + body.len()));
        self.bytes.extend_from_slice(&self.head);
        if body.len() < SHARED_MIN {
            self.bytes.extend_from_slice(body);
        } else {
            self.shared.push((self.bytes.len(), piece));
        }
        self.messages += 1;
    }

    /// A text message that is complete.
    pub fn text(&mut self, message: &[u8]) {
        tidegate_ws::write_frame(OpCode::Text, message, &mut self.bytes);
        self.messages += 1;
    }

    /// A binary message that is complete.
    pub fn binary(&mut self, message: &[u8]) {
        tidegate_ws::write_frame(OpCode::Binary, message, &mut self.bytes);
        self.messages += 1;
    }

    /// Frames that are complete already: pings, pongs, a close.
    pub(crate) fn frames(&mut self, frames: &[u8]) {
        self.bytes.extend_from_slice(frames);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Messages, and bytes in all.
    pub(crate) fn size(&self) -> (usize, usize) {
        (self.messages, self.bytes.len() + self.shared.iter().map(|(_, piece)| piece.range.len()).sum::<usize>())
    }

    /// Empties it for the next client.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
        self.shared.clear();
        self.messages = 0;
    }

    /// Writes until the socket takes no more; the rest moves to `unsent`, which must be empty.
    ///
    /// # Errors
    /// The socket's.
    pub(crate) fn write<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut W,
        unsent: &mut Unsent,
    ) -> io::Result<()> {
        if self.shared.is_empty() {
            let mut written = 0;
            while written < self.bytes.len() {
                match Pin::new(&mut *socket).poll_write(cx, &self.bytes[written..]) {
                    Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                    Poll::Ready(Ok(taken)) => written += taken,
                    Poll::Ready(Err(error)) => return Err(error),
                    Poll::Pending => {
                        unsent.push(Chunk::Own(self.bytes[written..].into(), 0));
                        break;
                    }
                }
            }
            return Ok(());
        }
        unsent.append(self);
        match unsent.poll_write(cx, socket) {
            Poll::Ready(result) => result,
            Poll::Pending => Ok(()),
        }
    }
}

#[derive(Debug)]
enum Chunk {
    /// With how much of it was written.
    Own(Box<[u8]>, usize),
    Shared(Piece),
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Chunk::Own(bytes, written) => &bytes[*written..],
            Chunk::Shared(piece) => piece.bytes(),
        }
    }

    fn skip(&mut self, count: usize) {
        match self {
            Chunk::Own(_, written) => *written += count,
            Chunk::Shared(piece) => piece.range.start += count,
        }
    }
}

/// What a socket did not take yet. Bounded by what is taken from a session at once: nothing more is taken while there is
/// something here.
#[derive(Debug, Default)]
pub(crate) struct Unsent(VecDeque<Chunk>);

impl Unsent {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes all that is to be written.
    pub(crate) fn append(&mut self, out: &mut Out) {
        let mut start = 0;
        for (end, piece) in out.shared.drain(..) {
            self.push(Chunk::Own(out.bytes[start..end].into(), 0));
            self.push(Chunk::Shared(piece));
            start = end;
        }
        self.push(Chunk::Own(out.bytes[start..].into(), 0));
    }

    fn push(&mut self, chunk: Chunk) {
        if !chunk.bytes().is_empty() {
            self.0.push_back(chunk);
        }
    }

    /// Writes until it is empty or the socket takes no more.
    ///
    /// # Errors
    /// The socket's.
    pub(crate) fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut W,
    ) -> Poll<io::Result<()>> {
        while !self.0.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let mut count = 0;
            for (slice, chunk) in slices.iter_mut().zip(&self.0) {
                *slice = IoSlice::new(chunk.bytes());
                count += 1;
            }
            let mut taken = ready!(Pin::new(&mut *socket).poll_write_vectored(cx, &slices[..count]))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            while let Some(chunk) = self.0.front_mut() {
                let len = chunk.bytes().len();
                if taken < len {
                    chunk.skip(taken);
                    break;
                }
                taken -= len;
                self.0.pop_front();
            }
        }
        // A client that stalled once may never again.
        self.0 = VecDeque::new();
        Poll::Ready(Ok(()))
    }
}
