//! What a worker is about to write to one client, and what its socket did not take.
//!
//! A worker has one [`Out`] and uses it for each connection in turn: small things are copied one behind the other, large
//! shared bodies are only pointed at, and all of it goes out in one call. What the socket does not take becomes the
//! connection's [`Unsent`], and only then has that connection memory of its own for it.
//!
//! In the body of an HTTP answer messages are set apart as its [`Format`] says; there nothing is only pointed at.
//!
//! Where a client agreed to compression, a message that is long enough is compressed; a shared body only by the first
//! worker that sends it. What differs between clients precedes it as a stored block.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tidegate_model::{Batch, Part};
use tidegate_topics::Publication;
use tidegate_ws::OpCode;
use tidegate_ws::deflate::{WINDOW_BITS_MAX, compress, write_compressed};
use tokio::io::AsyncWrite;

use crate::format::Format;
use crate::frames;

/// Shared bytes from here on are pointed at; fewer are cheaper to copy.
const SHARED_MIN: usize = 16 << 10;
/// Pieces of one call.
const SLICES_MAX: usize = 16;
/// Room kept between turns.
const KEPT: usize = 256 << 10;
/// The block that a shared compressed part follows in: its header.
const STORED_BYTES: usize = 5;

/// Which of a client's messages are compressed, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Compression {
    /// Logarithm of the window that the client asked for.
    pub(crate) window_bits: u8,
    /// Shorter messages are sent as they are.
    pub(crate) min_bytes: usize,
}

/// Messages on their way to one client. See the module.
#[derive(Debug, Default)]
pub struct Out {
    bytes: Vec<u8>,
    /// Shared pieces, each with the length of `bytes` in front of it.
    shared: Vec<(usize, Piece)>,
    head: Vec<u8>,
    /// A payload in its compressed form.
    packed: Vec<u8>,
    compression: Option<Compression>,
    /// Of an HTTP answer; on a WebSocket there is none.
    format: Option<Format>,
    messages: usize,
    compressed: usize,
}

/// What [`Out`] has for one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    /// Payloads that were compressed for it, and not found so.
    pub(crate) compressed: usize,
}

/// Shared bytes, as far as they are not written.
#[derive(Debug)]
struct Piece {
    of: Whole,
    range: Range<usize>,
}

/// What shared bytes are of.
#[derive(Debug)]
enum Whole {
    Batch(Arc<Batch>),
    /// The compressed form of a part of it.
    PackedBatch(Arc<Batch>, Part),
    /// The form of that slot.
    Publication(Arc<Publication>, usize),
    /// That form's compressed form.
    PackedPublication(Arc<Publication>, usize),
    Bytes(Bytes),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        // Each is there: the piece was made of it.
        let whole = match &self.of {
            Whole::Batch(batch) => batch.encoded().map(|body| &*body.bytes),
            Whole::PackedBatch(batch, part) => batch.compressed(*part, Vec::new),
            Whole::Publication(publication, slot) => publication.formed(*slot),
            Whole::PackedPublication(publication, slot) => Some(publication.packed(*slot, Vec::new)),
            Whole::Bytes(bytes) => Some(&**bytes),
        };
        whole.and_then(|bytes| bytes.get(self.range.clone())).unwrap_or_default()
    }
}

impl Out {
    /// The beginning of a message, empty: to be filled, and then sent by one of the others.
    pub fn head(&mut self) -> &mut Vec<u8> {
        self.head.clear();
        &mut self.head
    }

    /// What the next message is called, and its id, where the carrier has that: Server-Sent Events. Nothing of anybody's that
    /// could end a line may be in either.
    pub(crate) fn event(&mut self, name: Option<&str>, id: Option<&dyn Display>) {
        if let Some(format) = self.format {
            format.write_event(name, id, &mut self.bytes);
        }
    }

    /// The same, as far as it is.
    pub(crate) fn head_so_far(&mut self) -> &mut Vec<u8> {
        &mut self.head
    }

    /// A text message of the head alone.
    pub fn send(&mut self) {
        let head = std::mem::take(&mut self.head);
        self.text(&head);
        self.head = head;
    }

    /// A text message of the head, shared bytes and a tail.
    pub(crate) fn send_around(&mut self, body: &Bytes, tail: &[u8]) {
        let len = self.head.len() + body.len() + tail.len();
        if self.format.is_some() || self.compression.is_some_and(|it| len >= it.min_bytes) {
            self.head.extend_from_slice(body);
            self.head.extend_from_slice(tail);
            return self.send();
        }
        self.bytes.extend_from_slice(&tidegate_ws::header(OpCode::Text, false, len));
        self.bytes.extend_from_slice(&self.head);
        if body.len() < SHARED_MIN {
            self.bytes.extend_from_slice(body);
        } else {
            let piece = Piece { of: Whole::Bytes(body.clone()), range: 0..body.len() };
            self.shared.push((self.bytes.len(), piece));
        }
        self.bytes.extend_from_slice(tail);
        self.messages += 1;
    }

