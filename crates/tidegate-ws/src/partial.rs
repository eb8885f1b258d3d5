//! What has begun to arrive and is not whole: a frame, a message in fragments, or both (a control frame between
//! fragments).

use crate::head::{HEAD_BYTES_MAX, Head};
use crate::text::Text;
use crate::{Error, Limits, OpCode, deflate};

/// Everything a decoder holds of what is not whole.
#[derive(Debug, Default)]
pub(crate) struct Partial {
    /// The first `head_bytes` are of the current frame's header; kept until the frame is whole.
    head: [u8; HEAD_BYTES_MAX],
    head_bytes: usize,
    /// The current frame once its header is whole, and how much of its payload was taken.
    frame: Option<(Head, usize)>,
    /// The message that has begun, if any.
    message: Option<Message>,
    /// Payload of a text message that is not compressed, or was inflated.
    text: Text,
    /// Payload of any other.
    bytes: Vec<u8>,
    /// Payload of a control frame.
    control: Vec<u8>,
    /// What was given out last and is to be forgotten.
    given: Option<OpCode>,
}

#[derive(Debug, Clone, Copy)]
struct Message {
    op: OpCode,
    compressed: bool,
    fragments: u32,
    /// Bytes of its whole frames, headers included.
    bytes: usize,
}

impl Partial {
    /// A message that was compressed in one frame.
    pub(crate) fn inflated(op: OpCode, payload: &[u8], limits: &Limits) -> Result<Self, Error> {
        let mut partial = Self { given: Some(op), ..Self::default() };
        partial.inflate(op, payload, limits)?;
        Ok(partial)
    }

    /// See [`crate::Decoder::unfinished`].
    pub(crate) fn unfinished(&self) -> usize {
        self.head_bytes + self.frame.map_or(0, |(_, taken)| taken) + self.message.map_or(0, |message| message.bytes)
    }

    /// Forgets what was given out. False if nothing is left.
    pub(crate) fn forget(&mut self) -> bool {
        match self.given.take() {
            None => {}
            Some(op) if op.is_control() => self.control = Vec::new(),
            // Between messages nothing is kept.
            Some(_) => return false,
        }
        self.head_bytes > 0 || self.message.is_some()
    }

    /// The current frame; its header is read from `input` if need be, and how much of it is told. `None` if the input
    /// ends before the header does.
    pub(crate) fn head(
        &mut self,
        input: &[u8],
        read: impl Fn(&[u8]) -> Result<Option<Head>, Error>,
        limits: &Limits,
    ) -> Result<(usize, Option<(Head, usize)>), Error> {
        if self.frame.is_some() {
            return Ok((0, self.frame));
        }
        for (used, &byte) in input.iter().enumerate() {
            self.head[self.head_bytes] = byte;
            self.head_bytes += 1;
            if let Some(head) = read(&self.head[..self.head_bytes])? {
                self.begin(&head, limits)?;
                self.frame = Some((head, 0));
                return Ok((used + 1, self.frame));
            }
        }
        Ok((input.len(), None))
    }

    fn begin(&mut self, head: &Head, limits: &Limits) -> Result<(), Error> {
        if head.op.is_control() {
            return Ok(());
        }
        let message = match (head.op, &mut self.message) {
            (OpCode::Continuation, Some(message)) => message,
            (OpCode::Continuation, None) | (_, Some(_)) => return Err(Error::Fragment),
            (op, message) => message.insert(Message { op, compressed: head.compressed, fragments: 0, bytes: 0 }),
        };
        message.fragments += 1;
        let before = self.text.len() + self.bytes.len();
        if !limits.admit(head, before) {
            return Err(Error::TooLong);
        }
        if message.fragments > limits.fragments.max(1) {
            return Err(Error::TooManyFragments);
        }
        Ok(())
    }

    /// Takes payload of the current frame, unmasked. The opcode of what is whole with it, if anything is.
    pub(crate) fn take(&mut self, payload: &[u8], limits: &Limits) -> Result<Option<OpCode>, Error> {
        let Some((head, taken)) = &mut self.frame else { return Ok(None) };
        *taken += payload.len();
        let (head, whole) = (*head, *taken as u64 == head.len);
        if head.op.is_control() {
            self.control.extend_from_slice(payload);
        } else if self.message.is_some_and(|message| message.op == OpCode::Text && !message.compressed) {
            self.text.push(payload, limits.message_bytes)?;
        } else {
            let room = growth(self.bytes.len(), self.bytes.capacity(), payload.len(), limits.message_bytes);
            self.bytes.reserve_exact(room);
            self.bytes.extend_from_slice(payload);
        }
        if whole { self.end_frame(head, limits) } else { Ok(None) }
    }

    fn end_frame(&mut self, head: Head, limits: &Limits) -> Result<Option<OpCode>, Error> {
        let bytes = self.unfinished();
        self.frame = None;
        self.head_bytes = 0;
        if head.op.is_control() {
            self.given = Some(head.op);
        } else if !head.fin {
            if let Some(message) = &mut self.message {
                message.bytes = bytes;
            }
        } else if let Some(message) = self.message.take() {
            if message.compressed {
                let payload = std::mem::take(&mut self.bytes);
                self.inflate(message.op, &payload, limits)?;
            }
            self.given = Some(message.op);
        }
        Ok(self.given)
    }

    fn inflate(&mut self, op: OpCode, payload: &[u8], limits: &Limits) -> Result<(), Error> {
        let inflated = deflate::inflate(payload, limits.message_bytes)?;
        if op == OpCode::Text {
            self.text = Text::whole(String::from_utf8(inflated).map_err(|_| Error::Utf8)?);
        } else {
            self.bytes = inflated;
        }
        Ok(())
    }

    pub(crate) fn text(&self) -> Result<&str, Error> {
        self.text.get()
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn control(&self) -> &[u8] {
        &self.control
    }
}

/// How much room to add to a buffer of `len` bytes for `more`: at least doubled, so that pieces cost no more than the
/// whole, but never past `bytes_max`.
pub(crate) fn growth(len: usize, capacity: usize, more: usize, bytes_max: usize) -> usize {
    if capacity - len >= more {
        return 0;
    }
    let doubled = capacity.saturating_mul(2).min(bytes_max);
    more.max(doubled.saturating_sub(len))
}
