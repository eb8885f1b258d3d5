//! How a PostgreSQL source is reached and followed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use tokio_postgres::config::Host;

use super::conninfo;
use super::error::{SourceError, SourceErrorKind};

/// Everything that may be set about a PostgreSQL source. Its `Debug` shows no password.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The server that is followed: replication, inspection, and copies unless `copy_url` says otherwise.
    pub url: Endpoint,
    /// Where tables are copied from: the same database, through a pooler for instance (transaction pooling will do).
    pub copy_url: Option<Endpoint>,
    /// The replication slot, `[a-z0-9_]{1,63}`. By default `tidegate_` and the database's name.
    pub slot: String,
    /// The publication, 1 to 63 bytes.
    pub publication: String,
    /// Tables copied at a time.
    pub copies: usize,
    /// PEM file with the roots that the server's certificate is verified against, where the URL names none
    /// (`sslrootcert`). Without either: Mozilla's roots.
    pub root_certificate: Option<PathBuf>,
    /// For a connection to be made, authentication included.
    pub connect_timeout: Duration,
    /// At most this often the server is told how far the mirror has come.
    pub status_interval: Duration,
    /// The largest row or replication message that is taken.
    pub max_message_bytes: usize,
    /// Behind the server's log by more than this, the source is unhealthy.
    pub max_lag_bytes: u64,
    /// How often lag and the catalog are looked at.
    pub check_interval: Duration,
    /// A server that has said nothing for this long is given up. It is the session's `wal_sender_timeout` too, so the
    /// server speaks at least twice in that time. At least a second.
    pub stall_timeout: Duration,
}

impl Settings {
    /// The defaults, for the server under `url`.
    ///
    /// # Errors
    /// As [`Endpoint::from_str`].
    pub fn url(url: &str) -> Result<Self, SourceError> {
        let url: Endpoint = url.parse()?;
        let slot = default_slot(url.database());
        Ok(Self {
            url,
            copy_url: None,
            slot,
            publication: "tidegate".to_owned(),
            copies: 2,
            root_certificate: None,
            connect_timeout: Duration::from_secs(10),
            status_interval: Duration::from_millis(500),
            max_message_bytes: 16 * 1024 * 1024,
            max_lag_bytes: 1024 * 1024 * 1024,
            check_interval: Duration::from_secs(5),
            stall_timeout: Duration::from_secs(60),
        })
    }

    /// Whether every setting is within its bounds.
    ///
    /// # Errors
    /// [`SourceErrorKind::Settings`], naming the first that is not.
    pub fn check(&self) -> Result<(), SourceError> {
        let slot = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let (message, valid) = [
            (
                "slot: 1 to 63 of the characters a-z, 0-9 and _",
                (1..=63).contains(&self.slot.len()) && self.slot.bytes().all(slot),
            ),
            (
                "publication: 1 to 63 bytes, none of them NUL",
                (1..=63).contains(&self.publication.len()) && !self.publication.contains('\0'),
            ),
            ("copies: at least 1", self.copies >= 1),
            ("max_message_bytes: 64 KiB to 1 GiB", (64 * 1024..=1024 * 1024 * 1024).contains(&self.max_message_bytes)),
            (
                "stall_timeout: a second to a day",
                (Duration::from_secs(1)..=Duration::from_secs(86_400)).contains(&self.stall_timeout),
            ),
            ("status_interval: more than nothing", !self.status_interval.is_zero()),
            ("connect_timeout: more than nothing", !self.connect_timeout.is_zero()),
        ]
        .into_iter()
        .find(|(_, valid)| !valid)
        .unwrap_or(("", true));
        if valid { Ok(()) } else { Err(SourceError::new(SourceErrorKind::Settings, message)) }
    }

    /// The PEM file with the roots for `endpoint`.
    pub(crate) fn roots<'a>(&'a self, endpoint: &'a Endpoint) -> Option<&'a Path> {
        endpoint.root_certificate.as_deref().or(self.root_certificate.as_deref())
    }
}

