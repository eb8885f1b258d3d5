//! One client's side of the protocol: commands to calls on its session, and what comes of them to replies and pushes.
//!
//! Works the same over any carrier and in all encodings. The first command is a connect; until it is answered others
//! wait. Replies to the commands of one message travel together. A client that is only told ([`Encoding::Bare`]) has
//! nothing but the connect to say.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use bytes::Bytes;
use tidegate_identity::{Principal, Refusal, TopicVerb};
use tidegate_model::{Answer, SubscriptionId};
use tidegate_session::{CloseReason, Item, Session};
use tidegate_topics::{ClientInfo, Data, Topic};
use tokio::time::Instant;

use super::channel::Channel;
use super::codes::{Disconnected, ErrorCode, Unsubscribed, disconnect};
use super::connect::{Connecting, Stage};
use super::encoding::Encoding;
use super::ending::{farewell, reason};
use super::fault::Fault;
use super::subscribe::answer_bytes;
use super::waiting::{Ready, Then, Waiting};
use super::wire::{COMMANDS_MAX, Malformed, PingResult, Push, Received, Reply, Request};
use super::{json, protobuf};
use crate::Edge;
use crate::application::{Attendance, Peer};
use crate::metrics::count;
use crate::order::Order;
use crate::out::Out;
use crate::passing::Ask;
use crate::protocol::Protocol;

/// For the answer to a ping.
const PONG_TIME: Duration = Duration::from_secs(8);
/// Replies that travel together have at most so many bytes, or are one.
const BATCH_BYTES: usize = 16 << 10;

/// What the client has to know of how it is reached, or does not need because of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Carriage {
    /// A secret that names the connection to whoever brings its commands another way; empty for a socket.
    pub(crate) session: String,
    /// Which node that is to be brought to; empty for a socket.
    pub(crate) node: String,
    /// Whether the transport's own pings are enough.
    pub(crate) has_own_pings: bool,
}

/// See the module.
pub(crate) struct Centrifugo {
    pub(super) edge: Edge,
    pub(super) encoding: Encoding,
    pub(super) carriage: Carriage,
    /// Who is there, as far as that is known.
    pub(super) principal: Option<Arc<Principal>>,
    pub(super) stage: Stage,
    /// What others see of the connection, as JSON.
    pub(super) info: Option<Bytes>,
    pub(super) ask: Option<Ask>,
    /// The refresh whose token is being looked at.
    pub(super) refreshing: Option<u32>,
    /// Commands that wait for the connect.
    pub(super) held: VecDeque<(u32, Box<Request>)>,
    /// Few, so a list costs least.
    pub(super) channels: Vec<Channel>,
    /// Subscriptions that were ended where the session could not be told.
    pub(super) gone: Vec<SubscriptionId>,
    /// Lists whose next subscribe does not resume, because too much was missed.
    pub(super) anew: Vec<Box<str>>,
    pub(super) waiting: Waiting,
    /// What the application was told.
    pub(super) attendance: Option<Box<Attendance>>,
    /// Replies and pushes that are not queued yet.
    batch: Vec<u8>,
    pong_by: Option<Instant>,
    /// Why the connection has to close.
    fatal: Option<CloseReason>,
    /// What its close says.
    end: Option<(u16, Cow<'static, str>)>,
}

impl Centrifugo {
    /// Of a client that its handshake shows to be somebody, or that has yet to say who it is.
    pub(crate) fn new(edge: Edge, encoding: Encoding, principal: Option<Arc<Principal>>, carriage: Carriage) -> Self {
        Self {
            edge,
            encoding,
            carriage,
            principal,
            stage: Stage::Fresh,
            info: None,
            ask: None,
            refreshing: None,
            held: VecDeque::new(),
            channels: Vec::new(),
            gone: Vec::new(),
            anew: Vec::new(),
            waiting: Waiting::default(),
            attendance: None,
            batch: Vec::new(),
            pong_by: None,
            fatal: None,
            end: None,
        }
    }

    /// Takes the commands of a message.
    fn take(
        &mut self,
        session: &mut Session,
        commands: impl Iterator<Item = Result<Received, Malformed>>,
    ) -> Result<(), CloseReason> {
        self.let_go(session);
        for received in commands {
            match received {
                Ok(Received::Pong) => self.pong(),
                Ok(Received::Request(id, request)) => self.request(session, id, request),
                Err(malformed) => {
                    count(&self.edge.metrics().malformed);
                    tracing::debug!(%malformed, "a message is no message of the protocol");
                    self.fail(Disconnected::BadRequest);
                }
            }
            if self.fatal.is_some() {
                break;
            }
        }
        self.over(session)
    }

