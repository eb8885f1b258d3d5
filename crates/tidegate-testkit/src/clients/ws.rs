//! WebSocket clients over `tokio-websockets`, which checks the protocol strictly.

use std::collections::HashMap;
use std::io;

use futures_util::{SinkExt as _, StreamExt as _};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_websockets::{ClientBuilder, Message as WsMessage, WebSocketStream};

use super::endpoint::{Endpoint, Link};
use super::h2::OwnTunnel;
use super::list::{Frame, ModelList};
use super::within;

type Socket = WebSocketStream<Link>;

/// A WebSocket at `path`, on a connection of its own; a refusal is [`io::ErrorKind::InvalidData`].
pub(crate) async fn open(endpoint: &Endpoint, path: &str, over_h2: bool) -> io::Result<Socket> {
    // Both clients add what the endpoint sends with each request.
    let uri = format!("ws://{}{}", endpoint.address(), endpoint.target(path)).parse().map_err(io::Error::other)?;
    let mut builder = ClientBuilder::from_uri(uri);
    if over_h2 {
        return Ok(builder.take_over(Box::new(OwnTunnel::open(endpoint, path).await?) as Link));
    }
    for (name, value) in endpoint.headers() {
        let (name, value) = (name.parse().map_err(io::Error::other)?, value.parse().map_err(io::Error::other)?);
        builder = builder.add_header(name, value).map_err(io::Error::other)?;
    }
    let link = endpoint.connect("http/1.1").await?;
    let refused = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    Ok(builder.connect_on(link).await.map_err(refused)?.0)
}

/// The next text message; `None` once the connection has ended, in whatever way: with the close code and reason, if any.
pub(crate) async fn next_text(socket: &mut Socket, farewell: &mut Option<(u16, String)>) -> Option<String> {
    loop {
        let message = socket.next().await?.ok()?;
        if let Some(text) = message.as_text() {
            return Some(text.to_owned());
        }
        if let Some((code, reason)) = message.as_close() {
            *farewell = Some((code.into(), reason.to_owned()));
            return None;
        }
    }
}

/// One subscription over `/v1/live/ws`.
pub struct LiveSocket {
    socket: Socket,
    /// What it shows.
    pub list: ModelList,
}

impl LiveSocket {
    /// Connects and subscribes; goes on from the list's token where it has one.
    ///
    /// # Errors
    /// What the connection or the handshake failed with.
    pub async fn subscribe(endpoint: impl Into<Endpoint>, query: &Value, mut list: ModelList) -> io::Result<Self> {
        let mut socket = open(&endpoint.into(), "/v1/live/ws", false).await?;
        let mut command = json!({ "action": "subscribe", "query": query, "synced": true });
        if let Some(token) = list.token() {
            command["resume_from"] = token.into();
        }
        list.reconnected();
        socket.send(WsMessage::text(command.to_string())).await.map_err(io::Error::other)?;
        Ok(Self { socket, list })
    }

    /// Sends a command, or anything else.
    ///
    /// # Errors
    /// What the connection failed with.
    pub async fn send(&mut self, text: String) -> io::Result<()> {
        self.socket.send(WsMessage::text(text)).await.map_err(io::Error::other)
    }

    /// Receives and applies one frame; `None` once the connection has ended.
    ///
    /// # Panics
    /// Where the frame breaks a rule.
    pub async fn next(&mut self) -> Option<Frame> {
        let text = next_text(&mut self.socket, &mut None).await?;
        let frame: Frame = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        self.list.apply(&frame).unwrap_or_else(|rule| panic!("{rule}"));
        Some(frame)
    }

    /// Receives one frame without applying it.
    pub async fn next_raw(&mut self) -> Option<Value> {
        let text = next_text(&mut self.socket, &mut None).await?;
        Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }

    /// Applies frames until the list is whole and `enough` of it.
    ///
    /// # Panics
    /// Where the connection ends first, or nothing of the kind happens within a minute.
    pub async fn until(&mut self, what: &str, enough: impl Fn(&ModelList) -> bool) {
        let wait = async {
            while !(self.list.is_whole() && enough(&self.list)) {
                let _ = self.next().await.unwrap_or_else(|| panic!("the connection ended before {what}"));
            }
        };
        if tokio::time::timeout(std::time::Duration::from_secs(60), wait).await.is_err() {
            panic!("not within 60 s: {what}; the list: {:?}", self.list);
        }
    }
}

