//! Errors as clients get them: one shape for HTTP, and its parts for the WebSocket protocols.

use axum::extract::rejection::QueryRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tidegate_identity::Refusal;
use tidegate_live::EndReason;
use tidegate_model::{QueryError, json};
use tidegate_session::SubscribeError;
use tidegate_topics::TopicError;

/// An error as clients get it: `{"error":{"code","message","path"?,"retryable"}}` with a fitting status.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ApiError {
    /// The HTTP status.
    pub status: StatusCode,
    /// For programs.
    pub code: &'static str,
    /// The application's own code, which clients get instead.
    pub own_code: Option<Box<str>>,
    /// For people; says what must hold.
    pub message: String,
    /// Where in the request.
    pub path: Option<String>,
    /// Whether the same may succeed later.
    pub retryable: bool,
    /// Seconds for a `Retry-After` header.
    pub retry_after: Option<u64>,
}

impl ApiError {
    /// An error without a path; retryable where the status says so (408, 429 and 5xx but for 501).
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let retryable = matches!(status.as_u16(), 408 | 429 | 500 | 502..=599);
        Self { status, code, own_code: None, message: message.into(), path: None, retryable, retry_after: None }
    }

    /// What the application says no with: a code of its own, for clients of protocols with codes in words.
    #[must_use]
    pub fn of_application(code: &str, message: impl Into<String>, retryable: bool) -> Self {
        let own_code = Some(code.into());
        Self { own_code, retryable, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "application", message) }
    }

    /// The code that clients get.
    #[must_use]
    pub fn code(&self) -> &str {
        self.own_code.as_deref().unwrap_or(self.code)
    }

    /// Whether the message could not be understood, as against refused.
    pub(crate) fn is_malformed(&self) -> bool {
        matches!(self.code, "malformed" | "unknown_action" | "unknown_event")
    }

    /// What was sent could not be understood: `400 malformed`.
    #[must_use]
    pub fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", message)
    }

    /// The snapshot of a query is larger than any client may be sent.
    pub(crate) fn too_large(bytes: usize) -> Self {
        let message =
            format!("the snapshot has {bytes} bytes, more than a client may be sent; ask for fewer rows or columns");
        Self::new(StatusCode::BAD_REQUEST, "too_large", message)
    }

    /// Appends `"code":…,"message":…`, the parts that every protocol sends.
    pub(crate) fn write_parts(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"\"code\":");
        json::write_string(self.code(), out);
        out.extend_from_slice(b",\"message\":");
        match &self.path {
            // Protocols without a field for the path say it in the message.
            Some(path) => json::write_string(&format!("{path}: {}", self.message), out),
            None => json::write_string(&self.message, out),
        }
    }

    /// Appends `"code":…,"message":…,"retryable":…`.
    pub(crate) fn write_parts_retryable(&self, out: &mut Vec<u8>) {
        self.write_parts(out);
        out.extend_from_slice(if self.retryable { b",\"retryable\":true" } else { b",\"retryable\":false" });
    }

    fn body(&self) -> Vec<u8> {
        let mut out = b"{\"error\":{\"code\":".to_vec();
        json::write_string(self.code(), &mut out);
        out.extend_from_slice(b",\"message\":");
        json::write_string(&self.message, &mut out);
        if let Some(path) = &self.path {
            out.extend_from_slice(b",\"path\":");
            json::write_string(path, &mut out);
        }
        out.extend_from_slice(if self.retryable { b",\"retryable\":true}}" } else { b",\"retryable\":false}}" });
        out
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body()).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            // Who is to come back later does not keep the socket until then.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::FORBIDDEN);
        Self { retryable: refusal.retryable, ..Self::new(status, refusal.code, refusal.message) }
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        Self { path: Some(error.path), ..Self::new(StatusCode::BAD_REQUEST, "invalid_query", error.message) }
    }
}

impl From<QueryRejection> for ApiError {
    fn from(rejection: QueryRejection) -> Self {
        Self::malformed(rejection.body_text())
    }
}

impl From<SubscribeError> for ApiError {
    fn from(error: SubscribeError) -> Self {
        let (status, code) = match error {
            SubscribeError::TooMany(_) => (StatusCode::BAD_REQUEST, "too_many_subscriptions"),
            SubscribeError::Share("user", _) => (StatusCode::TOO_MANY_REQUESTS, "user_subscriptions"),
            SubscribeError::Share(..) => (StatusCode::TOO_MANY_REQUESTS, "tenant_subscriptions"),
            SubscribeError::Unknown => (StatusCode::NOT_FOUND, "unknown_subscription"),
            SubscribeError::Busy | SubscribeError::Closed => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<TopicError> for ApiError {
    fn from(error: TopicError) -> Self {
        let status = match error {
            TopicError::Name(_) | TopicError::Key(_) | TopicError::TooDeep(_) | TopicError::TooManyKeys(_) => {
                StatusCode::BAD_REQUEST
            }
            TopicError::TooLarge(_) | TopicError::TooMuch(_) => StatusCode::PAYLOAD_TOO_LARGE,
            TopicError::NotAvailable(_) | TopicError::Unrecoverable => StatusCode::CONFLICT,
            TopicError::UnknownClient => StatusCode::NOT_FOUND,
            TopicError::Full(_) | TopicError::Overloaded | TopicError::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.code(), error.to_string())
    }
}

impl From<&EndReason> for ApiError {
    fn from(reason: &EndReason) -> Self {
        let code = match reason {
            EndReason::StoreFailed => "store_failed",
            EndReason::TooManyViews => "overloaded",
            EndReason::Unavailable(_) => "unavailable",
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, reason.to_string())
    }
}