/// Slots are the server's and not a database's: each database has its own.
fn default_slot(database: &str) -> String {
    let letter = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '_' };
    format!("tidegate_{}", database.to_ascii_lowercase().chars().map(letter).take(54).collect::<String>())
}

/// What is asked of TLS; libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// None.
    Disable,
    /// Where the server offers it; nothing is verified.
    Prefer,
    /// Always; nothing is verified, unless `sslrootcert` is given, which makes it [`TlsMode::VerifyCa`] as in libpq.
    Require,
    /// The certificate comes from a trusted root. The replication session verifies the host's name all the same: its
    /// library does not tell the two apart.
    VerifyCa,
    /// And it names the host.
    VerifyFull,
}

/// A server, a database there and the account: a parsed connection string. Neither its `Debug` nor its `Display` shows
/// the password or options.
#[derive(Clone)]
pub struct Endpoint {
    pub(crate) config: tokio_postgres::Config,
    pub(crate) tls: TlsMode,
    pub(crate) root_certificate: Option<PathBuf>,
}

impl Endpoint {
    /// The host's name, its address, or the directory of its socket (then it begins with `/`).
    #[must_use]
    pub fn host(&self) -> String {
        match self.config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            Some(Host::Unix(path)) => path.to_string_lossy().into_owned(),
            None => String::new(),
        }
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.config.get_ports().first().copied().unwrap_or(5432)
    }

    /// The account.
    #[must_use]
    pub fn user(&self) -> &str {
        self.config.get_user().unwrap_or_default()
    }

    /// The database; the account's name where none is given, as with libpq.
    #[must_use]
    pub fn database(&self) -> &str {
        self.config.get_dbname().unwrap_or(self.user())
    }

    /// The PEM file with the roots that the connection string names.
    #[must_use]
    pub fn root_certificate(&self) -> Option<&Path> {
        self.root_certificate.as_deref()
    }

    /// What is asked of TLS.
    #[must_use]
    pub fn tls(&self) -> TlsMode {
        self.tls
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}/{}", self.user(), self.host(), self.port(), self.database())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self}, {:?})", self.tls)
    }
}

impl FromStr for Endpoint {
    type Err = SourceError;

    /// Parses `postgres://user:password@host:port/database?sslmode=verify-full` or libpq's `host=… user=…`.
    ///
    /// One host, a user. Without `sslmode`: `disable` on the loopback and sockets, `verify-full` elsewhere.
    ///
    /// # Errors
    /// [`SourceErrorKind::Settings`] with what is wrong. Never with a piece of the text, in which a password may be
    /// anywhere when it isn't well-formed.
    fn from_str(text: &str) -> Result<Self, SourceError> {
        let parsed = conninfo::parse(text).map_err(|message| SourceError::new(SourceErrorKind::Settings, message))?;
        let refuse = |message: &str| Err(SourceError::new(SourceErrorKind::Settings, message));
        let config = parsed.config;
        if config.get_hosts().len() != 1 || config.get_ports().len() > 1 {
            return refuse("the connection string must name one host");
        }
        if config.get_user().is_none_or(str::is_empty) {
            return refuse("the connection string must name a user");
        }
        let local = match &config.get_hosts()[0] {
            Host::Unix(_) => true,
            Host::Tcp(host) => {
                host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
            }
        };
        let socket = matches!(config.get_hosts()[0], Host::Unix(_));
        let tls = match (parsed.tls, parsed.root_certificate.is_some()) {
            // libpq ignores sslmode on sockets.
            _ if socket => TlsMode::Disable,
            (None, _) if local => TlsMode::Disable,
            (None, _) => TlsMode::VerifyFull,
            (Some(TlsMode::Require), true) => TlsMode::VerifyCa,
            (Some(mode), _) => mode,
        };
        Ok(Self { config, tls, root_certificate: parsed.root_certificate })
    }
}
