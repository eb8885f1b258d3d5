//! Ordinary connections: for the catalog, for copies.

use std::future::Future;
use std::ops::Deref;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio_postgres::{Client, SimpleQueryMessage, SimpleQueryRow};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::{SourceError, SourceErrorKind};
use super::settings::{Endpoint, Settings, TlsMode};
use super::tls;

/// How a session must print values for them to be read here, as `name=value`; no value holds a space.
pub(super) const PINNED: [(&str, &str); 8] = [
    ("DateStyle", "ISO"),
    ("IntervalStyle", "iso_8601"),
    ("TimeZone", "UTC"),
    ("extra_float_digits", "3"),
    ("bytea_output", "hex"),
    // What an account or a database may have set for its impatient users.
    ("statement_timeout", "0"),
    // Policies made since the tables were looked at fail a copy, instead of hiding rows from it.
    ("row_security", "off"),
    ("idle_in_transaction_session_timeout", "0"),
];

const APPLICATION: &str = "tidegate";

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    /// To the server itself; the session prints values as [`PINNED`].
    Direct,
    /// Through the pooler, if one is set: nothing may rely on the session outside one transaction, so nothing is pinned
    /// and no named statement may outlive its transaction.
    Copy,
}

/// An open connection. Ends when dropped; whatever ran is rolled back.
pub(crate) struct Connection {
    client: Client,
    // Drives the socket; aborted on drop.
    _driver: JoinSet<()>,
}

impl Deref for Connection {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

/// Opens a connection, authentication included, within `connect_timeout`.
///
/// # Errors
/// See [`SourceErrorKind`]; nothing of the password is in them.
pub(crate) async fn connect(settings: &Settings, via: Via) -> Result<Connection, SourceError> {
    settings.check()?;
    let endpoint = match via {
        Via::Direct => &settings.url,
        Via::Copy => settings.copy_url.as_ref().unwrap_or(&settings.url),
    };
    let mut config = endpoint.config.clone();
    config.ssl_mode(match endpoint.tls {
        TlsMode::Disable => tokio_postgres::config::SslMode::Disable,
        TlsMode::Prefer => tokio_postgres::config::SslMode::Prefer,
        TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => tokio_postgres::config::SslMode::Require,
    });
    if config.get_application_name().is_none() {
        config.application_name(APPLICATION);
    }
    if via == Via::Direct {
        config.options(options(endpoint, &[]));
    }
    // A peer that is gone without a word.
    config.keepalives_idle(Duration::from_secs(15)).keepalives_interval(Duration::from_secs(5)).keepalives_retries(3);
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(settings.stall_timeout);
    }
    let connector = MakeRustlsConnect::new(tls::client(settings, endpoint)?);
    within(settings.connect_timeout, endpoint, async {
        let (client, driver) = config.connect(connector).await?;
        let mut tasks = JoinSet::new();
        // How it ends, the client hears.
        tasks.spawn(async move { drop(driver.await) });
        Ok(Connection { client, _driver: tasks })
    })
    .await
}

/// The startup option that pins the session: what the URL sets, ours after it, so that ours count.
pub(super) fn options(endpoint: &Endpoint, more: &[(&str, String)]) -> String {
    let mut words: Vec<String> = endpoint.config.get_options().map(str::to_owned).into_iter().collect();
    words.extend(PINNED.iter().map(|(name, value)| format!("-c {name}={value}")));
    words.extend(more.iter().map(|(name, value)| format!("-c {name}={value}")));
    words.join(" ")
}

/// The outcome of `doing`, or that it took too long; with the server's address.
pub(super) async fn within<T>(
    limit: Duration,
    endpoint: &Endpoint,
    doing: impl Future<Output = Result<T, SourceError>>,
) -> Result<T, SourceError> {
    let outcome = tokio::time::timeout(limit, Box::pin(doing)).await.unwrap_or_else(|_| {
        Err(SourceError::new(SourceErrorKind::TimedOut, format!("no answer within {} ms", limit.as_millis())))
    });
    outcome.map_err(|error| error.during(&format!("connecting to {endpoint}")))
}

/// Runs `sql` by the simple protocol, which leaves nothing behind in the session: the rows of all its statements.
pub(super) async fn rows(client: &Client, sql: &str) -> Result<Vec<SimpleQueryRow>, SourceError> {
    let messages = client.simple_query(sql).await?;
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    };
    Ok(messages.into_iter().filter_map(row).collect())
}

/// A field of a row in text, `None` for NULL and for a column that isn't there.
pub(super) fn field(row: &SimpleQueryRow, column: usize) -> Option<&str> {
    row.try_get(column).ok().flatten()
}

/// A field that must be there and parse.
pub(super) fn parsed<T: std::str::FromStr>(row: Option<&SimpleQueryRow>, column: usize) -> Result<T, SourceError> {
    row.and_then(|row| field(row, column))
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| SourceError::new(SourceErrorKind::Protocol, "the server answered a query with another row"))
}
