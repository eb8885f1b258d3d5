//! A client that knows nothing but JSON, and checks every message that comes.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tidegate_testkit::clients::within;
use tokio::net::TcpStream;
use tokio_websockets::{ClientBuilder, MaybeTlsStream, Message, WebSocketStream};

use crate::fixture::{House, hello, job_of};
use crate::frames::{Frames, kind};

/// One connection. Every message that comes is checked.
pub(crate) struct Client {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub(crate) welcome: Value,
    pub(crate) session: String,
    pub(crate) frames: Frames,
    /// What came and was not yet asked for.
    inbox: VecDeque<Value>,
}

impl Client {
    /// Connects without saying anything.
    pub(crate) async fn dial(at: SocketAddr, path: &str) -> Self {
        let uri = format!("ws://{at}{path}").parse().unwrap();
        let (socket, response) = within("the upgrade", ClientBuilder::from_uri(uri).connect()).await.unwrap();
        assert!(response.headers().get("sec-websocket-protocol").is_none(), "no subprotocol was asked for");
        let (welcome, session, frames, inbox) = (Value::Null, String::new(), Frames::default(), VecDeque::new());
        Self { socket, welcome, session, frames, inbox }
    }

    /// Connects and says hello.
    ///
    /// # Errors
    /// What was answered instead of a welcome; the connection is closed then.
    pub(crate) async fn open(at: SocketAddr, path: &str, id: &str, hello: Value) -> Result<Self, Value> {
        let mut client = Self::dial(at, path).await;
        client.send(&json!({ "arcp": "1.1", "id": id, "type": "session.hello", "payload": hello })).await;
        client.welcomed().await
    }

    /// Waits for what a hello is answered with.
    pub(crate) async fn welcomed(mut self) -> Result<Self, Value> {
        let first = self.next().await;
        if kind(&first) != "session.welcome" {
            self.closed().await;
            return Err(first);
        }
        self.session = first["session_id"].as_str().unwrap().to_owned();
        self.welcome = first["payload"].clone();
        Ok(self)
    }

    pub(crate) fn resume_token(&self) -> &str {
        self.welcome["resume_token"].as_str().unwrap()
    }

    /// What goes on with this session behind a number.
    pub(crate) fn resume(&self, after: u64) -> Value {
        json!({ "session_id": self.session, "resume_token": self.resume_token(), "last_event_seq": after })
    }

    /// Another connection of the same session, behind a number.
    pub(crate) async fn again(&self, house: &House, user: &str, after: u64) -> Result<Self, Value> {
        self.again_at(house.at, user, after).await
    }

    pub(crate) async fn again_at(&self, at: SocketAddr, user: &str, after: u64) -> Result<Self, Value> {
        let mut hello = hello(user);
        hello["resume"] = self.resume(after);
        Self::resumed(at, hello, after).await
    }

    pub(crate) async fn resumed(at: SocketAddr, hello: Value, after: u64) -> Result<Self, Value> {
        let mut client = Self::dial(at, "/arcp").await;
        client.frames = Frames::after(after);
        client.send(&json!({ "arcp": "1.1", "id": unique(), "type": "session.hello", "payload": hello })).await;
        client.welcomed().await
    }

    pub(crate) async fn send(&mut self, message: &Value) {
        self.send_text(message.to_string()).await;
    }

    pub(crate) async fn send_text(&mut self, text: String) {
        within("a message to be sent", self.socket.send(Message::text(text))).await.unwrap();
    }

    /// Says something under a new id, which it gives.
    pub(crate) async fn say(&mut self, kind: &str, payload: Value) -> String {
        let id = unique();
        let message = self.message(&id, kind, payload);
        self.send(&message).await;
        id
    }

    pub(crate) fn message(&self, id: &str, kind: &str, payload: Value) -> Value {
        let mut message = json!({ "arcp": "1.1", "id": id, "type": kind, "session_id": self.session });
        message["payload"] = payload;
        message
    }

    /// The next message, whatever it is.
    pub(crate) async fn next(&mut self) -> Value {
        match self.inbox.pop_front() {
            Some(frame) => frame,
            None => self.read().await.unwrap_or_else(|(code, reason)| panic!("closed: {code} {reason}")),
        }
    }

