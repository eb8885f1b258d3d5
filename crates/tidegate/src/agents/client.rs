//! A session with a runtime that outlives its connections: heartbeats, acknowledgements, and coming back where it was.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_websockets::{ClientBuilder, MaybeTlsStream, Message, WebSocketStream};

use super::wire::{Frame, Refused, Resume, Welcome, envelope, hello};

/// For a connection and its welcome.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Between attempts to come back, growing twofold between these.
const AGAIN_MIN: Duration = Duration::from_millis(100);
const AGAIN_MAX: Duration = Duration::from_secs(5);
/// Between acknowledgements at least.
const ACK: Duration = Duration::from_millis(250);
/// A session that can be gone on with for as long, where its runtime does not say.
const WINDOW_SEC: u64 = 600;
/// For the answer to a close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// Times in a row that numbers may be missing before the runtime is given up.
const GAPS_MAX: u32 = 3;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Which runtime, and as whom.
#[derive(Debug, Clone)]
pub(super) struct Runtime {
    /// As it was given.
    pub(super) url: String,
    pub(super) token: Option<String>,
}

/// Why there is no session (any more).
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("{url}: {rule}")]
    Url { url: String, rule: String },
    #[error("{url}: {why}; is a Tidegate running there?")]
    Connect { url: String, why: String },
    #[error("{code}: {message}")]
    Refused { code: String, message: String, retryable: bool },
    #[error("the runtime did not come back within {} s: {why}", window.as_secs())]
    Gone { window: Duration, why: String },
    #[error("what the runtime says makes no sense: {0}")]
    Broken(String),
}

/// What is heard of a session.
#[derive(Debug)]
pub(super) enum Heard {
    /// A message that is not the session's own.
    Frame(Frame),
    /// The connection is gone; the next look tries to come back.
    Lost(String),
    /// It is there again: with the same session, or with another one after the event of the former with this number.
    Back { another_after: Option<u64> },
}

/// A session with a runtime.
pub(super) struct Client {
    runtime: Runtime,
    /// `None` while the connection is lost.
    link: Option<Link>,
    session: String,
    token: String,
    window: Duration,
    acks: bool,
    /// Of the last event that was handed over, and of the last that was acknowledged.
    last_seq: u64,
    acked: (u64, Instant),
    gaps: u32,
    away: Away,
}

/// Since when the connection is lost, why, and how long to wait before the next attempt.
struct Away {
    since: Instant,
    why: String,
    waits: ExponentialBackoff,
}

impl Client {
    /// Opens a session.
    pub(super) async fn connect(runtime: Runtime) -> Result<(Self, Welcome), ClientError> {
        let (link, welcome, session) = Link::open(&runtime, None).await?;
        let now = Instant::now();
        let client = Self {
            link: Some(link),
            session,
            token: welcome.resume_token.clone(),
            window: Duration::from_secs(welcome.resume_window_sec.unwrap_or(WINDOW_SEC)),
            acks: has(&welcome, "ack"),
            last_seq: 0,
            acked: (0, now),
            gaps: 0,
            away: Away::new(now, String::new()),
            runtime,
        };
        Ok((client, welcome))
    }

    /// Says something, as far as there is a connection; the id of what was said.
    pub(super) async fn send(&mut self, kind: &str, payload: &impl Serialize) -> String {
        let id = new_id();
        if let Some(link) = &mut self.link {
            // A connection that broke is noticed where it is read.
            let _ = link.say(&id, kind, Some(&self.session), payload).await;
        }
        id
    }

    /// What is heard next. Whoever stops waiting misses nothing.
    pub(super) async fn next(&mut self) -> Result<Heard, ClientError> {
        loop {
            self.acknowledge().await;
            let Some(link) = &mut self.link else { return self.come_back().await };
            let frame = match link.next(&self.session).await {
                Ok(frame) => frame,
                Err(why) => return Ok(self.lost(why)),
            };
            match frame.event_seq {
                Some(seq) if seq <= self.last_seq => {}
                Some(seq) if seq > self.last_seq + 1 => {
                    self.gaps += 1;
                    let why = format!("event {seq} came after {}", self.last_seq);
                    return if self.gaps > GAPS_MAX { Err(ClientError::Broken(why)) } else { Ok(self.lost(why)) };
                }
                Some(seq) => {
                    (self.last_seq, self.gaps) = (seq, 0);
                    return Ok(Heard::Frame(frame));
                }
                None => return Ok(Heard::Frame(frame)),
            }
        }
    }

