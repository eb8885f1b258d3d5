//! The numbers that clients act on, as far as this server says them: errors of a reply, ends of a subscription, ends of a
//! connection.

use super::wire;

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident: $($(#[$of:meta])* $variant:ident = $code:literal $text:literal,)*) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u16)]
        pub(crate) enum $name {
            $($(#[$of])* $variant = $code,)*
        }

        impl $name {
            /// All there are, in order.
            #[cfg(test)]
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)*];

            /// As the wire has it.
            pub(crate) const fn code(self) -> u16 {
                self as u16
            }

            /// For people and logs.
            pub(crate) const fn text(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }
        }
    };
}

codes! {
    /// Why a command failed.
    ErrorCode:
    Internal = 100 "internal server error",
    Unauthorized = 101 "unauthorized",
    UnknownChannel = 102 "unknown channel",
    PermissionDenied = 103 "permission denied",
    MethodNotFound = 104 "method not found",
    AlreadySubscribed = 105 "already subscribed",
    LimitExceeded = 106 "limit exceeded",
    BadRequest = 107 "bad request",
    NotAvailable = 108 "not available",
    /// The client gets itself another token.
    TokenExpired = 109 "token expired",
    TooManyRequests = 111 "too many requests",
    UnrecoverablePosition = 112 "unrecoverable position",
}

impl ErrorCode {
    /// Whether the same may succeed later: the client tries again.
    pub(crate) const fn temporary(self) -> bool {
        matches!(self, Self::Internal | Self::TooManyRequests)
    }

    /// As the wire has it.
    pub(crate) fn error(self) -> wire::Error {
        wire::Error { code: self.code().into(), message: self.text().to_owned(), temporary: self.temporary() }
    }

    /// The reply to a command.
    pub(crate) fn reply(self, id: u32) -> wire::Reply {
        wire::Reply { id, error: Some(self.error()), ..wire::Reply::default() }
    }
}

codes! {
    /// Why a subscription ended. From 2500 on the client subscribes again.
    Unsubscribed:
    Server = 2000 "server unsubscribe",
    Insufficient = 2500 "insufficient state",
    Expired = 2501 "subscription expired",
}

impl Unsubscribed {
    /// The push that says it.
    pub(crate) fn push(self, channel: impl Into<String>) -> wire::Push {
        let unsubscribe = wire::Unsubscribe { code: self.code().into(), reason: self.text().to_owned() };
        wire::Push { channel: channel.into(), unsubscribe: Some(unsubscribe), ..wire::Push::default() }
    }
}

codes! {
    /// Why a connection ended: a close code of WebSocket; elsewhere a push says it.
    Disconnected:
    Closed = 3000 "connection closed",
    Shutdown = 3001 "shutdown",
    ServerError = 3004 "internal server error",
    Expired = 3005 "connection expired",
    Slow = 3008 "slow",
    WriteError = 3009 "write error",
    InsufficientState = 3010 "insufficient state",
    ForceReconnect = 3011 "force reconnect",
    NoPong = 3012 "no pong",
    TooManyRequests = 3013 "too many requests",
    InvalidToken = 3500 "invalid token",
    BadRequest = 3501 "bad request",
    Stale = 3502 "stale",
    ForceDisconnect = 3503 "force disconnect",
    InappropriateProtocol = 3506 "inappropriate protocol",
    PermissionDenied = 3507 "permission denied",
}

/// Whether clients connect again after a close with this code, an application's own included. Those that they do not
/// know, such as 1006, are a lost connection.
pub(crate) const fn reconnects(code: u16) -> bool {
    !matches!(code, 3500..=3999 | 4500..=4999)
}

/// The push that says an end with any code.
pub(crate) fn disconnect(code: u16, reason: &str) -> wire::Push {
    let disconnect = wire::Disconnect { code: code.into(), reason: reason.to_owned(), reconnect: reconnects(code) };
    wire::Push { disconnect: Some(disconnect), ..wire::Push::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_do_about_each_code() {
        let errors: Vec<u16> = ErrorCode::ALL.iter().map(|code| code.code()).collect();
        assert_eq!(errors, [100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 111, 112]);
        let temporary: Vec<u16> =
            ErrorCode::ALL.iter().filter(|code| code.temporary()).map(|code| code.code()).collect();
        assert_eq!(temporary, [100, 111]);

        let ends: Vec<u16> = Unsubscribed::ALL.iter().map(|code| code.code()).collect();
        assert_eq!(ends, [2000, 2500, 2501]);

        let (again, final_ones): (Vec<_>, Vec<_>) = Disconnected::ALL.iter().partition(|code| reconnects(code.code()));
        let codes = |of: Vec<Disconnected>| of.into_iter().map(Disconnected::code).collect::<Vec<_>>();
        assert_eq!(codes(again), [3000, 3001, 3004, 3005, 3008, 3009, 3010, 3011, 3012, 3013]);
        assert_eq!(codes(final_ones), [3500, 3501, 3502, 3503, 3506, 3507]);

        assert!([1006, 3499, 4000, 4499].map(reconnects).into_iter().all(|again| again));
        assert!(![3500, 3999, 4500, 4999].map(reconnects).into_iter().any(|again| again));
    }
}