    /// The first message like that; those before it are kept for later.
    pub(crate) async fn wait(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.inbox.iter().position(&is_it) {
            return self.inbox.remove(at).unwrap();
        }
        loop {
            match self.read().await {
                Ok(frame) if is_it(&frame) => return frame,
                Ok(frame) => self.inbox.push_back(frame),
                Err((code, reason)) => panic!("closed before {what}: {code} {reason}; {:?}", self.inbox),
            }
        }
    }

    /// The first message of that type.
    pub(crate) async fn take(&mut self, of: &str) -> Value {
        self.wait(of, |frame| kind(frame) == of).await
    }

    /// Asks for something and gives the answer.
    pub(crate) async fn ask(&mut self, kind: &str, payload: Value) -> Value {
        let id = self.say(kind, payload).await;
        self.answer(&id).await
    }

    /// The answer to a message.
    pub(crate) async fn answer(&mut self, id: &str) -> Value {
        self.wait("the answer", |frame| frame["payload"]["request_id"] == *id).await
    }

    /// Submits, and gives the job's id.
    pub(crate) async fn submit(&mut self, payload: Value) -> String {
        let accepted = self.accepted(payload).await;
        job_of(&accepted)
    }

    /// Submits, and gives the acceptance.
    pub(crate) async fn accepted(&mut self, payload: Value) -> Value {
        let answer = self.ask("job.submit", payload).await;
        assert_eq!(kind(&answer), "job.accepted", "{answer}");
        answer
    }

    /// A job's next event, its end included.
    pub(crate) async fn event(&mut self, job: &str) -> Value {
        self.wait("an event", |frame| frame["job_id"] == *job && frame.get("event_seq").is_some()).await
    }

    /// All of a job's events from here on, its end the last of them.
    pub(crate) async fn events(&mut self, job: &str) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            let event = self.event(job).await;
            let is_end = kind(&event) != "job.event";
            events.push(event);
            if is_end {
                return events;
            }
        }
    }

    /// Runs a job from its submit to its end.
    pub(crate) async fn run(&mut self, payload: Value) -> Vec<Value> {
        let job = self.submit(payload).await;
        self.events(&job).await
    }

    /// The jobs that are listed.
    pub(crate) async fn list(&mut self, payload: Value) -> Vec<Value> {
        let answer = self.ask("session.list_jobs", payload).await;
        answer["payload"]["jobs"].as_array().unwrap_or_else(|| panic!("no list: {answer}")).clone()
    }

    /// Everything that was to come has come, and all of it was asked for.
    pub(crate) async fn is_silent(&mut self) {
        // An answer of the runtime's comes behind what it said before, and an event behind those before it.
        self.run(json!({ "agent": "echo" })).await;
        assert!(self.inbox.is_empty(), "{:?}", self.inbox);
    }

    /// The same, but for one job's first event.
    pub(crate) async fn is_silent_but(&mut self, job: &str) {
        self.event(job).await;
        self.is_silent().await;
    }

    /// Waits for the close. What comes before it is kept.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        loop {
            match self.read().await {
                Ok(frame) => self.inbox.push_back(frame),
                Err(close) => return close,
            }
        }
    }

    /// The next message, or how the connection was closed.
    async fn read(&mut self) -> Result<Value, (u16, String)> {
        let message = async {
            loop {
                match self.socket.next().await {
                    Some(Ok(message)) if message.is_text() || message.is_close() || message.is_binary() => {
                        return Some(message);
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return None,
                }
            }
        };
        let Some(message) = within("a message", message).await else { return Err((0, "cut off".into())) };
        match (message.as_text(), message.as_close()) {
            (Some(text), _) => Ok(self.frames.read(text)),
            (None, Some((code, reason))) => Err((code.into(), reason.to_owned())),
            (None, None) => panic!("no text: {message:?}"),
        }
    }
}

/// An id that no message has.
pub(crate) fn unique() -> String {
    static SAID: AtomicU64 = AtomicU64::new(1);
    format!("said-{}", SAID.fetch_add(1, Ordering::Relaxed))
}
