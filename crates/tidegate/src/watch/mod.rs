//! `tidegate query`: a live query in the terminal. On a terminal a table that updates in place; else a frame a line.

mod list;
mod screen;

use std::collections::VecDeque;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::value::RawValue;
use tokio_websockets::{ClientBuilder, Message};

use list::{Frame, List};
use screen::Status;

/// Redraws a second at most.
const DRAW: Duration = Duration::from_millis(50);
/// Between attempts to come back.
const RECONNECT: Duration = Duration::from_secs(1);
/// The time over which deltas a second are counted.
const RATE: Duration = Duration::from_secs(5);

type Socket = tokio_websockets::WebSocketStream<tokio_websockets::MaybeTlsStream<tokio::net::TcpStream>>;

/// What to watch, where, and as whom.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) query: Box<RawValue>,
    pub(crate) url: String,
    pub(crate) token: Option<String>,
    pub(crate) api_key: Option<String>,
    pub(crate) json: bool,
}

/// Why watching ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WatchError {
    #[error("{url}: {rule}")]
    Url { url: String, rule: String },
    #[error("{url}: {source}; is a Tidegate running there?")]
    Connect { url: String, source: Box<tokio_websockets::Error> },
    #[error("{code}: {message}")]
    Refused { code: String, message: String },
    #[error("the connection was lost: {0}")]
    Lost(String),
    #[error("the output could not be written: {0}")]
    Output(#[from] std::io::Error),
}

impl Watch {
    /// Watches until Ctrl-C, or, where the output is for a program, until the connection ends.
    pub(crate) async fn run(self) -> Result<(), WatchError> {
        if self.json || !std::io::stdout().is_terminal() { self.print_frames().await } else { self.draw().await }
    }

    async fn connect(&self, resume_from: Option<&str>) -> Result<Socket, WatchError> {
        let wrong = |rule: &str| WatchError::Url { url: self.url.clone(), rule: rule.into() };
        let rest = match self.url.split_once("://") {
            Some(("http", rest)) => rest.trim_end_matches('/'),
            Some(("https", _)) => return Err(wrong("the terminal view speaks http:// only")),
            _ => return Err(wrong("must begin with http://")),
        };
        let uri = format!("ws://{rest}/v1/live/ws");
        let mut builder = ClientBuilder::new().uri(&uri).map_err(|e| wrong(&e.to_string()))?;
        let credentials = [
            ("authorization", self.token.as_ref().map(|token| format!("Bearer {token}"))),
            ("x-api-key", self.api_key.clone()),
        ];
        for (name, value) in credentials {
            if let Some(value) = value {
                let value = value.parse().map_err(|_| wrong("a credential has characters that no header may have"))?;
                builder = builder
                    .add_header(axum::http::HeaderName::from_static(name), value)
                    .map_err(|e| wrong(&e.to_string()))?;
            }
        }
        let lost = |source| WatchError::Connect { url: self.url.clone(), source: Box::new(source) };
        let (mut socket, _) = builder.connect().await.map_err(lost)?;
        let mut subscribe = serde_json::json!({ "action": "subscribe", "query": self.query });
        if let Some(token) = resume_from {
            subscribe["resume_from"] = token.into();
        }
        socket.send(Message::text(subscribe.to_string())).await.map_err(lost)?;
        Ok(socket)
    }

    async fn print_frames(&self) -> Result<(), WatchError> {
        let mut socket = self.connect(None).await?;
        let mut out = std::io::stdout();
        loop {
            let text = tokio::select! {
                text = next_text(&mut socket) => text?,
                _ = tokio::signal::ctrl_c() => return Ok(()),
            };
            let frame = decode(&text)?;
            match writeln!(out, "{text}").and_then(|()| out.flush()) {
                // Whoever read the frames has seen enough.
                Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
                written => written?,
            }
            refused(frame)?;
        }
    }

    async fn draw(&self) -> Result<(), WatchError> {
        let screen = Screen::open()?;
        let mut view = View::default();
        loop {
            let ended = tokio::select! {
                ended = self.follow(&screen, &mut view) => ended,
                _ = tokio::signal::ctrl_c() => return Ok(()),
            };
            match ended {
                Err(WatchError::Lost(why)) => view.state = format!("reconnecting: {why}"),
                Err(error @ WatchError::Connect { .. }) if view.seen => view.state = format!("reconnecting: {error}"),
                ended => return ended,
            }
            view.list.reconnected();
            screen.show(&mut view, self.query.get())?;
            tokio::time::sleep(RECONNECT).await;
        }
    }

