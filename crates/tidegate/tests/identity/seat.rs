//! A connection of any kind, as its client sees it: who lets it in, what comes, and how it ends.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use h2::RecvStream;
use serde_json::{Value, json};
use tidegate_testkit::clients::h2::Connection;
use tidegate_testkit::clients::raw::{self, RawSocket, upgrade};
use tidegate_testkit::clients::{Endpoint, Link, within};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A way to be connected, and to say who one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// `/ws`, with the token in the handshake.
    Events,
    /// `/ws`, with the token in the first message.
    EventsAuth,
    /// `/ws` in a stream of HTTP/2, with the token in the address.
    EventsH2,
    /// `/v1/live/ws`.
    Live,
    LiveH2,
    Sse,
    SseH2,
    Lines,
    LinesH2,
}

impl Way {
    pub(crate) const ALL: [Self; 9] = [
        Self::Events,
        Self::EventsAuth,
        Self::EventsH2,
        Self::Live,
        Self::LiveH2,
        Self::Sse,
        Self::SseH2,
        Self::Lines,
        Self::LinesH2,
    ];

    pub(crate) fn is_websocket(self) -> bool {
        !matches!(self, Self::Sse | Self::SseH2 | Self::Lines | Self::LinesH2)
    }

    fn path(self) -> &'static str {
        match self {
            Self::Events | Self::EventsAuth | Self::EventsH2 => "/ws",
            Self::Live | Self::LiveH2 => "/v1/live/ws",
            _ => "/v1/live",
        }
    }

    fn accepts(self) -> &'static str {
        if matches!(self, Self::Lines | Self::LinesH2) { "application/x-ndjson" } else { "text/event-stream" }
    }

    /// What subscribes over a WebSocket.
    fn subscribe(self) -> Value {
        match self.path() {
            "/ws" => json!({ "event": "live.subscribe", "id": "s", "data": { "sub": "s", "query": query() } }),
            _ => json!({ "action": "subscribe", "query": query() }),
        }
    }
}

fn query() -> Value {
    json!({ "entity": "note", "limit": 5 })
}

/// Why somebody was not let in, as far as this way tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// Of the answer, unless it came in a message.
    pub(crate) status: Option<u16>,
    /// Unless there is no body to say it.
    pub(crate) code: Option<String>,
}

impl Refused {
    pub(crate) fn is(&self, status: u16, code: &str) -> bool {
        self.status.is_none_or(|told| told == status)
            && self.code.as_deref().is_none_or(|told| told == code)
            && (self.status.is_some() || self.code.is_some())
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        let text = error.to_string();
        // A WebSocket over HTTP/2 is refused with a status alone.
        let status = text.split(' ').next().and_then(|word| word.parse().ok());
        let code = status.is_none().then_some(text);
        Self { status, code }
    }
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct End {
    /// A WebSocket's close code.
    pub(crate) close: Option<u16>,
    /// The text of the close, or the code of the error before a stream's end; none where it was just cut.
    pub(crate) why: Option<String>,
    /// The body ended as a body ends.
    pub(crate) is_whole: bool,
    pub(crate) at: Instant,
}

impl End {
    pub(crate) fn is(&self, why: &str) -> bool {
        self.why.as_deref() == Some(why)
    }
}

#[derive(Debug, Default, Clone)]
struct Seen {
    messages: usize,
    end: Option<End>,
}

/// A live connection that is read all the time.
pub(crate) struct Seat {
    pub(crate) way: Way,
    seen: watch::Receiver<Seen>,
    // Dropped, the connection is.
    _reading: JoinSet<()>,
}

impl Seat {
    /// Connects with a token and subscribes.
    pub(crate) async fn take(at: SocketAddr, way: Way, token: &str) -> Result<Self, Refused> {
        let wire = within("a handshake", open(&at.into(), way, token)).await?;
        let (told, seen) = watch::channel(Seen::default());
        let mut reading = JoinSet::new();
        reading.spawn(read(wire, told));
        Ok(Self { way, seen, _reading: reading })
    }