    /// Ends the session; its jobs go on.
    pub(super) async fn close(mut self) {
        self.send("session.close", &json!({})).await;
        let closed = async {
            while let Some(link) = &mut self.link {
                match link.next(&self.session).await {
                    Ok(frame) if frame.kind != "session.closed" => {}
                    _ => break,
                }
            }
        };
        // Whether or not it is answered: the session ends with its window.
        let _ = timeout(CLOSE_TIMEOUT, closed).await;
    }

    fn lost(&mut self, why: String) -> Heard {
        self.link = None;
        self.away = Away::new(Instant::now(), why.clone());
        Heard::Lost(why)
    }

    async fn acknowledge(&mut self) {
        let now = Instant::now();
        let (acked, at) = self.acked;
        if self.acks && self.last_seq > acked && now.duration_since(at) >= ACK {
            self.acked = (self.last_seq, now);
            let payload = json!({ "last_processed_seq": self.last_seq });
            self.send("session.ack", &payload).await;
        }
    }

    /// One attempt after another, until the session is over anyway.
    async fn come_back(&mut self) -> Result<Heard, ClientError> {
        loop {
            sleep(self.away.waits.next().unwrap_or(AGAIN_MAX)).await;
            let resume =
                Resume { session: self.session.clone(), token: self.token.clone(), last_event_seq: self.last_seq };
            match Link::open(&self.runtime, Some(&resume)).await {
                Ok((link, welcome, session)) => return Ok(self.back(link, &welcome, session)),
                Err(ClientError::Refused { message, retryable: true, .. }) => self.away.why = message,
                Err(ClientError::Refused { .. }) => {
                    // Not this session any more, but perhaps another; else it is said why not.
                    let (link, welcome, session) = Link::open(&self.runtime, None).await?;
                    return Ok(self.back(link, &welcome, session));
                }
                Err(ClientError::Connect { why, .. }) => self.away.why = why,
                Err(error) => return Err(error),
            }
            if self.away.since.elapsed() > self.window {
                return Err(ClientError::Gone { window: self.window, why: self.away.why.clone() });
            }
        }
    }

    fn back(&mut self, link: Link, welcome: &Welcome, session: String) -> Heard {
        let another_after = (session != self.session).then_some(self.last_seq);
        if another_after.is_some() {
            (self.last_seq, self.acked) = (0, (0, Instant::now()));
        }
        (self.link, self.session) = (Some(link), session);
        welcome.resume_token.clone_into(&mut self.token);
        Heard::Back { another_after }
    }
}

impl Away {
    fn new(since: Instant, why: String) -> Self {
        let waits = ExponentialBuilder::default()
            .with_min_delay(AGAIN_MIN)
            .with_max_delay(AGAIN_MAX)
            .without_max_times()
            .with_jitter();
        Self { since, why, waits: waits.build() }
    }
}

/// One connection.
struct Link {
    socket: Socket,
    /// In which both sides say something, where that was agreed.
    interval: Option<Duration>,
    heard: Instant,
    said: Instant,
    pings: u64,
}

impl Link {
    /// Connects and says hello; the session's id beside the welcome.
    async fn open(runtime: &Runtime, resume: Option<&Resume>) -> Result<(Self, Welcome, String), ClientError> {
        let wrong = |rule: &str| ClientError::Url { url: runtime.url.clone(), rule: rule.into() };
        let lost = |why: String| ClientError::Connect { url: runtime.url.clone(), why };
        let address = address(&runtime.url).map_err(wrong)?;
        let opened = async {
            let builder = ClientBuilder::new().uri(&address).map_err(|e| wrong(&e.to_string()))?;
            let (socket, _) = builder.connect().await.map_err(|e| lost(e.to_string()))?;
            let now = Instant::now();
            let mut link = Self { socket, interval: None, heard: now, said: now, pings: 0 };
            let hello = hello(runtime.token.as_deref(), resume);
            link.say(&new_id(), "session.hello", None, &hello).await.map_err(lost)?;
            let frame = link.next("").await.map_err(lost)?;
            Ok((link, frame))
        };
        let late = || lost(format!("no welcome within {} s", CONNECT_TIMEOUT.as_secs()));
        let (mut link, frame) = timeout(CONNECT_TIMEOUT, opened).await.map_err(|_| late())??;
        let broken = |error: serde_json::Error| ClientError::Broken(format!("{}: {error}", frame.kind));
        match frame.kind.as_str() {
            "session.welcome" => {
                let welcome: Welcome = frame.payload().map_err(broken)?;
                let session = frame.session_id.as_ref().or(welcome.session_id.as_ref());
                let session = session.ok_or_else(|| ClientError::Broken("a welcome without a session".into()))?.clone();
                let interval = welcome.heartbeat_interval_sec.filter(|_| has(&welcome, "heartbeat"));
                link.interval = interval.filter(|seconds| *seconds > 0).map(Duration::from_secs);
                Ok((link, welcome, session))
            }
            "session.error" => {
                let Refused { code, message, retryable, .. } = frame.payload().map_err(broken)?;
                Err(ClientError::Refused { code, message, retryable })
            }
            other => Err(ClientError::Broken(format!("{other} instead of a welcome"))),
        }
    }

