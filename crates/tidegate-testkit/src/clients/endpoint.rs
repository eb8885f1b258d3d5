//! How a client gets to a gateway: a TCP connection, with TLS or without, read greedily or with hardly a buffer.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// What a client of any transport reads from and writes to.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection, whatever is underneath.
pub type Link = Box<dyn Io>;

/// What a receive buffer is asked to be where a client is to stall soon; the system may double it.
const SMALL_BYTES: u32 = 4096;

/// Where a gateway is and how it is spoken to.
#[derive(Clone)]
pub struct Endpoint {
    address: SocketAddr,
    roots: Option<Arc<RootCertStore>>,
    small: bool,
    headers: Vec<(String, String)>,
    query: Option<String>,
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self { address, roots: None, small: false, headers: Vec::new(), query: None }
    }
}

impl Endpoint {
    /// One that speaks TLS and shows `certificate`.
    ///
    /// # Panics
    /// Where the certificate is none.
    #[must_use]
    pub fn tls(address: SocketAddr, certificate: &Certificate) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der.clone()).expect("a certificate that was just made");
        Self { roots: Some(Arc::new(roots)), ..address.into() }
    }

    /// The same, for a client that takes as little as it can: the smallest receive buffer and the smallest windows.
    #[must_use]
    pub fn small(mut self) -> Self {
        self.small = true;
        self
    }

    /// Whether [`Endpoint::small`] was asked for.
    #[must_use]
    pub fn is_small(&self) -> bool {
        self.small
    }

    /// The same, for clients that send this header with each request, or once more if it is there.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same, for clients that send these parameters (`a=1&b=2`) with each request.
    #[must_use]
    pub fn query(mut self, parameters: &str) -> Self {
        self.query = Some(parameters.to_owned());
        self
    }

    /// What is sent with each request.
    #[must_use]
    pub fn headers(&self) -> &[(String, String)] {
        &self.headers
    }

    /// The path of a request, with what is sent with each.
    #[must_use]
    pub fn target(&self, path: &str) -> String {
        match &self.query {
            None => path.to_owned(),
            Some(query) if path.contains('?') => format!("{path}&{query}"),
            Some(query) => format!("{path}?{query}"),
        }
    }

    /// The headers that are sent with each request, as HTTP/1.1 writes them.
    pub(crate) fn lines(&self) -> String {
        self.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect()
    }

    /// Where it is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http` or `https`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.roots.is_some() { "https" } else { "http" }
    }

    /// The bare socket, before any TLS.
    ///
    /// # Errors
    /// What connecting failed with.
    pub async fn tcp(&self) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if self.small {
            socket.set_recv_buffer_size(SMALL_BYTES)?;
        }
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// A connection for `protocol` (`http/1.1`, `h2`): by ALPN over TLS, by prior knowledge without.
    ///
    /// # Errors
    /// What connecting failed with, or the handshake; a server that agrees on another protocol is
    /// [`io::ErrorKind::Unsupported`].
    ///
    /// # Panics
    /// Where the library can't speak TLS at all.
    pub async fn connect(&self, protocol: &str) -> io::Result<Link> {
        self.over(protocol, Box::new(self.tcp().await?)).await
    }

    /// The same over a connection that is there.
    ///
    /// # Errors
    /// As [`Endpoint::connect`].
    ///
    /// # Panics
    /// As [`Endpoint::connect`].
    pub async fn over(&self, protocol: &str, stream: Link) -> io::Result<Link> {
        let Some(roots) = &self.roots else { return Ok(stream) };
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()));
        let config = config.with_safe_default_protocol_versions().expect("TLS 1.2 and 1.3");
        let mut config = config.with_root_certificates(roots.clone()).with_no_client_auth();
        config.alpn_protocols = vec![protocol.into()];
        let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        match stream.get_ref().1.alpn_protocol() {
            Some(agreed) if agreed == protocol.as_bytes() => Ok(Box::new(stream)),
            // Who knows no ALPN speaks HTTP/1.1.
            None if protocol == "http/1.1" => Ok(Box::new(stream)),
            agreed => Err(io::Error::new(io::ErrorKind::Unsupported, format!("agreed on {agreed:?}"))),
        }
    }
}

/// A certificate for `localhost` that nobody vouches for, and its key, in files of their own until it is dropped.
pub struct Certificate {
    directory: TempDir,
    der: CertificateDer<'static>,
}

impl Certificate {
    /// Makes one.
    ///
    /// # Panics
    /// Where it can't be made or written.
    #[must_use]
    pub fn generate() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a name to certify");
        let directory = TempDir::new().expect("a temporary directory");
        let certificate = Self { directory, der: made.cert.der().clone() };
        std::fs::write(certificate.file(), made.cert.pem()).expect("the certificate is written");
        std::fs::write(certificate.key_file(), made.signing_key.serialize_pem()).expect("the key is written");
        certificate
    }

    /// The section of a gateway's configuration that serves it.
    #[must_use]
    pub fn section(&self) -> String {
        let [certificate, key] = [self.file(), self.key_file()];
        format!("[tls]\ncertificate_file = {certificate:?}\nkey_file = {key:?}\n")
    }

    /// The certificate, in PEM.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("certificate.pem")
    }

    /// Its key, in PEM.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.directory.path().join("key.pem")
    }
}
