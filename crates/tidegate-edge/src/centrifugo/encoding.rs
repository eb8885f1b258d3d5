//! The encodings of the same messages.

use super::push::Form;
use super::wire::{NotJson, Push, Reply};
use super::{json, protobuf};
use crate::out::Out;

/// How a client's messages are written and read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Text messages.
    Json,
    /// Binary ones.
    Protobuf,
    /// Text messages, each a push without its envelope: for who is only told and answered nothing.
    Bare,
}

impl Encoding {
    /// How publications are told in it.
    pub(super) fn form(self, is_delta: bool) -> Form {
        match (self, is_delta) {
            (Self::Json, false) => Form::Json,
            (Self::Json, true) => Form::JsonDelta,
            (Self::Protobuf, false) => Form::Protobuf,
            (Self::Protobuf, true) => Form::ProtobufDelta,
            (Self::Bare, _) => Form::Bare,
        }
    }

    /// Appends a message to others that travel with it.
    pub(super) fn append(self, reply: &Reply, batch: &mut Vec<u8>) -> Result<(), NotJson> {
        match self {
            Self::Json => add_line(&json::encode(reply)?, batch),
            Self::Bare => {
                // How a connect was answered is told unasked.
                let connected = || Push { connect: reply.connect.clone(), ..Push::default() };
                let push = reply.push.clone().unwrap_or_else(connected);
                if push != Push::default() {
                    add_line(&json::encode(&push)?, batch);
                }
            }
            Self::Protobuf => batch.extend_from_slice(&protobuf::encode(reply)),
        }
        Ok(())
    }

    pub(super) fn ping(self) -> &'static [u8] {
        match self {
            Self::Json | Self::Bare => json::PING,
            Self::Protobuf => protobuf::PING,
        }
    }

    /// Sends messages that are complete.
    pub(super) fn put(self, messages: &[u8], out: &mut Out) {
        match self {
            Self::Json | Self::Bare => out.text(messages),
            Self::Protobuf => out.binary(messages),
        }
    }
}

fn add_line(line: &[u8], batch: &mut Vec<u8>) {
    if !batch.is_empty() {
        batch.push(b'\n');
    }
    batch.extend_from_slice(line);
}
