//! Connections to Redis: the address, and one connection that is made anew after it failed.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo as _, ProtocolVersion, TlsCertificates};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::{RedisSettings, SessionsError};

/// Why Redis could not be asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("{0}")]
    Redis(#[from] redis::RedisError),
    #[error("no answer in time")]
    Late,
    #[error("this Redis does not count the entries of a stream (entries-added): Redis 7.0 or later is needed")]
    TooOld,
    #[error("the answer is not what was asked for: {0}")]
    Nonsense(&'static str),
}

impl Trouble {
    /// Whether the connection may be the reason, and not what was asked.
    pub(super) fn is_of_connection(&self) -> bool {
        match self {
            Self::Late | Self::Nonsense(_) => true,
            Self::Redis(error) => error.code().is_none(),
            Self::TooOld => false,
        }
    }

    /// Whether the connection had ended.
    pub(super) fn is_cut(&self) -> bool {
        matches!(self, Self::Redis(error) if error.is_connection_dropped())
    }
}

/// Where Redis is, and how long it may take to let us in.
pub(super) struct Address {
    client: Client,
    timeout: Duration,
}

impl Address {
    /// Reads the settings, and the certificates that they name.
    ///
    /// # Errors
    /// The setting that is wrong, never its value: it may hold a password.
    pub(super) fn new(settings: &RedisSettings, timeout: Duration) -> Result<Self, SessionsError> {
        let info = settings.url.expose().into_connection_info().map_err(|error| address(error.to_string()))?;
        match info.addr() {
            ConnectionAddr::Tcp(..) => {}
            ConnectionAddr::TcpTls { insecure: false, .. } => choose_provider(),
            ConnectionAddr::TcpTls { .. } => return Err(address("the server's certificate must be verified")),
            _ => return Err(address("only redis:// and rediss:// are known")),
        }
        if info.redis_settings().db() < 0 {
            return Err(SessionsError::Database);
        }
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        // The parsing here knows RESP2. Who may connect may lack the right to name the library.
        let redis = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP2).set_skip_set_lib_name();
        let info = info.set_tcp_settings(tcp).set_redis_settings(redis);
        let client = match &settings.root_certificate {
            None => Client::open(info),
            Some(path) => {
                let pem = std::fs::read(path).map_err(|error| SessionsError::RootCertificate(error.to_string()))?;
                Client::build_with_tls(info, TlsCertificates { client_tls: None, root_cert: Some(pem) })
            }
        };
        Ok(Self { client: client.map_err(|error| address(error.to_string()))?, timeout })
    }

    /// Connects, and shows who we are.
    pub(super) async fn connect(&self) -> Result<MultiplexedConnection, Trouble> {
        // Every question has a time limit of its own.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let connecting = Box::pin(self.client.get_multiplexed_async_connection_with_config(&config));
        Ok(timeout(self.timeout, connecting).await.map_err(|_| Trouble::Late)??)
    }
}

/// The library takes the process's crypto provider, and panics where there is none and the program could have more than one.
fn choose_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // Somebody else may have been faster: theirs then.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
}

fn address(message: impl Into<String>) -> SessionsError {
    SessionsError::Address(message.into())
}

/// A connection that many ask over at once. It is made when it is needed, and given up when an answer did not come: an
/// address that swallows everything is not waited for by the next one too.
pub(super) struct Shared {
    address: Address,
    current: Mutex<Current>,
}

#[derive(Default)]
struct Current {
    made: u64,
    connection: Option<MultiplexedConnection>,
}

/// Which connection was given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Given {
    /// To give it up by.
    pub(super) number: u64,
    /// Whether it was there already.
    pub(super) is_old: bool,
}

impl Shared {
    pub(super) fn new(address: Address) -> Self {
        Self { address, current: Mutex::default() }
    }

    /// The connection.
    pub(super) async fn get(&self) -> Result<(Given, MultiplexedConnection), Trouble> {
        let mut current = self.current.lock().await;
        if let Some(connection) = &current.connection {
            return Ok((Given { number: current.made, is_old: true }, connection.clone()));
        }
        let connection = self.address.connect().await?;
        current.made += 1;
        current.connection = Some(connection.clone());
        Ok((Given { number: current.made, is_old: false }, connection))
    }

    /// Nobody else is given this one.
    pub(super) async fn give_up(&self, number: u64) {
        let mut current = self.current.lock().await;
        if current.made == number {
            current.connection = None;
        }
    }
}