/// A message of the event protocol.
#[derive(Debug, Clone, Deserialize)]
pub struct Message {
    /// Its name.
    pub event: String,
    /// What it carries.
    #[serde(default)]
    pub data: Value,
    /// Of a reply.
    #[serde(default)]
    pub id: Value,
    /// Of a reply.
    #[serde(default)]
    pub error: Value,
}

#[derive(Deserialize)]
struct LiveDelta {
    seq: u64,
    deltas: Vec<Frame>,
}

/// Any number of subscriptions over `/ws`.
pub struct EventSocket {
    socket: Socket,
    /// What each subscription shows, by its name.
    pub lists: HashMap<String, ModelList>,
    /// The close code and reason, once the server has said them.
    pub farewell: Option<(u16, String)>,
}

impl EventSocket {
    /// Connects.
    ///
    /// # Errors
    /// What the connection or the handshake failed with.
    pub async fn connect(endpoint: impl Into<Endpoint>) -> io::Result<Self> {
        Ok(Self { socket: open(&endpoint.into(), "/ws", false).await?, lists: HashMap::new(), farewell: None })
    }

    /// Connects in a stream of HTTP/2.
    ///
    /// # Errors
    /// As [`EventSocket::connect`].
    pub async fn connect_h2(endpoint: impl Into<Endpoint>) -> io::Result<Self> {
        Ok(Self { socket: open(&endpoint.into(), "/ws", true).await?, lists: HashMap::new(), farewell: None })
    }

    /// Sends one message.
    ///
    /// # Errors
    /// What the connection failed with.
    pub async fn send(&mut self, event: &str, data: Value, id: Value) -> io::Result<()> {
        let message = json!({ "event": event, "data": data, "id": id }).to_string();
        self.socket.send(WsMessage::text(message)).await.map_err(io::Error::other)
    }

    /// Sends a message and applies what comes until it is answered; gives the reply.
    ///
    /// # Panics
    /// Where no reply comes.
    pub async fn call(&mut self, event: &str, data: Value, id: &str) -> Message {
        self.send(event, data, id.into()).await.unwrap_or_else(|error| panic!("{event}: {error}"));
        let reply = async {
            loop {
                let message =
                    self.next().await.unwrap_or_else(|| panic!("the connection ended before {event} was answered"));
                if message.event == "reply" && message.id == id {
                    return message;
                }
            }
        };
        within(event, reply).await
    }

    /// Subscribes under the name `sub`; goes on from the list's token where it has one.
    ///
    /// # Panics
    /// Where it is refused.
    pub async fn subscribe(&mut self, sub: &str, query: &Value, mut list: ModelList) {
        let mut data = json!({ "sub": sub, "query": query, "synced": true });
        if let Some(token) = list.token() {
            data["resume_from"] = token.into();
        }
        list.reconnected();
        self.lists.insert(sub.to_owned(), list);
        let reply = self.call("live.subscribe", data, &format!("subscribe-{sub}")).await;
        assert!(reply.error.is_null(), "{reply:?}");
    }

    /// Receives one message and applies its deltas; `None` once the connection has ended.
    ///
    /// # Panics
    /// Where a frame breaks a rule.
    pub async fn next(&mut self) -> Option<Message> {
        let text = next_text(&mut self.socket, &mut self.farewell).await?;
        let message: Message = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let sub = message.data["sub"].as_str().unwrap_or_default();
        // After an unsubscribe a few may still arrive.
        if let Some(list) = self.lists.get_mut(sub) {
            match &*message.event {
                "live.delta" => {
                    let delta: LiveDelta = serde_json::from_value(message.data.clone()).expect("a live.delta");
                    for (seq, frame) in (delta.seq..).zip(&delta.deltas) {
                        list.apply_numbered(seq, frame).unwrap_or_else(|rule| panic!("{sub}: {rule}"));
                    }
                }
                "live.synced" => {
                    let frame: Frame = serde_json::from_value(message.data.clone()).expect("a live.synced");
                    list.synced_to(&frame).unwrap_or_else(|rule| panic!("{sub}: {rule}"));
                }
                "live.error" => panic!("{message:?}"),
                _ => {}
            }
        }
        Some(message)
    }

    /// Applies messages until every list is whole and `enough`.
    ///
    /// # Panics
    /// Where the connection ends first, or nothing of the kind happens within a minute.
    pub async fn until(&mut self, what: &str, enough: impl Fn(&HashMap<String, ModelList>) -> bool) {
        let wait = async {
            while !(self.lists.values().all(ModelList::is_whole) && enough(&self.lists)) {
                let _ = self.next().await.unwrap_or_else(|| panic!("the connection ended before {what}"));
            }
        };
        within(what, wait).await;
    }
}
