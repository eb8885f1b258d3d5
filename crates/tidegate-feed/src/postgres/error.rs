//! What goes wrong with a PostgreSQL source, and whether asking again soon may help.

use std::error::Error as _;

use pgwire_replication::PgWireError;

/// What kind of failure it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceErrorKind {
    /// A setting or the connection string is wrong.
    Settings,
    /// No connection could be made, or it broke.
    Unreachable,
    /// No TLS session: a wrong certificate, host name or root, or a server without TLS.
    Tls,
    /// The server answered with an error; the SQLSTATE says which.
    Server,
    /// Authentication failed for another reason than the server's word.
    Authentication,
    /// Not done in the time set for it.
    TimedOut,
    /// The server has said nothing for longer than the stall timeout.
    Stalled,
    /// A message or a row is larger than `max_message_bytes`.
    TooLarge,
    /// Bytes that the protocol does not allow.
    Protocol,
    /// A value or a table does not fit what is expected of it.
    Incompatible,
    /// Stopped on purpose: whoever took the rows is gone.
    Stopped,
}

/// A failure of a PostgreSQL source. Its text carries the server's message and SQLSTATE, never a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    kind: SourceErrorKind,
    message: String,
    sqlstate: Option<String>,
}

impl SourceError {
    /// A failure that says `message`, which must hold no secret.
    #[must_use]
    pub fn new(kind: SourceErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), sqlstate: None }
    }

    /// A server's error as it came in text: the message, its code.
    #[must_use]
    pub fn server(sqlstate: &str, message: &str) -> Self {
        Self {
            kind: SourceErrorKind::Server,
            message: format!("the server says: {message} (SQLSTATE {sqlstate})"),
            sqlstate: Some(sqlstate.to_owned()),
        }
    }

    /// What kind of failure it was.
    #[must_use]
    pub fn kind(&self) -> SourceErrorKind {
        self.kind
    }

    /// The server's five-character code, where the server answered.
    #[must_use]
    pub fn sqlstate(&self) -> Option<&str> {
        self.sqlstate.as_deref()
    }

    /// Whether it may well pass by itself, so that asking again soon makes sense. All others last until somebody mends
    /// them: they are tried again too, but slowly.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        use SourceErrorKind as Kind;
        match self.kind {
            Kind::Unreachable | Kind::TimedOut | Kind::Stalled => true,
            Kind::Server => self.sqlstate.as_deref().is_some_and(passes),
            Kind::Settings
            | Kind::Tls
            | Kind::Authentication
            | Kind::TooLarge
            | Kind::Protocol
            | Kind::Incompatible
            | Kind::Stopped => false,
        }
    }

    /// The same failure, with what was being done when it happened in front.
    #[must_use]
    pub fn during(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }
}

/// Server errors that pass by themselves.
fn passes(sqlstate: &str) -> bool {
    match sqlstate {
        // The database is gone for good; the other ends of sessions (shutdown, crash, restart) pass.
        "57P04" => false,
        // A session ended by the operator, a cancelled query, a slot or object in use, a lock not had.
        "57014" | "55006" | "55P03" => true,
        // Connections, resources (too many of them, too little memory), conflicts between transactions, the server's
        // own system calls, its internal errors; the ends of sessions.
        _ => ["08", "53", "40", "58", "XX", "57P"].iter().any(|class| sqlstate.starts_with(class)),
    }
}

impl From<tokio_postgres::Error> for SourceError {
    fn from(error: tokio_postgres::Error) -> Self {
        use SourceErrorKind as Kind;
        if let Some(server) = error.as_db_error() {
            let hint = server.hint().map(|hint| format!("; hint: {hint}")).unwrap_or_default();
            return Self::server(server.code().code(), &format!("{}{hint}", server.message()));
        }
        if error.is_closed() {
            return Self::new(Kind::Unreachable, "the server closed the connection");
        }
        // Whatever the wording: what is underneath decides.
        let mut source = error.source();
        let mut io = None;
        while let Some(cause) = source {
            if cause.is::<rustls::Error>() {
                return Self::new(Kind::Tls, format!("no TLS session: {cause}"));
            }
            if let Some(found) = cause.downcast_ref::<std::io::Error>() {
                io = Some(found);
                // An I/O error hides what it wraps from `source`.
                if let Some(inner) = found.get_ref().filter(|inner| inner.is::<rustls::Error>()) {
                    return Self::new(Kind::Tls, format!("no TLS session: {inner}"));
                }
            }
            source = cause.source();
        }
        let cause = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        let text = format!("{error}{cause}");
        match io {
            Some(io) if io.kind() == std::io::ErrorKind::TimedOut => Self::new(Kind::TimedOut, format!("{text}: {io}")),
            Some(io) => Self::new(Kind::Unreachable, format!("the connection failed: {io}")),
            None if text.contains("TLS") => Self::new(Kind::Tls, format!("no TLS session{cause}")),
            None if text.contains("authentication") || text.contains("password") => {
                Self::new(Kind::Authentication, text)
            }
            None if text.contains("timeout") => Self::new(Kind::TimedOut, text),
            None if text.contains("connecting") => Self::new(Kind::Unreachable, text),
            None => Self::new(Kind::Protocol, text),
        }
    }
}

impl From<PgWireError> for SourceError {
    fn from(error: PgWireError) -> Self {
        use SourceErrorKind as Kind;
        match error {
            PgWireError::Io(io) => Self::new(Kind::Unreachable, format!("the connection failed: {io}")),
            // The library hands the code on only within the text.
            PgWireError::Server(text) => match text.rsplit_once("(SQLSTATE ") {
                Some((message, code)) => match code.get(..5) {
                    Some(state) if state.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                        let rest = code[5..].trim_start_matches(')');
                        Self::server(state, &format!("{}{rest}", message.trim_end()))
                    }
                    _ => Self::new(Kind::Server, text),
                },
                None => Self::new(Kind::Server, text),
            },
            PgWireError::Auth(text) => Self::new(Kind::Authentication, format!("authentication failed: {text}")),
            PgWireError::Tls(text) => Self::new(Kind::Tls, format!("no TLS session: {text}")),
            PgWireError::MessageTooLarge { payload_bytes, limit_bytes } => Self::new(
                Kind::TooLarge,
                format!("a message of {payload_bytes} bytes is larger than max_message_bytes ({limit_bytes})"),
            ),
            PgWireError::Task(text) => Self::new(Kind::Unreachable, format!("the replication session ended: {text}")),
            other => Self::new(Kind::Protocol, other.to_string()),
        }
    }
}
