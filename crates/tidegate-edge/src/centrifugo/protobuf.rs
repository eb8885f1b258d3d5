//! The binary encoding: messages of the schema, each behind its length.

use prost::Message;

use super::wire::{Command, EmulationRequest, Malformed, Received};

/// A ping.
pub(crate) const PING: &[u8] = &[0];

/// The commands of a message, one by one: see [`commands`].
#[derive(Debug)]
pub(crate) struct Commands<'a> {
    rest: &'a [u8],
    max: usize,
    left: usize,
}

/// The commands of a message, decoded as they are asked for. Ends with the first error, which is
/// [`Malformed::TooMany`] past `max`.
pub(crate) fn commands(bytes: &[u8], max: usize) -> Commands<'_> {
    Commands { rest: bytes, max, left: max }
}

impl Iterator for Commands<'_> {
    type Item = Result<Received, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let received = self.take();
        if received.is_err() {
            self.rest = &[];
        }
        Some(received)
    }
}

impl Commands<'_> {
    fn take(&mut self) -> Result<Received, Malformed> {
        self.left = self.left.checked_sub(1).ok_or(Malformed::TooMany(self.max))?;
        let length = prost::decode_length_delimiter(&mut self.rest).map_err(|_| Malformed::Cut)?;
        let (command, rest) = self.rest.split_at_checked(length).ok_or(Malformed::Cut)?;
        self.rest = rest;
        Command::decode(command).map_err(|_| Malformed::Protobuf)?.received()
    }
}

/// What a client posts beside its stream; its data is its commands as on a socket.
pub(crate) fn emulation(bytes: &[u8]) -> Result<EmulationRequest, Malformed> {
    EmulationRequest::decode(bytes).map_err(|_| Malformed::Protobuf)
}

/// A reply, or a push by itself as unidirectional transports have it, behind its length.
pub(crate) fn encode(message: &impl Message) -> Vec<u8> {
    message.encode_length_delimited_to_vec()
}