    /// Commands that one message may carry: a client that comes back subscribes to everything in one.
    fn commands_max(&self) -> usize {
        self.edge.config().max_subscriptions.saturating_add(COMMANDS_MAX)
    }

    fn request(&mut self, session: &mut Session, id: u32, request: Box<Request>) {
        match (&self.stage, *request) {
            (Stage::Fresh, Request::Connect(connect)) => self.connect(session, id, connect),
            (Stage::Fresh, _) | (_, Request::Connect(_)) => self.fail(Disconnected::BadRequest),
            (Stage::Connected, request) => self.command(session, id, Box::new(request)),
            (Stage::Asking(_) | Stage::Connecting(_), _) if self.held.len() >= self.commands_max() => {
                self.fail(Disconnected::TooManyRequests);
            }
            (_, request) => self.held.push_back((id, Box::new(request))),
        }
    }

    /// A command of a client that is connected; behind others about the same channel.
    pub(super) fn command(&mut self, session: &mut Session, id: u32, request: Box<Request>) {
        if self.waiting.is_full() {
            // A message without an id is not answered.
            return match *request {
                Request::Send(_) => {}
                _ => self.refuse(session, id, ErrorCode::TooManyRequests),
            };
        }
        match request.channel() {
            Some(channel) if self.waiting.has(channel) => {
                let channel = channel.to_owned();
                self.waiting.command(&channel, id, request);
            }
            _ => self.execute(session, id, *request),
        }
    }

    fn execute(&mut self, session: &mut Session, id: u32, request: Request) {
        let done = match request {
            Request::Connect(_) => Err(ErrorCode::BadRequest.into()),
            Request::Subscribe(subscribe) => self.subscribe(session, id, subscribe),
            Request::Unsubscribe(unsubscribe) => self.unsubscribe(session, id, &unsubscribe),
            Request::Publish(publish) => self.publish(session, id, publish),
            Request::Presence(presence) => self.presence(session, id, &presence.channel),
            Request::PresenceStats(stats) => self.presence_stats(session, id, &stats.channel),
            Request::History(history) => self.history(session, id, &history),
            Request::Ping => {
                self.send(session, &Reply { id, ping: Some(PingResult {}), ..Reply::default() });
                Ok(())
            }
            Request::Send(send) => {
                self.sent(session, &send);
                Ok(())
            }
            Request::Rpc(rpc) => self.rpc(session, id, &rpc),
            Request::Refresh(refresh) => self.refresh(id, refresh),
            Request::SubRefresh(refresh) => self.sub_refresh(session, id, &refresh),
        };
        if let Err(fault) = done {
            self.refuse(session, id, fault);
        }
    }

    /// Goes on with an answer once it is there: at once, mostly.
    pub(super) fn when<T: 'static, E: 'static>(
        &mut self,
        session: &mut Session,
        channel: Option<&str>,
        answer: Answer<T, E>,
        then: impl FnOnce(&mut Self, &mut Session, Result<T, E>) + 'static,
    ) {
        match answer {
            Answer::Now(answer) => then(self, session, answer),
            Answer::Later(later) => self.waiting.answer(channel, async move {
                let answer = later.await;
                Box::new(move |this: &mut Self, session: &mut Session| then(this, session, answer)) as Then
            }),
        }
    }

    /// One pong answers one ping; more of them are a flood.
    fn pong(&mut self) {
        if self.pong_by.take().is_none() {
            self.fail(Disconnected::BadRequest);
        }
    }

    pub(super) fn refuse(&mut self, session: &mut Session, id: u32, fault: impl Into<Fault>) {
        let fault = fault.into();
        match (self.encoding, fault.code) {
            // Who is answered nothing asked for nothing but to connect, and does so again.
            (Encoding::Bare, ErrorCode::TokenExpired) => self.fail(Disconnected::Expired),
            (Encoding::Bare, _) => self.fail(Disconnected::ServerError),
            _ => self.send(session, &fault.reply(id)),
        }
    }

    /// Adds to what is sent when the message is done with.
    pub(super) fn send(&mut self, session: &mut Session, reply: &Reply) {
        if self.batch.len() >= BATCH_BYTES {
            self.flush(session);
        }
        if self.encoding.append(reply, &mut self.batch).is_err() {
            // Bytes that are no JSON, for a client that reads nothing else.
            self.fail(Disconnected::InappropriateProtocol);
        }
    }

