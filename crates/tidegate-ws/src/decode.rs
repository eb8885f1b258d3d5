//! Bytes in, events out.

use crate::deflate::Deflate;
use crate::head::Head;
use crate::partial::Partial;
use crate::{Error, OpCode, mask};

/// Which end of the connection we are: a server's frames are not masked, a client's must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Reads a client's frames.
    Server,
    /// Reads a server's frames.
    Client,
}

/// How much a peer may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest message in bytes: as sent, as inflated, and so each of its frames.
    pub message_bytes: usize,
    /// Frames a message may come in; at least one is always allowed.
    pub fragments: u32,
}

impl Limits {
    /// Whether a frame may follow `before` bytes of its message.
    pub(crate) fn admit(&self, head: &Head, before: usize) -> bool {
        head.op.is_control() || (before as u64).saturating_add(head.len) <= self.message_bytes as u64
    }
}

/// What arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A message of text.
    Text(&'a str),
    /// A message of bytes.
    Binary(&'a [u8]),
    /// To be answered by a pong with the same payload, at most 125 bytes.
    Ping(&'a [u8]),
    /// The answer to a ping, or unasked.
    Pong(&'a [u8]),
    /// The peer sends nothing more: its code and reason, if it gave a code.
    Close(Option<(u16, &'a str)>),
}

/// Reads one direction of a connection.
#[derive(Debug)]
pub struct Decoder {
    role: Role,
    deflate: Option<Deflate>,
    limits: Limits,
    /// Absent between messages.
    partial: Option<Box<Partial>>,
}

impl Decoder {
    /// Reads what is sent to `role`. `deflate` is what the handshake agreed on, if it did.
    #[must_use]
    pub fn new(role: Role, limits: Limits, deflate: Option<Deflate>) -> Self {
        Self { role, deflate, limits, partial: None }
    }

    /// What the handshake agreed on.
    #[must_use]
    pub fn deflate(&self) -> Option<Deflate> {
        self.deflate
    }

    /// Takes bytes from the front of `input` until one event is complete or the input is used up: how many, and the
    /// event. The bytes taken are unmasked in place.
    ///
    /// Call it until it gives no event, with an empty input at last: a message that was gathered is held until the
    /// next call.
    ///
    /// # Errors
    /// What the peer did wrong. After an error or a [`Event::Close`] nothing more is to be fed.
    pub fn decode<'a>(&'a mut self, input: &'a mut [u8]) -> Result<(usize, Option<Event<'a>>), Error> {
        self.partial.take_if(|partial| !partial.forget());
        if self.partial.is_some() {
            return self.gather(input);
        }
        let Some(head) = Head::read(input, self.role, self.deflate.is_some())? else { return self.gather(input) };
        let used = (head.bytes as u64).saturating_add(head.len);
        let whole = head.fin && head.op != OpCode::Continuation && used <= input.len() as u64;
        if !whole || !self.limits.admit(&head, 0) {
            return self.gather(input);
        }
        let used = used as usize;
        let payload = &mut input[head.bytes..used];
        if let Some(key) = head.key {
            mask::apply(payload, key);
        }
        if head.compressed {
            let partial = self.partial.insert(Box::new(Partial::inflated(head.op, payload, &self.limits)?));
            return Ok((used, Some(gathered(head.op, partial)?)));
        }
        let payload = &*payload;
        let event = match head.op {
            OpCode::Text => Event::Text(simdutf8::basic::from_utf8(payload).map_err(|_| Error::Utf8)?),
            OpCode::Binary | OpCode::Continuation => Event::Binary(payload),
            control => control_event(control, payload)?,
        };
        Ok((used, Some(event)))
    }

    /// Bytes of a frame or message that has begun and is not complete, headers included: 0 between messages.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| partial.unfinished())
    }

    /// Takes what does not lie whole in one input.
    fn gather<'a>(&'a mut self, input: &mut [u8]) -> Result<(usize, Option<Event<'a>>), Error> {
        if input.is_empty() {
            return Ok((0, None));
        }
        let (role, deflate) = (self.role, self.deflate.is_some());
        let partial = self.partial.get_or_insert_default();
        let mut used = 0;
        loop {
            let (read, frame) = partial.head(&input[used..], |bytes| Head::read(bytes, role, deflate), &self.limits)?;
            used += read;
            let Some((head, taken)) = frame else { return Ok((used, None)) };
            let left = usize::try_from(head.len).map_err(|_| Error::TooLong)? - taken;
            let end = used + left.min(input.len() - used);
            let payload = &mut input[used..end];
            if let Some(key) = head.key {
                mask::apply(payload, mask::rotated(key, taken));
            }
            used = end;
            if let Some(op) = partial.take(payload, &self.limits)? {
                return Ok((used, Some(gathered(op, partial)?)));
            }
            if used == input.len() {
                return Ok((used, None));
            }
        }
    }
}

/// The event of what is whole in `partial`.
fn gathered(op: OpCode, partial: &Partial) -> Result<Event<'_>, Error> {
    Ok(match op {
        OpCode::Text => Event::Text(partial.text()?),
        OpCode::Binary | OpCode::Continuation => Event::Binary(partial.bytes()),
        control => control_event(control, partial.control())?,
    })
}

fn control_event(op: OpCode, payload: &[u8]) -> Result<Event<'_>, Error> {
    match op {
        OpCode::Ping => Ok(Event::Ping(payload)),
        OpCode::Pong => Ok(Event::Pong(payload)),
        _ => close(payload),
    }
}

fn close(payload: &[u8]) -> Result<Event<'_>, Error> {
    if payload.is_empty() {
        return Ok(Event::Close(None));
    }
    let (code, reason) = payload.split_first_chunk().ok_or(Error::Close)?;
    let code = u16::from_be_bytes(*code);
    // RFC 6455 7.4 and the registry of IANA: 1004 to 1006 and 1015 are never sent, the rest below 3000 is not given out.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Error::Close);
    }
    let reason = std::str::from_utf8(reason).map_err(|_| Error::Utf8)?;
    Ok(Event::Close(Some((code, reason))))
}
