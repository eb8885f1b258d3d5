//! HTTP/1.1, one request a connection.

use std::io;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::endpoint::Endpoint;
use super::list::Entry;
use super::within;

/// The key that a test's gateway is configured with, where it has one.
pub const API_KEY: &str = "a-key-for-the-tests";

/// An answer, read whole.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// With the chunks put together.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of that name (in lower case).
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| &**value)
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// Where it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {:?}", self.status, String::from_utf8_lossy(&self.body)))
    }

    /// The body as JSON, where the status is 200.
    ///
    /// # Panics
    /// At any other status.
    #[must_use]
    pub fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }
}

/// Sends a request and reads the answer to its end.
///
/// # Errors
/// What the connection fails with; an answer that is cut short or no HTTP is [`io::ErrorKind::InvalidData`].
pub async fn request(
    endpoint: impl Into<Endpoint>,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Response> {
    let endpoint = endpoint.into();
    let mut stream = endpoint.connect("http/1.1").await?;
    let mut head = format!(
        "{method} {} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n{}",
        endpoint.target(path),
        endpoint.address(),
        endpoint.lines()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    // A server may answer and close before it has read everything; the answer counts.
    let sent = stream.write_all(&bytes).await.and(stream.flush().await);
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer).await
        && answer.is_empty()
    {
        return Err(sent.err().unwrap_or(error));
    }
    parse(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no whole HTTP answer"))
}

/// GET, with [`API_KEY`].
///
/// # Panics
/// Where there is no answer.
pub async fn get(endpoint: impl Into<Endpoint>, path: &str) -> Response {
    let answer = request(endpoint, "GET", path, &[("x-api-key", API_KEY)], b"");
    within(path, answer).await.unwrap_or_else(|error| panic!("GET {path}: {error}"))
}

/// POST of JSON, with [`API_KEY`].
///
/// # Panics
/// Where there is no answer.
pub async fn post(endpoint: impl Into<Endpoint>, path: &str, body: &Value) -> Response {
    let headers = [("x-api-key", API_KEY), ("content-type", "application/json")];
    let body = body.to_string();
    let answer = request(endpoint, "POST", path, &headers, body.as_bytes());
    within(path, answer).await.unwrap_or_else(|error| panic!("POST {path}: {error}"))
}

/// Writes a batch of changes to an entity; gives the position.
///
/// # Panics
/// Where it is refused.
pub async fn write(endpoint: impl Into<Endpoint>, entity: &str, changes: Value) -> u64 {
    let answer = post(endpoint, &format!("/v1/entities/{entity}/changes"), &json!({ "changes": changes })).await.ok();
    answer["position"].as_str().and_then(|position| position.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
}

/// The page that a query describes, and the position it was read at.
///
/// # Panics
/// Where it is refused.
pub async fn page(endpoint: impl Into<Endpoint>, query: &Value) -> (Vec<Entry>, u64) {
    let entity = query["entity"].as_str().expect("a query names its entity");
    let path = format!("/v1/entities/{entity}?query={}", urlencoded(&query.to_string()));
    let answer = get(endpoint, &path).await.ok();
    let position = answer["position"].as_str().and_then(|position| position.parse().ok());
    let rows = answer["rows"].as_array().unwrap_or_else(|| panic!("a page has rows: {answer}"));
    let rows = rows.iter().map(|row| serde_json::from_value(row.clone()).expect("an entry of a page")).collect();
    (rows, position.unwrap_or_else(|| panic!("a page has a position: {answer}")))
}

/// Text as one part of a URL.
#[must_use]
pub fn urlencoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn parse(answer: &[u8]) -> Option<Response> {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let header =
        |line: &str| line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
    let headers: Vec<(String, String)> = lines.filter_map(header).collect();
    let body = &answer[end + 4..];
    let named = |name: &str| headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone());
    let body = match (named("transfer-encoding").as_deref(), named("content-length")) {
        (Some("chunked"), _) => unchunked(body)?,
        (_, Some(length)) => body.get(..length.parse().ok()?)?.to_vec(),
        _ => body.to_vec(),
    };
    Some(Response { status, headers, body })
}

fn unchunked(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|window| window == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&body[..end]).ok()?, 16).ok()?;
        body = &body[end + 2..];
        if length == 0 {
            return Some(whole);
        }
        whole.extend_from_slice(body.get(..length)?);
        body = body.get(length + 2..)?;
    }
}