    pub(super) fn tell(&mut self, session: &mut Session, push: Push) {
        self.send(session, &Reply { push: Some(push), ..Reply::default() });
    }

    /// Queues what there is to send: what the session hands over from now on comes after it.
    pub(super) fn flush(&mut self, session: &mut Session) {
        if !self.batch.is_empty() {
            session.reply(std::mem::take(&mut self.batch));
        }
    }

    /// The end of a call: everything is queued, and the connection closes if it has to.
    pub(super) fn over(&mut self, session: &mut Session) -> Result<(), CloseReason> {
        self.flush(session);
        self.fatal.map_or(Ok(()), Err)
    }

    /// The connection has to close, and says this.
    pub(super) fn fail(&mut self, with: Disconnected) {
        if self.fatal.is_none() {
            self.fatal = Some(reason(with));
            self.end = Some((with.code(), with.text().into()));
        }
    }

    /// Bytes of replies that still fit, beside what a connect has to bring.
    pub(super) fn room(&self, session: &Session) -> usize {
        let of_connect = match &self.stage {
            Stage::Connecting(connecting) => {
                connecting.result.subs.values().map(|sub| answer_bytes(&sub.publications)).sum()
            }
            _ => 0,
        };
        session.reply_room().saturating_sub(self.batch.len() + of_connect)
    }

    pub(super) fn channel(&mut self, name: &str) -> Option<&mut Channel> {
        self.channels.iter_mut().find(|channel| &*channel.name == name)
    }

    pub(super) fn channel_of(&mut self, id: SubscriptionId) -> Option<&mut Channel> {
        self.channels.iter_mut().find(|channel| channel.id == id)
    }

    pub(super) fn forget(&mut self, id: SubscriptionId) -> Option<Channel> {
        let at = self.channels.iter().position(|channel| channel.id == id)?;
        Some(self.channels.swap_remove(at))
    }

    /// Tells the session of what was ended while it could not be told.
    fn let_go(&mut self, session: &mut Session) {
        for id in std::mem::take(&mut self.gone) {
            session.unsubscribe(id);
        }
    }

    /// Ends a subscription, and tells the client why.
    pub(super) fn end_channel(&mut self, session: &mut Session, id: SubscriptionId, why: Unsubscribed) {
        session.unsubscribe(id);
        if let Some(channel) = self.forget(id) {
            self.tell(session, why.push(&*channel.name));
        }
    }

    /// Who is connected: for whoever is past the connect.
    pub(super) fn known(&self) -> Result<&Arc<Principal>, Fault> {
        self.principal.as_ref().ok_or_else(|| ErrorCode::Unauthorized.into())
    }

    pub(super) fn peer(&self, session: &Session) -> Result<Peer, Fault> {
        Ok(Peer::new(&self.edge, session.name().clone(), self.known()?.clone()))
    }

    /// The connection as others see it in a channel.
    pub(super) fn info(&self, session: &Session, chan_info: Option<Bytes>) -> Result<Arc<ClientInfo>, Fault> {
        let (client, user) = (session.name().clone(), self.known()?.user.clone());
        Ok(Arc::new(ClientInfo { client, user, conn_info: self.info.clone(), chan_info }))
    }

    /// The topic of that name, if the client may do that there.
    pub(super) fn topic(&self, verb: TopicVerb, name: &str) -> Result<Arc<Topic>, Fault> {
        Ok(self.edge.topic(self.known()?, verb, name)?)
    }

    /// What a client publishes. In JSON it was read as such.
    pub(super) fn data(&self, bytes: Bytes) -> Result<Data, Fault> {
        if self.encoding != Encoding::Protobuf || json::is_json(&bytes) {
            return Ok(Data::json(bytes)?);
        }
        Ok(Data::Binary(bytes))
    }

    pub(super) fn is_connected(&self) -> bool {
        matches!(self.stage, Stage::Connected)
    }

    /// Of a connect that waits for its channels.
    pub(super) fn connecting(&mut self) -> Option<&mut Connecting> {
        match &mut self.stage {
            Stage::Connecting(connecting) => Some(connecting),
            _ => None,
        }
    }