    /// How it ended, if it has.
    pub(crate) fn end(&self) -> Option<End> {
        self.seen.borrow().end.clone()
    }

    /// Waits for its end.
    pub(crate) async fn ended(&self) -> End {
        let mut seen = self.seen.clone();
        let what = format!("the end of {:?}", self.way);
        within(&what, seen.wait_for(|seen| seen.end.is_some())).await.unwrap().end.clone().unwrap()
    }

    /// What has come so far.
    pub(crate) fn messages(&self) -> usize {
        self.seen.borrow().messages
    }

    /// Waits until more has come than that, or it has ended.
    pub(crate) async fn hears_more_than(&self, messages: usize) {
        let mut seen = self.seen.clone();
        let what = format!("something new on {:?}", self.way);
        within(&what, seen.wait_for(|seen| seen.messages > messages || seen.end.is_some())).await.unwrap();
    }
}

/// What it goes over.
pub(crate) enum Wire {
    Socket(RawSocket, Option<Connection>),
    Body(Link),
    BodyH2(RecvStream, Connection),
}

/// Connects with a token and subscribes; whoever has it may read or not.
pub(crate) async fn open(endpoint: &Endpoint, way: Way, token: &str) -> Result<Wire, Refused> {
    let bearer = format!("Bearer {token}");
    match way {
        Way::Events | Way::EventsAuth | Way::Live => {
            let header = format!("authorization: {bearer}\r\n");
            let header = if way == Way::EventsAuth { "" } else { &header };
            let mut stream = endpoint.connect("http/1.1").await?;
            stream.write_all(upgrade(way.path(), header).as_bytes()).await?;
            answered(&mut stream, 101).await?;
            let mut socket = RawSocket { stream };
            if way == Way::EventsAuth {
                say_who(&mut socket, token).await?;
            }
            socket.frame(true, raw::TEXT, way.subscribe().to_string().as_bytes()).await;
            Ok(Wire::Socket(socket, None))
        }
        Way::EventsH2 | Way::LiveH2 => {
            let mut connection = Connection::open(endpoint).await?;
            let tunnel = connection.websocket(&format!("{}?access_token={token}", way.path())).await?;
            let mut socket = RawSocket { stream: Box::new(tunnel) };
            socket.frame(true, raw::TEXT, way.subscribe().to_string().as_bytes()).await;
            Ok(Wire::Socket(socket, Some(connection)))
        }
        Way::Sse | Way::Lines => {
            let (mut stream, body) = (endpoint.connect("http/1.1").await?, query().to_string());
            let head = format!(
                "POST {} HTTP/1.1\r\nhost: localhost\r\nauthorization: {bearer}\r\naccept: {}\r\n\
                 content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
                way.path(),
                way.accepts(),
                body.len()
            );
            stream.write_all(head.as_bytes()).await?;
            answered(&mut stream, 200).await?;
            Ok(Wire::Body(stream))
        }
        Way::SseH2 | Way::LinesH2 => {
            let headers =
                [("authorization", &*bearer), ("accept", way.accepts()), ("content-type", "application/json")];
            let mut connection = Connection::open(endpoint).await?;
            let answer = connection.start("POST", way.path(), &headers, query().to_string().as_bytes()).await?;
            let (status, mut body) = (answer.status().as_u16(), answer.into_body());
            if status == 200 {
                return Ok(Wire::BodyH2(body, connection));
            }
            let mut text = Vec::new();
            while let Some(Ok(piece)) = body.data().await {
                text.extend_from_slice(&piece);
            }
            Err(Refused { status: Some(status), code: error_code(&text) })
        }
    }
}

/// Reads the head of an answer; where it is another status, all of it.
async fn answered(stream: &mut Link, status: u16) -> Result<(), Refused> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
    let told = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    if told == Some(status) {
        return Ok(());
    }
    let length = head.split_once("content-length: ").and_then(|(_, rest)| rest.split("\r\n").next()?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).await?;
    Err(Refused { status: told, code: error_code(&body) })
}

