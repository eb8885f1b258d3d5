//! A client, as handlers have it.

use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::body::Bytes;
use serde::Serialize;
use serde_json::value::to_raw_value;
use tidegate_edge::{ApiError, Edge, Order, Peer, To};
use tidegate_identity::{Claims, Principal};
use tidegate_model::{Answer, Tenant};
use tidegate_session::{Session, Wish};
use tidegate_topics::{Data, Entry, Options, Owner, Publish, Published, Set, Topic, TopicError};

use super::Failure;

/// What the name of a room's topic has before the room's, behind the `$`.
const ROOM: &str = "room:";

/// Keys and payloads of the entries that are listed at once, in bytes.
const LIST_BYTES_MAX: usize = 32 << 20;

/// Of rooms: nothing is kept, and who does not take what is said is closed, so nothing is missed unnoticed.
static ROOM_OPTIONS: LazyLock<Arc<Options>> =
    LazyLock::new(|| Arc::new(Options { ephemeral: false, ..Options::default() }));

/// Somebody connected, as handlers have it. Cheap to clone and to keep; holds on to no connection: what is said to one that is
/// gone is lost.
///
/// Everything is within the client's tenant. What is published and set here is the program's own doing, so permissions are not
/// looked at and the application is not asked.
#[derive(Clone)]
pub struct Client(Peer);

impl Client {
    pub(super) fn new(peer: Peer) -> Self {
        Self(peer)
    }

    /// The connection's public name, such as `c_0f…`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// The user's name; empty for a stranger and for a server.
    #[must_use]
    pub fn user(&self) -> &str {
        &self.0.principal().user
    }