    /// A text message of the head and a part of a batch's encoded form. That part is compressed once for all clients.
    pub fn send_shared(&mut self, batch: &Arc<Batch>, part: Part) {
        let Some(body) = batch.encoded() else { return };
        let (lead, range) = frames::part(body, part);
        self.head.extend_from_slice(lead);
        let plain = body.bytes.get(range.clone()).unwrap_or_default();
        if let Some(format) = self.format {
            self.messages += 1;
            return format.write([&self.head, plain], &mut self.bytes);
        }
        let compression = self.compression.filter(|it| self.head.len() + plain.len() >= it.min_bytes);
        let Some(Compression { window_bits, .. }) = compression else { return self.send_piece(batch, None, range) };
        let shared = match window_bits {
            WINDOW_BITS_MAX => batch.compressed(part, || pack(plain, &mut self.compressed)),
            // A client that keeps less could not read what the others share.
            _ => None,
        };
        match shared {
            Some([]) => self.send_piece(batch, None, range),
            Some(shared) => self.send_piece(batch, Some(part), 0..shared.len()),
            None => {
                self.head.extend_from_slice(plain);
                self.send();
            }
        }
    }

    fn send_piece(&mut self, batch: &Arc<Batch>, compressed: Option<Part>, range: Range<usize>) {
        let of = match compressed {
            None => Whole::Batch(batch.clone()),
            Some(part) => Whole::PackedBatch(batch.clone(), part),
        };
        let piece = Piece { of, range };
        let body = piece.bytes();
        let head = match compressed {
            None => &self.head,
            Some(_) => {
                self.packed.clear();
                write_compressed(&self.head, &[], &mut self.packed);
                &self.packed
            }
        };
        let header = tidegate_ws::header(OpCode::Text, compressed.is_some(), head.len() + body.len());
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(head);
        if body.len() < SHARED_MIN {
            self.bytes.extend_from_slice(body);
        } else {
            self.shared.push((self.bytes.len(), piece));
        }
        self.messages += 1;
    }

    /// The message that is a publication's form of that slot, made by `encode` for the first client who needs it, and
    /// compressed for the first who wants it so. `is_binary` is the same for all of a slot.
    pub fn publication(
        &mut self,
        publication: &Arc<Publication>,
        slot: usize,
        is_binary: bool,
        encode: impl FnOnce(&Publication) -> Vec<u8>,
    ) {
        let op = if is_binary { OpCode::Binary } else { OpCode::Text };
        let plain = publication.form(slot, encode);
        if self.format.is_some() {
            return self.message(op, plain);
        }
        let compression = self.compression.filter(|it| plain.len() >= it.min_bytes);
        let packed = match compression {
            // A client that keeps less could not read what the others share.
            Some(Compression { window_bits, .. }) if window_bits != WINDOW_BITS_MAX => return self.message(op, plain),
            Some(_) => publication.packed(slot, || pack(plain, &mut self.compressed)),
            None => &[],
        };
        let (body, is_packed) = if packed.is_empty() { (plain, false) } else { (packed, true) };
        self.bytes.extend_from_slice(&tidegate_ws::header(op, is_packed, body.len()));
        if body.len() < SHARED_MIN {
            self.bytes.extend_from_slice(body);
        } else {
            let of = match is_packed {
                false => Whole::Publication(publication.clone(), slot),
                true => Whole::PackedPublication(publication.clone(), slot),
            };
            self.shared.push((self.bytes.len(), Piece { of, range: 0..body.len() }));
        }
        self.messages += 1;
    }

    /// A text message that is complete.
    pub fn text(&mut self, message: &[u8]) {
        self.message(OpCode::Text, message);
    }

    /// A binary message that is complete.
    pub fn binary(&mut self, message: &[u8]) {
        self.message(OpCode::Binary, message);
    }

    fn message(&mut self, op: OpCode, payload: &[u8]) {
        self.messages += 1;
        if let Some(format) = self.format {
            return format.write([payload, &[]], &mut self.bytes);
        }
        if let Some(Compression { window_bits, .. }) = self.compression.filter(|it| payload.len() >= it.min_bytes) {
            self.packed.clear();
            compress(payload, window_bits, &mut self.packed);
            if self.packed.len() < payload.len() {
                self.compressed += 1;
                self.bytes.extend_from_slice(&tidegate_ws::header(op, true, self.packed.len()));
                return self.bytes.extend_from_slice(&self.packed);
            }
        }
        tidegate_ws::write_frame(op, payload, &mut self.bytes);
    }

    /// What is set apart already: pings, pongs, a close; whatever is no message.
    pub(crate) fn frames(&mut self, frames: &[u8]) {
        self.bytes.extend_from_slice(frames);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn size(&self) -> Size {
        let shared = self.shared.iter().map(|(_, piece)| piece.range.len()).sum::<usize>();
        Size { messages: self.messages, bytes: self.bytes.len() + shared, compressed: self.compressed }
    }

    /// Empties it for the next client.
    pub(crate) fn begin(&mut self, compression: Option<Compression>) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
        // These two hold a whole body where a client gets its own compressed form of it.
        self.head.clear();
        self.head.shrink_to(KEPT);
        self.packed.clear();
        self.packed.shrink_to(KEPT);
        self.shared.clear();
        self.compression = compression;
        self.format = None;
        self.messages = 0;
        self.compressed = 0;
    }

    /// The same for the body of an HTTP answer.
    pub(crate) fn begin_body(&mut self, format: Format) {
        self.begin(None);
        self.format = Some(format);
    }

    /// What a body has to send, in memory of its own.
    pub(crate) fn body(&self) -> Bytes {
        Bytes::copy_from_slice(&self.bytes)
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

/// The form of a part for all who keep the largest window; empty if it would be no shorter.
fn pack(plain: &[u8], compressed: &mut usize) -> Vec<u8> {
    let mut packed = Vec::new();
    compress(plain, WINDOW_BITS_MAX, &mut packed);
    if packed.len() + STORED_BYTES >= plain.len() {
        return Vec::new();
    }
    *compressed += 1;
    packed
}
