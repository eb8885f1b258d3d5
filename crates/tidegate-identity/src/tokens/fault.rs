//! Why a token is refused.

use crate::Refusal;

/// Why a token is refused, in the client's words. They name claims, never what a token says. The order is how near a
/// token came: where several keys were tried, the last of these is told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(super) enum Fault {
    #[error("the token is longer than is accepted here")]
    TooLong,
    #[error("the token is malformed")]
    Malformed,
    #[error("the token needs an extension (crit) that is not known here")]
    Critical,
    #[error("the token is of another kind than those that give access (typ)")]
    Kind,
    #[error("the token's algorithm is not accepted here")]
    Algorithm,
    #[error("the token's key (kid) is not known here")]
    Key,
    #[error("the token's signature is not valid")]
    Signature,
    #[error("the key of the token can't be fetched now")]
    Unavailable,
    #[error("the token is another issuer's than its key")]
    Issuer,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token has no {0:?}")]
    Missing(Box<str>),
    #[error("the token's {0:?} is not of the right kind or size")]
    Claim(Box<str>),
    #[error("the token was issued in the future")]
    Future,
    #[error("the token is not valid yet")]
    TooEarly,
    #[error("{EXPIRED}")]
    Expired,
}

/// Of a token whose time is over, in the words that the client gets.
const EXPIRED: &str = "the token has expired";

impl Refusal {
    /// Whether nothing is wrong with the token but its age: whoever has a fresh one may come back with it.
    #[must_use]
    pub fn is_of_an_expired_token(&self) -> bool {
        self.message == EXPIRED
    }
}

impl Fault {
    /// Whether a key that is not held may still make the token valid.
    pub(super) fn is_open(&self) -> bool {
        matches!(self, Self::Key | Self::Signature)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Unavailable => Self::unavailable(fault.to_string()),
            _ => Self::unauthenticated(fault.to_string()),
        }
    }
}