fn error_code(body: &[u8]) -> Option<String> {
    let body: Value = serde_json::from_slice(body).ok()?;
    Some(body["error"]["code"].as_str()?.to_owned())
}

async fn say_who(socket: &mut RawSocket, token: &str) -> Result<(), Refused> {
    let auth = json!({ "event": "auth", "id": "a", "data": { "token": token } });
    socket.frame(true, raw::TEXT, auth.to_string().as_bytes()).await;
    loop {
        let (opcode, payload) = socket.next().await?;
        let message: Value = match opcode {
            raw::TEXT => serde_json::from_slice(&payload).unwrap(),
            raw::CLOSE => return Err(io::Error::from(io::ErrorKind::ConnectionReset).into()),
            _ => continue,
        };
        if message["event"] == "reply" {
            return match error_code(&payload) {
                None => Ok(()),
                code => Err(Refused { status: None, code }),
            };
        }
    }
}

async fn read(wire: Wire, told: watch::Sender<Seen>) {
    let heard = || told.send_modify(|seen| seen.messages += 1);
    let (close, why, is_whole) = match wire {
        Wire::Socket(mut socket, _connection) => loop {
            match socket.next().await {
                Ok((raw::TEXT, _)) => heard(),
                Ok((raw::PING, payload)) => socket.frame(true, raw::PONG, &payload).await,
                Ok((raw::CLOSE, payload)) => {
                    let code = payload.first_chunk().map(|code| u16::from_be_bytes(*code));
                    let why = payload.get(2..).map(|why| String::from_utf8_lossy(why).into_owned());
                    break (code, why, true);
                }
                Ok(_) => {}
                Err(_) => break (None, None, false),
            }
        },
        Wire::Body(mut link) => {
            let (mut text, mut bytes) = (Vec::new(), vec![0; 16 * 1024]);
            while let Ok(count @ 1..) = link.read(&mut bytes).await {
                keep(&mut text, &bytes[..count]);
                heard();
                if text.ends_with(b"\r\n0\r\n\r\n") {
                    break;
                }
            }
            (None, last_words(&text), text.ends_with(b"\r\n0\r\n\r\n"))
        }
        Wire::BodyH2(mut body, _connection) => {
            let mut text = Vec::new();
            let is_whole = loop {
                match body.data().await {
                    None => break true,
                    Some(Err(_)) => break false,
                    Some(Ok(piece)) => {
                        let _ = body.flow_control().release_capacity(piece.len());
                        keep(&mut text, &piece);
                        heard();
                    }
                }
            };
            (None, last_words(&text), is_whole)
        }
    };
    told.send_modify(|seen| seen.end = Some(End { close, why, is_whole, at: Instant::now() }));
}

/// The end of what came, as much as an error needs.
fn keep(text: &mut Vec<u8>, more: &[u8]) {
    text.extend_from_slice(more);
    text.drain(..text.len().saturating_sub(2_000));
}

/// The code of the error that a stream ends with.
fn last_words(text: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(text);
    let (_, error) = text.rsplit_once("\"op\":\"error\"")?;
    Some(error.split_once("\"code\":\"")?.1.split_once('"')?.0.to_owned())
}

/// How late a busy machine lets things happen: what a deadline of the contract is extended by.
pub(crate) struct Lateness {
    worst: watch::Receiver<Duration>,
    _ticking: JoinSet<()>,
}

impl Lateness {
    pub(crate) fn measure() -> Self {
        const TICK: Duration = Duration::from_millis(10);
        let (told, worst) = watch::channel(Duration::ZERO);
        let mut ticking = JoinSet::new();
        ticking.spawn(async move {
            loop {
                let began = Instant::now();
                tokio::time::sleep(TICK).await;
                let late = began.elapsed().saturating_sub(TICK);
                told.send_if_modified(|worst| std::mem::replace(worst, late.max(*worst)) < late);
            }
        });
        Self { worst, _ticking: ticking }
    }

    /// What may take a second on a machine that is not busy. A revocation passes through four processes' turns.
    pub(crate) fn a_second(&self) -> Duration {
        Duration::from_secs(1) + *self.worst.borrow() * 4
    }
}
