//! The text encoding: a message is lines, a line is an object.

use serde::Serialize;
use serde_json::value::RawValue;

use super::wire::{Command, ConnectRequest, EmulationRequest, Malformed, NotJson, Received, Request};

/// A ping.
pub(crate) const PING: &[u8] = b"{}";

/// The commands of a message, one by one: see [`commands`].
#[derive(Debug)]
pub(crate) struct Commands<'a> {
    rest: &'a str,
    max: usize,
    left: usize,
}

/// The commands of a message, decoded as they are asked for. Blank lines are none. Ends with the first error, which is
/// [`Malformed::TooMany`] past `max`.
pub(crate) fn commands(text: &str, max: usize) -> Commands<'_> {
    Commands { rest: text, max, left: max }
}

impl Iterator for Commands<'_> {
    type Item = Result<Received, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        self.rest = self.rest.trim_ascii_start();
        if self.rest.is_empty() {
            return None;
        }
        let (line, rest) = self.rest.split_once('\n').unwrap_or((self.rest, ""));
        self.rest = rest;
        let received = if self.left == 0 { Err(Malformed::TooMany(self.max)) } else { decode(line.trim_ascii_end()) };
        self.left = self.left.saturating_sub(1);
        if received.is_err() {
            self.rest = "";
        }
        Some(received)
    }
}

fn decode(line: &str) -> Result<Received, Malformed> {
    if line == "{}" {
        return Ok(Received::Pong);
    }
    // A struct would also be read from an array.
    if !line.starts_with('{') {
        return Err(Malformed::Json);
    }
    serde_json::from_str::<Command>(line).map_err(|_| Malformed::Json)?.received()
}

/// The one message of a client that is only told: a connect without its envelope.
pub(crate) fn connect(text: &str) -> Result<Received, Malformed> {
    let text = text.trim_ascii();
    if !text.starts_with('{') {
        return Err(Malformed::Json);
    }
    let connect: ConnectRequest = serde_json::from_str(text).map_err(|_| Malformed::Json)?;
    Ok(Received::Request(0, Box::new(Request::Connect(connect))))
}

/// What a client posts beside its stream; its data is the text of its commands.
pub(crate) fn emulation(text: &str) -> Result<EmulationRequest, Malformed> {
    let mut request: EmulationRequest = serde_json::from_str(text).map_err(|_| Malformed::Json)?;
    let data: String = serde_json::from_slice(&request.data).map_err(|_| Malformed::Json)?;
    request.data = data.into();
    Ok(request)
}

/// A reply, or a push by itself as unidirectional transports have it: one line without its end.
pub(crate) fn encode(message: &impl Serialize) -> Result<Vec<u8>, NotJson> {
    // Nothing else can fail: keys are text, numbers are integers.
    serde_json::to_vec(message).map_err(|_| NotJson)
}

/// Whether bytes are one JSON value in UTF-8.
pub(crate) fn is_json(bytes: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(bytes).is_ok()
}
