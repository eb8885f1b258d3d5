//! Why connections end: this protocol's words and the gateway's.

use tidegate_session::CloseReason;

use super::codes::Disconnected;

/// What the log and the metrics call it.
pub(super) fn reason(with: Disconnected) -> CloseReason {
    match with {
        Disconnected::Closed => CloseReason::Normal,
        Disconnected::Shutdown => CloseReason::GoingAway,
        Disconnected::Expired => CloseReason::Expired,
        Disconnected::Slow => CloseReason::SlowClient,
        Disconnected::WriteError => CloseReason::WriteTimeout,
        Disconnected::InsufficientState => CloseReason::Ended,
        Disconnected::NoPong => CloseReason::IdleTimeout,
        Disconnected::ServerError | Disconnected::ForceReconnect => CloseReason::Overloaded,
        Disconnected::InvalidToken => CloseReason::Unauthenticated,
        Disconnected::BadRequest => CloseReason::Protocol,
        Disconnected::Stale => CloseReason::FirstMessage,
        Disconnected::ForceDisconnect => CloseReason::Dismissed,
        Disconnected::TooManyRequests | Disconnected::InappropriateProtocol | Disconnected::PermissionDenied => {
            CloseReason::Refused
        }
    }
}

/// What the protocol calls a close that others decided on; `None` where it is WebSocket's own.
pub(super) fn farewell(reason: CloseReason) -> Option<Disconnected> {
    Some(match reason {
        CloseReason::Normal | CloseReason::Gone | CloseReason::TooSlow => Disconnected::Closed,
        CloseReason::GoingAway => Disconnected::Shutdown,
        CloseReason::FirstMessage => Disconnected::Stale,
        CloseReason::Unauthenticated => Disconnected::InvalidToken,
        CloseReason::Refused => Disconnected::PermissionDenied,
        CloseReason::SlowClient => Disconnected::Slow,
        CloseReason::WriteTimeout => Disconnected::WriteError,
        CloseReason::IdleTimeout => Disconnected::NoPong,
        CloseReason::Ended => Disconnected::InsufficientState,
        CloseReason::Overloaded => Disconnected::ForceReconnect,
        CloseReason::Unverified => Disconnected::ServerError,
        CloseReason::Expired => Disconnected::Expired,
        CloseReason::Revoked | CloseReason::Dismissed | CloseReason::Fenced => Disconnected::ForceDisconnect,
        CloseReason::Protocol | CloseReason::InvalidText | CloseReason::TooBig => return None,
    })
}