    async fn say(
        &mut self,
        id: &str,
        kind: &str,
        session: Option<&str>,
        payload: &impl Serialize,
    ) -> Result<(), String> {
        let text = envelope(id, kind, session, payload).map_err(|e| e.to_string())?;
        self.said = Instant::now();
        self.socket.send(Message::text(text)).await.map_err(|e| e.to_string())
    }

    /// The next message that is no sign of life.
    async fn next(&mut self, session: &str) -> Result<Frame, String> {
        loop {
            let Some(text) = self.text(session).await? else { continue };
            let frame = Frame::read(&text).map_err(|e| format!("a message that is none: {e}"))?;
            match frame.kind.as_str() {
                "session.ping" => {
                    let nonce: Value = frame.payload().unwrap_or_default();
                    let pong = json!({ "ping_nonce": nonce["nonce"], "received_at": now() });
                    self.signal("session.pong", session, &pong).await?;
                }
                "session.pong" => {}
                _ => return Ok(frame),
            }
        }
    }

    /// `None`: it was time to say something.
    async fn text(&mut self, session: &str) -> Result<Option<String>, String> {
        let wake = self.interval.map(|interval| (self.said + interval).min(self.heard + 2 * interval));
        let message = tokio::select! {
            message = self.socket.next() => message,
            () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {
                return self.show_life(session).await.map(|()| None);
            }
        };
        self.heard = Instant::now();
        match message {
            Some(Ok(message)) => match (message.as_text(), message.as_close()) {
                (Some(text), _) => Ok(Some(text.to_owned())),
                (_, Some((code, reason))) => Err(format!("closed with {} {reason}", u16::from(code)).trim().to_owned()),
                _ => Ok(None),
            },
            Some(Err(error)) => Err(error.to_string()),
            None => Err("closed".to_owned()),
        }
    }

    async fn show_life(&mut self, session: &str) -> Result<(), String> {
        let interval = self.interval.unwrap_or_default();
        if self.heard.elapsed() >= 2 * interval {
            return Err(format!("nothing heard for {} s", self.heard.elapsed().as_secs()));
        }
        self.pings += 1;
        let ping = json!({ "nonce": format!("p-{}", self.pings), "sent_at": now() });
        self.signal("session.ping", session, &ping).await
    }

    async fn signal(&mut self, kind: &str, session: &str, payload: &Value) -> Result<(), String> {
        self.say(&new_id(), kind, Some(session), payload).await
    }
}

fn has(welcome: &Welcome, feature: &str) -> bool {
    welcome.capabilities.features.iter().any(|had| had == feature)
}

/// `http://host:port` is the gateway there; `ws://…` with a path is taken as it is.
fn address(url: &str) -> Result<String, &'static str> {
    match url.split_once("://") {
        Some(("http", rest)) => Ok(format!("ws://{}/arcp", rest.trim_end_matches('/'))),
        Some(("ws", rest)) if rest.trim_end_matches('/').contains('/') => Ok(url.to_owned()),
        Some(("ws", rest)) => Ok(format!("ws://{}/arcp", rest.trim_end_matches('/'))),
        Some(("https" | "wss", _)) => Err("the terminal's client speaks http:// and ws:// only"),
        _ => Err("must begin with http:// or ws://"),
    }
}

/// The id of a message. Runtimes tell by its form how their clients are spoken to, and some take no others than those that they
/// know: with this one it is as the draft has it.
fn new_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// The time as the protocol writes it.
fn now() -> String {
    jiff::Timestamp::now().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_is_found_where_its_address_says() {
        for (given, wanted) in [
            ("http://127.0.0.1:8470", "ws://127.0.0.1:8470/arcp"),
            ("http://127.0.0.1:8470/", "ws://127.0.0.1:8470/arcp"),
            ("ws://host:1", "ws://host:1/arcp"),
            ("ws://host:1/", "ws://host:1/arcp"),
            ("ws://host:1/other?dialect=go", "ws://host:1/other?dialect=go"),
        ] {
            assert_eq!(address(given).as_deref(), Ok(wanted));
        }
        for wrong in ["https://host", "wss://host", "host:1", "ftp://host"] {
            assert!(address(wrong).is_err(), "{wrong}");
        }
    }
}
