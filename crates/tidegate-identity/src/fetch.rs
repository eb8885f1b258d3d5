//! Asking the endpoints that configuration names: bounded in time and bytes, never redirected.
//!
//! No proxy is looked for and no encoding of the body is understood. Whoever answers is hostile: of an answer nothing is kept
//! but its status and its body, and a body is read no further than it may be long.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;

/// Connections to one host that are kept for the next request, and for how long.
const IDLE_MAX: usize = 8;
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// The head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// A client of HTTP/1.1, plain or over TLS with the public roots. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Fetch {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    runtime: Handle,
}

/// What one request may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// From the look-up of the name to the last byte.
    pub timeout: Duration,
    /// Of the answer's body.
    pub bytes_max: usize,
}

/// Why there is no answer. Says nothing that was sent, nor of the body of what came.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It is still not complete.
    #[error("no complete answer within {} ms", .0.as_millis())]
    Late(Duration),
    /// It is longer than that many bytes.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    /// The answer is no success.
    #[error("the answer is {0}")]
    Status(StatusCode),
    /// The name, the connection or TLS; or it ended before anything was answered.
    #[error("{0}")]
    Unanswered(String),
    /// What came is no answer as HTTP has it, or no whole one.
    #[error("{0}")]
    Failed(String),
    /// There is no TLS to be had.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

impl Fetch {
    /// Connections and requests live on `runtime`.
    ///
    /// # Errors
    /// The build's cryptography knows no version of TLS.
    pub fn new(runtime: Handle) -> Result<Self, FetchError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_webpki_roots()
            .with_no_client_auth();
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_MAX)
            .http1_max_buf_size(HEAD_BYTES_MAX)
            .build(connector);
        Ok(Self { client, runtime })
    }

    /// The body of what is there.
    ///
    /// # Errors
    /// There is no answer within the bounds, or it is another one than 200.
    pub async fn get(&self, url: &Uri, bounds: Bounds) -> Result<Bytes, FetchError> {
        match self.ask(Method::GET, url, HeaderMap::new(), Bytes::new(), bounds).await? {
            (StatusCode::OK, body) => Ok(body),
            (status, _) => Err(FetchError::Status(status)),
        }
    }

    /// Posts `body` with `headers` and gives what is answered, whatever its status.
    ///
    /// # Errors
    /// There is no answer within the bounds.
    pub async fn post(
        &self,
        url: &Uri,
        headers: HeaderMap,
        body: Bytes,
        bounds: Bounds,
    ) -> Result<(StatusCode, Bytes), FetchError> {
        self.ask(Method::POST, url, headers, body, bounds).await
    }

    /// Sends `body` with `headers` and gives what is answered, whatever its status. May be awaited on any runtime; who stops
    /// waiting ends the request.
    ///
    /// # Errors
    /// There is no answer within the bounds.
    pub async fn ask(
        &self,
        method: Method,
        url: &Uri,
        headers: HeaderMap,
        body: Bytes,
        bounds: Bounds,
    ) -> Result<(StatusCode, Bytes), FetchError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        *request.uri_mut() = url.clone();
        *request.headers_mut() = headers;
        let client = self.client.clone();
        let exchange = async move {
            let answer = client.request(request).await.map_err(|error| FetchError::unanswered(&error))?;
            let status = answer.status();
            Ok((status, read(answer, bounds.bytes_max).await?))
        };
        let bounded = async move {
            tokio::time::timeout(bounds.timeout, exchange).await.map_err(|_| FetchError::Late(bounds.timeout))?
        };
        AbortOnDropHandle::new(self.runtime.spawn(bounded)).await.map_err(|error| FetchError::failed(&error))?
    }
}

impl FetchError {
    /// What became of a request before the head of an answer was there.
    fn unanswered(error: &(dyn Error + 'static)) -> Self {
        let mut beneath = Some(error);
        while let Some(error) = beneath {
            if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
                return Self::failed(error);
            }
            beneath = error.source();
        }
        Self::Unanswered(in_full(error))
    }

    fn failed(error: &dyn Error) -> Self {
        Self::Failed(in_full(error))
    }
}

/// Says what lies beneath too: the outer words are "client error" whatever happened.
fn in_full(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut beneath = error.source();
    while let Some(error) = beneath {
        text = format!("{text}: {error}");
        beneath = error.source();
    }
    text
}

async fn read<B>(answer: Response<B>, bytes_max: usize) -> Result<Bytes, FetchError>
where
    B: BodyExt<Data = Bytes, Error: Error> + Unpin,
{
    let mut body = answer.into_body();
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(FetchError::TooLong(bytes_max));
    }
    // One buffer: pieces of a byte each would take many times their size.
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| FetchError::failed(&error))?;
        let Some(piece) = frame.data_ref() else { continue };
        if piece.len() > bytes_max - whole.len() {
            return Err(FetchError::TooLong(bytes_max));
        }
        whole.extend_from_slice(piece);
    }
    Ok(whole.freeze())
}

#[cfg(test)]
mod tests;
