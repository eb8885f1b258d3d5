//! Resume tokens (`stream_id` on the wire).
//!
//! `<incarnation>.<fingerprint>.<position>`, an `s` behind it where the batch was the subscriber's own (a snapshot or a
//! conflated batch, which is kept nowhere), and `~k` on the k-th frame of a batch where it is not the last. A client
//! sees an opaque string.

use std::fmt;
use std::str::FromStr;

use crate::{BatchKind, Position};

/// Where a subscriber is in the life of a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token {
    /// Of the store, as far as continuity goes: another one after each start.
    pub incarnation: u64,
    /// Of the view: [`crate::Query::fingerprint`].
    pub fingerprint: u64,
    /// Of the batch.
    pub position: Position,
    /// Whether the batch can be found again.
    pub kind: BatchKind,
    /// Frames of the batch that were applied; `None` means all of them.
    pub frame: Option<u32>,
}

/// A string that is no token. Answered with a `reset`, never with an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a resume token")]
pub struct TokenError;

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{:x}.{}", self.incarnation, self.fingerprint, self.position)?;
        if self.kind == BatchKind::Own {
            f.write_str("s")?;
        }
        match self.frame {
            Some(frame) => write!(f, "~{frame}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let mut parts = text.splitn(3, '.');
        let mut hex = || u64::from_str_radix(parts.next()?, 16).ok();
        let (incarnation, fingerprint) = hex().zip(hex()).ok_or(TokenError)?;
        let rest = parts.next().ok_or(TokenError)?;
        let (rest, frame) = match rest.split_once('~') {
            Some((rest, frame)) => (rest, Some(frame.parse().map_err(|_| TokenError)?)),
            None => (rest, None),
        };
        let (position, kind) = match rest.strip_suffix('s') {
            Some(position) => (position, BatchKind::Own),
            None => (rest, BatchKind::Logged),
        };
        let position = position.parse().map_err(|_| TokenError)?;
        Ok(Self { incarnation, fingerprint, position, kind, frame })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_token_reads_back(incarnation: u64, fingerprint: u64, position: u64, own: bool, frame: Option<u32>) {
            let kind = if own { BatchKind::Own } else { BatchKind::Logged };
            let token = Token { incarnation, fingerprint, position: Position(position), kind, frame };
            prop_assert_eq!(token.to_string().parse(), Ok(token));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = text.parse::<Token>();
        }
    }
}