    /// One connection, from the subscribe (or resume) to its end.
    async fn follow(&self, screen: &Screen, view: &mut View) -> Result<(), WatchError> {
        let mut socket = self.connect(view.token.as_deref()).await?;
        if view.token.is_some() {
            // What comes is what was missed, or a reset that says otherwise.
            view.list.live = true;
            view.state = "● live again".into();
        }
        let mut draw = tokio::time::interval(DRAW);
        draw.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                text = next_text(&mut socket) => {
                    let frame = refused(decode(&text?)?)?;
                    view.apply(frame)?;
                }
                _ = draw.tick() => screen.show(view, self.query.get())?,
            }
        }
    }
}

/// What is shown, across connections.
#[derive(Default)]
struct View {
    list: List,
    /// Of the last frame applied.
    token: Option<String>,
    state: String,
    seen: bool,
    /// When deltas were counted, and how many there had been.
    counted: VecDeque<(Instant, u64)>,
}

impl View {
    fn apply(&mut self, mut frame: Frame) -> Result<(), WatchError> {
        let token = frame.stream_id.take();
        if let Err(error) = self.list.apply(frame, Instant::now()) {
            // The next subscribe brings a fresh snapshot.
            self.token = None;
            return Err(WatchError::Lost(error.to_string()));
        }
        self.token = token.or(self.token.take());
        self.seen = true;
        self.state = if self.list.live { "● live".into() } else { "loading".into() };
        Ok(())
    }

    fn deltas_per_second(&mut self, now: Instant) -> f64 {
        self.counted.push_back((now, self.list.deltas));
        while self.counted.front().is_some_and(|(at, _)| now.duration_since(*at) > RATE) {
            self.counted.pop_front();
        }
        let Some((since, before)) = self.counted.front() else { return 0.0 };
        (self.list.deltas - before) as f64 / now.duration_since(*since).as_secs_f64().max(1.0)
    }
}

/// The terminal's other screen, given back when dropped.
struct Screen;

impl Screen {
    fn open() -> std::io::Result<Self> {
        let mut out = std::io::stdout();
        write!(out, "\x1b[?1049h\x1b[?25l")?;
        out.flush()?;
        Ok(Self)
    }

    fn show(&self, view: &mut View, query: &str) -> std::io::Result<()> {
        let now = Instant::now();
        let (height, width) = console::Term::stdout().size();
        let deltas_per_second = view.deltas_per_second(now);
        let status = Status { query, state: &view.state, deltas_per_second };
        let lines = screen::render(&mut view.list, &status, (height.into(), width.into()), now);
        let mut out = std::io::stdout().lock();
        write!(out, "\x1b[H{}\x1b[K\x1b[J", lines.join("\x1b[K\r\n"))?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nothing can be done if the terminal is gone.
        let _ = write!(std::io::stdout(), "\x1b[?25h\x1b[?1049l");
        let _ = std::io::stdout().flush();
    }
}

async fn next_text(socket: &mut Socket) -> Result<String, WatchError> {
    loop {
        match socket.next().await {
            Some(Ok(message)) => {
                if let Some(text) = message.as_text() {
                    return Ok(text.to_owned());
                }
                if let Some((code, reason)) = message.as_close() {
                    return Err(WatchError::Lost(format!("closed with {} {reason}", u16::from(code))));
                }
            }
            Some(Err(error)) => return Err(WatchError::Lost(error.to_string())),
            None => return Err(WatchError::Lost("closed".into())),
        }
    }
}

fn decode(text: &str) -> Result<Frame, WatchError> {
    serde_json::from_str(text).map_err(|e| WatchError::Lost(format!("a frame that is none: {e}")))
}

fn refused(frame: Frame) -> Result<Frame, WatchError> {
    if frame.op != "error" {
        return Ok(frame);
    }
    let (code, message) = (frame.code.unwrap_or_default(), frame.message.unwrap_or_default());
    Err(WatchError::Refused { code, message })
}