    /// The tenant, from the verified identity; `None` for a stranger, a server and a user of none, who share one.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        super::tenant(self.0.principal())
    }

    /// The claims of the verified identity that permissions name.
    #[must_use]
    pub fn claims(&self) -> &Claims {
        &self.0.principal().claims
    }

    /// Sends the client an event. Those of one caller arrive in order.
    ///
    /// # Errors
    /// `overloaded`; `malformed` where `data` is not to be had as JSON.
    pub fn emit(&self, event: &str, data: impl Serialize) -> Result<(), Failure> {
        Ok(self.0.order(&Order::Emit(message(event, data)?))?)
    }

    /// Sends an event to everybody of the tenant who is connected to this process and speaks the event protocol.
    ///
    /// # Errors
    /// As [`Client::emit`]; some may have got it.
    pub fn broadcast(&self, event: &str, data: impl Serialize) -> Result<(), Failure> {
        let to = To::Everybody { tenant: Some(self.topic_tenant()) };
        Ok(self.edge()?.dispatch(&to, &Order::Emit(message(event, data)?))?)
    }

    /// Sends an event to everybody in a room of the tenant, in the order in which the room's events are sent.
    ///
    /// # Errors
    /// As [`Client::emit`]; `too_large` for more than `topics.max_payload_bytes`, `invalid_topic` for what is no room's name.
    pub async fn broadcast_to_room(&self, room: &str, event: &str, data: impl Serialize) -> Result<(), Failure> {
        let publish = Publish::new(self.room(room)?, Data::json(message(event, data)?).map_err(ApiError::from)?);
        let answer = self.edge()?.topics().broker.publish(publish);
        answer.wait().await.map_err(refused)?;
        Ok(())
    }

    /// Puts the client into a room of its tenant: 1 to 249 bytes without control characters. It misses nothing that is sent
    /// there after this returns, and leaves with its connection. To be there already is fine.
    ///
    /// # Errors
    /// `invalid_topic`, `too_many_subscriptions` (a room counts as one), `unknown_client`, `overloaded`.
    pub async fn join_room(&self, room: &str) -> Result<(), Failure> {
        let topic = self.room(room)?;
        let joined = self.visit(move |session| join(session, topic)).await??;
        // A broker on another machine.
        let Some((id, later)) = joined else { return Ok(()) };
        let answer = later.await;
        let refusal = answer.as_ref().err().cloned();
        let begin = move |session: &mut Session| match answer {
            Ok(joined) => session.begin(id, &joined.at),
            Err(_) => drop(session.unsubscribe(id)),
        };
        self.visit(begin).await?;
        refusal.map_or(Ok(()), |refusal| Err(refused(refusal)))
    }

    /// The other way round; not to be there is fine.
    ///
    /// # Errors
    /// As [`Client::join_room`].
    pub async fn leave_room(&self, room: &str) -> Result<(), Failure> {
        let topic = self.room(room)?;
        let leave = move |session: &mut Session| {
            if let Some(id) = session.subscribed(&topic.name) {
                session.unsubscribe(id);
            }
        };
        self.visit(leave).await
    }

    /// The rooms that the client is in, in the order in which it joined.
    ///
    /// # Errors
    /// `unknown_client`, `overloaded`.
    pub async fn rooms(&self) -> Result<Vec<String>, Failure> {
        let room = |topic: &Topic| Some(topic.name.strip_prefix('$')?.strip_prefix(ROOM)?.to_owned());
        self.visit(move |session| session.topics().filter_map(|(_, topic)| room(topic)).collect()).await
    }

    /// Publishes in a topic of the tenant, with the client as who did.
    ///
    /// # Errors
    /// `invalid_topic`, `too_large`, `overloaded`; `malformed` as [`Client::emit`].
    pub async fn publish(&self, topic: &str, data: impl Serialize) -> Result<Published, Failure> {
        let topic = self.topic(topic)?;
        let publish = Publish {
            client: Some(Arc::new(self.0.info())),
            ..Publish::new(topic, Data::json(json(data)?).map_err(ApiError::from)?)
        };
        self.edge()?.topics().broker.publish(publish).wait().await.map_err(refused)
    }

    /// Sets an ephemeral entry that the client owns: it ends with the connection, or after `ttl` (0: a minute; at most half an
    /// hour).
    ///
    /// # Errors
    /// `invalid_topic`, `invalid_key`, `too_large`, `too_many_keys`, `topic_full`, `not_available`, `unknown_client`,
    /// `overloaded`.
    pub async fn set(&self, topic: &str, key: &str, payload: impl Into<Bytes>, ttl: Duration) -> Result<(), Failure> {
        let (topic, tenant) = (self.topic(topic)?, self.topic_tenant());
        let broker = self.edge()?.topics().broker.clone();
        let (key, payload) = (key.into(), payload.into());
        let ttl_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        // With the session at hand: an entry must not come after its owner's end.
        let set = move |session: &mut Session| {
            let owner = session.own(tenant).clone();
            broker.set(Set { topic, key, payload, ttl_ms, owner })
        };
        self.visit(set).await?.wait().await.map_err(refused)
    }

    /// Clears an entry that the client owns; of another's, or one that is not there, nothing happens.
    ///
    /// # Errors
    /// As [`Client::set`].
    pub async fn clear(&self, topic: &str, key: &str) -> Result<(), Failure> {
        let owner = Owner { tenant: self.topic_tenant(), client: self.0.name().clone() };
        let answer = self.edge()?.topics().broker.clear(&self.topic(topic)?, key, &owner);
        answer.wait().await.map_err(refused)
    }

    /// The live entries of a topic, sorted by key.
    ///
    /// # Errors
    /// `invalid_topic`, `not_available`; `too_large` where keys and payloads have more than 32 MiB.
    pub async fn list(&self, topic: &str) -> Result<Vec<Entry>, Failure> {
        let answer = self.edge()?.topics().broker.list(&self.topic(topic)?, LIST_BYTES_MAX);
        answer.wait().await.map_err(refused)
    }

    fn topic_tenant(&self) -> Tenant {
        self.0.principal().topic_tenant()
    }

    fn topic(&self, name: &str) -> Result<Arc<Topic>, Failure> {
        self.edge()?.topics().namespaces.topic(self.topic_tenant(), name).map_err(refused)
    }

    fn room(&self, room: &str) -> Result<Arc<Topic>, Failure> {
        let name = format!("{ROOM}{room}");
        // With the `$` it is one byte longer.
        if room.is_empty() || name.len() >= tidegate_topics::TOPIC_BYTES_MAX {
            return Err(refused(TopicError::Name("of a room must have 1 to 249 bytes")));
        }
        Topic::check_name(&name).map_err(refused)?;
        Ok(Arc::new(Topic::reserved(self.topic_tenant(), &name, ROOM_OPTIONS.clone())))
    }

    fn edge(&self) -> Result<Edge, Failure> {
        self.0.edge().ok_or_else(|| refused(TopicError::Unavailable))
    }

    async fn visit<T: Send + 'static>(
        &self,
        call: impl FnOnce(&mut Session) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let tenant = self.topic_tenant();
        let call = move |session: &mut Session, principal: &Principal| {
            // A stranger's connection may be somebody's by now: what was begun for the stranger is not for them.
            (principal.topic_tenant() == tenant).then(|| call(session))
        };
        let visited = self.edge()?.visit(self.name(), call).await?;
        visited.flatten().ok_or_else(|| refused(TopicError::UnknownClient))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(self.0.name()).finish()
    }
}

type Joining = (tidegate_model::SubscriptionId, tidegate_model::Later<tidegate_topics::Joined, TopicError>);

/// Subscribes a session to a room; what is still to be waited for, if anything.
fn join(session: &mut Session, topic: Arc<Topic>) -> Result<Option<Joining>, Failure> {
    if session.subscribed(&topic.name).is_some() {
        return Ok(None);
    }
    let wish = Wish { topic, member: None, since: None, hears_joins: false };
    let (id, answer) = session.join(wish).map_err(ApiError::from)?;
    match answer {
        Answer::Now(Ok(joined)) => session.begin(id, &joined.at),
        Answer::Now(Err(error)) => {
            session.unsubscribe(id);
            return Err(refused(error));
        }
        Answer::Later(later) => return Ok(Some((id, later))),
    }
    Ok(None)
}

fn refused(error: TopicError) -> Failure {
    ApiError::from(error).into()
}

/// A whole message of the event protocol.
fn message(event: &str, data: impl Serialize) -> Result<Bytes, Failure> {
    #[derive(Serialize)]
    struct Message<'a, T> {
        event: &'a str,
        data: T,
    }
    json(Message { event, data })
}

fn json(data: impl Serialize) -> Result<Bytes, Failure> {
    let raw = to_raw_value(&data).map_err(|error| Failure::new("malformed", error.to_string()))?;
    Ok(Bytes::from(String::from(Box::<str>::from(raw))))
}
