//! What a stream's client says on other requests, under the bounds that a WebSocket has: what comes too fast is refused, and
//! nothing waits.

use std::fmt;
use std::rc::Rc;

use axum::http::StatusCode;
use tidegate_session::CloseReason;
use tokio::time::Instant;

use super::Stream;
use crate::ApiError;
use crate::format::Format;
use crate::metrics::{Paused, count};
use crate::rate::Bucket;
use crate::register::Register;
use crate::socket::READ_BYTES;

/// Where a stream's client is heard. One half of it others know too, as the connection's name; the other half knows only whom
/// the stream has told.
#[derive(Clone, Copy)]
pub(crate) struct Letterbox {
    /// Of the connection.
    pub(crate) number: u128,
    key: u128,
}

/// A stream's side of its letterbox.
pub(super) struct Inlet {
    letterbox: Letterbox,
    messages: Bucket,
    bytes: Option<Bucket>,
    /// Nothing is taken until then.
    open_at: Option<Instant>,
}

impl Letterbox {
    /// For the connection of this number.
    pub(crate) fn new(number: u128) -> Self {
        Self { number, key: rand::random() }
    }

    /// As the client has it.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_one = text.len() == 64 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        let (number, key) = text.split_at_checked(32).filter(|_| is_one)?;
        let part = |digits| u128::from_str_radix(digits, 16).ok();
        Some(Self { number: part(number)?, key: part(key)? })
    }

    /// Takes the same time wherever they differ.
    fn is(&self, other: &Self) -> bool {
        std::hint::black_box((self.number ^ other.number) | (self.key ^ other.key)) == 0
    }
}

impl fmt::Display for Letterbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}{:032x}", self.number, self.key)
    }
}

/// There is no stream of that letterbox, or not any more.
pub(crate) fn unknown() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "unknown_session", "there is no such session; connect again")
}

fn too_fast(open_at: Option<Instant>, now: Instant) -> ApiError {
    let left = open_at.map_or(0, |at| at.saturating_duration_since(now).as_secs());
    let message = "messages come faster than they are taken; send fewer, and read what is answered";
    let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too_many_messages", message);
    ApiError { retry_after: Some(left + 1), ..error }
}

impl Stream {
    /// From now on the client is heard here.
    pub(super) fn listen(&mut self, letterbox: Letterbox, now: Instant) {
        let config = self.admitted.edge.config();
        let messages = config.messages_per_second;
        let bytes = u32::try_from(config.bytes_per_second).unwrap_or(u32::MAX);
        self.inlet = Some(Box::new(Inlet {
            letterbox,
            messages: Bucket::new(messages, messages.saturating_mul(2), now),
            bytes: (bytes > 0).then(|| Bucket::new(bytes, bytes.max(READ_BYTES as u32), now)),
            open_at: None,
        }));
    }

    /// Takes a message that came on another request, if the sender knows the letterbox and does not send too fast.
    pub(crate) fn hear(
        &mut self,
        to: &Letterbox,
        message: &[u8],
        register: &Rc<Register>,
        now: Instant,
    ) -> Result<(), ApiError> {
        let inlet = self.inlet.as_deref_mut().filter(|inlet| inlet.letterbox.is(to)).ok_or_else(unknown)?;
        inlet.open_at = inlet.open_at.filter(|at| *at > now);
        if inlet.open_at.is_some() || self.passing.is_some() || self.session.is_reply_full() {
            return Err(too_fast(inlet.open_at, now));
        }
        // The message is taken all the same; the next one is not.
        let edge = &self.admitted.edge;
        let size = u32::try_from(message.len()).unwrap_or(u32::MAX);
        let limits = [
            (inlet.messages.charge(1, now), Paused::Messages),
            (inlet.bytes.as_mut().and_then(|bucket| bucket.charge(size, now)), Paused::Bytes),
            (self.admitted.grip().and_then(|grip| grip.charge(now)), Paused::Quota),
        ];
        for (until, reason) in limits {
            if until.is_some() {
                inlet.open_at = inlet.open_at.max(until);
                edge.metrics().pause(reason);
            }
        }
        self.say(message, register, now)
    }

    /// Hands a message of the client's to the protocol.
    pub(super) fn say(&mut self, message: &[u8], register: &Rc<Register>, now: Instant) -> Result<(), ApiError> {
        let edge = self.admitted.edge.clone();
        let said = match self.format {
            Format::Delimited => {
                count(&edge.metrics().binary);
                self.protocol.binary(&mut self.session, message, now)
            }
            _ => {
                let text = std::str::from_utf8(message).map_err(|_| ApiError::malformed("a message must be UTF-8"))?;
                count(&edge.metrics().messages_in);
                self.protocol.text(&mut self.session, text, now)
            }
        };
        match said {
            Ok(()) => {
                let (held, register) = (self.admitted.grip().cloned(), register.clone());
                self.passing = self.protocol.ask().map(|ask| ask.begin(edge, register, held));
            }
            Err(reason) => self.turn_out(reason, now),
        }
        Ok(())
    }

    /// Takes what the client said with the request that opens the stream.
    pub(super) fn open_with(&mut self, message: &[u8], register: &Rc<Register>, now: Instant) {
        if self.say(message, register, now).is_err() {
            self.turn_out(CloseReason::InvalidText, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letterbox_is_found_by_both_halves_and_nothing_less() {
        let letterbox = Letterbox::new(7 << 100);
        let text = letterbox.to_string();
        assert!(Letterbox::parse(&text).unwrap().is(&letterbox));
        assert!(!Letterbox::new(letterbox.number).is(&letterbox), "the name alone");
        assert!(!Letterbox { number: 8, ..letterbox }.is(&letterbox));
        let signed = format!("+{}", &text[1..]);
        for bad in ["", "c_", &text[1..], &format!("{text}0"), &signed, &"é".repeat(32)] {
            assert!(Letterbox::parse(bad).is_none(), "{bad}");
        }
    }
}