    /// Does what is due of one channel after the other.
    fn expire(&mut self, session: &mut Session, now: Instant) {
        let is_over = |channel: &&Channel| channel.expires_at().is_some_and(|at| at <= now);
        while let Some(id) = self.channels.iter().find(is_over).map(|channel| channel.id) {
            self.end_channel(session, id, Unsubscribed::Expired);
        }
    }
}

impl Protocol for Centrifugo {
    fn text(&mut self, session: &mut Session, text: &str, _: Instant) -> Result<(), CloseReason> {
        match self.encoding {
            Encoding::Json => self.take(session, json::commands(text, self.commands_max())),
            Encoding::Bare if matches!(self.stage, Stage::Fresh) => {
                self.take(session, std::iter::once(json::connect(text)))
            }
            Encoding::Bare => Ok(()),
            Encoding::Protobuf => {
                self.fail(Disconnected::BadRequest);
                self.over(session)
            }
        }
    }

    fn binary(&mut self, session: &mut Session, bytes: &[u8], _: Instant) -> Result<(), CloseReason> {
        match self.encoding {
            Encoding::Protobuf => self.take(session, protobuf::commands(bytes, self.commands_max())),
            Encoding::Json | Encoding::Bare => {
                self.fail(Disconnected::BadRequest);
                self.over(session)
            }
        }
    }

    fn item(&mut self, item: Item, out: &mut Out) -> Result<(), CloseReason> {
        self.hand_over(item, out);
        self.fatal.map_or(Ok(()), Err)
    }

    fn missing(&self) -> Option<CloseReason> {
        matches!(self.stage, Stage::Fresh | Stage::Asking(_)).then_some(CloseReason::FirstMessage)
    }

    fn ask(&mut self) -> Option<Ask> {
        self.ask.take()
    }

    fn settled(
        &mut self,
        session: &mut Session,
        settled: Result<&Arc<Principal>, Refusal>,
    ) -> Result<bool, CloseReason> {
        let is_theirs = self.become_known(session, settled);
        self.over(session).map(|()| is_theirs)
    }

    fn poll(&mut self, session: &mut Session, cx: &mut Context<'_>) -> Result<(), CloseReason> {
        self.let_go(session);
        while let Some(ready) = self.waiting.ready(cx) {
            match ready {
                Ready::Answer(then) => then(self, session),
                Ready::Command(id, request) => self.execute(session, id, *request),
            }
        }
        self.over(session)
    }

    fn order(&mut self, session: &mut Session, order: Order, _: Instant) -> Result<(), CloseReason> {
        match order {
            Order::Dismiss { code, reason } => {
                let with = Disconnected::ForceDisconnect;
                let text = reason.map_or(Cow::Borrowed(with.text()), |reason| Cow::Owned(reason.to_string()));
                self.end = Some((code.unwrap_or(with.code()), text));
                Err(CloseReason::Dismissed)
            }
            order => {
                self.let_go(session);
                self.obey(session, order);
                self.over(session)
            }
        }
    }

    fn due(&self) -> Option<Instant> {
        self.channels.iter().filter_map(Channel::expires_at).chain(self.pong_by).min()
    }

    fn tick(&mut self, session: &mut Session, now: Instant) -> Result<(), CloseReason> {
        self.let_go(session);
        if self.pong_by.is_some_and(|by| by <= now) {
            self.fail(Disconnected::NoPong);
        }
        self.expire(session, now);
        self.over(session)
    }

    fn ping(&mut self, out: &mut Out, now: Instant) -> bool {
        let has_pings = self.is_connected() && !self.carriage.has_own_pings;
        if has_pings {
            self.encoding.put(self.encoding.ping(), out);
            if self.encoding != Encoding::Bare {
                // One that was not answered stays due.
                self.pong_by = self.pong_by.or(Some(now + PONG_TIME));
            }
        }
        has_pings
    }

    fn farewell(&mut self, reason: CloseReason, out: &mut Out) {
        let (code, text) = self.goodbye(reason, None);
        let reply = Reply { push: Some(disconnect(code, &text)), ..Reply::default() };
        let mut message = Vec::new();
        // It is text and numbers.
        if self.encoding.append(&reply, &mut message).is_ok() {
            self.encoding.put(&message, out);
        }
    }

    fn goodbye(&mut self, reason: CloseReason, _: Option<u64>) -> (u16, Cow<'static, str>) {
        let said = self.end.take();
        said.unwrap_or_else(|| match farewell(reason) {
            Some(with) => (with.code(), with.text().into()),
            None => (reason.code(), reason.name().into()),
        })
    }
}
