//! Why a session closed: one list for the wire, the metrics and the log.

/// Why a session closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The client asked for it.
    Normal,
    /// The client left, or the network did.
    Gone,
    /// This process is stopping; connect again, there or elsewhere.
    GoingAway,
    /// The client broke the WebSocket protocol.
    Protocol,
    /// A text message that is no UTF-8.
    InvalidText,
    /// The first message was not the one the endpoint needs.
    FirstMessage,
    /// No or bad credentials.
    Unauthenticated,
    /// The client may not do what the connection is for.
    Refused,
    /// A message was longer than allowed.
    TooBig,
    /// The client could not take even a snapshot.
    SlowClient,
    /// The client took no byte for `write_timeout`.
    WriteTimeout,
    /// The client sent nothing for `idle_timeout`.
    IdleTimeout,
    /// The client began a message and did not complete it in time.
    TooSlow,
    /// The subscription that the connection is for ended; connecting again may work.
    Ended,
    /// The gateway has more to do than it takes; connect again later.
    Overloaded,
    /// The device session, the user or the tenant was revoked; coming back is of no use.
    Revoked,
    /// The identity has ended; come back with a fresh token.
    Expired,
    /// Whether the session still stands could not be found out; come back later.
    Unverified,
    /// A server of the application's ended the connection.
    Dismissed,
    /// Another connection goes on with its durable session; two that took turns would only disturb each other.
    Fenced,
}

impl CloseReason {
    /// All of them: the index of each is `reason as usize`.
    pub const ALL: [Self; 20] = [
        Self::Normal,
        Self::Gone,
        Self::GoingAway,
        Self::Protocol,
        Self::InvalidText,
        Self::FirstMessage,
        Self::Unauthenticated,
        Self::Refused,
        Self::TooBig,
        Self::SlowClient,
        Self::WriteTimeout,
        Self::IdleTimeout,
        Self::TooSlow,
        Self::Ended,
        Self::Overloaded,
        Self::Revoked,
        Self::Expired,
        Self::Unverified,
        Self::Dismissed,
        Self::Fenced,
    ];

    /// The metric label, the log field and the text of the WebSocket close frame.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Gone => "gone",
            Self::GoingAway => "going_away",
            Self::Protocol => "protocol",
            Self::InvalidText => "invalid_text",
            Self::FirstMessage => "first_message",
            Self::Unauthenticated => "unauthenticated",
            Self::Refused => "refused",
            Self::TooBig => "too_big",
            Self::SlowClient => "slow_client",
            Self::WriteTimeout => "write_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::TooSlow => "too_slow",
            Self::Ended => "ended",
            Self::Overloaded => "overloaded",
            Self::Revoked => "revoked",
            Self::Expired => "expired",
            Self::Unverified => "unverified",
            Self::Dismissed => "dismissed",
            Self::Fenced => "fenced",
        }
    }

    /// The WebSocket close code.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Normal | Self::Gone => 1000,
            Self::GoingAway | Self::IdleTimeout => 1001,
            Self::Protocol => 1002,
            Self::InvalidText => 1007,
            // To clients 1008 means that coming back is of no use; a slow one is to come back.
            Self::FirstMessage
            | Self::Unauthenticated
            | Self::Refused
            | Self::Revoked
            | Self::Expired
            | Self::Dismissed
            | Self::Fenced => 1008,
            Self::TooBig => 1009,
            Self::SlowClient
            | Self::WriteTimeout
            | Self::TooSlow
            | Self::Ended
            | Self::Overloaded
            | Self::Unverified => 1013,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_index_the_list_of_all() {
        for (index, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }
}
