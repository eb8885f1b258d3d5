//! Why a command is refused: what rooms and the authority say, in the protocol's numbers.

use axum::http::StatusCode;
use tidegate_identity::{ClientTokenError, Refusal};
use tidegate_session::SubscribeError;
use tidegate_topics::TopicError;

use super::codes::ErrorCode;
use super::wire::Reply;
use crate::ApiError;

/// A no to one command, of a client or of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub(super) code: ErrorCode,
    /// For people, where there is more to say than the code does.
    message: Option<String>,
}

impl Fault {
    /// 107: the request cannot be meant like this.
    pub fn bad(message: impl Into<String>) -> Self {
        Self { code: ErrorCode::BadRequest, message: Some(message.into()) }
    }

    /// 106: more than may be.
    pub fn limit(message: impl Into<String>) -> Self {
        Self { code: ErrorCode::LimitExceeded, message: Some(message.into()) }
    }

    /// 108: what there is in that protocol, but not here.
    #[must_use]
    pub fn not_available(what: &str) -> Self {
        let code = ErrorCode::NotAvailable;
        Self { code, message: Some(format!("{}: {what}", code.text())) }
    }

    /// 104: no such command.
    #[must_use]
    pub fn unknown_method() -> Self {
        ErrorCode::MethodNotFound.into()
    }

    /// What programs act on.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.code.code()
    }

    /// For people.
    #[must_use]
    pub fn message(&self) -> &str {
        self.message.as_deref().unwrap_or(self.code.text())
    }

    pub(super) fn reply(self, id: u32) -> Reply {
        let mut reply = self.code.reply(id);
        if let (Some(error), Some(message)) = (&mut reply.error, self.message) {
            error.message = message;
        }
        reply
    }
}

impl From<ErrorCode> for Fault {
    fn from(code: ErrorCode) -> Self {
        Self { code, message: None }
    }
}

impl From<ApiError> for Fault {
    fn from(error: ApiError) -> Self {
        let code = match (error.code, error.status) {
            ("unrecoverable_position", _) => ErrorCode::UnrecoverablePosition,
            ("too_many_subscriptions" | "user_subscriptions" | "tenant_subscriptions" | "too_large", _) => {
                ErrorCode::LimitExceeded
            }
            (_, StatusCode::UNAUTHORIZED) => ErrorCode::Unauthorized,
            (_, StatusCode::FORBIDDEN) => ErrorCode::PermissionDenied,
            (_, StatusCode::NOT_FOUND) => ErrorCode::UnknownChannel,
            (_, StatusCode::CONFLICT) => ErrorCode::NotAvailable,
            (_, StatusCode::TOO_MANY_REQUESTS) => ErrorCode::TooManyRequests,
            _ if error.retryable => ErrorCode::Internal,
            _ => ErrorCode::BadRequest,
        };
        let message = match error.path {
            Some(path) => format!("{path}: {}", error.message),
            None => error.message,
        };
        Self { code, message: Some(message) }
    }
}

impl From<TopicError> for Fault {
    fn from(error: TopicError) -> Self {
        ApiError::from(error).into()
    }
}

impl From<SubscribeError> for Fault {
    fn from(error: SubscribeError) -> Self {
        ApiError::from(error).into()
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        ApiError::from(refusal).into()
    }
}

impl From<ClientTokenError> for Fault {
    fn from(error: ClientTokenError) -> Self {
        match error {
            ClientTokenError::Expired => ErrorCode::TokenExpired.into(),
            ClientTokenError::Foreign | ClientTokenError::Claims => ErrorCode::PermissionDenied.into(),
        }
    }
}
